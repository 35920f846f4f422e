//! Tests of the moments at which a feed sends something, on the paused clock.

use std::future::{Future, poll_fn, ready};
use std::pin::Pin;
use std::time::Duration;

use actix_web::body::MessageBody;
use futures_util::future::Either;
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep};

use super::super::routes::ResourceTarget;
use super::*;
use crate::record::{FeedPosition, FeedQuery, Handling, Schema};
use crate::settings::ResourceSettings;
use crate::storage::{ChangesPage, CollectionId, FeedStep, LastChange, RecentChanges, StoreReply};
use crate::wire::OpenEnd;

const HEARTBEAT: Duration = Duration::from_secs(15);
/// Timers have a resolution of a millisecond.
const TICK: Duration = Duration::from_millis(2);

/// Changes of books, from a first one on.
#[derive(Debug)]
struct TestSource {
    pages: Mutex<Vec<Arc<ChangesPage>>>,
    /// Changes before this one are not kept any more.
    first: AtomicU64,
    last: watch::Sender<u64>,
    recent: Arc<RecentChanges>,
}

impl TestSource {
    fn commit(&self, books: &[(u64, &str)]) {
        let page = ChangesPage::of_books(books);
        let last = page.last();
        self.pages.lock().push(page);
        self.last.send_replace(last);
    }

    /// The same for the changes with these numbers.
    fn commit_all(&self, changes: std::ops::RangeInclusive<u64>) {
        let books: Vec<_> = changes.map(|seq| (seq, "{}")).collect();
        self.commit(&books);
    }
}

impl ChangeSource for TestSource {
    fn collection(&self, name: &str) -> Option<CollectionId> {
        (name == "books").then_some(CollectionId(0))
    }

    fn name(&self, _: CollectionId) -> Option<String> {
        Some("books".to_owned())
    }

    fn feed(&self, after: u64) -> FeedStep {
        let pages = self.pages.lock();
        let last = pages.last().map_or(0, |page| page.last());
        if after > last || after + 1 < self.first.load(Ordering::Relaxed) {
            return FeedStep::Gone;
        }
        let page = pages.iter().find(|page| page.last() > after);
        page.map_or(FeedStep::UpToDate, |page| FeedStep::Page(Arc::clone(page)))
    }

    fn read_feed(&self, after: u64) -> StoreReply<'_, FeedStep> {
        Either::Left(ready(Ok(self.feed(after))))
    }

    fn recent_changes(&self) -> &Arc<RecentChanges> {
        &self.recent
    }

    fn last_change(&self) -> LastChange {
        LastChange::of(&self.last)
    }

    fn mark(&self) -> StoreReply<'_, &str> {
        Either::Left(ready(Ok("m")))
    }
}

/// Feeds over a source.
struct TestFeeds {
    source: Arc<TestSource>,
    feeds: Arc<Feeds>,
    route: Arc<Route>,
}

impl TestFeeds {
    fn new() -> Self {
        let source = Arc::new(TestSource {
            pages: Mutex::default(),
            first: AtomicU64::new(1),
            last: watch::Sender::new(0),
            recent: Arc::default(),
        });
        let feeds = Feeds::new(Arc::<TestSource>::clone(&source));
        let route = Arc::new(books(0));
        Self {
            source,
            feeds,
            route,
        }
    }

    /// A reader from this position on, and whether it has all changes since.
    async fn reader(&self, query: &str, since: Option<&str>) -> (FeedReader, bool) {
        let place = self.feeds.place(10).unwrap();
        let query = FeedQuery::parse(query, &Schema::Any, Handling::Strict).unwrap();
        let since = since.map(|since| FeedPosition::parse(since).unwrap());
        let begun = FeedReader::begin(&self.feeds, place, &self.route, query, since);
        begun.await.unwrap()
    }

    async fn stream(&self, since: Option<&str>) -> EventStream {
        let (reader, whole) = self.reader("", since).await;
        EventStream::new(reader, !whole, OpenEnd::default(), HEARTBEAT)
    }

