//! Where the lines of the access log go: by blocks, through an [`Output`], so that no request waits for a disk.

use std::io;
use std::sync::Arc;

use super::log_file::{LogFile, Reopen};
use super::logs::{LogsError, copy};
use super::output::Output;
use super::rows::{MetricSource, Rows};
use crate::settings::LogSettings;

/// Takes lines of the access log, and counts them for `/metrics`.
#[derive(Debug, Clone)]
pub(crate) struct AccessSink {
    output: Arc<Output>,
}

/// Keeps the access log open. Dropping it writes out what is left.
#[derive(Debug)]
pub(crate) struct AccessGuard {
    output: Arc<Output>,
    /// Asks for its file to be opened again, where it goes to one.
    pub reopen: Option<Reopen>,
}

impl Drop for AccessGuard {
    fn drop(&mut self) {
        self.output.close();
    }
}

impl AccessSink {
    /// The access log that the settings ask for: in files beside the log's, or on stdout where there are none. `None` if
    /// they ask for none.
    pub(crate) fn open(settings: &LogSettings) -> Result<Option<(Self, AccessGuard)>, LogsError> {
        if !settings.access {
            return Ok(None);
        }
        let (output, reopen) = if let Some(file) = &settings.file {
            let writer = LogFile::open(file, "access")?;
            let reopen = writer.reopen.clone();
            (Output::start("access", writer, || {})?, Some(reopen))
        } else {
            (
                Output::start("access", copy("stdout", io::stdout())?, || {})?,
                None,
            )
        };
        let sink = Self {
            output: Arc::clone(&output),
        };
        Ok(Some((sink, AccessGuard { output, reopen })))
    }

    /// Hands over a block of so many whole lines. Never waits for the disk.
    pub(crate) fn write(&self, block: &[u8], lines: u64) {
        self.output.push(block, lines);
    }
}

impl MetricSource for AccessSink {
    fn write(&self, rows: &mut Rows<'_>) {
        rows.metric(
            "perennial_access_log_lines",
            "Lines of the access log",
            &self.output.lines,
        );
        rows.metric(
            "perennial_access_log_lines_dropped",
            "Lines of the access log that were lost: the disk is too slow, or refused them",
            &self.output.dropped,
        );
    }
}
