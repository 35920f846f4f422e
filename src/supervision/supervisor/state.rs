//! The state of a supervisor that outlives its restarts: its spec and its children.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::machine::Row;
use super::spec::SupervisorSpec;
use crate::supervision::exit_reason::ExitReason;
use crate::supervision::life::{ChildSpec, Lasting};
use crate::supervision::tree::TreeChange;

/// Children by their position in the start order.
type ChildSpecs = BTreeMap<usize, Arc<ChildSpec>>;

/// The distance of the positions of the first children: there is room for others between them.
pub(crate) const STRIDE: usize = 1 << 32;

/// The state of a supervisor that outlives its restarts. The time from one start to the next is a term.
pub(crate) struct SupervisorState {
    pub(crate) spec: SupervisorSpec,
    /// The children with which each term begins.
    lasting: Mutex<ChildSpecs>,
    /// The children of the present term.
    members: Mutex<ChildSpecs>,
    /// Counts the terms; only the actor of the last one may act.
    term: AtomicU64,
}

impl SupervisorState {
    pub(crate) fn new(mut spec: SupervisorSpec) -> Arc<Self> {
        let children = std::mem::take(&mut spec.children).into_iter();
        let placed = (1..).zip(children).map(|(n, child)| (n * STRIDE, child));
        let state = Self {
            spec,
            lasting: Mutex::new(placed.collect()),
            members: Mutex::default(),
            term: AtomicU64::new(0),
        };
        state.begin_term();
        Arc::new(state)
    }

    /// Begins a term, with the children that last. Returns its number.
    pub(crate) fn begin_term(&self) -> u64 {
        self.end_term();
        let members = self.lasting.lock().clone();
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

    /// Ends the term: its actor may not act any more, and the children that were added for it alone are gone.
    pub(crate) fn end_term(&self) {
        self.term.fetch_add(1, Ordering::Relaxed);
        self.spec.orders.serve(None);
        let lasting = self.lasting.lock();
        self.members.lock().retain(|position, child| {
            let lasts = lasting.contains_key(position);
            if !lasts {
                self.spec.node.children.lock().remove(position);
                child.give_up();
            }
            lasts
        });
    }

    /// Fences all children and has them end, the last one first.
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
        let children = self.lasting.lock();
        children.values().for_each(|child| child.give_up());
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

    pub(crate) fn add(&self, position: usize, child: ChildSpec, lasting: Lasting) {
        let (node, child) = (Arc::clone(&child.node), Arc::new(child));
        node.set_change(TreeChange::Added);
        self.spec.node.children.lock().insert(position, node);
        if lasting == Lasting::ForGood {
            self.lasting.lock().insert(position, Arc::clone(&child));
        }
        self.members.lock().insert(position, child);
    }

    /// Lets a child end with the present term, or before.
    pub(crate) fn expel(&self, position: usize) {
        let child = self.lasting.lock().remove(&position);
        let child = child.or_else(|| self.member(position));
        if let Some(child) = child {
            child.node.set_change(TreeChange::Removed);
        }
    }

    /// Drops a child, also for the terms to come.
    pub(crate) fn remove(&self, position: usize) {
        self.lasting.lock().remove(&position);
        self.forget(position);
    }

    pub(crate) fn forget(&self, position: usize) {
        self.spec.node.children.lock().remove(&position);
        let child = self.members.lock().remove(&position);
        if let Some(child) = child {
            child.give_up();
        }
    }
}
