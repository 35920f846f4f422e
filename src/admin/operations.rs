//! What the admin listener knows of the daemon. The tree is attached once it is planted: the admin's own children are a
//! part of it.

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
    /// Knows nothing of the tree yet.
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

    pub(super) fn view(&self) -> Option<NodeView> {
        self.running.get().map(|running| running.tree.view())
    }

    pub(super) fn metrics(&self, exposition: Exposition) -> String {
        let running = self.running.get();
        running.map_or_else(String::new, |running| running.metrics.encode(exposition))
    }

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

    pub(super) fn arm(&self, point: &str, hits: u32) -> bool {
        self.faults.arm(point, hits)
    }

    /// Makes the child panic on its own thread, between two messages.
    pub(super) fn kill(&self, child: &str) -> bool {
        let Some(Running { tree, .. }) = self.running.get() else {
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
