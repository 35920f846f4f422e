//! Sends the body of an answer as the client takes it.
//!
//! A body in memory is handed to the library piece by piece. The bytes of a memory file are copied when the library writes them.
//! A file on a disk is not even read before the client's windows have room for it. The pieces of all bodies of a connection share
//! its rooms.
//!
//! Nothing here is an `async fn`: what waits is kept once, in as few bytes as there are, since a client may have many streams
//! that it does not read.

// Decision: A body over HTTP/2 is made as the client takes it.

use std::any::Any;
use std::fmt::Display;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use actix_web::body::{BodySize, BoxBody, MessageBody};
use bytes::{Buf as _, Bytes};
use h2::{Reason, SendStream};
use tokio::time::Instant;

use super::super::buffered::Held;
use super::super::counters::count;
use super::super::file_body::{BodyFile, DiskBody, DiskStep, PIECE_BYTES};
use super::super::lazy_timer::LazyTimer;
use super::super::open_end::OpenEnded;
use super::SEND_BUFFER_BYTES;
use super::answer::Answer;
use super::outgoing::{Counted, FRAME_BYTES, OutgoingBytes};
use super::rooms::{PieceRoom, PlaceInLine};
use crate::memory_file::MemoryFile;
use crate::num::{as_u64, as_usize};

/// The rest of a body.
pub(super) enum Source {
    Bytes(Bytes, Counted),
    Parts(Box<BodyInParts>),
    Memory(MemoryFile),
    Disk(DiskSource),
}

/// A body that is made while it is sent.
pub(super) struct BodyInParts {
    body: BoxBody,
    /// Bytes that were made and not sent.
    part: Bytes,
    open_end: Option<OpenEnded>,
}

/// A body on a disk.
#[derive(Default)]
pub(super) struct DiskSource {
    /// The rest; `None` while the next piece is read.
    rest: Option<Box<dyn DiskBody>>,
    reading: Option<Box<PieceBeingRead>>,
}

struct PieceBeingRead {
    step: DiskStep<Bytes>,
    room: PieceRoom,
    wanted: usize,
}

impl Source {
    pub(super) fn new(
        file: Option<BodyFile>,
        body: BoxBody,
        held: Option<Held>,
        open_end: Option<OpenEnded>,
    ) -> Self {
        match file {
            Some(BodyFile::Memory(file)) => Self::Memory(file),
            Some(BodyFile::Disk(disk)) => Self::Disk(DiskSource {
                rest: Some(disk),
                ..DiskSource::default()
            }),
            None => match body.try_into_bytes() {
                Ok(bytes) => Self::Bytes(bytes, held.map(|held| -> Rc<dyn Any> { Rc::new(held) })),
                Err(body) => Self::Parts(Box::new(BodyInParts {
                    body,
                    part: Bytes::new(),
                    open_end,
                })),
            },
        }
    }
}

/// The next bytes for the library, and how many were wanted.
type NextBytes = (OutgoingBytes, usize);

