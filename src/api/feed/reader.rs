//! Reads a feed: from its position on, change by change, without a gap and none twice.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use tokio::time::Instant;

use super::super::identities::now as since_1970;
use super::super::routes::{Route, Target};
use super::event::{self, FeedEvent};
use super::{FeedPlace, Feeds, LastCompared, Subscription};
use crate::num::as_u64;
use crate::record::{FeedPosition, FeedQuery};
use crate::storage::{ChangesPage, FeedChange, FeedStep, StoreError};

/// The most pages that are looked at without a turn for others.
const PAGES_MAX: u32 = 8;
/// The most bytes of changes that are looked at without a turn for others, and one change more.
const LOOK_BYTES_MAX: usize = 256 * 1024;

/// The position of one client in the changes of a resource.
pub(in super::super) struct FeedReader {
    feeds: Arc<Feeds>,
    place: FeedPlace,
    served: LastCompared,
    query: FeedQuery,
    /// The name of the resource.
    resource: String,
    mark: String,
    /// The time when its client has to show anew who it is, in seconds since 1970, if it has to.
    until: Option<f64>,
    /// The changes up to this one were read.
    after: u64,
    reading: Option<LocalBoxFuture<'static, Result<FeedStep, StoreError>>>,
    subscription: Subscription,
}

/// The result of a look for changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FeedLook {
    /// As many as were wanted were found.
    Full,
    /// All there are.
    UpToDate,
    /// Some are not kept any more.
    Gone,
    /// The store can't be read now.
    Unavailable,
}

impl FeedReader {
    /// A reader of the route's resource from this position on, or else from now on. False beside it if the changes after the
    /// position are not those of this store, or are not kept any more: then it begins now, too.
    pub(in super::super) async fn begin(
        feeds: &Arc<Feeds>,
        place: FeedPlace,
        route: &Arc<Route>,
        query: FeedQuery,
        since: Option<FeedPosition>,
    ) -> Result<(Self, bool), StoreError> {
        let store = Arc::clone(&feeds.store);
        let mark = store.mark().await?.to_owned();
        let Target::Resource(target) = &route.target else {
            return Err(StoreError::Failed);
        };
        let collection = target.collection;
        let resource = store.name(collection).ok_or(StoreError::Failed)?;
        // From here on the writer hands its groups over.
        let subscription = Subscription::new(feeds.hub(), collection);
        let now = store.last_change().now();
        let mut reader = Self {
            feeds: Arc::clone(feeds),
            place,
            served: LastCompared::new(&feeds.served, route),
            query,
            resource,
            until: None,
            after: now,
            reading: None,
            subscription,
            mark,
        };
        let Some(since) = since else {
            return Ok((reader, true));
        };
        let foreign = since.mark.is_some_and(|mark| mark != reader.mark);
        let step = match store.feed(since.seq) {
            FeedStep::Past if !foreign => store.read_feed(since.seq).await?,
            step @ (FeedStep::Page(_) | FeedStep::UpToDate | FeedStep::Past | FeedStep::Gone) => {
                step
            }
        };
        if foreign || matches!(step, FeedStep::Gone) {
            reader.count_reset();
            return Ok((reader, false));
        }
        reader.after = since.seq;
        Ok((reader, true))
    }

    /// The position.
    pub(super) fn after(&self) -> u64 {
        self.after
    }

    /// The mark of the store.
    pub(super) fn mark(&self) -> &str {
        &self.mark
    }

    /// The text of the position.
    pub(in super::super) fn position(&self) -> String {
        format!("{}-{}", self.after, self.mark)
    }

    pub(super) fn query(&self) -> &FeedQuery {
        &self.query
    }

    /// Ends the feed at this time, in seconds since 1970.
    pub(in super::super) fn end_at(&mut self, until: Option<f64>) {
        self.until = until;
    }

    /// Whether the resource is not served any more as it was at the beginning, or the client has to show anew who it is.
    pub(super) fn is_over(&mut self) -> bool {
        let has_ended = |until| since_1970().as_secs_f64() >= until;
        !self.served.is_as_before() || self.until.is_some_and(has_ended)
    }

    /// Goes to the last change that there is.
    pub(super) fn go_to_now(&mut self) {
        self.reading = None;
        self.after = self.feeds.store.last_change().now();
        self.count_reset();
    }

