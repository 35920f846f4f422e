//! What the admin listener knows about the daemon. The tree is attached after the admin's own children are prepared, since
//! they are a part of it.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::readiness::{self, Check, Part};
use crate::supervision::{Faults, NodeView, Pulse, Tree};
use crate::telemetry::{Exposition, Metrics};

/// The state of the daemon as the admin listener reports it.
#[derive(Debug)]
pub(crate) struct Operations {
    pulse: Arc<Pulse>,
    faults: Faults,
    running: OnceLock<Running>,
}

/// The parts to report on, once every child is prepared.
#[derive(Debug)]
pub(crate) struct Running {
    /// Every child.
    pub tree: Tree,
    /// The metrics of `/metrics`.
    pub metrics: Metrics,
    /// The checks of `/readyz`, besides the state of the children.
    pub checks: Vec<Check>,
}

impl Operations {
    /// Operations without a tree; [`attach`](Self::attach) adds it.
    pub(crate) fn new(pulse: Arc<Pulse>, faults: Faults) -> Self {
        Self {
            pulse,
            faults,
            running: OnceLock::new(),
        }
    }

    /// Attaches the tree and what belongs to it; a second call does nothing.
    pub(crate) fn attach(&self, running: Running) {
        self.running.get_or_init(|| running);
    }

    /// The tree as it is now; `None` before it is attached.
    pub(super) fn view(&self) -> Option<NodeView> {
        self.running.get().map(|running| running.tree.view())
    }

    /// The text of `/metrics`.
    pub(super) fn metrics(&self, exposition: Exposition) -> String {
        let running = self.running.get();
        running.map_or_else(String::new, |running| running.metrics.encode(exposition))
    }

    /// How long nothing has been heard of the root supervisor or the sentinel.
    pub(super) fn silence(&self) -> Duration {
        self.pulse.silence()
    }

    /// Each part of the daemon, and whether it can serve.
    pub(super) fn parts(&self) -> Vec<Part> {
        let checks = self
            .running
            .get()
            .map_or(&[][..], |running| &running.checks);
        readiness::parts(self.view().as_ref(), checks)
    }

    pub(super) fn chaos(&self) -> bool {
        self.faults.enabled()
    }

    /// Every fault point, with the panics that it still has to give.
    pub(super) fn points(&self) -> BTreeMap<String, u32> {
        self.faults.points()
    }

    /// Makes the next passes of a fault point panic. False if there is no such point.
    pub(super) fn arm(&self, point: &str, hits: u32) -> bool {
        self.faults.arm(point, hits)
    }

    /// The children that are no supervisors.
    pub(super) fn children(&self) -> Vec<String> {
        let root = self.view();
        let nodes = root.iter().flat_map(NodeView::walk);
        let leaves = nodes.filter(|node| node.slot.is_some());
        leaves.map(|leaf| leaf.name.clone()).collect()
    }

    /// Makes a child panic on its own thread, between two messages. False if there is no such child.
    pub(super) fn kill(&self, child: &str) -> bool {
        let Some(Running { tree, .. }) = self.running.get() else {
            return false;
        };
        self.faults.arm(&format!("{child}.idle"), 1) && tree.probe(child)
    }
}
