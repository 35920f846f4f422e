//! A node of the tree: its supervisor writes it, everybody reads it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::view::{ExitView, NodeView, RestartTimes};
use crate::supervision::exit_reason::ExitReason;
use crate::supervision::rules::Status;
use crate::supervision::slot::Control;

/// The number of exits that are kept for each child.
const EXITS_MAX: usize = 8;

/// One child or supervisor of the tree.
#[derive(Clone)]
pub(crate) struct Node {
    inner: Arc<NodeInner>,
}

struct NodeInner {
    name: Arc<str>,
    /// The child's slot; a supervisor has none.
    control: Option<Arc<dyn Control>>,
    /// By position in the start order.
    children: Mutex<BTreeMap<usize, Node>>,
    state: Mutex<NodeState>,
}

struct NodeState {
    status: Status,
    restart: &'static str,
    generation: u64,
    restarts: BTreeMap<&'static str, u64>,
    exits: VecDeque<ExitView>,
    /// The time of its first failure since it was ready.
    died: Option<Instant>,
    ready_since: Option<Instant>,
    backoff_until: Option<Instant>,
    restart_times: RestartTimes,
    zombies: u64,
    window_fill: usize,
}

impl Node {
    pub(crate) fn child(name: &Arc<str>, control: Arc<dyn Control>) -> Self {
        Self::new(name, Some(control))
    }

    pub(crate) fn supervisor(name: &Arc<str>) -> Self {
        Self::new(name, None)
    }

    fn new(name: &Arc<str>, control: Option<Arc<dyn Control>>) -> Self {
        let state = NodeState {
            status: Status::Down,
            restart: "permanent",
            generation: 0,
            restarts: BTreeMap::new(),
            exits: VecDeque::new(),
            died: None,
            ready_since: None,
            backoff_until: None,
            restart_times: RestartTimes::default(),
            zombies: 0,
            window_fill: 0,
        };
        Self {
            inner: Arc::new(NodeInner {
                name: Arc::clone(name),
                control,
                children: Mutex::default(),
                state: Mutex::new(state),
            }),
        }
    }

    pub(crate) fn set_children(&self, children: BTreeMap<usize, Self>) {
        *self.inner.children.lock() = children;
    }

    pub(crate) fn add_child(&self, position: usize, child: Self) {
        self.inner.children.lock().insert(position, child);
    }

    pub(crate) fn remove_child(&self, position: usize) {
        self.inner.children.lock().remove(&position);
    }

    /// The names of this node and of all below it.
    pub(crate) fn names(&self) -> Vec<Arc<str>> {
        let mut names = vec![Arc::clone(self.name())];
        names.extend(self.inner.children.lock().values().flat_map(Self::names));
        names
    }

    pub(crate) fn name(&self) -> &Arc<str> {
        &self.inner.name
    }

    pub(crate) fn control(&self) -> Option<&Arc<dyn Control>> {
        self.inner.control.as_ref()
    }

    pub(crate) fn generation(&self) -> u64 {
        self.inner.state.lock().generation
    }

    pub(crate) fn status(&self) -> Status {
        self.inner.state.lock().status
    }

    pub(crate) fn set_restart(&self, restart: &'static str) {
        self.inner.state.lock().restart = restart;
    }

    pub(crate) fn set_status(&self, status: Status, generation: u64, now: Instant) {
        let mut state = self.inner.state.lock();
        if status == Status::Running && state.status != Status::Running {
            state.ready_since = Some(now);
            state.backoff_until = None;
            if let Some(died) = state.died.take() {
                let time = now.saturating_duration_since(died);
                state.restart_times.observe(time);
            }
        }
        if status == Status::Ended {
            state.died = None;
        }
        state.status = status;
        state.generation = generation;
    }

    pub(crate) fn set_window_fill(&self, fill: usize) {
        self.inner.state.lock().window_fill = fill;
    }

    /// Records an exit. `restart_in` is the delay of the restart, if there is one; `at` is the time of day.
    pub(crate) fn exited(
        &self,
        generation: u64,
        reason: &ExitReason,
        restart_in: Option<Duration>,
        now: Instant,
        at: SystemTime,
    ) {
        let mut state = self.inner.state.lock();
        if state.exits.len() == EXITS_MAX {
            state.exits.pop_front();
        }
        state.exits.push_back(ExitView {
            at: humantime::format_rfc3339_millis(at).to_string(),
            generation,
            cause: reason.cause(),
            reason: reason.to_string(),
            restart_delay_seconds: restart_in.map(|delay| delay.as_secs_f64()),
        });
        state.ready_since = None;
        if let Some(delay) = restart_in {
            *state.restarts.entry(reason.cause()).or_default() += 1;
            state.died.get_or_insert(now);
            state.backoff_until = (!delay.is_zero()).then(|| now + delay);
        }
        if matches!(
            reason,
            ExitReason::Hung { .. } | ExitReason::Killed | ExitReason::StartTimeout { .. }
        ) {
            state.zombies += 1;
        }
    }

    /// Closes the slots of this node and of all below it: what waits in them is answered.
    pub(crate) fn close(&self) {
        if let Some(control) = &self.inner.control {
            control.close();
        }
        self.inner.children.lock().values().for_each(Self::close);
    }

    pub(crate) fn find(&self, name: &str) -> Option<Self> {
        if &*self.inner.name == name {
            return Some(self.clone());
        }
        let children = self.inner.children.lock();
        children.values().find_map(|child| child.find(name))
    }

    /// The nodes directly below this one, in start order.
    pub(crate) fn children(&self, now: Instant) -> Vec<NodeView> {
        let children = self.inner.children.lock();
        children.values().map(|child| child.view(now)).collect()
    }

    pub(crate) fn view(&self, now: Instant) -> NodeView {
        let state = self.inner.state.lock();
        let supervisor = self.inner.control.is_none();
        let last_exit = state.exits.back();
        let until_start = state
            .backoff_until
            .map(|until| until.saturating_duration_since(now));
        NodeView {
            name: self.inner.name.to_string(),
            kind: if supervisor { "supervisor" } else { "worker" },
            restart: state.restart,
            state: state.status.as_str(),
            generation: state.generation,
            restarts: state.restarts.clone(),
            last_exit: last_exit.map(|exit| exit.reason.clone()),
            last_exit_at: last_exit.map(|exit| exit.at.clone()),
            exits: state.exits.iter().cloned().collect(),
            up_seconds: state
                .ready_since
                .map(|at| now.saturating_duration_since(at).as_secs_f64()),
            backoff_seconds: until_start.unwrap_or_default().as_secs_f64(),
            restart_seconds_total: state.restart_times.sum(),
            restart_times: state.restart_times,
            zombies: state.zombies,
            restarts_in_window: supervisor.then_some(state.window_fill),
            slot: self.inner.control.as_ref().map(|control| control.view()),
            children: self.children(now),
        }
    }
}
