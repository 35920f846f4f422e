//! Sends the body of an answer as the client takes it.
//!
//! A body in memory is handed to the library piece by piece. One that is made piece by piece, such as a large file, is not
//! even made before the client's windows have room for it, and the pieces of all such bodies of a connection share one room.

// Decision: A body over HTTP/2 is made as the client takes it.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Poll, ready};

use actix_web::body::{BoxBody, MessageBody};
use bytes::{Buf, Bytes};
use futures_util::future::{Either, select};
use h2::{Reason, SendStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::super::counters::count;
use super::super::thread::Thread;
use super::budget::FrameBudget;
use super::streams::OpenStream;
use crate::num::{as_u64, as_usize};

/// The most bytes of a body in memory that are handed over at a time. The library keeps as little for a large piece as for a
/// small one.
const PIECE_BYTES: usize = 64 * 1024;
/// The bytes of a frame, after which the library sends another stream's.
const FRAME_BYTES: usize = 16 * 1024;

/// Bytes that the library has and the client has not. The room that they take is free again when the library drops them.
pub(super) struct OutgoingBytes {
    bytes: Bytes,
    _room: Option<OwnedSemaphorePermit>,
}

impl Buf for OutgoingBytes {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
    }
}

/// The body of one answer.
pub(super) struct BodySender {
    pub(super) stream: SendStream<OutgoingBytes>,
    pub(super) body: BoxBody,
    /// Bytes that are still to be sent, if it is known.
    pub(super) left: Option<u64>,
    /// For a body that is made piece by piece: the most bytes that its next piece may have.
    pub(super) piece: Option<Arc<AtomicUsize>>,
    pub(super) sent: u64,
}

impl BodySender {
    /// Sends all. With a budget, that earns for the client. The error is the reason for the client if the body ends too early.
    pub(super) async fn send(
        &mut self,
        thread: &Thread,
        budget: Option<&FrameBudget>,
        open: &OpenStream,
    ) -> Result<(), Reason> {
        if let Some(most) = self.piece.take() {
            // Boxed, since most bodies are in memory.
            Box::pin(self.send_made(thread, budget, open, &most)).await?;
        }
        while self.left != Some(0) {
            let Some(mut part) = self.next().await? else {
                self.check_end()?;
                return self.hand_over(Bytes::new(), None, true);
            };
            while !part.is_empty() {
                let wanted = part.len().min(PIECE_BYTES);
                let piece = part.split_to(self.capacity(thread, wanted).await?);
                earn(budget, &piece, wanted);
                self.hand_over(piece, None, false)?;
            }
        }
        Ok(())
    }

    /// Sends a body of known length that is made piece by piece.
    async fn send_made(
        &mut self,
        thread: &Thread,
        budget: Option<&FrameBudget>,
        open: &OpenStream,
        most: &AtomicUsize,
    ) -> Result<(), Reason> {
        while let Some(left @ 1..) = self.left {
            let wanted = as_usize(left).min(open.share_bytes());
            let bytes = self.capacity(thread, wanted).await?;
            let room = self.room(thread, open, bytes).await?;
            most.store(bytes, Ordering::Relaxed);
            let Some(piece) = self.next().await? else {
                return self.check_end();
            };
            earn(budget, &piece, wanted);
            self.hand_over(piece, Some(room), false)?;
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

    /// The next part of the body.
    async fn next(&mut self) -> Result<Option<Bytes>, Reason> {
        let part = poll_fn(|cx| Pin::new(&mut self.body).poll_next(cx)).await;
        part.transpose().map_err(|error| {
            tracing::debug!(%error, "an answer broke off");
            Reason::INTERNAL_ERROR
        })
    }

    /// Hands bytes to the library. They are the last if `ends`, or if nothing is left.
    fn hand_over(
        &mut self,
        bytes: Bytes,
        room: Option<OwnedSemaphorePermit>,
        ends: bool,
    ) -> Result<(), Reason> {
        let length = as_u64(bytes.len());
        self.sent += length;
        self.left = self.left.map(|left| left.saturating_sub(length));
        let bytes = OutgoingBytes { bytes, _room: room };
        let sent = self.stream.send_data(bytes, ends || self.left == Some(0));
        sent.map_err(|_| Reason::CANCEL)
    }

    /// Waits until the client takes more, up to `wanted` bytes, but no longer than `limits.stall_timeout`.
    async fn capacity(&mut self, thread: &Thread, wanted: usize) -> Result<usize, Reason> {
        let stream = &mut self.stream;
        stream.reserve_capacity(wanted);
        let more = poll_fn(|cx| {
            while stream.capacity() == 0 {
                match ready!(stream.poll_capacity(cx)) {
                    Some(Ok(_)) => {}
                    // The client has gone, or has cancelled the stream.
                    Some(Err(_)) | None => return Poll::Ready(Err(Reason::CANCEL)),
                }
            }
            Poll::Ready(Ok(stream.capacity().min(wanted)))
        });
        let more = timeout(thread.limits.stall_timeout, more).await;
        more.unwrap_or_else(|_| Err(stalled(thread)))
    }

    /// Waits until bytes of other answers of the connection have been sent, so that these may be made. No time limits it: if the
    /// client takes nothing, the others are ended, and so is the connection whose socket is full.
    async fn room(
        &mut self,
        thread: &Thread,
        open: &OpenStream,
        bytes: usize,
    ) -> Result<OwnedSemaphorePermit, Reason> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        if let Ok(room) = open.unsent().try_acquire_many_owned(bytes) {
            return Ok(room);
        }
        count(&thread.counters.unsent_full);
        let room = pin!(open.unsent().acquire_many_owned(bytes));
        // If the client cancels the stream, its body is dropped.
        let gone = pin!(poll_fn(|cx| self.stream.poll_reset(cx)));
        match select(room, gone).await {
            Either::Left((room, _)) => room.map_err(|_| Reason::CANCEL),
            Either::Right(_) => Err(Reason::CANCEL),
        }
    }
}

/// Earns for the frames of a piece. It may be less than was wanted, because the client's window cut it.
fn earn(budget: Option<&FrameBudget>, piece: &Bytes, wanted: usize) {
    let Some(budget) = budget else {
        return;
    };
    for frame in piece.chunks(FRAME_BYTES) {
        let cut = piece.len() < wanted && frame.len() < FRAME_BYTES;
        budget.sent(frame.len(), cut);
    }
}

fn stalled(thread: &Thread) -> Reason {
    count(&thread.counters.stalled);
    Reason::CANCEL
}
