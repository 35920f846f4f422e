//! Logs and metrics: events go to stderr and files, numbers to `/metrics`.

mod access_sink;
mod exposition;
mod limiter;
mod log_file;
mod logs;
mod metrics;
mod output;
mod panics;
mod process;
mod readable;
mod rows;
mod switched;

pub(crate) use access_sink::{AccessGuard, AccessSink};
pub(crate) use exposition::Exposition;
pub(crate) use limiter::OUTCOME;
pub(crate) use log_file::Reopen;
pub(crate) use logs::{LogControl, Logs, LogsError};
pub(crate) use metrics::{Counter, Metrics};
pub(crate) use output::LogWriter;
pub(crate) use panics::log_panics;
pub(crate) use readable::push_readable;
#[cfg(test)]
pub(crate) use rows::tests::exposed;
pub(crate) use rows::{Histogram, MetricSource, Rows, metrics};
