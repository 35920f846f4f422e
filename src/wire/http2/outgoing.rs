//! Bytes of answers that the library has and the client has not.

use std::any::Any;
use std::cell::OnceCell;
use std::rc::Rc;

use bytes::{Buf, Bytes};

use super::super::recorder::RequestRecord;
use super::answer::Answer;
use super::rooms::PieceRoom;
use super::streams::Streams;
use crate::memory_file::MemoryFile;
use crate::num::as_u64;

/// The bytes of a frame, after which the library sends another stream's.
pub(super) const FRAME_BYTES: usize = 16 * 1024;

/// Bytes that the library has and the client has not, with the record of the answer that they belong to.
pub(super) struct OutgoingBytes {
    place: BytesPlace,
    record: Rc<RequestRecord>,
}

/// The place where they lie.
enum BytesPlace {
    InMemory {
        bytes: Bytes,
        /// It is free again when the library drops them. A small body needs none.
        _room: Option<PieceRoom>,
        _counted: Counted,
    },
    InFile(FileBytes),
}

/// Counts the bytes of an answer that was made for one request, until the library drops the last of them.
pub(super) type Counted = Option<Rc<dyn Any>>;

impl OutgoingBytes {
    /// Bytes of a memory file. The connection is told if they can't be had.
    pub(super) fn file(
        file: MemoryFile,
        from: u64,
        left: usize,
        room: PieceRoom,
        answer: &Answer,
    ) -> Self {
        let place = BytesPlace::InFile(FileBytes {
            file,
            from,
            left,
            copied: OnceCell::new(),
            streams: Rc::clone(answer.open.streams()),
            _room: room,
        });
        Self {
            place,
            record: Rc::clone(&answer.record),
        }
    }

    pub(super) fn memory(
        bytes: Bytes,
        room: Option<PieceRoom>,
        counted: Counted,
        answer: &Answer,
    ) -> Self {
        let place = BytesPlace::InMemory {
            bytes,
            _room: room,
            _counted: counted,
        };
        Self {
            place,
            record: Rc::clone(&answer.record),
        }
    }
}

impl Buf for OutgoingBytes {
    fn remaining(&self) -> usize {
        match &self.place {
            BytesPlace::InMemory { bytes, .. } => bytes.remaining(),
            BytesPlace::InFile(bytes) => bytes.left,
        }
    }

    fn chunk(&self) -> &[u8] {
        match &self.place {
            BytesPlace::InMemory { bytes, .. } => bytes.chunk(),
            BytesPlace::InFile(bytes) => bytes.chunk(),
        }
    }

    fn advance(&mut self, count: usize) {
        self.record.sent(as_u64(count));
        match &mut self.place {
            BytesPlace::InMemory { bytes, .. } => bytes.advance(count),
            BytesPlace::InFile(bytes) => bytes.advance(count),
        }
    }
}

/// Bytes of a memory file, which are copied when the library writes them, one frame after the other: what waits takes no room.
struct FileBytes {
    file: MemoryFile,
    from: u64,
    left: usize,
    /// The bytes from `from` on that were copied and not written.
    copied: OnceCell<Bytes>,
    streams: Rc<Streams>,
    _room: PieceRoom,
}

impl FileBytes {
    fn chunk(&self) -> &[u8] {
        self.copied.get_or_init(|| {
            let length = self.left.min(FRAME_BYTES);
            let read = self.file.read(self.from..self.from + as_u64(length));
            match read {
                Ok(bytes) if bytes.len() == length => bytes,
                // The connection ends before anything more is written, so nobody sees these.
                Ok(_) | Err(_) => {
                    self.streams.break_off();
                    Bytes::from(vec![0; length])
                }
            }
        })
    }

    fn advance(&mut self, count: usize) {
        self.from += as_u64(count);
        self.left = self.left.saturating_sub(count);
        if let Some(mut copied) = self.copied.take()
            && count < copied.len()
        {
            copied.advance(count);
            self.copied = OnceCell::from(copied);
        }
    }
}
