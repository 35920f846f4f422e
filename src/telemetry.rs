//! What the daemon says about itself: events to stderr and files, numbers to `/metrics`.

mod exposition;
mod logs;
mod metrics;
mod reopening;

pub use exposition::Exposition;
pub use logs::{LogControl, Logs, LogsError};
pub use metrics::Metrics;