/// The body of one answer, as far as it was not sent.
pub(super) struct BodySender {
    pub(super) stream: SendStream<OutgoingBytes>,
    /// Bytes that are still to be sent, if it is known.
    left: Option<u64>,
    /// Bytes that the library has got.
    pub(super) sent: u64,
    /// Since when the client takes nothing more.
    waiting_since: Option<Instant>,
    timer: LazyTimer,
    /// Its place among those who wait for room.
    place: Option<PlaceInLine>,
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
            place: None,
        }
    }

    /// Sends all if it is small, in memory, and in the client's windows. Gives it back if not.
    pub(super) fn send_at_once(
        &mut self,
        source: Source,
        answer: &Answer,
    ) -> Result<Option<Source>, Reason> {
        let Source::Bytes(bytes, counted) = source else {
            return Ok(Some(source));
        };
        let length = bytes.len();
        if length <= PIECE_BYTES && self.left == Some(as_u64(length)) {
            self.stream.reserve_capacity(length);
            if self.stream.capacity() >= length {
                let bytes = OutgoingBytes::memory(bytes, None, counted, answer);
                self.hand_over((bytes, length), answer)?;
                return Ok(None);
            }
        }
        Ok(Some(Source::Bytes(bytes, counted)))
    }

    /// Sends all. The error is the reason for the client if the body ends too early.
    pub(super) fn poll_send(
        &mut self,
        source: &mut Source,
        answer: &Answer,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Reason>> {
        while self.left != Some(0) {
            let piece = match source {
                Source::Bytes(bytes, counted) => ready!(self.poll_cut(bytes, counted, answer, cx))?,
                Source::Parts(body) => {
                    let Some(piece) = ready!(self.poll_part(body, answer, cx))? else {
                        let end = OutgoingBytes::memory(Bytes::new(), None, None, answer);
                        let sent = self.stream.send_data(end, true);
                        return Poll::Ready(sent.map_err(|_| Reason::CANCEL));
                    };
                    piece
                }
                Source::Memory(file) => ready!(self.poll_memory(file, answer, cx))?,
                Source::Disk(disk) => ready!(self.poll_disk(disk, answer, cx))?,
            };
            self.hand_over(piece, answer)?;
        }
        Poll::Ready(Ok(()))
    }

    /// Cuts off as many bytes as the client takes now.
    fn poll_cut(
        &mut self,
        bytes: &mut Bytes,
        counted: &Counted,
        answer: &Answer,
        cx: &mut Context<'_>,
    ) -> Poll<Result<NextBytes, Reason>> {
        let wanted = bytes.len().min(PIECE_BYTES);
        if wanted == 0 {
            return Poll::Ready(Err(self.too_short()));
        }
        let (length, room) = ready!(self.poll_room(wanted, false, answer, cx))?;
        let bytes = bytes.split_to(length);
        let piece = OutgoingBytes::memory(bytes, Some(room), counted.clone(), answer);
        Poll::Ready(Ok((piece, wanted)))
    }

    /// The next piece; `None` at the end of a body whose length is not known.
    fn poll_part(
        &mut self,
        BodyInParts {
            body,
            part,
            open_end,
        }: &mut BodyInParts,
        answer: &Answer,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<NextBytes>, Reason>> {
        while part.is_empty() {
            let Poll::Ready(next) = Pin::new(&mut *body).poll_next(cx) else {
                let Some(open_end) = open_end else {
                    return Poll::Pending;
                };
                if self.stream.poll_reset(cx).is_ready() {
                    return Poll::Ready(Err(Reason::CANCEL));
                }
                if open_end.ends(false, cx) {
                    continue;
                }
                return Poll::Pending;
            };
            match next {
                Some(next) => *part = next.map_err(|error| broken_off(&error))?,
                None if self.left.is_none() => return Poll::Ready(Ok(None)),
                None => return Poll::Ready(Err(self.too_short())),
            }
        }
        self.poll_cut(part, &None, answer, cx).map_ok(Some)
    }

    fn poll_memory(
        &mut self,
        file: &MemoryFile,
        answer: &Answer,
        cx: &mut Context<'_>,
    ) -> Poll<Result<NextBytes, Reason>> {
        let left = as_usize(file.length().saturating_sub(self.sent));
        let wanted = left.min(SEND_BUFFER_BYTES);
        let (bytes, room) = ready!(self.poll_room(wanted, false, answer, cx))?;
        let piece = OutgoingBytes::file(file.clone(), self.sent, bytes, room, answer);
        Poll::Ready(Ok((piece, wanted)))
    }

    fn poll_disk(
        &mut self,
        disk: &mut DiskSource,
        answer: &Answer,
        cx: &mut Context<'_>,
    ) -> Poll<Result<NextBytes, Reason>> {
        let mut reading = if let Some(reading) = disk.reading.take() {
            reading
        } else {
            let left = self.left.map_or(usize::MAX, as_usize);
            let wanted = left.min(answer.open.share_bytes());
            let (_, room) = ready!(self.poll_room(wanted, true, answer, cx))?;
            let rest = disk.rest.take().ok_or(Reason::INTERNAL_ERROR)?;
            Box::new(PieceBeingRead {
                step: rest.read(room.bytes),
                room,
                wanted,
            })
        };
        let Poll::Ready(read) = reading.step.as_mut().poll(cx) else {
            disk.reading = Some(reading);
            return Poll::Pending;
        };
        let Some((piece, rest)) = read.map_err(|error| broken_off(&error))? else {
            return Poll::Ready(Err(self.too_short()));
        };
        disk.rest = Some(rest);
        let piece = OutgoingBytes::memory(piece, Some(reading.room), None, answer);
        Poll::Ready(Ok((piece, reading.wanted)))
    }

    /// Waits until the client takes more, and then for room for a piece of up to `wanted` bytes, which are `made` for it or lie in
    /// memory already. If the client cancels the stream, its body is dropped.
    fn poll_room(
        &mut self,
        wanted: usize,
        made: bool,
        answer: &Answer,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(usize, PieceRoom), Reason>> {
        let Poll::Ready(capacity) = self.poll_capacity(wanted, answer, cx) else {
            // Nobody waits behind a stream that its client does not take.
            self.place = None;
            return Poll::Pending;
        };
        let length = capacity?;
        let bytes = if made { length } else { 0 };
        let room = answer.open.streams().poll_room(&mut self.place, bytes, cx);
        match room {
            Poll::Ready(room) => Poll::Ready(Ok((length, room))),
            Poll::Pending => self.stream.poll_reset(cx).map(|_| Err(Reason::CANCEL)),
        }
    }

    /// Hands bytes to the library, and earns for their frames. They may be fewer than were wanted, because the client's window
    /// cut them. They are the last if nothing is left.
    fn hand_over(&mut self, (bytes, wanted): NextBytes, answer: &Answer) -> Result<(), Reason> {
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

    /// Waits until the client takes more, up to `wanted` bytes, but no longer than `limits.stall_timeout`.
    fn poll_capacity(
        &mut self,
        wanted: usize,
        answer: &Answer,
        cx: &mut Context<'_>,
    ) -> Poll<Result<usize, Reason>> {
        self.stream.reserve_capacity(wanted);
        while self.stream.capacity() == 0 {
            match self.stream.poll_capacity(cx) {
                Poll::Ready(Some(Ok(_))) => {}
                // The client has gone, or has cancelled the stream.
                Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(Err(Reason::CANCEL)),
                Poll::Pending => {
                    let limit = answer.stall;
                    if !self.timer.exceeded(&mut self.waiting_since, limit, cx) {
                        return Poll::Pending;
                    }
                    count(&answer.thread.counters.stalled);
                    return Poll::Ready(Err(Reason::CANCEL));
                }
            }
        }
        self.waiting_since = None;
        Poll::Ready(Ok(self.stream.capacity().min(wanted)))
    }

    /// The reason to refuse the end of a body of which more was promised.
    fn too_short(&self) -> Reason {
        let left = self.left;
        tracing::debug!(left, "an answer is shorter than was told");
        Reason::INTERNAL_ERROR
    }
}

fn broken_off(error: &dyn Display) -> Reason {
    tracing::debug!(%error, "an answer broke off");
    Reason::INTERNAL_ERROR
}
