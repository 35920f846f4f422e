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
    /// The result of the last look, if it came to its end.
    looked: Option<FeedLook>,
}

impl JsonPage {
    /// Reads what there is, without waiting for changes.
    pub(in super::super) fn poll_read(
        &mut self,
        reader: &mut FeedReader,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        let limit = reader.query().limit;
        self.looked = None;
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
        self.looked = Some(ready!(looked));
        Poll::Ready(())
    }

    /// Whether there are no changes.
    pub(in super::super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether changes are missing.
    pub(in super::super) fn is_gone(&self) -> bool {
        self.looked == Some(FeedLook::Gone)
    }

    /// Whether there are no changes because the store can't be read now.
    pub(in super::super) fn is_unavailable(&self) -> bool {
        self.is_empty() && self.looked == Some(FeedLook::Unavailable)
    }

    /// Whether more may follow at once. If that is not known, the client asks again and is told.
    fn more(&self) -> bool {
        self.looked != Some(FeedLook::UpToDate)
    }

    /// The text of the answer.
    pub(in super::super) fn finish(self, reader: &FeedReader) -> Vec<u8> {
        reader.count_events(self.count);
        let end = format!(
            "],\"more\":{},\"next\":\"{}\"}}",
            self.more(),
            reader.position()
        );
        [b"{\"changes\":[", &*self.changes, end.as_bytes()].concat()
    }
}

/// The body of an answer that waits for changes. It begins after the head was sent.
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
        // A reader that is too far behind by now, or can't be served, is told so when it comes back at once.
        if over || read && (!page.is_empty() || page.more()) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_page_up_to_the_last_change_says_that_no_more_follows() {
        use FeedLook::{Full, Gone, Unavailable, UpToDate};
        for (looked, count, more, unavailable) in [
            (Some(UpToDate), 0, false, false),
            (Some(UpToDate), 2, false, false),
            (Some(Full), 2, true, false),
            (Some(Gone), 2, true, false),
            (Some(Unavailable), 2, true, false),
            (Some(Unavailable), 0, true, true),
            (None, 0, true, false),
        ] {
            let page = JsonPage {
                changes: Vec::new(),
                count,
                looked,
            };
            assert_eq!(
                (page.more(), page.is_unavailable()),
                (more, unavailable),
                "{looked:?} {count}"
            );
        }
    }
}
