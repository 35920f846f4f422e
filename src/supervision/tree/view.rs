//! Snapshots of the tree, as `/supervisor` and the metrics show them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::supervision::slot::SlotView;

/// A snapshot of one node of the tree, with everything below it. Read from JSON, what is left out is empty.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeView {
    /// The child's name, unique in its tree.
    pub name: String,
    /// `supervisor` or `worker`.
    pub kind: Cow<'static, str>,
    /// `permanent`, `transient` or `temporary`.
    pub restart: Cow<'static, str>,
    /// `down`, `starting`, `running`, `stopping`, `backoff` or `ended`.
    pub state: Cow<'static, str>,
    /// The change that made it a part of the running tree, or is removing it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub change: Option<TreeChange>,
    /// The number of its present or last incarnation; the first one is 1.
    pub generation: u64,
    /// The number of its restarts, by the [cause](crate::supervision::ExitReason::cause) of the death before.
    pub restarts: BTreeMap<Cow<'static, str>, u64>,
    /// The exit reason of its last incarnation that ended.
    pub last_exit: Option<String>,
    /// The time of that exit: UTC, in RFC 3339.
    pub last_exit_at: Option<String>,
    /// Its last exits, the oldest first; a bounded number of them.
    pub exits: Vec<ExitView>,
    /// The time since it is running.
    pub up_seconds: Option<f64>,
    /// The time until it is started again.
    pub backoff_seconds: f64,
    /// The time from a death until the child was ready again, summed over all restarts.
    pub restart_seconds_total: f64,
    /// The restart times, counted by length.
    #[serde(skip)]
    pub restart_times: RestartTimes,
    /// Incarnations that were left behind because they did not end.
    pub zombies: u64,
    /// The number of restarts within a supervisor's intensity window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restarts_in_window: Option<usize>,
    /// The child's slot; a supervisor has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slot: Option<SlotView>,
    /// The children of a supervisor, in start order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<NodeView>,
}

impl NodeView {
    /// This node and all below it, this one first.
    pub fn walk(&self) -> Vec<&Self> {
        let mut nodes = vec![self];
        let mut at = 0;
        while let Some(node) = nodes.get(at).copied() {
            nodes.extend(&node.children);
            at += 1;
        }
        nodes
    }

    /// Whether this node and all below it are running.
    pub fn running(&self) -> bool {
        self.state == "running" && self.children.iter().all(Self::running)
    }

    /// Whether nothing depends on it yet, or any more: it was added a moment ago and has not been ready, or is being removed.
    pub fn in_passing(&self) -> bool {
        match self.change {
            Some(TreeChange::Added) => self.generation <= 1 && self.state != "running",
            Some(TreeChange::Removed) => true,
            None => false,
        }
    }

    /// The number of its restarts, for any cause.
    pub fn restarts_total(&self) -> u64 {
        self.restarts.values().sum()
    }
}

/// A change of the running tree, as an order wanted it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TreeChange {
    /// The child was not there at the start.
    Added,
    /// The child stops, and then is gone.
    Removed,
}

impl TreeChange {
    /// The word for it in views.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Removed => "being removed",
        }
    }
}

/// One exit of a child.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExitView {
    /// The time of the exit: UTC, in RFC 3339.
    pub at: String,
    /// The incarnation that ended.
    pub generation: u64,
    /// The [cause](crate::supervision::ExitReason::cause), in one word.
    pub cause: Cow<'static, str>,
    /// The reason in full.
    pub reason: String,
    /// The time by which its restart was delayed; `None` if this exit led to no restart of its own.
    pub restart_delay_seconds: Option<f64>,
}

/// The durations of a child's restarts, from the death until the child was ready again: a histogram.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct RestartTimes {
    sum: Duration,
    /// One count for each limit, and one for what took longer.
    counts: [u64; Self::LIMITS.len() + 1],
}

impl RestartTimes {
    /// The upper limits of the buckets, in seconds.
    pub const LIMITS: [f64; 9] = [0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 30.0, 120.0];

    pub(crate) fn observe(&mut self, time: Duration) {
        self.sum += time;
        let bucket = Self::LIMITS.partition_point(|limit| *limit < time.as_secs_f64());
        if let Some(count) = self.counts.get_mut(bucket) {
            *count += 1;
        }
    }

    /// The sum of all times, in seconds.
    pub fn sum(&self) -> f64 {
        self.sum.as_secs_f64()
    }

    /// Each bucket's upper limit, and how many times are in it and in no lower bucket.
    pub fn buckets(&self) -> Vec<(f64, u64)> {
        let limits = Self::LIMITS.into_iter().chain([f64::INFINITY]);
        limits.zip(self.counts).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_counted_in_the_first_bucket_whose_limit_it_does_not_pass() {
        let mut times = RestartTimes::default();
        for ms in [0, 1, 2, 500, 501, 200_000] {
            times.observe(Duration::from_millis(ms));
        }
        let counts: Vec<_> = times.buckets().into_iter().map(|(_, n)| n).collect();
        assert_eq!(counts, [2, 1, 0, 0, 1, 1, 0, 0, 0, 1]);
        assert_eq!(times.sum, Duration::from_millis(201_004));
    }
}
