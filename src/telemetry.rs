//! What the daemon says about itself: events to stderr and files, numbers to `/metrics`.

mod logs;
mod metrics;

pub use logs::{Logs, LogsError};
pub use metrics::Metrics;
