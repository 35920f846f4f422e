//! The metrics of the listeners.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::state::{ListenerCounters, ListenerState};
use crate::telemetry::{MetricSource, Rows};

/// The counters of all public listeners, and of the connections of the admin listener.
#[derive(Debug)]
pub(crate) struct ListenerMetrics {
    /// The public listeners.
    pub listeners: Vec<Arc<ListenerState>>,
    /// The admin listener.
    pub admin: Arc<ListenerState>,
}

type Row = (
    &'static str,
    &'static str,
    fn(&ListenerCounters) -> &AtomicU64,
);

const ROWS: [Row; 4] = [
    (
        "perennial_listener_accepted",
        "Connections accepted",
        |counters| &counters.accepted,
    ),
    (
        "perennial_listener_full",
        "Times accepting stopped at server.max_connections",
        |counters| &counters.full,
    ),
    (
        "perennial_listener_refused",
        "Times no handler took a connection, which then waited",
        |counters| &counters.refused,
    ),
    (
        "perennial_listener_failed",
        "Times the system refused to accept, for want of descriptors or memory",
        |counters| &counters.failed,
    ),
];

impl MetricSource for ListenerMetrics {
    fn write(&self, rows: &mut Rows<'_>) {
        for (name, help, counter) in ROWS {
            let listeners = self.listeners.iter();
            let sum: u64 = listeners
                .map(|state| counter(&state.counters).load(Ordering::Relaxed))
                .sum();
            rows.counter(name, help, sum);
        }
        let closed = |state: &ListenerState| -> u64 {
            let targets = state.targets.iter();
            targets.map(|target| target.load.closed()).sum()
        };
        rows.counter(
            "perennial_admin_connections_closed",
            "Connections of the admin listener closed to make room for newer ones",
            closed(&self.admin),
        );
        // All public listeners have the same handlers.
        rows.counter(
            "perennial_http_connections_gave_way",
            "Idle connections closed for newer ones at server.max_connections",
            self.listeners.first().map_or(0, |state| closed(state)),
        );
    }
}
