//! The tree as it can be seen from outside, at any time and from any thread, without asking a supervisor.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use crate::supervision::clock::Clock;
use crate::supervision::exit_reason::ExitReason;
use crate::supervision::rules::Status;
use crate::supervision::slot::{Control, Signal, SlotView};

/// A node that its supervisor writes and everybody reads.
#[derive(Clone)]
pub(crate) struct Node {
    inner: Arc<Inner>,
}

struct Inner {
    name: Arc<str>,
    control: Option<Arc<dyn Control>>,
    /// By place: the start order.
    children: Mutex<BTreeMap<usize, Node>>,
    supervisor: bool,
    state: Mutex<NodeState>,
}

#[derive(Debug)]
struct NodeState {
    status: Status,
    restart: &'static str,
    generation: u64,
    restarts: BTreeMap<&'static str, u64>,
    last_exit: Option<String>,
    died: Option<Instant>,
    ready_since: Option<Instant>,
    backoff_until: Option<Instant>,
    restart_time: Duration,
    zombies: u64,
    window_fill: usize,
}

impl Node {
    pub(crate) fn child(name: &Arc<str>, control: Option<Arc<dyn Control>>) -> Self {
        Self::new(name, control, false)
    }

    pub(crate) fn supervisor(name: &Arc<str>) -> Self {
        Self::new(name, None, true)
    }

