//! Where events go: text for people (or JSON) on stderr, and JSON in rotating files.

use std::io::IsTerminal;
use std::path::PathBuf;

use tracing_appender::non_blocking::{NonBlocking, WorkerGuard};
use tracing_appender::rolling;
use tracing_subscriber::layer::{Layer, Layered, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, fmt, reload};

use super::reopening::{Reopen, Reopening};
use super::rotating::rotating;
use crate::settings::{LogFileSettings, LogFormat, LogSettings};

/// The error of setting up the log.
#[derive(Debug, thiserror::Error)]
pub enum LogsError {
    /// The level is neither a level nor a filter.
    #[error("logging.level {level:?} is not a filter; use error, warn, info, debug or trace")]
    Level {
        /// As written.
        level: String,
        /// The error in the filter.
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    /// The folder can't be made.
    #[error("cannot make the log folder {}; make it, and let this user write to it", dir.display())]
    Folder {
        /// `logging.file.dir`.
        dir: PathBuf,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
    /// The folder can't be written to.
    #[error("cannot write log files into {}; make the folder and let this user write to it", dir.display())]
    File {
        /// `logging.file.dir`.
        dir: PathBuf,
        /// The system's error.
        #[source]
        source: rolling::InitError,
    },
    /// The subscriber of this process is gone.
    #[error("there is no log any more")]
    Gone(#[source] reload::Error),
    /// The process has a subscriber already.
    #[error("logging has been set up before in this process")]
    Twice(#[source] tracing_subscriber::util::TryInitError),
}

/// Logging that has been set up. Dropping it writes out what is buffered.
#[derive(Debug)]
pub(crate) struct Logs {
    _file: Option<WorkerGuard>,
    control: LogControl,
}

/// Changes the log while the daemon runs.
#[derive(Debug, Clone)]
pub(crate) struct LogControl {
    filter: reload::Handle<EnvFilter, Registry>,
    silenced: String,
    file: Option<Reopen>,
}

impl LogControl {
    /// From now on, what `level` lets through; a filter is as good as a level.
    pub(crate) fn set_level(&self, level: &str) -> Result<(), LogsError> {
        let filter = filter(level, &self.silenced)?;
        self.filter.reload(filter).map_err(LogsError::Gone)
    }

    /// The next event goes to a file that is opened anew by its name, for whoever has moved the old one away. False if
    /// events go to no file.
    pub(crate) fn reopen(&self) -> bool {
        self.file.as_ref().map(Reopen::ask).is_some()
    }
}

impl Logs {
    /// Sets up the process's subscriber: a program's business, once, early. `silenced` is a filter for what libraries say
    /// too loudly.
    pub(crate) fn install(settings: &LogSettings, silenced: &str) -> Result<Self, LogsError> {
        let (filter, handle) = reload::Layer::new(filter(&settings.level, silenced)?);
        let (file, guard, reopen) = match &settings.file {
            Some(file) => {
                let (writer, guard, reopen) = writer(file)?;
                let layer = fmt::layer().json().flatten_event(true).with_writer(writer);
                (Some(layer), Some(guard), Some(reopen))
            }
            None => (None, None, None),
        };
        let installed = tracing_subscriber::registry()
            .with(filter)
            .with(stderr(settings.format))
            .with(file)
            .try_init();
        installed.map_err(LogsError::Twice)?;
        let control = LogControl {
            filter: handle,
            silenced: silenced.to_owned(),
            file: reopen,
        };
        Ok(Self {
            _file: guard,
            control,
        })
    }

    /// A handle that changes the log from now on.
    pub(crate) fn control(&self) -> LogControl {
        self.control.clone()
    }
}

fn filter(level: &str, silenced: &str) -> Result<EnvFilter, LogsError> {
    EnvFilter::try_new(format!("{level},{silenced}")).map_err(|source| LogsError::Level {
        level: level.to_owned(),
        source,
    })
}

type OverFilter = Layered<reload::Layer<EnvFilter, Registry>, Registry>;

fn stderr(format: LogFormat) -> Box<dyn Layer<OverFilter> + Send + Sync> {
    let base = fmt::layer().with_writer(std::io::stderr);
    match format {
        LogFormat::Text => base
            .with_target(false)
            .with_ansi(std::io::stderr().is_terminal())
            .boxed(),
        LogFormat::Json => base.json().flatten_event(true).boxed(),
    }
}

fn writer(file: &LogFileSettings) -> Result<(NonBlocking, WorkerGuard, Reopen), LogsError> {
    std::fs::create_dir_all(&file.dir).map_err(|source| LogsError::Folder {
        dir: file.dir.clone(),
        source,
    })?;
    let settings = file.clone();
    let opened = Reopening::new(move || rotating(&settings, "perennial"));
    let (writer, reopen) = opened.map_err(|source| LogsError::File {
        dir: file.dir.clone(),
        source,
    })?;
    let (writer, guard) = tracing_appender::non_blocking(writer);
    Ok((writer, guard, reopen))
}
