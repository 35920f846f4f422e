//! What stays of a supervisor when it is restarted: its spec and its children.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::machine::{Found, Newcomer};
use super::order::{OrderQueue, SupervisorRef};
use super::spec::{Init, SupervisorSpec};
use crate::supervision::exit_reason::ExitReason;
use crate::supervision::life::{ChildSpec, Runtime};
use crate::supervision::rules::{Flags, Rules};
use crate::supervision::tree::Node;

/// One child, as its supervisor keeps it.
#[derive(Clone)]
pub(crate) struct Member {
    pub(crate) node: Node,
    pub(crate) rules: Rules,
    pub(crate) runtime: Arc<dyn Runtime>,
}

impl Member {
    pub(crate) fn new(spec: ChildSpec) -> Self {
        spec.node.set_restart(spec.rules.restart.as_str());
        Self {
            node: spec.node,
            rules: spec.rules,
            runtime: spec.runtime,
        }
    }

    /// The child as a machine gets it.
    pub(crate) fn newcomer(&self) -> Newcomer {
        Newcomer {
            name: Arc::clone(self.node.name()),
            rules: self.rules,
            generation: self.node.generation(),
        }
    }

    /// Closes its slot and gives back its threads.
    fn give_up(&self) {
        self.node.close();
        self.runtime.release();
    }
}

/// What stays of a supervisor when it is restarted. The time from one start to the next is a term.
pub(crate) struct SupervisorState {
    pub(crate) name: Arc<str>,
    pub(crate) flags: Flags,
    pub(crate) init: Option<Box<Init>>,
    pub(crate) orders: Arc<OrderQueue>,
    pub(crate) node: Node,
    /// The children of the spec.
    fixed: Vec<Member>,
    /// The children of the present term, by position in the start order.
    members: Mutex<BTreeMap<usize, Member>>,
    /// Counts the terms; only the actor of the last one may act.
    term: AtomicU64,
}

impl SupervisorState {
    pub(crate) fn new(spec: SupervisorSpec) -> Arc<Self> {
        let state = Self {
            name: spec.name,
            flags: spec.flags,
            init: spec.init,
            orders: spec.orders,
            node: spec.node,
            fixed: spec.children.into_iter().map(Member::new).collect(),
            members: Mutex::default(),
            term: AtomicU64::new(0),
        };
        state.begin_term();
        Arc::new(state)
    }

    pub(crate) fn supervisor_ref(&self) -> SupervisorRef {
        SupervisorRef::new(&self.node, &self.orders)
    }

    /// Begins a term, with the children of the spec. Returns its number.
    pub(crate) fn begin_term(&self) -> u64 {
        self.end_term();
        let fixed: BTreeMap<_, _> = self.fixed.iter().cloned().enumerate().collect();
        let nodes = fixed.iter().map(|(at, member)| (*at, member.node.clone()));
        self.node.set_children(nodes.collect());
        *self.members.lock() = fixed;
        self.term.load(Ordering::Relaxed)
    }

    /// Whether this is still the present term.
    pub(crate) fn in_term(&self, term: u64) -> bool {
        self.term.load(Ordering::Relaxed) == term
    }

    /// Ends the term: its actor may not act any more, and the children that were added to those of the spec are gone.
    pub(crate) fn end_term(&self) {
        self.term.fetch_add(1, Ordering::Relaxed);
        self.orders.serve(None);
        let added = self.members.lock().split_off(&self.fixed.len());
        for (position, member) in added {
            self.node.remove_child(position);
            member.give_up();
        }
    }

    /// Fences all children and leaves them behind, the last one first.
    pub(crate) fn kill(&self, reason: &ExitReason) {
        for member in self.all().iter().rev() {
            member.runtime.kill(member.node.generation(), reason);
        }
        self.end_term();
    }

    /// Ends the term for good: no child will be started again.
    pub(crate) fn give_up(&self) {
        self.end_term();
        self.fixed.iter().for_each(Member::give_up);
    }

    /// The children, in start order.
    pub(crate) fn all(&self) -> Vec<Member> {
        self.members.lock().values().cloned().collect()
    }

    /// The children, with their positions and what each of them is doing.
    pub(crate) fn found(&self) -> Vec<Found> {
        let members = self.members.lock();
        let found = members.iter().map(|(position, member)| Found {
            position: *position,
            child: member.newcomer(),
            status: member.node.status(),
        });
        found.collect()
    }

    pub(crate) fn member(&self, position: usize) -> Option<Member> {
        self.members.lock().get(&position).cloned()
    }

    pub(crate) fn add(&self, position: usize, member: Member) {
        self.node.add_child(position, member.node.clone());
        self.members.lock().insert(position, member);
    }

    pub(crate) fn forget(&self, position: usize) {
        self.node.remove_child(position);
        let member = self.members.lock().remove(&position);
        if let Some(member) = member {
            member.give_up();
        }
    }
}
