//! A site in a folder of its own, with its cache, on one thread and a paused clock.

use std::fs;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::{Stream, stream};
use tokio::runtime::Handle;
use tokio::time::Instant;

use super::super::large::Large;
use super::super::root::BUILT_IN_INDEX;
use super::super::roots::Roots;
use super::super::*;
use crate::settings;
use crate::supervision::{
    AskError, Env, Faults, Intensity, PreparedTree, QueueLimits, RunningTree, Slot, SupervisorSpec,
};

pub(super) const DEADLINE: Duration = Duration::from_secs(5);
pub(super) const MAX_FILE: usize = 1000;

/// Runs a test inside an actix system whose clock is paused.
pub(super) fn paused<F: Future<Output = ()> + 'static>(test: F) {
    let system = actix_rt::System::with_tokio_rt(|| {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .expect("a runtime")
    });
    system.block_on(test);
}

/// Late enough for every file of a test to be settled.
pub(super) fn later() -> SystemTime {
    SystemTime::now() + Duration::from_secs(3600)
}

impl SiteRoot {
    /// The folder at `path`, with default rules.
    pub(crate) fn plain(path: &Path) -> Self {
        Self {
            route: "/".to_owned(),
            path: path.to_owned(),
            index: vec![BUILT_IN_INDEX.to_owned()],
            clean_urls: false,
            listing: false,
            fallback: None,
            built_in: false,
            cache: CacheRules::default(),
            types: ContentTypes::default(),
            downloads: Patterns::default(),
            compress: Vec::new(),
            precompressed: Vec::new(),
        }
    }
}

impl Files {
    /// With another time of day.
    pub(crate) fn with_wall(mut self, wall: fn() -> SystemTime) -> Self {
        Arc::get_mut(&mut self.published).unwrap().wall = wall;
        self
    }
}

impl RootHandle {
    /// A folder that is never read.
    pub(crate) fn unused() -> Self {
        let threads = CallThreads::new().unwrap();
        let roots = Roots::new(Arc::default(), threads);
        roots.add(SiteRoot::plain(Path::new("/"))).unwrap()
    }
}

impl CallThreads {
    /// Those of the runtime that runs the test, whose paused clock then waits for them.
    pub(crate) fn of_the_test() -> Self {
        Self {
            handle: Handle::current(),
            runtime: None,
        }
    }
}

/// The limits of a cache with this budget.
pub(super) fn limits(budget_bytes: usize) -> settings::FileCacheSettings {
    settings::FileCacheSettings {
        budget_bytes,
        max_file_bytes: MAX_FILE,
        revalidate: Duration::from_secs(1),
    }
}

pub(super) struct CachedSite {
    pub(super) folder: tempfile::TempDir,
    pub(super) root: RootHandle,
    /// A folder that does not exist, in whose place the built-in page stands.
    pub(super) nowhere: RootHandle,
    pub(super) files: Files,
    pub(super) faults: Faults,
    pub(super) tree: RunningTree,
}

/// The counters of the cache.
#[derive(Debug)]
pub(super) struct Counted {
    pub(super) entries: u64,
    pub(super) bytes: u64,
    pub(super) reads: u64,
    pub(super) unchanged: u64,
    pub(super) evictions: u64,
}

impl CachedSite {
    pub(super) async fn new(budget_bytes: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let faults = Faults::armed();
        let queue = QueueLimits {
            messages: 4,
            bytes: 1 << 16,
        };
        let (slot, child) = Slot::with_limits("file-cache", queue);
        let nowhere = folder.path().join("nowhere");
        let threads = CallThreads::of_the_test();
        let files = Files::new(&limits(budget_bytes), DEADLINE, threads, child).with_wall(later);
        let root = files.add(SiteRoot::plain(folder.path())).unwrap();
        let nowhere = SiteRoot {
            route: "/nowhere".to_owned(),
            built_in: true,
            ..SiteRoot::plain(&nowhere)
        };
        let nowhere = files.add(nowhere).unwrap();
        let intensity = Intensity {
            max_restarts: 5,
            period: Duration::from_secs(30),
        };
        let spec = SupervisorSpec::new("root")
            .intensity(intensity)
            .child(files.child_spec(&slot, faults.clone()));
        let mut tree = PreparedTree::new(spec).unwrap().start(Env {
            inline: true,
            faults: faults.clone(),
        });
        (&mut tree.ready).await.unwrap();
        Self {
            folder,
            root,
            nowhere,
            files,
            faults,
            tree,
        }
    }

    pub(super) fn counted(&self) -> Counted {
        let counters = &self.files.published.counters;
        Counted {
            entries: counters.entries.get(),
            bytes: counters.bytes.get(),
            reads: counters.reads.get(),
            unchanged: counters.unchanged.get(),
            evictions: counters.evictions.get(),
        }
    }

    pub(super) fn write(&self, name: &str, content: &str) {
        let path = self.folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub(super) fn remove(&self, name: &str) {
        fs::remove_file(self.folder.path().join(name)).unwrap();
    }

    pub(super) fn hit(&self, path: &str) -> Option<Arc<Entry>> {
        self.files.hit(&self.root, path, Instant::now())
    }

    pub(super) async fn load(&self, path: &str) -> Result<Loaded, AskError<FileError>> {
        self.files.load(&self.root, path).await
    }

    /// The content of a file that is loaded and kept.
    pub(super) async fn page(&self, path: &str) -> String {
        match self.load(path).await.unwrap() {
            Loaded::Entry(entry) => String::from_utf8(entry.bytes().to_vec()).unwrap(),
            other @ (Loaded::Large(_) | Loaded::Moved | Loaded::Listing(_)) => {
                panic!("{path} gave {other:?}")
            }
        }
    }

    /// A file that is not kept.
    pub(super) async fn large(&self, path: &str) -> Large {
        match self.load(path).await.unwrap() {
            Loaded::Large(large) => large,
            other @ (Loaded::Entry(_) | Loaded::Moved | Loaded::Listing(_)) => {
                panic!("{path} gave {other:?}")
            }
        }
    }
}

pub(super) async fn pass(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}

pub(super) fn text(entry: Option<Arc<Entry>>) -> Option<String> {
    entry.map(|entry| String::from_utf8(entry.bytes().to_vec()).unwrap())
}

/// Pieces of any size.
pub(super) fn any() -> Arc<AtomicUsize> {
    Arc::new(AtomicUsize::new(usize::MAX))
}

/// The pieces of a download, each of at most `most` bytes.
pub(super) fn read_steps(large: &Large, range: Range<u64>, most: Arc<AtomicUsize>) -> Steps<Bytes> {
    let read = move |download: Box<Download>| download.read(most.load(Ordering::Relaxed));
    Box::pin(stream::try_unfold(Box::new(large.download(range)), read))
}

/// The results of the steps of a download.
pub(super) type Steps<T> = Pin<Box<dyn Stream<Item = io::Result<T>>>>;
