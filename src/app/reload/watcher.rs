//! The child that watches the files of the settings (`server.watch`) and has them read again when they have changed. It also has
//! the files of certificates looked at from time to time.

// Decision: The settings are watched with inotify itself.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::inotify::{self, CreateFlags, Event, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};

use crate::admin::{ReloadOrder, Reloads};
use crate::app::tls::TlsInForce;
use crate::settings::{CheckedFolders, SettingsSource, WatchedPlaces};
use crate::supervision::{
    BoxError, Child, ChildContext, ChildRef, ChildSpec, Delivery, LocalBoxFuture, Message, Slot,
};
use crate::telemetry::{Counter, MetricSource, Rows};

/// The time without a change after which the files are read: who changes one may be about to change another.
const QUIET: Duration = Duration::from_millis(300);
/// The longest wait for that. A file that never rests is read all the same.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// The pause before the next attempt, if the files can't be watched.
const RETRY: Duration = Duration::from_secs(30);
/// Events that are taken at a time, before anything else is looked at.
const EVENTS_MAX: usize = 1024;
const EVENT_BYTES: usize = 4096;

/// Changes of a name.
const NAMES: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::MOVED_TO);
/// Changes of a file.
const CONTENT: WatchFlags = WatchFlags::MODIFY
    .union(WatchFlags::CLOSE_WRITE)
    .union(WatchFlags::ATTRIB);
/// The end of what is watched.
const ITSELF: WatchFlags = WatchFlags::DELETE_SELF.union(WatchFlags::MOVE_SELF);
/// Events about the watch, and not about a name in its folder.
const OF_WATCH: ReadFlags = ReadFlags::DELETE_SELF
    .union(ReadFlags::MOVE_SELF)
    .union(ReadFlags::IGNORED)
    .union(ReadFlags::UNMOUNT);

/// Knows whether the files are watched; it outlives the incarnations of the child.
#[derive(Debug)]
pub(in crate::app) struct Watching {
    source: SettingsSource,
    reloader: ChildRef<ReloadOrder>,
    reloads: Arc<Reloads>,
    wanted: watch::Sender<bool>,
    tls: Arc<TlsInForce>,
    failures: Counter,
}

/// The child takes no messages.
#[derive(Debug)]
pub(super) enum WatcherMessage {}

impl Message for WatcherMessage {
    fn kind(&self) -> &'static str {
        match *self {}
    }
}

struct Watcher(Arc<Watching>);

impl Watching {
    pub(in crate::app) fn new(
        source: SettingsSource,
        reloader: ChildRef<ReloadOrder>,
        reloads: Arc<Reloads>,
        wanted: bool,
        tls: Arc<TlsInForce>,
    ) -> Arc<Self> {
        Arc::new(Self {
            source,
            reloader,
            reloads,
            wanted: watch::Sender::new(wanted),
            tls,
            failures: Counter::default(),
        })
    }

    pub(in crate::app) fn child_spec(self: Arc<Self>) -> ChildSpec {
        let (slot, _) = Slot::new("watcher");
        ChildSpec::actor(&slot, move |_| {
            let watching = Arc::clone(&self);
            async { Ok(Watcher(watching)) }
        })
    }

    /// Watches the files from now on, or no longer.
    pub(super) fn want(&self, wanted: bool) {
        self.wanted.send_if_modified(|before| {
            let changed = *before != wanted;
            *before = wanted;
            changed
        });
    }

    async fn keep_watching(&self) -> Result<(), BoxError> {
        let mut wanted = self.wanted.subscribe();
        loop {
            wanted.wait_for(|wanted| *wanted).await?;
            tokio::select! {
                ended = wanted.wait_for(|wanted| !*wanted) => drop(ended?),
                never = self.watch() => match never {},
            }
            tracing::info!("the files of the settings are watched no longer");
        }
    }

