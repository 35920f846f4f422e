//! A node of the tree: its supervisor writes it, everybody reads it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::view::{ExitView, NodeView, TreeChange};
use crate::supervision::exit_reason::ExitReason;
use crate::supervision::rules::Status;
use crate::supervision::slot::{Control, Signal};
use crate::supervision::strategy::Restart;

/// The number of exits that are kept for each child.
const EXITS_MAX: usize = 8;

/// One child or supervisor of the tree.
pub(crate) struct Node {
    pub(crate) name: Arc<str>,
    /// The child's slot; a supervisor has none.
    control: Option<Arc<dyn Control>>,
    /// By position in the start order.
    pub(crate) children: Mutex<BTreeMap<usize, Arc<Node>>>,
    state: Mutex<NodeState>,
}

#[derive(Default)]
struct NodeState {
    status: Status,
    /// The parts of its view that do not depend on the time, on its slot or on other nodes.
    shown: NodeView,
    /// The time of its first failure since it was ready.
    died: Option<Instant>,
    ready_since: Option<Instant>,
    backoff_until: Option<Instant>,
}

impl Node {
    /// The node of a child, with the slot that it has, or of a supervisor.
    pub(crate) fn new(name: Arc<str>, control: Option<Arc<dyn Control>>) -> Arc<Self> {
        let supervisor = control.is_none();
        let shown = NodeView {
            name: name.to_string(),
            kind: if supervisor { "supervisor" } else { "worker" }.into(),
            restart: Restart::default().as_str().into(),
            restarts_in_window: supervisor.then_some(0),
            ..NodeView::default()
        };
        let state = NodeState {
            shown,
            ..NodeState::default()
        };
        Arc::new(Self {
            name,
            control,
            children: Mutex::default(),
            state: Mutex::new(state),
        })
    }

    /// The names of this node and of all below it.
    pub(crate) fn names(&self) -> Vec<Arc<str>> {
        let mut names = vec![Arc::clone(&self.name)];
        let children = self.children.lock();
        names.extend(children.values().flat_map(|child| child.names()));
        names
    }

    /// The status, and the number of the present or last incarnation.
    pub(crate) fn status(&self) -> (Status, u64) {
        let state = self.state.lock();
        (state.status, state.shown.generation)
    }

    pub(crate) fn set_restart(&self, restart: Restart) {
        self.state.lock().shown.restart = restart.as_str().into();
    }

    pub(crate) fn set_status(&self, status: Status, generation: u64, now: Instant) {
        let mut state = self.state.lock();
        if status == Status::Running && state.status != Status::Running {
            state.ready_since = Some(now);
            state.backoff_until = None;
            if let Some(died) = state.died.take() {
                let time = now.saturating_duration_since(died);
                state.shown.restart_times.observe(time);
            }
        }
        if status == Status::Ended {
            state.died = None;
        }
        state.status = status;
        state.shown.generation = generation;
    }

    /// Notes that the child comes to or goes from a tree that runs.
    pub(crate) fn set_change(&self, change: TreeChange) {
        self.state.lock().shown.change = Some(change);
    }

    /// Whether it is being removed.
    pub(crate) fn is_leaving(&self) -> bool {
        self.state.lock().shown.change == Some(TreeChange::Removed)
    }

    pub(crate) fn set_window_fill(&self, fill: usize) {
        self.state.lock().shown.restarts_in_window = Some(fill);
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
        let state = &mut *self.state.lock();
        let shown = &mut state.shown;
        if shown.exits.len() == EXITS_MAX {
            shown.exits.remove(0);
        }
        let exit = ExitView {
            at: humantime::format_rfc3339_millis(at).to_string(),
            generation,
            cause: reason.cause().into(),
            reason: reason.to_string(),
            restart_delay_seconds: restart_in.map(|delay| delay.as_secs_f64()),
        };
        shown.last_exit = Some(exit.reason.clone());
        shown.last_exit_at = Some(exit.at.clone());
        shown.exits.push(exit);
        state.ready_since = None;
        if let Some(delay) = restart_in {
            *shown.restarts.entry(reason.cause().into()).or_default() += 1;
            state.died.get_or_insert(now);
            state.backoff_until = (!delay.is_zero()).then(|| now + delay);
        }
    }

    /// Notes that an incarnation was fenced and did not end, so that it is left behind with its thread.
    pub(crate) fn left_behind(&self) {
        self.state.lock().shown.zombies += 1;
    }

    /// Closes the slots of this node and of all below it: what waits in them is answered.
    pub(crate) fn close(&self) {
        if let Some(control) = &self.control {
            control.close();
        }
        let children = self.children.lock();
        children.values().for_each(|child| child.close());
    }

    /// Probes the child `name`, at or below this node. Returns false if there is no such child.
    pub(crate) fn probe(&self, name: &str) -> bool {
        let control = self.control.as_ref().filter(|_| *self.name == *name);
        if let Some(control) = control {
            control.signal(Signal::Probe);
        }
        control.is_some() || self.children.lock().values().any(|child| child.probe(name))
    }

    /// Snapshots of the nodes directly below this one, in start order.
    pub(crate) fn views(&self, now: Instant) -> Vec<NodeView> {
        let children = self.children.lock();
        children.values().map(|child| child.view(now)).collect()
    }

    pub(crate) fn view(&self, now: Instant) -> NodeView {
        let state = self.state.lock();
        let up = state.ready_since;
        let up = up.map(|since| now.saturating_duration_since(since));
        let until_start = state.backoff_until;
        let until_start = until_start.map(|until| until.saturating_duration_since(now));
        NodeView {
            state: state.status.as_str().into(),
            up_seconds: up.map(|up| up.as_secs_f64()),
            backoff_seconds: until_start.unwrap_or_default().as_secs_f64(),
            restart_seconds_total: state.shown.restart_times.sum(),
            slot: self.control.as_ref().map(|control| control.view()),
            children: self.views(now),
            ..state.shown.clone()
        }
    }
}
