//! Writes the lines of the access log in blocks through an [`Output`], so that no request waits for a disk.

use std::io;
use std::sync::Arc;

use super::log_file::{LogFile, Reopen};
use super::logs::{LogsError, copy};
use super::output::{LogWriter, Output};
use super::rows::{MetricSource, Rows};
use crate::settings::LogSettings;

/// Takes lines of the access log, and counts them for `/metrics`.
#[derive(Debug, Clone)]
pub(crate) struct AccessSink {
    output: Arc<Output>,
    /// Asks for its file to be opened again, where it goes to one.
    reopen: Reopen,
}

/// Keeps the access log open. Dropping it writes out what is left.
#[derive(Debug)]
pub(crate) struct AccessGuard {
    output: Arc<Output>,
    /// Asks for its file to be opened again, where it goes to one.
    pub reopen: Reopen,
}

impl Drop for AccessGuard {
    fn drop(&mut self) {
        self.output.close();
    }
}

impl AccessSink {
    /// The access log that the settings ask for: in files beside the log's, or on stdout where there are none. If they ask
    /// for none, nobody should write lines, and no file is kept open.
    pub(crate) fn open(settings: &LogSettings) -> Result<(Self, AccessGuard), LogsError> {
        let reopen = Reopen::default();
        let output = Output::start("access", writer(settings, &reopen)?, || {})?;
        let guard = AccessGuard {
            output: Arc::clone(&output),
            reopen: reopen.clone(),
        };
        Ok((Self { output, reopen }, guard))
    }

    /// Opens what `new` asks for. `None` if lines go on to where they go by `old`.
    pub(crate) fn prepare(
        &self,
        old: &LogSettings,
        new: &LogSettings,
    ) -> Result<Option<LogWriter>, LogsError> {
        let same = old.access == new.access && old.file == new.file;
        (!same).then(|| writer(new, &self.reopen)).transpose()
    }

    /// Lines that are handed over from now on go to `writer`.
    pub(crate) fn replace_writer(&self, writer: LogWriter) {
        self.output.replace_writer(writer);
    }

    /// Hands over a block of so many whole lines. Never waits for the disk.
    pub(crate) fn write(&self, block: &[u8], lines: u64) {
        self.output.push(block, lines);
    }
}

fn writer(settings: &LogSettings, reopen: &Reopen) -> Result<LogWriter, LogsError> {
    let reopen = reopen.clone();
    Ok(match &settings.file {
        Some(file) if settings.access => LogWriter::new(LogFile::open(file, "access", reopen)?),
        // A request in flight while the log was switched off may still have a line.
        Some(file) => LogWriter::new(LogFile::resting(file, "access", reopen)),
        None => LogWriter::new(copy("stdout", io::stdout())?),
    })
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