    async fn poll(&self, since: &str, wait: Duration) -> WaitingPoll {
        let (reader, whole) = self.reader("", Some(since)).await;
        assert!(whole, "{since}");
        WaitingPoll::new(reader, OpenEnd::default(), Instant::now() + wait)
    }

    /// Commits changes when so much time has passed.
    fn commit_after(&self, wait: Duration, changes: std::ops::RangeInclusive<u64>) {
        let source = Arc::clone(&self.source);
        tokio::task::spawn_local(async move {
            sleep(wait).await;
            source.commit_all(changes);
        });
    }
}

/// The next piece of a body, and how long it took; `None` at its end.
async fn next<B: MessageBody + Unpin>(body: &mut B) -> Option<(String, Duration)> {
    let begun = Instant::now();
    let piece = poll_fn(|cx| Pin::new(&mut *body).poll_next(cx)).await?;
    let piece = piece.map_err(Into::into).unwrap();
    Some((String::from_utf8(piece.to_vec()).unwrap(), begun.elapsed()))
}

/// The next piece, which has to come after just this time.
#[track_caller]
fn is_after(wait: Duration, next: Option<(String, Duration)>) -> String {
    let (text, took) = next.expect("a piece");
    assert!(took >= wait && took < wait + TICK, "{took:?}: {text}");
    text
}

/// The events of a stream: the number of the change and the name.
fn events(text: &str) -> Vec<(u64, &str)> {
    let events = text.split("\n\n").filter_map(|event| {
        let (id, rest) = event.strip_prefix("id: ")?.split_once("-m\nevent: ")?;
        Some((id.parse().ok()?, rest.lines().next()?))
    });
    events.collect()
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build();
    LocalSet::new().block_on(&runtime.unwrap(), test);
}

const NOW: Duration = Duration::ZERO;

#[test]
fn a_stream_without_events_has_a_comment_each_heartbeat_and_an_event_puts_it_off() {
    run(async {
        let feeds = TestFeeds::new();
        let mut stream = feeds.stream(None).await;
        assert_eq!(is_after(NOW, next(&mut stream).await), "id: 0-m\n\n");
        for _ in 0..3 {
            assert_eq!(is_after(HEARTBEAT, next(&mut stream).await), ":\n");
        }
        feeds.commit_after(Duration::from_secs(10), 1..=1);
        let event = is_after(Duration::from_secs(10), next(&mut stream).await);
        assert_eq!(events(&event), [(1, "create")]);
        assert_eq!(is_after(HEARTBEAT, next(&mut stream).await), ":\n");
        // Feeds of one thread share a timer, and each keeps its own time.
        let mut other = feeds.stream(None).await;
        assert_eq!(is_after(NOW, next(&mut other).await), "id: 1-m\n\n");
        sleep(Duration::from_secs(5)).await;
        let mut third = feeds.stream(None).await;
        is_after(NOW, next(&mut third).await);
        let ten = Duration::from_secs(10);
        let (other, third) = tokio::join!(next(&mut other), next(&mut third));
        assert_eq!(is_after(ten, other), ":\n");
        assert_eq!(is_after(HEARTBEAT, third), ":\n");
    });
}

#[test]
fn a_poll_answers_at_the_first_change_or_when_its_time_is_over() {
    run(async {
        let feeds = TestFeeds::new();
        let wait = Duration::from_secs(30);
        let mut poll = feeds.poll("0-m", wait).await;
        let none = is_after(wait, next(&mut poll).await);
        assert_eq!(none, "{\"changes\":[],\"more\":false,\"next\":\"0-m\"}");
        assert!(next(&mut poll).await.is_none(), "it has one answer");
        let mut poll = feeds.poll("0-m", wait).await;
        feeds.commit_after(Duration::from_secs(12), 1..=2);
        let both = is_after(Duration::from_secs(12), next(&mut poll).await);
        assert!(
            both.contains("\"next\":\"2-m\"") && both.contains("\"more\":false"),
            "{both}"
        );
        // Without a wait there is nothing to wait for.
        let mut poll = feeds.poll("1-m", Duration::ZERO).await;
        let rest = is_after(NOW, next(&mut poll).await);
        assert!(
            rest.contains("\"revision\":2") && !rest.contains("\"revision\":1,"),
            "{rest}"
        );
    });
}

