//! A folder that is served by the real site and file cache, with a store that is not open.

use std::sync::Arc;
use std::time::Duration;

use super::{ConnectionCounters, LIMITS, LimitSettings, Served};
use crate::api::{self, ResourceTarget, Route, RouteTable, Target};
use crate::file_cache::{CallThreads, Files, RootHandle, SiteRoot};
use crate::incidents::Incidents;
use crate::settings::{self, ResourceSettings, Settings};
use crate::storage::{self, CollectionId};
use crate::supervision::{
    Env, Faults, Intensity, PreparedTree, QueueLimits, RunningTree, Slot, SupervisorSpec,
};
use crate::wire::Hosts;

pub(super) const LARGE: usize = 600_000;

pub(super) struct ServedSite {
    pub(super) served: Served,
    pub(super) folder: tempfile::TempDir,
    pub(super) faults: Faults,
    _tree: RunningTree,
}

fn files(folder: &std::path::Path, faults: &Faults) -> (Files, RootHandle, SupervisorSpec) {
    let queue = QueueLimits {
        messages: 100,
        bytes: 100_000,
    };
    let (slot, child) = Slot::with_limits("file-cache", queue);
    let cache = settings::FileCacheSettings {
        budget_bytes: 1_000_000,
        max_file_bytes: 100_000,
        revalidate: Duration::from_millis(50),
    };
    let (deadline, threads) = (Duration::from_secs(5), CallThreads::new().unwrap());
    let files = Files::new(&cache, deadline, threads, child);
    let handle = files.add(SiteRoot::plain(folder)).unwrap();
    let spec = files.child_spec(&slot, faults.clone());
    let intensity = Intensity {
        max_restarts: 100,
        period: Duration::from_secs(1),
    };
    let root = SupervisorSpec::new("root").intensity(intensity);
    (files, handle, root.child(spec))
}

impl ServedSite {
    pub(super) async fn serve() -> Self {
        Self::with(LIMITS).await
    }

    pub(super) async fn with(limits: LimitSettings) -> Self {
        Self::bounded(limits, usize::MAX).await
    }

    /// All connections together may hold `most` bytes.
    pub(super) async fn bounded(limits: LimitSettings, most: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("docs")).unwrap();
        std::fs::write(folder.path().join("docs/index.html"), "docs").unwrap();
        std::fs::write(folder.path().join("index.html"), "<p>home").unwrap();
        std::fs::write(folder.path().join("large.bin"), vec![7; LARGE]).unwrap();
        let faults = Faults::armed();
        let (files, root, spec) = files(folder.path(), &faults);
        let mut tree = PreparedTree::new(spec).unwrap().start(Env {
            inline: true,
            faults: faults.clone(),
        });
        (&mut tree.ready).await.unwrap();
        let mut settings = Settings::default();
        settings.server.data = folder.path().join("data");
        settings.limits.body_bytes = 1000;
        // Its writer is never started.
        let incidents = Arc::new(Incidents::new(&settings.server.data));
        let (store, _writer) = storage::storage(&settings, &faults, &incidents);
        let routes = RouteTable::new(
            [
                ("/", Target::Files(root)),
                (
                    "/books",
                    Target::Resource(Box::new(ResourceTarget::new(
                        CollectionId(0),
                        "books",
                        ResourceSettings::at("/books"),
                    ))),
                ),
            ]
            .map(|(path, target)| Route::plain(path, target)),
        );
        let counters = Arc::new(ConnectionCounters::new(most));
        let site = api::Site {
            routes: Arc::new(routes),
            files,
            lists: api::KeptLists::new(limits.kept_lists),
            feeds: api::Feeds::new(Arc::<dyn storage::Store>::clone(&store)),
            store,
            counters: Arc::clone(&counters),
            hosts: Hosts::default(),
            settings: Arc::new(settings),
        };
        Self {
            served: Served::counted(site, limits, counters).await,
            folder,
            faults,
            _tree: tree,
        }
    }
}
