//! Sends the body of an answer as the client takes it.
//!
//! A body in memory is handed to the library piece by piece. The bytes of a memory file are copied when the library writes them.
//! A file on a disk is not even read before the client's windows have room for it, and the pieces of all such files of a
//! connection share one room.

// Decision: A body over HTTP/2 is made as the client takes it.

use std::any::Any;
use std::cell::OnceCell;
use std::fmt::Display;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use actix_web::body::{BodySize, BoxBody, MessageBody};
use bytes::{Buf, Bytes};
use futures_util::StreamExt as _;
use futures_util::future::{Either, select};
use futures_util::stream::LocalBoxStream;
use h2::{Reason, SendStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::super::buffered::{Held, UNCOUNTED_BYTES};
use super::super::counters::count;
use super::super::file_body::{BodyFile, PIECE_BYTES};
use super::super::lazy_timer::LazyTimer;
use super::super::thread::Thread;
use super::SEND_BUFFER_BYTES;
use super::answer::Answer;
use super::streams::{Streams, UNSENT_BYTES_MAX, UnsentRoom};
use crate::memory_file::MemoryFile;
use crate::num::{as_u64, as_usize};

/// The bytes of a frame, after which the library sends another stream's.
const FRAME_BYTES: usize = 16 * 1024;

/// Bytes that the library has and the client has not.
pub(super) enum OutgoingBytes {
    /// The room that they take is free again when the library drops them.
    InMemory {
        bytes: Bytes,
        _counted: Counted,
    },
    InFile(FileBytes),
}

/// Counts bytes until the library drops them: the room of a piece of a file, or an answer that was made for one request.
type Counted = Option<Rc<dyn Any>>;

impl OutgoingBytes {
    fn memory(bytes: Bytes, counted: Counted) -> Self {
        Self::InMemory {
            bytes,
            _counted: counted,
        }
    }
}

impl Buf for OutgoingBytes {
    fn remaining(&self) -> usize {
        match self {
            Self::InMemory { bytes, .. } => bytes.remaining(),
            Self::InFile(bytes) => bytes.left,
        }
    }

    fn chunk(&self) -> &[u8] {
        match self {
            Self::InMemory { bytes, .. } => bytes.chunk(),
            Self::InFile(bytes) => bytes.chunk(),
        }
    }

    fn advance(&mut self, count: usize) {
        match self {
            Self::InMemory { bytes, .. } => bytes.advance(count),
            Self::InFile(bytes) => bytes.advance(count),
        }
    }
}

/// Bytes of a memory file, which are copied when the library writes them, one frame after the other: what waits takes no room.
pub(super) struct FileBytes {
    file: MemoryFile,
    from: u64,
    left: usize,
    /// The bytes from `from` on that were copied and not written.
    copied: OnceCell<Bytes>,
    /// Is told if the bytes can't be had.
    streams: Rc<Streams>,
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

/// The origin of a body.
pub(super) enum Source {
    Body(BoxBody, Counted),
    Memory(MemoryFile),
    /// Pieces of a file on a disk, and the most bytes that the next one may have.
    Disk(LocalBoxStream<'static, io::Result<Bytes>>, Arc<AtomicUsize>),
}

impl Source {
    pub(super) fn new(file: Option<BodyFile>, body: BoxBody, held: Option<Held>) -> Self {
        match file {
            None => Self::Body(body, held.map(|held| -> Rc<dyn Any> { Rc::new(held) })),
            Some(BodyFile::Memory(file)) => Self::Memory(file),
            Some(BodyFile::Disk(disk)) => {
                let most = Arc::new(AtomicUsize::new(usize::MAX));
                Self::Disk(disk.pieces(Arc::clone(&most)), most)
            }
        }
    }
}

/// The body of one answer, as far as it was not sent.
pub(super) struct BodySender {
    pub(super) stream: SendStream<OutgoingBytes>,
    /// Bytes that are still to be sent, if it is known.
    left: Option<u64>,
    pub(super) sent: u64,
    /// Since when the client takes nothing more.
    waiting_since: Option<Instant>,
    timer: LazyTimer,
}

impl BodySender {
    pub(super) fn new(stream: SendStream<OutgoingBytes>, size: BodySize) -> Self {
        Self {
            stream,
            left: match size {
                BodySize::Sized(length) => Some(length),
                BodySize::None | BodySize::Stream => None,
            },
            sent: 0,
            waiting_since: None,
            timer: LazyTimer::default(),
        }
    }

    /// Sends all if it is small, in memory, and in the client's windows. Gives it back if not.
    pub(super) fn send_at_once(
        &mut self,
        source: Source,
        answer: &Answer,
    ) -> Result<Option<Source>, Reason> {
        let Source::Body(body, counted) = source else {
            return Ok(Some(source));
        };
        let bytes = match body.try_into_bytes() {
            Ok(bytes) => bytes,
            Err(body) => return Ok(Some(Source::Body(body, counted))),
        };
        let length = bytes.len();
        if length <= PIECE_BYTES && self.left == Some(as_u64(length)) {
            self.stream.reserve_capacity(length);
            if self.stream.capacity() >= length {
                self.hand_over(OutgoingBytes::memory(bytes, counted), length, answer)?;
                return Ok(None);
            }
        }
        Ok(Some(Source::Body(BoxBody::new(bytes), counted)))
    }

    /// Sends all. The error is the reason for the client if the body ends too early.
    pub(super) async fn send(&mut self, source: Source, answer: &Answer) -> Result<(), Reason> {
        match source {
            Source::Body(body, counted) => self.send_body(body, &counted, answer).await,
            Source::Memory(file) => self.send_memory(file, answer).await,
            // Boxed, since most bodies are in memory.
            Source::Disk(pieces, most) => Box::pin(self.send_disk(pieces, &most, answer)).await,
        }
    }

    async fn send_body(
        &mut self,
        mut body: BoxBody,
        counted: &Counted,
        answer: &Answer,
    ) -> Result<(), Reason> {
        while self.left != Some(0) {
            let part = poll_fn(|cx| Pin::new(&mut body).poll_next(cx)).await;
            let Some(mut part) = part.transpose().map_err(|error| broken_off(&error))? else {
                self.check_end()?;
                let end = OutgoingBytes::memory(Bytes::new(), None);
                return self.stream.send_data(end, true).map_err(|_| Reason::CANCEL);
            };
            while !part.is_empty() {
                let wanted = part.len().min(PIECE_BYTES);
                let piece = part.split_to(self.capacity(wanted, answer).await?);
                self.hand_over(
                    OutgoingBytes::memory(piece, counted.clone()),
                    wanted,
                    answer,
                )?;
            }
        }
        Ok(())
    }

    async fn send_memory(&mut self, file: MemoryFile, answer: &Answer) -> Result<(), Reason> {
        while let Some(left @ 1..) = self.left {
            let wanted = as_usize(left).min(SEND_BUFFER_BYTES);
            let piece = FileBytes {
                left: self.capacity(wanted, answer).await?,
                from: self.sent,
                file: file.clone(),
                copied: OnceCell::new(),
                streams: Rc::clone(answer.open.streams()),
            };
            self.hand_over(OutgoingBytes::InFile(piece), wanted, answer)?;
        }
        Ok(())
    }

    async fn send_disk(
        &mut self,
        mut pieces: LocalBoxStream<'static, io::Result<Bytes>>,
        most: &AtomicUsize,
        answer: &Answer,
    ) -> Result<(), Reason> {
        while let Some(left @ 1..) = self.left {
            let wanted = as_usize(left).min(answer.open.share_bytes());
            let bytes = self.capacity(wanted, answer).await?;
            let (room, bytes) = self.room(bytes, answer).await?;
            most.store(bytes, Ordering::Relaxed);
            let piece = pieces.next().await.transpose();
            let Some(piece) = piece.map_err(|error| broken_off(&error))? else {
                return self.check_end();
            };
            self.hand_over(
                OutgoingBytes::memory(piece, Some(Rc::new(room))),
                wanted,
                answer,
            )?;
        }
        Ok(())
    }

    /// Refuses the end of a body of which more was promised.
    fn check_end(&self) -> Result<(), Reason> {
        if let Some(left @ 1..) = self.left {
            tracing::debug!(left, "an answer is shorter than was told");
            return Err(Reason::INTERNAL_ERROR);
        }
        Ok(())
    }

    /// Hands bytes to the library, and earns for their frames. They may be fewer than were wanted, because the client's window
    /// cut them. They are the last if nothing is left.
    fn hand_over(
        &mut self,
        bytes: OutgoingBytes,
        wanted: usize,
        answer: &Answer,
    ) -> Result<(), Reason> {
        let length = bytes.remaining();
        if let Some(budget) = &answer.budget {
            for from in (0..length).step_by(FRAME_BYTES) {
                let frame = (length - from).min(FRAME_BYTES);
                budget.sent(frame, length < wanted && frame < FRAME_BYTES);
            }
        }
        self.sent += as_u64(length);
        self.left = self.left.map(|left| left.saturating_sub(as_u64(length)));
        let sent = self.stream.send_data(bytes, self.left == Some(0));
        sent.map_err(|_| Reason::CANCEL)
    }

    async fn capacity(&mut self, wanted: usize, answer: &Answer) -> Result<usize, Reason> {
        poll_fn(|cx| self.poll_capacity(wanted, &answer.thread, cx)).await
    }

    /// Waits until the client takes more, up to `wanted` bytes, but no longer than `limits.stall_timeout`.
    fn poll_capacity(
        &mut self,
        wanted: usize,
        thread: &Thread,
        cx: &mut Context<'_>,
    ) -> Poll<Result<usize, Reason>> {
        self.stream.reserve_capacity(wanted);
        while self.stream.capacity() == 0 {
            match self.stream.poll_capacity(cx) {
                Poll::Ready(Some(Ok(_))) => {}
                // The client has gone, or has cancelled the stream.
                Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(Err(Reason::CANCEL)),
                Poll::Pending => {
                    let limit = thread.limits.stall_timeout;
                    if !self.timer.exceeded(&mut self.waiting_since, limit, cx) {
                        return Poll::Pending;
                    }
                    count(&thread.counters.stalled);
                    return Poll::Ready(Err(Reason::CANCEL));
                }
            }
        }
        self.waiting_since = None;
        Poll::Ready(Ok(self.stream.capacity().min(wanted)))
    }

    /// Waits for room for a piece; fewer bytes, once all others are sent, if all connections hold too much.
    async fn room(&mut self, bytes: usize, answer: &Answer) -> Result<(UnsentRoom, usize), Reason> {
        let streams = answer.open.streams();
        let permit = self.permit(bytes, answer).await?;
        if let Some(room) = streams.room(permit, bytes) {
            return Ok((room, bytes));
        }
        let (bytes, all) = (bytes.min(UNCOUNTED_BYTES), UNSENT_BYTES_MAX);
        let permit = self.permit(all, answer).await?;
        let room = streams.room(permit, bytes).ok_or(Reason::CANCEL)?;
        Ok((room, bytes))
    }

    /// Waits until bytes of other answers of the connection have been sent, so that these may be made. No time limits it: if the
    /// client takes nothing, the others are ended, and so is the connection whose socket is full.
    async fn permit(
        &mut self,
        bytes: usize,
        answer: &Answer,
    ) -> Result<OwnedSemaphorePermit, Reason> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        if let Ok(permit) = answer.open.unsent().try_acquire_many_owned(bytes) {
            return Ok(permit);
        }
        count(&answer.thread.counters.unsent_full);
        let permit = pin!(answer.open.unsent().acquire_many_owned(bytes));
        // If the client cancels the stream, its body is dropped.
        let gone = pin!(poll_fn(|cx| self.stream.poll_reset(cx)));
        match select(permit, gone).await {
            Either::Left((permit, _)) => permit.map_err(|_| Reason::CANCEL),
            Either::Right(_) => Err(Reason::CANCEL),
        }
    }
}

fn broken_off(error: &dyn Display) -> Reason {
    tracing::debug!(%error, "an answer broke off");
    Reason::INTERNAL_ERROR
}
