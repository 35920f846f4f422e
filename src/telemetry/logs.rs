//! Sets up logging: text (or JSON) on stderr, and JSON in rotating files.

use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing_appender::rolling;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, fmt, reload};

use super::limiter::{Limit, Limiter};
use super::log_file::{LogFile, Reopen};
use super::output::{LogWriter, Output};
use super::rows::{MetricSource, Rows};
use super::switched::{Switched, Switches};
use crate::settings::LogSettings;

/// The error of setting up the log.
#[derive(Debug, thiserror::Error)]
pub enum LogsError {
    /// The level is neither a level nor a filter.
    #[error("logging.level {0:?} is not a filter; use error, warn, info, debug or trace")]
    Level(String, #[source] tracing_subscriber::filter::ParseError),
    /// The folder can't be made.
    #[error("cannot make the log folder {}; make it, and let this user write to it", .0.display())]
    Folder(PathBuf, #[source] io::Error),
    /// The folder can't be written to.
    #[error("cannot write log files into {}; make the folder and let this user write to it", .0.display())]
    File(PathBuf, #[source] rolling::InitError),
    /// A descriptor can't be copied.
    #[error("the system refused a copy of {0}; raise the limit of open files")]
    Descriptor(&'static str, #[source] io::Error),
    /// There is no thread to write the log.
    #[error("the system refused a thread for the log; raise the limit of threads")]
    Thread(#[source] io::Error),
    /// The subscriber of this process is gone.
    #[error("there is no log any more")]
    Gone(#[source] reload::Error),
    /// The process has a subscriber already.
    #[error("logging has been set up before in this process")]
    Twice(#[source] tracing_subscriber::util::TryInitError),
}

/// Logging that has been set up. Dropping it writes out what is buffered, but never waits long for a reader that is stuck.
#[derive(Debug)]
pub(crate) struct Logs {
    /// Changes the log from now on.
    pub control: LogControl,
}

/// Changes the log while the daemon runs, and tells what it counts.
#[derive(Debug, Clone)]
pub(crate) struct LogControl {
    filter: reload::Handle<EnvFilter, Registry>,
    silenced: String,
    switches: Arc<Switches>,
    reopen: Reopen,
    stderr: Arc<Output>,
    file: Arc<Output>,
    limiter: Arc<Limiter>,
}

impl LogControl {
    /// From now on, what `level` lets through; a filter is as good as a level.
    pub(crate) fn set_level(&self, level: &str) -> Result<(), LogsError> {
        let filter = filter(level, &self.silenced)?;
        self.filter.reload(filter).map_err(LogsError::Gone)
    }

    /// The next event goes to a file that is opened again by its name, for whoever has moved the old one away. False if
    /// events go to no file.
    pub(crate) fn reopen(&self) -> bool {
        self.reopen.ask();
        self.switches.file()
    }

    /// Looks whether the files that `new` asks for could be written, those of the access log included. Nothing is left there.
    pub(crate) fn try_out(old: &LogSettings, new: &LogSettings) -> Result<(), LogsError> {
        let file = new.file.as_ref().filter(|_| old.file != new.file);
        file.map_or(Ok(()), LogFile::try_out)
    }

    /// Opens the file that `new` asks for. `None` if events go on to where they go by `old`.
    pub(crate) fn prepare(
        &self,
        old: &LogSettings,
        new: &LogSettings,
    ) -> Result<Option<LogWriter>, LogsError> {
        let same = old.file == new.file;
        (!same).then(|| writer(new, &self.reopen)).transpose()
    }

    /// From now on, the format and the files of these settings; `writer` was prepared for them.
    pub(crate) fn set_outputs(&self, settings: &LogSettings, writer: Option<LogWriter>) {
        if settings.file.is_none() {
            // Before the file goes, so that no line is meant for it any more.
            self.switches.set(settings);
        }
        if let Some(writer) = writer {
            self.file.replace_writer(writer);
        }
        self.switches.set(settings);
    }

    fn outputs(&self) -> [&Arc<Output>; 2] {
        [&self.stderr, &self.file]
    }

    /// Waits until everything is written, but no longer than `patience` for each output.
    pub(super) fn flush(&self, patience: Duration) {
        for output in self.outputs() {
            output.flush(patience);
        }
    }
}

impl Logs {
    /// Sets up the process's subscriber: a program's business, once, early. `silenced` is a filter for what libraries say
    /// too loudly.
    pub(crate) fn install(settings: &LogSettings, silenced: &str) -> Result<Self, LogsError> {
        let (filter, handle) = reload::Layer::new(filter(&settings.level, silenced)?);
        let limiter = Arc::<Limiter>::default();
        let start = |name, writer| {
            let limiter = Arc::clone(&limiter);
            Output::start(name, writer, move || limiter.tell(Instant::now()))
        };
        let reopen = Reopen::default();
        let stderr = start("stderr", LogWriter::new(copy("stderr", io::stderr())?))?;
        let file = start("file", writer(settings, &reopen)?)?;
        let switches = Arc::<Switches>::default();
        switches.set(settings);
        let text = fmt::layer()
            .with_writer(Arc::clone(&stderr))
            .with_target(false)
            .with_ansi(io::stderr().is_terminal());
        let installed = tracing_subscriber::registry()
            .with(filter)
            .with(Limit(Arc::clone(&limiter)))
            .with(Switched {
                layer: text,
                switches: Arc::clone(&switches),
                on: |switches| !switches.json(),
            })
            .with(json(&stderr, &switches, Switches::json))
            .with(json(&file, &switches, Switches::file))
            .try_init();
        installed.map_err(LogsError::Twice)?;
        let control = LogControl {
            filter: handle,
            silenced: silenced.to_owned(),
            switches,
            reopen,
            stderr,
            file,
            limiter,
        };
        Ok(Self { control })
    }
}

impl Drop for Logs {
    fn drop(&mut self) {
        self.control.limiter.tell_rest();
        for output in self.control.outputs() {
            output.close();
        }
    }
}

/// Makes a filter of a level or a list of directives. A level is meant for our own events; libraries tell errors only, or
/// nothing if `silenced` says so, unless a directive names them: their events can be caused by clients without a limit.
fn filter(level: &str, silenced: &str) -> Result<EnvFilter, LogsError> {
    let directives = level.split(',').map(|part| {
        let ours = part.trim().parse::<LevelFilter>().is_ok();
        format!(",{}{}", if ours { "perennial=" } else { "" }, part.trim())
    });
    let directives: String = directives.collect();
    let filter = EnvFilter::try_new(format!("error,{silenced}{directives}"));
    filter.map_err(|source| LogsError::Level(level.to_owned(), source))
}

/// Writes events as lines of JSON into `output` while it is `on`.
fn json<S>(
    output: &Arc<Output>,
    switches: &Arc<Switches>,
    on: fn(&Switches) -> bool,
) -> impl Layer<S> + Send + Sync
where
    S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
{
    let layer = fmt::layer().with_writer(Arc::clone(output));
    Switched {
        layer: layer.json().flatten_event(true),
        switches: Arc::clone(switches),
        on,
    }
}

/// The log file of these settings. Without one, nothing is written.
fn writer(settings: &LogSettings, reopen: &Reopen) -> Result<LogWriter, LogsError> {
    Ok(match &settings.file {
        Some(file) => LogWriter::new(LogFile::open(file, "perennial", reopen.clone())?),
        None => LogWriter::new(io::sink()),
    })
}

/// Standard output or standard error without the lock that other threads might wait for.
pub(super) fn copy(name: &'static str, descriptor: impl AsFd) -> Result<File, LogsError> {
    let copied = descriptor.as_fd().try_clone_to_owned();
    let failed = |source| LogsError::Descriptor(name, source);
    copied.map(File::from).map_err(failed)
}

impl MetricSource for LogControl {
    fn write(&self, rows: &mut Rows<'_>) {
        let each = |value: fn(&Output) -> u64| {
            let files = self.switches.file();
            let outputs = self.outputs().into_iter().take(1 + usize::from(files));
            outputs.map(move |output| ([("output", output.name)], value(output)))
        };
        rows.counters(
            "perennial_log_lines",
            "Lines of the log",
            each(|output| output.lines.get()),
        );
        rows.counters(
            "perennial_log_lines_dropped",
            "Lines of the log that were lost: the output was too slow, or could not be written",
            each(|output| output.dropped.get()),
        );
        rows.gauges(
            "perennial_log_failing",
            "1 while the output can't be written",
            each(|output| u64::from(output.failing())),
        );
        rows.metric(
            "perennial_log_lines_limited",
            "Lines left out because their place in the code logged too many, or the same again, within a second",
            &self.limiter.left_out,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_meant_for_our_own_events_and_a_directive_for_what_it_names() {
        for (level, expected) in [
            ("info", "h2=off,perennial=info,error"),
            ("debug,h2=trace", "h2=trace,perennial=debug,error"),
        ] {
            let filter = filter(level, "h2=off").unwrap().to_string();
            let mut parts: Vec<_> = filter.split(',').collect();
            let mut wanted: Vec<_> = expected.split(',').collect();
            parts.sort_unstable();
            wanted.sort_unstable();
            assert_eq!(parts, wanted);
        }
        assert!(filter("a=b=c", "h2=off").is_err());
    }
}
