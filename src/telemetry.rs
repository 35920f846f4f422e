//! What the daemon says about itself: events to stderr and files, numbers to `/metrics`.

mod access_sink;
mod exposition;
mod logs;
mod metrics;
mod reopening;
mod rotating;

pub use access_sink::{AccessGuard, AccessMetrics, AccessSink};
pub use exposition::Exposition;
pub use logs::{LogControl, Logs, LogsError};
pub use metrics::Metrics;
pub use reopening::Reopen;
