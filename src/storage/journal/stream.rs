//! Changes as a stream of compressed frames, with a last frame that says that nothing is missing: the form of snapshots and of
//! backups.

use std::io::{self, Read, Write};

use bytes::Bytes;

use super::StoreId;
use super::change::{JournalChange, JournalEffect};
use super::frame::{Chain, FrameFault, FrameInfo, FrameKind, HEAD_BYTES, encode};
use super::segment::SEGMENT_HEAD_BYTES;
use crate::num::as_u64;
use crate::supervision::MessageId;

/// The bytes of changes that are put into one frame.
pub(super) const FRAME_BYTES: usize = 1 << 20;

/// The head of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StreamHead {
    /// The kind of the stream.
    pub(crate) magic: [u8; 8],
    pub(crate) store: StoreId,
    /// Two numbers whose meaning depends on the kind; zeros are not written.
    pub(crate) numbers: [u64; 2],
}

impl StreamHead {
    fn encode(&self) -> Vec<u8> {
        let mut head = Vec::with_capacity(SEGMENT_HEAD_BYTES);
        head.extend_from_slice(&self.magic);
        head.extend_from_slice(&self.store.0.to_be_bytes());
        if self.numbers != [0; 2] {
            head.extend(self.numbers.map(u64::to_be_bytes).concat());
        }
        head.extend_from_slice(&crc32c::crc32c(&head).to_be_bytes());
        head.resize(SEGMENT_HEAD_BYTES, 0);
        head
    }

    fn decode(bytes: &[u8; SEGMENT_HEAD_BYTES]) -> Option<Self> {
        let number = |from: usize| {
            let field = bytes.get(from..from + 8)?.try_into().ok();
            field.map(u64::from_be_bytes)
        };
        let store = bytes.get(8..24)?.try_into().ok().map(u128::from_be_bytes)?;
        let with = |numbers| {
            let magic = bytes.first_chunk().copied()?;
            let store = StoreId(store);
            Some(Self {
                magic,
                store,
                numbers,
            })
            .filter(|head| head.encode() == bytes)
        };
        with([0; 2]).or_else(|| with([number(24)?, number(32)?]))
    }
}

/// The reason why a stream can't be read to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StreamError {
    /// Reading returned an error.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is not what was written.
    #[error("byte {at}: {fault}")]
    Damaged {
        /// The position.
        at: u64,
        fault: FrameFault,
    },
}

/// Writes a stream.
#[derive(Debug)]
pub(crate) struct StreamWriter<W> {
    out: W,
    chain: Chain,
    waiting: Vec<JournalChange>,
    waiting_bytes: usize,
    written: u64,
}

impl<W: Write> StreamWriter<W> {
    /// Begins one.
    pub(crate) fn begin(mut out: W, head: &StreamHead) -> io::Result<Self> {
        out.write_all(&head.encode())?;
        Ok(Self {
            out,
            chain: Chain::default(),
            waiting: Vec::new(),
            waiting_bytes: 0,
            written: 0,
        })
    }

    /// Adds a change.
    pub(crate) fn add(&mut self, change: JournalChange) -> io::Result<()> {
        self.waiting_bytes += change.bytes();
        self.waiting.push(change);
        if self.waiting_bytes >= FRAME_BYTES {
            self.write(FrameKind::Compressed)?;
        }
        Ok(())
    }

    fn write(&mut self, kind: FrameKind) -> io::Result<()> {
        let changes = std::mem::take(&mut self.waiting);
        self.waiting_bytes = 0;
        if kind != FrameKind::End {
            if changes.is_empty() {
                return Ok(());
            }
            self.written += as_u64(changes.len());
        }
        let mut frame = Vec::new();
        self.chain = encode(&mut frame, &changes, kind, self.chain);
        self.out.write_all(&frame)
    }

    /// Ends the stream: its last frame carries the number of the last change, how many there are, and a text. Returns what it
    /// was written to.
    pub(crate) fn finish(mut self, last: u64, text: Bytes) -> io::Result<W> {
        self.write(FrameKind::Compressed)?;
        self.waiting.push(JournalChange {
            seq: last,
            at_ms: self.written,
            message: MessageId(0),
            collection: String::new(),
            key: Vec::new(),
            effect: if text.is_empty() {
                JournalEffect::Delete
            } else {
                let created_ms = 0;
                JournalEffect::Put {
                    created_ms,
                    json: text,
                }
            },
            by: None,
        });
        self.write(FrameKind::End)?;
        self.out.flush()?;
        Ok(self.out)
    }
}

/// Reads a stream.
pub(crate) struct StreamReader<R> {
    from: R,
    pub(crate) head: StreamHead,
    place: u64,
}

impl<R: Read> StreamReader<R> {
    /// Begins: reads the head of a stream of the kind `magic`.
    pub(crate) fn begin(mut from: R, magic: [u8; 8]) -> Result<Self, StreamError> {
        let mut place = 0;
        let bytes = take(&mut from, SEGMENT_HEAD_BYTES, &mut place)?;
        let head = bytes.first_chunk().and_then(StreamHead::decode);
        let head = head.filter(|head| head.magic == magic);
        let (at, fault) = (0, FrameFault::FileHead);
        let head = head.ok_or(StreamError::Damaged { at, fault })?;
        Ok(Self { from, head, place })
    }

    /// Shows the changes to `visit`, in order. Returns the number of the last one, and the text.
    pub(crate) fn read<E>(
        mut self,
        error: impl Fn(StreamError) -> E,
        mut visit: impl FnMut(Vec<JournalChange>) -> Result<(), E>,
    ) -> Result<(u64, Bytes), E> {
        let (mut chain, mut seen) = (Chain::default(), 0);
        loop {
            let at = self.place;
            let damaged = |fault| StreamError::Damaged { at, fault };
            let mut next = || {
                let mut frame = take(&mut self.from, HEAD_BYTES, &mut self.place)?;
                let info = FrameInfo::decode(&frame).map_err(damaged)?;
                let info = info.ok_or_else(|| damaged(FrameFault::NoFrame))?;
                if !info.follows(chain) {
                    return Err(damaged(FrameFault::Order));
                }
                let body_bytes = info.bytes() - HEAD_BYTES;
                frame.extend(take(&mut self.from, body_bytes, &mut self.place)?);
                let body = info.body(&frame).map_err(damaged)?;
                Ok((info, info.changes(body).map_err(damaged)?))
            };
            let (info, changes) = next().map_err(&error)?;
            chain = info.chain;
            if info.is_end() {
                return match changes.into_iter().next() {
                    Some(end) if end.at_ms == seen => Ok((
                        end.seq,
                        match end.effect {
                            JournalEffect::Put { json, .. } => json,
                            JournalEffect::Delete | JournalEffect::Numbers { .. } => Bytes::new(),
                        },
                    )),
                    _ => Err(error(damaged(FrameFault::Form))),
                };
            }
            seen += as_u64(changes.len());
            visit(changes)?;
        }
    }
}

/// Reads `length` bytes; no more memory is taken than bytes arrive.
fn take(from: &mut impl Read, length: usize, place: &mut u64) -> Result<Vec<u8>, StreamError> {
    let mut bytes = Vec::with_capacity(length.min(FRAME_BYTES));
    let limit = as_u64(length);
    if from.take(limit).read_to_end(&mut bytes)? < length {
        let (at, fault) = (*place, FrameFault::Short);
        return Err(StreamError::Damaged { at, fault });
    }
    *place += limit;
    Ok(bytes)
}
