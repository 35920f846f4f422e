//! Files that are begun anew now and then, of which so many are kept.

use tracing_appender::rolling::{InitError, RollingFileAppender, Rotation as Rolled};

use crate::settings::{LogFileSettings, Rotation};

/// Files in the folder of the log, whose names begin with `prefix`.
pub(super) fn rotating(
    file: &LogFileSettings,
    prefix: &str,
) -> Result<RollingFileAppender, InitError> {
    let rotation = match file.rotate {
        Rotation::Minutely => Rolled::MINUTELY,
        Rotation::Hourly => Rolled::HOURLY,
        Rotation::Daily => Rolled::DAILY,
        Rotation::Never => Rolled::NEVER,
    };
    RollingFileAppender::builder()
        .rotation(rotation)
        .filename_prefix(prefix)
        .filename_suffix("json")
        .max_log_files(file.keep.get())
        .build(&file.dir)
}
