//! The answer to a request for changes that is no stream: one page of them, as soon as there is one or the time is over.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use actix_web::body::{BodySize, MessageBody};
use bytes::Bytes;
use tokio::time::Instant;

use super::reader::{FeedLook, FeedReader};
use crate::record::FEED_BYTES_MAX;
use crate::wire::OpenEnd;

/// One page of changes.
#[derive(Debug, Default)]
pub(in super::super) struct JsonPage {
    changes: Vec<u8>,
    count: usize,
    /// Whether more may follow at once.
    more: bool,
    /// Whether changes after the reader's position are not kept any more.
    gone: bool,
}

impl JsonPage {
    /// Reads what there is, without waiting for changes.
    pub(in super::super) fn poll_read(
        &mut self,
        reader: &mut FeedReader,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        let limit = reader.query().limit;
        let looked = reader.poll_look(cx, |reader, change| {
            if let Some(told) = reader.told(change) {
                if self.count > 0 {
                    self.changes.push(b',');
                }
                self.changes.extend_from_slice(&told.entry());
                self.count += 1;
            }
            self.count >= limit || self.changes.len() >= FEED_BYTES_MAX
        });
        let looked = ready!(looked);
        self.more = looked == FeedLook::Full;
        self.gone = looked == FeedLook::Gone;
        Poll::Ready(())
    }

    /// Whether there are no changes.
    pub(in super::super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether changes are missing.
    pub(in super::super) fn is_gone(&self) -> bool {
        self.gone
    }

    /// The text of the answer.
    pub(in super::super) fn finish(self, reader: &FeedReader) -> Vec<u8> {
        reader.count_events(self.count);
        let end = format!(
            "],\"more\":{},\"next\":\"{}\"}}",
            self.more,
            reader.position()
        );
        [b"{\"changes\":[", &*self.changes, end.as_bytes()].concat()
    }
}

/// The body of an answer that waits for changes. It begins after the head was sent.
#[derive(Debug)]
pub(in super::super) struct WaitingPoll {
    reader: FeedReader,
    end: OpenEnd,
    until: Instant,
    page: Option<JsonPage>,
}

impl WaitingPoll {
    /// Waits for changes until this time.
    pub(in super::super) fn new(reader: FeedReader, end: OpenEnd, until: Instant) -> Self {
        Self {
            reader,
            end,
            until,
            page: Some(JsonPage::default()),
        }
    }

    fn poll_text(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let Some(page) = &mut self.page else {
            return Poll::Ready(None);
        };
        let read = page.poll_read(&mut self.reader, cx).is_ready();
        let over = self.end.is_asked() || self.reader.is_over() || Instant::now() >= self.until;
        // A reader that is too far behind by now is told so when it comes back.
        if over || read && (!page.is_empty() || page.is_gone()) {
            let page = self.page.take().unwrap_or_default();
            return Poll::Ready(Some(page.finish(&self.reader).into()));
        }
        self.reader.wait(self.until, cx);
        Poll::Pending
    }
}

impl MessageBody for WaitingPoll {
    type Error = std::convert::Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        self.get_mut().poll_text(cx).map(|text| text.map(Ok))
    }
}
