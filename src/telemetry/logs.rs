//! Where events go: text for people (or JSON) on stderr, and JSON in rotating files.

use std::io::IsTerminal;
use std::path::PathBuf;

use tracing_appender::non_blocking::{NonBlocking, WorkerGuard};
use tracing_appender::rolling;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, fmt};

use super::rotating::rotating;
use crate::settings::{LogFile, LogFormat, Logging};

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogsError {
    /// The level is neither a level nor a filter.
    #[error("logging.level {level:?} is not a filter; use error, warn, info, debug or trace")]
    Level {
        /// As written.
        level: String,
        /// What is wrong with it.
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    /// The folder can't be made.
    #[error("cannot make the log folder {}; make it, and let this user write to it", dir.display())]
    Folder {
        /// `logging.file.dir`.
        dir: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The folder can't be written to.
    #[error("cannot write log files into {}; make the folder and let this user write to it", dir.display())]
    File {
        /// `logging.file.dir`.
        dir: PathBuf,
        /// What the system said.
        #[source]
        source: rolling::InitError,
    },
    /// The process has a subscriber already.
    #[error("logging has been set up before in this process")]
    Twice(#[source] tracing_subscriber::util::TryInitError),
}

/// Logging that has been set up. Dropping it writes out what is buffered.
#[derive(Debug)]
pub struct Logs {
    _file: Option<WorkerGuard>,
}

impl Logs {
    /// Sets up the process's subscriber: a program's business, once, early. `silenced` is a filter for what libraries say
    /// too loudly.
    pub fn install(settings: &Logging, silenced: &str) -> Result<Self, LogsError> {
        let level = &settings.level;
        let wrong = |source| LogsError::Level {
            level: level.clone(),
            source,
        };
        let filter = EnvFilter::try_new(format!("{level},{silenced}")).map_err(wrong)?;
        let (file, guard) = match &settings.file {
            Some(file) => {
                let (writer, guard) = writer(file)?;
                let layer = fmt::layer().json().flatten_event(true).with_writer(writer);
                (Some(layer), Some(guard))
            }
            None => (None, None),
        };
        let installed = tracing_subscriber::registry()
            .with(filter)
            .with(stderr(settings.format))
            .with(file)
            .try_init();
        installed.map_err(LogsError::Twice)?;
        Ok(Self { _file: guard })
    }
}

type OverFilter = tracing_subscriber::layer::Layered<EnvFilter, Registry>;

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

fn writer(file: &LogFile) -> Result<(NonBlocking, WorkerGuard), LogsError> {
    std::fs::create_dir_all(&file.dir).map_err(|source| LogsError::Folder {
        dir: file.dir.clone(),
        source,
    })?;
    let appender = rotating(file, "perennial").map_err(|source| LogsError::File {
        dir: file.dir.clone(),
        source,
    })?;
    Ok(tracing_appender::non_blocking(appender))
}