    fn count_reset(&self) {
        self.place.0.counts.resets.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts changes that are sent.
    pub(super) fn count_events(&self, events: usize) {
        let counter = &self.place.0.counts.events;
        counter.fetch_add(as_u64(events), Ordering::Relaxed);
    }

    /// Has the task woken when there may be more, and at `due`.
    pub(super) fn wait(&mut self, due: Instant, cx: &Context<'_>) {
        self.subscription.wait(due, cx);
    }

    /// Shows the changes from here on to `take`, until it says that it has enough. Pending while the journal is read, or when
    /// others should have their turn.
    pub(super) fn poll_look(
        &mut self,
        cx: &mut Context<'_>,
        mut take: impl FnMut(&Self, &FeedChange) -> bool,
    ) -> Poll<FeedLook> {
        let mut room = LOOK_BYTES_MAX;
        for _ in 0..PAGES_MAX {
            let step = if let Some(reading) = &mut self.reading {
                let read = ready!(reading.as_mut().poll(cx));
                self.reading = None;
                read
            } else {
                self.after = self.subscription.quiet_until(self.after);
                Ok(self.feeds.store.feed(self.after))
            };
            match step {
                Ok(FeedStep::Page(page)) => {
                    let shown = |change: &FeedChange| take(self, change);
                    let (after, end) = walk(&page, self.after, &self.resource, &mut room, shown);
                    self.after = after;
                    match end {
                        WalkEnd::Enough => return Poll::Ready(FeedLook::Full),
                        WalkEnd::NoRoom => break,
                        WalkEnd::Page => {}
                    }
                }
                Ok(FeedStep::UpToDate) => return Poll::Ready(FeedLook::UpToDate),
                Ok(FeedStep::Gone) => return Poll::Ready(FeedLook::Gone),
                Ok(FeedStep::Past) => {
                    let (store, after) = (Arc::clone(&self.feeds.store), self.after);
                    let read = async move { store.read_feed(after).await };
                    self.reading = Some(Box::pin(read));
                }
                Err(_) => return Poll::Ready(FeedLook::Unavailable),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// A change as this feed tells it, and its text in a stream.
    pub(super) fn event(&self, change: &FeedChange) -> Option<Bytes> {
        if self.query.is_plain() {
            return event::shared_text(change, &self.mark, || event::told(change, &self.query));
        }
        Some(event::told(change, &self.query)?.text(&self.mark))
    }

    /// A change as this feed tells it.
    pub(super) fn told(&self, change: &FeedChange) -> Option<FeedEvent> {
        event::told(change, &self.query)
    }
}

/// The end of a walk through a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WalkEnd {
    /// The reader has enough.
    Enough,
    /// Others should have their turn.
    NoRoom,
    /// All changes of the page were looked at.
    Page,
}

/// Shows the changes of a resource in a page after `after` to `take`, until that has enough or the bytes in `room` are used up.
/// Returns the change up to which all were looked at.
fn walk(
    page: &ChangesPage,
    after: u64,
    resource: &str,
    room: &mut usize,
    mut take: impl FnMut(&FeedChange) -> bool,
) -> (u64, WalkEnd) {
    for change in page.after(after) {
        if change.resource() == resource && take(change) {
            return (change.seq(), WalkEnd::Enough);
        }
        *room = room.saturating_sub(change.bytes());
        if *room == 0 {
            return (change.seq(), WalkEnd::NoRoom);
        }
    }
    (after.max(page.last()), WalkEnd::Page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_stops_within_a_page_and_goes_on_without_a_gap_and_none_twice() {
        let large = format!("\"{}\"", "x".repeat(100));
        let changes: Vec<_> = (1..=20).map(|seq| (seq, &*large)).collect();
        let page = ChangesPage::of_books(&changes);
        for (room, enough, turns) in [(1, 0, 21), (400, 0, 7), (usize::MAX, 0, 1), (400, 2, 11)] {
            let (mut after, mut seen, mut count) = (0, Vec::new(), 0);
            while after < page.last() || count == 0 {
                let (mut room, mut taken) = (room, 0);
                let (next, end) = walk(&page, after, "books", &mut room, |change| {
                    seen.push(change.seq());
                    taken += 1;
                    taken == enough
                });
                assert!(next > after && (end != WalkEnd::NoRoom || room == 0));
                after = next;
                count += 1;
            }
            assert!(seen.iter().copied().eq(1..=20), "{room} {enough}: {seen:?}");
            assert!(
                count <= turns && count + 1 >= turns,
                "{room} {enough}: {count}"
            );
        }
        let others = walk(&page, 0, "films", &mut 400, |_| true);
        assert!(
            others.1 == WalkEnd::NoRoom && others.0 < page.last(),
            "{others:?}"
        );
    }
}
