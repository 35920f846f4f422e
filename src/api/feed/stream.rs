//! The body of a feed that is a stream of events.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::body::{BodySize, MessageBody};
use bytes::{Bytes, BytesMut};
use tokio::time::Instant;

use super::event;
use super::reader::{FeedLook, FeedReader};
use crate::wire::OpenEnd;

/// The most bytes that are sent at a time, and one event more. Only so much is held for a client that takes nothing.
const PIECE_BYTES: usize = 16 * 1024;

/// Events without an end.
pub(in super::super) struct EventStream {
    reader: FeedReader,
    end: OpenEnd,
    heartbeat: Duration,
    /// The time of the next comment.
    due: Instant,
    /// The position that the client knows; `None` before the first one.
    told: Option<u64>,
    /// Whether the client is told first that changes are missing.
    resets: bool,
    over: bool,
}

impl EventStream {
    /// The changes from the reader's position on. With `resets`, the client is told first that changes before it are missing.
    pub(in super::super) fn new(
        reader: FeedReader,
        resets: bool,
        end: OpenEnd,
        heartbeat: Duration,
    ) -> Self {
        Self {
            reader,
            end,
            heartbeat,
            due: Instant::now() + heartbeat,
            told: None,
            resets,
            over: false,
        }
    }

    /// The next piece; `None` at the end.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.over || self.end.is_asked() || self.reader.is_over() {
            return Poll::Ready(None);
        }
        let mut piece = EventPiece::default();
        if self.told.is_none() {
            let (seq, mark) = (self.reader.after(), self.reader.mark());
            let first = if self.resets {
                event::reset(seq, mark)
            } else {
                event::position(seq, mark)
            };
            piece.add(first.into());
            self.told = Some(seq);
        }
        let (mut events, mut last) = (0, None);
        let looked = self.reader.poll_look(cx, |reader, change| {
            if let Some(event) = reader.event(change) {
                piece.add(event);
                events += 1;
                last = Some(change.seq());
            }
            piece.bytes() >= PIECE_BYTES
        });
        self.reader.count_events(events);
        self.told = last.or(self.told);
        if looked == Poll::Ready(FeedLook::Gone) {
            self.reader.go_to_now();
            piece.add(event::reset(self.reader.after(), self.reader.mark()).into());
            self.over = true;
        }
        let now = Instant::now();
        if piece.bytes() == 0 && now >= self.due {
            // A client that comes back goes on from here, although nothing has changed for it.
            let after = self.reader.after();
            let text = if self.told == Some(after) {
                event::COMMENT.to_owned()
            } else {
                event::COMMENT.to_owned() + &event::position(after, self.reader.mark())
            };
            piece.add(text.into());
            self.told = Some(after);
        }
        if piece.bytes() > 0 {
            self.due = now + self.heartbeat;
            return Poll::Ready(Some(piece.finish()));
        }
        self.reader.wait(self.due, cx);
        Poll::Pending
    }
}

impl MessageBody for EventStream {
    type Error = std::convert::Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        self.get_mut().poll_piece(cx).map(|piece| piece.map(Ok))
    }
}

/// A piece of a stream. One event alone is not copied.
#[derive(Debug, Default)]
struct EventPiece {
    first: Bytes,
    more: BytesMut,
}

impl EventPiece {
    fn add(&mut self, text: Bytes) {
        if self.bytes() == 0 {
            self.first = text;
            return;
        }
        if self.more.is_empty() {
            self.more.extend_from_slice(&self.first);
            self.first = Bytes::new();
        }
        self.more.extend_from_slice(&text);
    }

    fn bytes(&self) -> usize {
        self.first.len() + self.more.len()
    }

    fn finish(self) -> Bytes {
        if self.more.is_empty() {
            self.first
        } else {
            self.more.freeze()
        }
    }
}