#[test]
fn a_client_that_comes_back_after_any_time_goes_on_where_it_was() {
    run(async {
        let feeds = TestFeeds::new();
        let mut stream = feeds.stream(None).await;
        is_after(NOW, next(&mut stream).await);
        feeds.source.commit_all(1..=3);
        let seen = is_after(NOW, next(&mut stream).await);
        assert_eq!(events(&seen).len(), 3);
        drop(stream);
        for (first, away) in [(4, 1), (9, 60), (14, 3_600), (19, 1_000_000)] {
            feeds.commit_after(Duration::from_secs(away / 2), first..=first + 4);
            sleep(Duration::from_secs(away)).await;
            let since = format!("{}-m", first - 1);
            let mut stream = feeds.stream(Some(&since)).await;
            // A group of changes comes whole and in order, behind the position.
            let text = is_after(NOW, next(&mut stream).await);
            assert!(text.starts_with(&format!("id: {since}\n\n")), "{text}");
            let numbers: Vec<_> = events(&text).into_iter().map(|(seq, _)| seq).collect();
            assert!(numbers.iter().copied().eq(first..=first + 4), "{numbers:?}");
            assert_eq!(is_after(HEARTBEAT, next(&mut stream).await), ":\n");
        }
    });
}

#[test]
fn a_client_that_is_behind_what_is_kept_is_told_once_and_goes_on() {
    run(async {
        let feeds = TestFeeds::new();
        feeds.source.commit_all(1..=9);
        feeds.source.first.store(5, Ordering::Relaxed);
        let mut stream = feeds.stream(Some("3-m")).await;
        let reset = is_after(NOW, next(&mut stream).await);
        assert!(reset.starts_with("id: 9-m\nevent: reset\n"), "{reset}");
        feeds.commit_after(HEARTBEAT / 3, 10..=10);
        let event = is_after(HEARTBEAT / 3, next(&mut stream).await);
        assert_eq!(events(&event), [(10, "create")]);
        // One whose changes go while it is connected is told, and its stream ends.
        let mut slow = feeds.stream(Some("9-m")).await;
        is_after(NOW, next(&mut slow).await);
        feeds.source.commit_all(11..=20);
        feeds.source.first.store(15, Ordering::Relaxed);
        let reset = is_after(NOW, next(&mut slow).await);
        assert!(reset.starts_with("id: 20-m\nevent: reset\n"), "{reset}");
        assert!(next(&mut slow).await.is_none());
    });
}

fn books(collection: usize) -> Route {
    let target = ResourceTarget::new(
        CollectionId(collection),
        "books",
        ResourceSettings::at("/books"),
    );
    Route::plain("/books", Target::Resource(Box::new(target)))
}

#[test]
fn a_feed_compares_its_resource_once_for_each_reload() {
    let published = watch::Sender::new(None);
    // A reload may lie between the request's routes and the feed.
    published.send_replace(Some(Arc::new(RouteTable::new([]))));
    let route = Arc::new(books(0));
    assert!(!LastCompared::new(&published, &route).is_as_before());
    let mut served = LastCompared::new(&published, &route);
    for (routes, as_before) in [
        (Some(RouteTable::new([books(0)])), true),
        (Some(RouteTable::new([books(1)])), false),
        (Some(RouteTable::new([])), false),
        (None, true),
    ] {
        published.send_replace(routes.map(Arc::new));
        assert!(served.routes.has_changed().unwrap());
        assert_eq!(served.is_as_before(), as_before);
        assert!(!served.routes.has_changed().unwrap(), "it is known now");
        assert_eq!(served.is_as_before(), as_before);
    }
}