    fn new(name: &Arc<str>, control: Option<Arc<dyn Control>>, supervisor: bool) -> Self {
        let state = NodeState {
            status: Status::Down,
            restart: "permanent",
            generation: 0,
            restarts: BTreeMap::new(),
            last_exit: None,
            died: None,
            ready_since: None,
            backoff_until: None,
            restart_time: Duration::ZERO,
            zombies: 0,
            window_fill: 0,
        };
        let name = Arc::clone(name);
        Self {
            inner: Arc::new(Inner {
                name,
                control,
                children: Mutex::default(),
                supervisor,
                state: Mutex::new(state),
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, NodeState> {
        self.inner
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn children(&self) -> MutexGuard<'_, BTreeMap<usize, Self>> {
        let children = &self.inner.children;
        children.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_children(&self, children: BTreeMap<usize, Self>) {
        *self.children() = children;
    }

    pub(crate) fn add_child(&self, place: usize, child: Self) {
        self.children().insert(place, child);
    }

    pub(crate) fn remove_child(&self, place: usize) {
        self.children().remove(&place);
    }

    /// The names of this node and of all below it.
    pub(crate) fn names(&self) -> Vec<Arc<str>> {
        let mut names = vec![Arc::clone(self.name())];
        let children = self.children();
        names.extend(children.values().flat_map(Self::names));
        names
    }

    pub(crate) fn name(&self) -> &Arc<str> {
        &self.inner.name
    }

    pub(crate) fn generation(&self) -> u64 {
        self.state().generation
    }

    pub(crate) fn set_restart(&self, restart: &'static str) {
        self.state().restart = restart;
    }

    pub(crate) fn set_status(&self, status: Status, generation: u64, now: Instant) {
        let mut state = self.state();
        if status == Status::Running && state.status != Status::Running {
            state.ready_since = Some(now);
            state.backoff_until = None;
            if let Some(died) = state.died.take() {
                state.restart_time += now.saturating_duration_since(died);
            }
        }
        state.status = status;
        state.generation = generation;
    }

    pub(crate) fn status(&self) -> Status {
        self.state().status
    }

    pub(crate) fn set_window_fill(&self, fill: usize) {
        self.state().window_fill = fill;
    }

    pub(crate) fn died(&self, reason: &ExitReason, restart_in: Option<Duration>, now: Instant) {
        let mut state = self.state();
        state.last_exit = Some(reason.to_string());
        state.ready_since = None;
        if let Some(delay) = restart_in {
            *state.restarts.entry(reason.cause()).or_default() += 1;
            state.died = Some(now);
            state.backoff_until = (!delay.is_zero()).then(|| now + delay);
        }
        if matches!(
            reason,
            ExitReason::Hung { .. } | ExitReason::Killed | ExitReason::StartTimeout { .. }
        ) {
            state.zombies += 1;
        }
    }

    /// Nothing will serve this node or anything below it again: what waits is answered.
    pub(crate) fn close(&self) {
        if let Some(control) = &self.inner.control {
            control.close();
        }
        self.children().values().for_each(Self::close);
    }

    fn find(&self, name: &str) -> Option<Self> {
        if &*self.inner.name == name {
            return Some(self.clone());
        }
        let children = self.children();
        children.values().find_map(|child| child.find(name))
    }

    pub(crate) fn view(&self, now: Instant) -> NodeView {
        let state = self.state();
        NodeView {
            name: self.inner.name.to_string(),
            kind: if self.inner.supervisor {
                "supervisor"
            } else {
                "worker"
            },
            restart: state.restart,
            state: state.status.as_str(),
            generation: state.generation,
            restarts: state.restarts.clone(),
            last_exit: state.last_exit.clone(),
            up_seconds: state
                .ready_since
                .map(|at| now.saturating_duration_since(at).as_secs_f64()),
            backoff_seconds: state.backoff_until.map_or(0.0, |until| {
                until.saturating_duration_since(now).as_secs_f64()
            }),
            restart_seconds_total: state.restart_time.as_secs_f64(),
            zombies: state.zombies,
            restarts_in_window: self.inner.supervisor.then_some(state.window_fill),
            slot: self.inner.control.as_ref().map(|control| control.view()),
            children: self.children().values().map(|c| c.view(now)).collect(),
        }
    }
}

/// The whole tree. Cheap to clone.
#[derive(Clone)]
pub struct Tree {
    root: Node,
    clock: Clock,
}

impl std::fmt::Debug for Tree {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tree({})", self.root.name())
    }
}

impl Tree {
    pub(crate) fn new(root: Node, clock: Clock) -> Self {
        Self { root, clock }
    }

    /// A moment of the whole tree.
    pub fn view(&self) -> NodeView {
        self.root.view(self.clock.now())
    }

    /// Lets the incarnation of the child `name` pass its idle [fault point](super::Faults), `"<name>.idle"`, from its own
    /// thread. False if there is no such child.
    pub fn probe(&self, name: &str) -> bool {
        let node = self.root.find(name);
        let control = node.as_ref().and_then(|node| node.inner.control.as_ref());
        if let Some(control) = control {
            control.signal(Signal::Probe);
        }
        control.is_some()
    }
}

/// A moment of one node.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NodeView {
    /// The child's name, unique in its tree.
    pub name: String,
    /// `supervisor` or `worker`.
    pub kind: &'static str,
    /// `permanent`, `transient` or `temporary`.
    pub restart: &'static str,
    /// `down`, `starting`, `running`, `stopping`, `backoff` or `ended`.
    pub state: &'static str,
    /// Which life this is.
    pub generation: u64,
    /// How often it was restarted, by the cause of the death before.
    pub restarts: BTreeMap<&'static str, u64>,
    /// Why the life before this one ended.
    pub last_exit: Option<String>,
    /// For how long it has been running.
    pub up_seconds: Option<f64>,
    /// How long its next start still waits.
    pub backoff_seconds: f64,
    /// The time from a death to the next readiness, added up.
    pub restart_seconds_total: f64,
    /// Lives that were left behind because they did not end.
    pub zombies: u64,
    /// How full a supervisor's intensity window is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restarts_in_window: Option<usize>,
    /// The queue, for a child that has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slot: Option<SlotView>,
    /// What it supervises, in start order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<NodeView>,
}

impl NodeView {
    /// All nodes, this one first.
    pub fn walk(&self) -> Vec<&Self> {
        let mut nodes = vec![self];
        let mut at = 0;
        while let Some(node) = nodes.get(at).copied() {
            nodes.extend(&node.children);
            at += 1;
        }
        nodes
    }

    /// Whether it and everything below it runs.
    pub fn running(&self) -> bool {
        self.state == "running" && self.children.iter().all(Self::running)
    }

    /// How often it was restarted in all.
    pub fn restarts_total(&self) -> u64 {
        self.restarts.values().sum()
    }
}
