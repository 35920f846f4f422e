//! The metrics of the listeners.

use crate::telemetry::{Counter, MetricSource, Rows, metrics};

metrics! {
    /// The counters of listeners; a clone counts into the same ones.
    #[derive(Clone)]
    pub(crate) struct ListenerCounters {
        accepted: Counter = "perennial_listener_accepted", "Connections accepted";
        full: Counter = "perennial_listener_full", "Times accepting stopped at server.max_connections";
        refused: Counter = "perennial_listener_refused", "Times no handler took a connection, which then waited";
        failed: Counter = "perennial_listener_failed",
            "Times the system refused to accept, for want of descriptors or memory";
        over_peer_limit: Counter = "perennial_http_connections_over_peer_limit",
            "Connections closed at once because their peer was at server.max_connections_per_peer";
        gave_way: Counter = "perennial_http_connections_gave_way",
            "Connections without a whole request or handshake closed for newer ones at server.max_connections or server.max_connections_per_peer";
    }
}

/// All that listeners count.
#[derive(Debug, Default)]
pub(crate) struct ListenerMetrics {
    /// The counters that all public listeners share.
    pub public: ListenerCounters,
    /// Those of the admin listener.
    pub admin: ListenerCounters,
}

impl MetricSource for ListenerMetrics {
    fn write(&self, rows: &mut Rows<'_>) {
        self.public.write(rows);
        rows.metric(
            "perennial_admin_connections_closed",
            "Connections of the admin listener closed to make room for newer ones",
            &self.admin.gave_way,
        );
    }
}
