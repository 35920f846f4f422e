//! What stays of a supervisor when it is restarted: its spec and its children.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::machine::Row;
use super::spec::SupervisorSpec;
use crate::supervision::exit_reason::ExitReason;
use crate::supervision::life::ChildSpec;

/// What stays of a supervisor when it is restarted. The time from one start to the next is a term.
pub(crate) struct SupervisorState {
    pub(crate) spec: SupervisorSpec,
    /// The children of the present term, by position in the start order.
    members: Mutex<BTreeMap<usize, Arc<ChildSpec>>>,
    /// Counts the terms; only the actor of the last one may act.
    term: AtomicU64,
}

impl SupervisorState {
    pub(crate) fn new(spec: SupervisorSpec) -> Arc<Self> {
        let state = Self {
            spec,
            members: Mutex::default(),
            term: AtomicU64::new(0),
        };
        state.begin_term();
        Arc::new(state)
    }

    /// Begins a term, with the children of the spec. Returns its number.
    pub(crate) fn begin_term(&self) -> u64 {
        self.end_term();
        let members: BTreeMap<_, _> = self.spec.children.iter().cloned().enumerate().collect();
        let nodes = members
            .iter()
            .map(|(at, child)| (*at, Arc::clone(&child.node)));
        *self.spec.node.children.lock() = nodes.collect();
        *self.members.lock() = members;
        self.term.load(Ordering::Relaxed)
    }

    /// Whether this is still the present term.
    pub(crate) fn in_term(&self, term: u64) -> bool {
        self.term.load(Ordering::Relaxed) == term
    }

    /// Ends the term: its actor may not act any more, and the children that were added to those of the spec are gone.
    pub(crate) fn end_term(&self) {
        self.term.fetch_add(1, Ordering::Relaxed);
        self.spec.orders.serve(None);
        let added = self.members.lock().split_off(&self.spec.children.len());
        for (position, child) in added {
            self.spec.node.children.lock().remove(&position);
            child.give_up();
        }
    }

    /// Fences all children and leaves them behind, the last one first.
    pub(crate) fn kill(&self, reason: &ExitReason) {
        let members = self.members.lock().clone();
        for child in members.values().rev() {
            let (_, generation) = child.node.status();
            child.runtime.kill(generation, reason);
        }
        self.end_term();
    }

    /// Ends the term for good: no child will be started again.
    pub(crate) fn give_up(&self) {
        self.end_term();
        self.spec.children.iter().for_each(|child| child.give_up());
    }

    /// The children, in start order, as a machine takes them over.
    pub(crate) fn rows(&self) -> Vec<Row> {
        let (members, now) = (self.members.lock(), Instant::now());
        let rows = members.iter().map(|(at, child)| Row::new(*at, child, now));
        rows.collect()
    }

    pub(crate) fn member(&self, position: usize) -> Option<Arc<ChildSpec>> {
        self.members.lock().get(&position).cloned()
    }

    pub(crate) fn add(&self, position: usize, child: ChildSpec) {
        let node = Arc::clone(&child.node);
        self.spec.node.children.lock().insert(position, node);
        self.members.lock().insert(position, Arc::new(child));
    }

    pub(crate) fn forget(&self, position: usize) {
        self.spec.node.children.lock().remove(&position);
        let child = self.members.lock().remove(&position);
        if let Some(child) = child {
            child.give_up();
        }
    }
}
