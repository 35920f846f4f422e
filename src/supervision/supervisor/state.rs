//! What outlives each life of a supervisor: its recipe, and who its children are.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::machine::{Found, Newcomer};
use super::order::{Desk, SupervisorRef};
use super::spec::{Init, SupervisorSpec};
use crate::supervision::exit_reason::ExitReason;
use crate::supervision::faults::Faults;
use crate::supervision::life::{ChildSpec, Runtime};
use crate::supervision::rules::{Flags, Rules, Startup};
use crate::supervision::tree::Node;

/// One child, as its supervisor holds it.
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

    pub(crate) fn newcomer(&self) -> Newcomer {
        Newcomer {
            name: Arc::clone(self.node.name()),
            rules: self.rules,
            generation: self.node.generation(),
        }
    }

    /// As a machine that is made anew finds it.
    fn found(&self, place: usize) -> Found {
        Found {
            place,
            child: self.newcomer(),
            status: self.node.status(),
        }
    }

    /// Nothing will start it again.
    fn give_up(&self) {
        self.node.close();
        self.runtime.release();
    }
}

/// What outlives each life of a supervisor.
pub(crate) struct Bed {
    pub(crate) name: Arc<str>,
    pub(crate) flags: Flags,
    pub(crate) startup: Startup,
    pub(crate) init: Option<Box<Init>>,
    pub(crate) desk: Arc<Desk>,
    pub(crate) node: Node,
    pub(crate) faults: Faults,
    /// The children of the recipe.
    fixed: Vec<Member>,
    /// The children of the present term, by place.
    members: Mutex<BTreeMap<usize, Member>>,
    /// Counts the lives; only the last one may act.
    term: AtomicU64,
}

impl Bed {
    pub(crate) fn new(spec: SupervisorSpec) -> Arc<Self> {
        let fixed: Vec<_> = spec.children.into_iter().map(Member::new).collect();
        let node = Node::supervisor(&spec.name);
        let bed = Self {
            name: spec.name,
            flags: spec.flags,
            startup: spec.startup,
            init: spec.init,
            desk: spec.desk,
            node,
            faults: spec.faults,
            fixed,
            members: Mutex::default(),
            term: AtomicU64::new(0),
        };
        bed.renew();
        Arc::new(bed)
    }

    fn members(&self) -> MutexGuard<'_, BTreeMap<usize, Member>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn supervisor_ref(&self) -> SupervisorRef {
        SupervisorRef::new(&self.desk)
    }

    /// A new term: the children are those of the recipe again.
    pub(crate) fn renew(&self) -> u64 {
        self.end_term();
        let fixed: BTreeMap<_, _> = self.fixed.iter().cloned().enumerate().collect();
        let nodes = fixed.iter().map(|(at, member)| (*at, member.node.clone()));
        self.node.set_children(nodes.collect());
        *self.members() = fixed;
        self.term.load(Ordering::Relaxed)
    }

    /// Whether the life of this term may still act.
    pub(crate) fn holds(&self, term: u64) -> bool {
        self.term.load(Ordering::Relaxed) == term
    }

    /// No life may act any more, and nothing starts what was added to the recipe's children again.
    pub(crate) fn end_term(&self) {
        self.term.fetch_add(1, Ordering::Relaxed);
        self.desk.serve(None);
        let added = self.members().split_off(&self.fixed.len());
        for (place, member) in added {
            self.node.remove_child(place);
            member.give_up();
        }
    }

    /// Fences everything and leaves it behind, the last child first.
    pub(crate) fn kill(&self, reason: &ExitReason) {
        let members: Vec<_> = self.members().values().cloned().collect();
        for member in members.iter().rev() {
            member.runtime.kill(member.node.generation(), reason);
        }
        self.end_term();
    }

    /// Nothing will be started again.
    pub(crate) fn give_up(&self) {
        self.end_term();
        self.fixed.iter().for_each(Member::give_up);
    }

    /// The children of the present term, in start order.
    pub(crate) fn all(&self) -> Vec<Member> {
        self.members().values().cloned().collect()
    }

    /// The same, and what each of them is doing.
    pub(crate) fn found(&self) -> Vec<Found> {
        let members = self.members();
        let found = members.iter().map(|(place, member)| member.found(*place));
        found.collect()
    }

    pub(crate) fn member(&self, place: usize) -> Option<Member> {
        self.members().get(&place).cloned()
    }

    pub(crate) fn add(&self, place: usize, member: Member) {
        self.node.add_child(place, member.node.clone());
        self.members().insert(place, member);
    }

    pub(crate) fn forget(&self, place: usize) {
        self.node.remove_child(place);
        let member = self.members().remove(&place);
        if let Some(member) = member {
            member.give_up();
        }
    }
}
