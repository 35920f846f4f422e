//! The part of a reload that changes the logs: their format, their files, and where the access log goes. Whether a request has a
//! line there is a matter of its edition.

use crate::admin::NotReloaded;
use crate::app::errors::with_causes;
use crate::settings::LogSettings;
use crate::telemetry::{AccessSink, LogControl, LogWriter, LogsError};

/// The files that were opened for new settings; none for what goes on as it was.
#[derive(Debug, Default)]
pub(super) struct OpenedLogs {
    log: Option<LogWriter>,
    access: Option<LogWriter>,
}

/// Refuses a folder in which no log could be written. Nothing is left there.
pub(super) fn try_out(old: &LogSettings, new: &LogSettings) -> Result<(), NotReloaded> {
    LogControl::try_out(old, new).map_err(refused)
}

/// Opens what is new.
pub(super) fn prepare(
    (log, access): (&LogControl, &AccessSink),
    old: &LogSettings,
    new: &LogSettings,
) -> Result<OpenedLogs, NotReloaded> {
    Ok(OpenedLogs {
        log: log.prepare(old, new).map_err(refused)?,
        access: access.prepare(old, new).map_err(refused)?,
    })
}

fn refused(error: LogsError) -> NotReloaded {
    NotReloaded::Unusable(vec![format!("logging.file.dir: {}", with_causes(&error))])
}

/// Has the logs follow the settings. What was opened is taken, so that doing it again changes nothing.
pub(super) fn finish(
    (log, access): (&LogControl, &AccessSink),
    settings: &LogSettings,
    opened: OpenedLogs,
) {
    log.set_outputs(settings, opened.log);
    if let Some(writer) = opened.access {
        access.replace_writer(writer);
    }
}
