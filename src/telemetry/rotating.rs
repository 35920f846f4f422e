//! Log files that are replaced by new ones now and then, of which a limited number is kept.

use std::io::Write;

use tracing_appender::rolling::{RollingFileAppender, Rotation as Rolled};

use super::logs::LogsError;
use super::reopening::{Reopen, Reopening};
use crate::settings::{LogFileSettings, Rotation};

/// Opens a file in the folder of the log, which is made if it is missing; the names of its files begin with `prefix`.
pub(super) fn rotating(
    file: &LogFileSettings,
    prefix: &'static str,
) -> Result<(impl Write + Send + use<>, Reopen), LogsError> {
    std::fs::create_dir_all(&file.dir).map_err(|source| LogsError::Folder {
        dir: file.dir.clone(),
        source,
    })?;
    let settings = file.clone();
    let open = move || {
        let rotation = match settings.rotate {
            Rotation::Minutely => Rolled::MINUTELY,
            Rotation::Hourly => Rolled::HOURLY,
            Rotation::Daily => Rolled::DAILY,
            Rotation::Never => Rolled::NEVER,
        };
        RollingFileAppender::builder()
            .rotation(rotation)
            .filename_prefix(prefix)
            .filename_suffix("json")
            .max_log_files(settings.keep.get())
            .build(&settings.dir)
    };
    Reopening::new(open).map_err(|source| LogsError::File {
        dir: file.dir.clone(),
        source,
    })
}
