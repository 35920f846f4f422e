//! What the admin listener knows of the daemon. The tree is attached once it is planted: the admin's own children are a
//! part of it.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::storage::Store;
use crate::supervision::{Faults, NodeView, Pulse, Tree};
use crate::telemetry::{Exposition, Metrics};

/// The part of the tree that is the admin listener itself: whoever asks is being answered.
const SELF: &str = "admin";

/// What the admin listener knows.
#[derive(Debug)]
pub(crate) struct Operations {
    pulse: Arc<Pulse>,
    store: Store,
    faults: Faults,
    tree: OnceLock<(Tree, Metrics)>,
}

impl Operations {
    /// Knows nothing of the tree yet.
    pub(crate) fn new(pulse: Arc<Pulse>, store: Store, faults: Faults) -> Self {
        Self {
            pulse,
            store,
            faults,
            tree: OnceLock::new(),
        }
    }

    /// Attaches the tree; a second call does nothing.
    pub(crate) fn attach(&self, tree: Tree, metrics: Metrics) {
        self.tree.get_or_init(|| (tree, metrics));
    }

    pub(super) fn view(&self) -> Option<NodeView> {
        self.tree.get().map(|(tree, _)| tree.view())
    }

    pub(super) fn metrics(&self, exposition: Exposition) -> String {
        self.tree
            .get()
            .map_or_else(String::new, |(_, metrics)| metrics.encode(exposition))
    }

    pub(super) fn silence(&self) -> Duration {
        self.pulse.silence()
    }

    /// Each part of the daemon, and whether it can serve.
    pub(super) fn parts(&self) -> Vec<(String, bool)> {
        let parts = self.view().map(|root| root.children).unwrap_or_default();
        parts
            .into_iter()
            .filter(|part| part.name != SELF)
            .map(|part| {
                let ready = part.running() && (part.name != "storage" || self.store.ready());
                (part.name, ready)
            })
            .collect()
    }

    pub(super) fn chaos(&self) -> bool {
        self.faults.enabled()
    }

    pub(super) fn arm(&self, point: &str, hits: u32) -> bool {
        self.faults.arm(point, hits)
    }

    /// Makes the child panic on its own thread, between two messages.
    pub(super) fn kill(&self, child: &str) -> bool {
        let Some((tree, _)) = self.tree.get() else {
            return false;
        };
        let leaf = tree
            .view()
            .walk()
            .iter()
            .any(|node| node.name == child && node.slot.is_some());
        leaf && self.faults.arm(&format!("{child}.idle"), 1) && tree.probe(child)
    }
}