    async fn watch(&self) -> Infallible {
        let mut armed = Armed::First;
        loop {
            let Err(error) = self.follow(&mut armed).await;
            self.failures.inc();
            let again = humantime::format_duration(RETRY);
            tracing::warn!(
                %error,
                "the files of the settings can't be watched: raise fs.inotify.max_user_watches or max_user_instances if it is a limit; `perennial reload` reads them. It is tried again in {again}"
            );
            sleep(RETRY).await;
        }
    }

    /// Has the settings read again after each change. What changes while they are being read is another change.
    async fn follow(&self, armed: &mut Armed) -> io::Result<Infallible> {
        loop {
            let places = WatchedFiles::watch(self.source.places())?;
            match armed {
                Armed::First => {
                    tracing::info!("the files of the settings are watched");
                    self.order_if_other();
                }
                Armed::Again => self.order(),
            }
            *armed = Armed::Again;
            settled(async || places.changed().await).await?;
        }
    }

    /// Settings that were changed before they were watched.
    fn order_if_other(&self) {
        let read = self.source.load(CheckedFolders::None);
        let same = |hash| hash == self.reloads.status.lock().hash;
        if !read.is_ok_and(|loaded| same(loaded.values.hash())) {
            self.order();
        }
    }

    fn order(&self) {
        tracing::info!("the files of the settings have changed: they are read again");
        if let Err(refused) = self.reloader.tell(ReloadOrder::apply()) {
            // Those that wait will read what is there now.
            tracing::warn!(
                "the changed settings are not read now, because many reloads wait already: {:?}",
                refused.reason
            );
        }
    }
}

/// The result of beginning to watch the files.
enum Armed {
    First,
    Again,
}

impl Child for Watcher {
    type Message = WatcherMessage;

    fn handle(&mut self, message: Delivery<WatcherMessage>, _: &mut ChildContext) {
        match *message {}
    }

    fn run(
        &mut self,
        _: &mut ChildContext,
    ) -> Option<LocalBoxFuture<'static, Result<(), BoxError>>> {
        let watching = Arc::clone(&self.0);
        Some(Box::pin(async move {
            tokio::select! {
                ended = watching.keep_watching() => ended,
                never = watching.tls.keep_looking() => match never {},
            }
        }))
    }
}

impl MetricSource for Arc<Watching> {
    fn write(&self, rows: &mut Rows<'_>) {
        rows.counter(
            "perennial_config_watch_failures",
            "How often the files of the settings could not be watched",
            self.failures.get(),
        );
    }
}

/// Waits for a change, and until there was none for a while.
async fn settled<E>(mut changed: impl AsyncFnMut() -> Result<(), E>) -> Result<(), E> {
    changed().await?;
    let latest = Instant::now() + WAIT_MAX;
    loop {
        let quiet = (Instant::now() + QUIET).min(latest);
        match timeout_at(quiet, changed()).await {
            Ok(changed) => changed?,
            Err(_elapsed) => return Ok(()),
        }
    }
}

/// The places under watch.
struct WatchedFiles {
    events: AsyncFd<OwnedFd>,
    places: WatchedPlaces,
    /// The folders of each watch; none if it is that of a file.
    watches: BTreeMap<i32, Vec<PathBuf>>,
}

impl WatchedFiles {
    fn watch(places: WatchedPlaces) -> io::Result<Self> {
        let events = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        let mut watches: BTreeMap<i32, Vec<PathBuf>> = BTreeMap::new();
        let parents: BTreeSet<&Path> = places.files.iter().filter_map(|at| at.parent()).collect();
        for folder in places.names.keys() {
            let content = if parents.contains(folder.as_path()) {
                CONTENT
            } else {
                WatchFlags::empty()
            };
            let flags = NAMES | content | ITSELF | WatchFlags::ONLYDIR;
            if let Some(watch) = add(&events, folder, flags)? {
                watches.entry(watch).or_default().push(folder.clone());
            }
        }
        for file in &places.files {
            if let Some(watch) = add(&events, file, CONTENT | ITSELF)? {
                watches.entry(watch).or_default();
            }
        }
        Ok(Self {
            events: crate::wire::register(events)?,
            places,
            watches,
        })
    }

    /// Waits until something decides anew what the settings are.
    async fn changed(&self) -> io::Result<()> {
        loop {
            let mut ready = self.events.readable().await?;
            match self.take()? {
                Taken::Change => return Ok(()),
                Taken::Other => tokio::task::yield_now().await,
                Taken::All => ready.clear_ready(),
            }
        }
    }

    fn take(&self) -> io::Result<Taken> {
        let mut buffer = [MaybeUninit::uninit(); EVENT_BYTES];
        let mut reader = Reader::new(self.events.get_ref(), &mut buffer);
        let mut changed = false;
        for _ in 0..EVENTS_MAX {
            match reader.next() {
                Ok(event) => changed |= self.decides(&event),
                Err(Errno::AGAIN) if changed => return Ok(Taken::Change),
                Err(Errno::AGAIN) => return Ok(Taken::All),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(if changed { Taken::Change } else { Taken::Other })
    }

    fn decides(&self, event: &Event<'_>) -> bool {
        if event
            .events()
            .intersects(OF_WATCH | ReadFlags::QUEUE_OVERFLOW)
        {
            return true;
        }
        let folders = self.watches.get(&event.wd());
        match (folders, event.file_name()) {
            (Some(folders), Some(name)) => {
                use std::os::unix::ffi::OsStrExt as _;
                let name = std::ffi::OsStr::from_bytes(name.to_bytes());
                folders.iter().any(|folder| self.places.has(folder, name))
            }
            // A folder's own attributes decide nothing.
            (Some(folders), None) => folders.is_empty(),
            (None, _) => false,
        }
    }
}

/// The events that were there.
enum Taken {
    /// One of them is a change.
    Change,
    /// None is, and there are more.
    Other,
    /// None is, and there are no more.
    All,
}

/// Adds a watch. What is not there, or may not be looked at, has none: its name in the folder above is watched.
fn add(events: &OwnedFd, path: &Path, flags: WatchFlags) -> io::Result<Option<i32>> {
    match inotify::add_watch(events, path, flags) {
        Ok(watch) => Ok(Some(watch)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::pending;

    use super::*;

    /// The time until changes after these pauses have settled.
    async fn settles(pauses: &[u64]) -> Duration {
        let (begun, next) = (Instant::now(), Cell::new(0));
        let changed = async || {
            let n = next.get();
            let Some(pause) = pauses.get(n) else {
                return pending().await;
            };
            sleep(Duration::from_millis(*pause)).await;
            next.set(n + 1);
            Ok::<(), Infallible>(())
        };
        settled(changed).await.unwrap();
        begun.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_one_change_and_one_that_never_rests_is_read_all_the_same() {
        let many = vec![200; 1_000];
        for (pauses, millis) in [
            (&[1_000][..], 1_300),
            (&[0, 100, 100, 299], 799),
            (&[0, 301, 0], 300),
            (&many, 200 + 5_000),
        ] {
            let took = settles(pauses).await;
            assert_eq!(took, Duration::from_millis(millis), "{pauses:?}");
        }
    }

    #[tokio::test]
    async fn what_decides_the_settings_is_a_change_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("a.toml"), "").unwrap();
        let source = SettingsSource::find(Some(at("a.toml")), BTreeMap::new());
        for (step, change) in [
            ("written", "w a.toml"),
            ("replaced", "r a.toml"),
            ("removed", "d a.toml"),
            ("made", "w a.toml"),
        ] {
            let places = WatchedFiles::watch(source.places()).unwrap();
            std::fs::write(at("other.toml"), step).unwrap();
            assert!(matches!(places.take().unwrap(), Taken::All), "{step}");
            let file = at("a.toml");
            match change.split_at(1).0 {
                "w" => std::fs::write(file, step).unwrap(),
                "r" => std::fs::rename(at("other.toml"), file).unwrap(),
                _ => std::fs::remove_file(file).unwrap(),
            }
            assert!(matches!(places.take().unwrap(), Taken::Change), "{step}");
        }
    }
}
