//! Handles SIGHUP and SIGUSR1 of a running daemon.

// Decision: SIGHUP applies the log level and nothing else.

use super::Source;
use crate::app::OnSignal;
use crate::settings::{LoadError, Settings};
use crate::telemetry::LogControl;

/// SIGHUP reads the settings again and takes over the log level; SIGUSR1 opens the log files again.
#[derive(Debug)]
pub(super) struct OperatorsSignals {
    source: Source,
    running: Settings,
    log: LogControl,
}

impl OperatorsSignals {
    /// For a daemon that runs with these settings.
    pub(super) fn new(source: Source, running: &Settings, log: LogControl) -> Self {
        let running = running.clone();
        Self {
            source,
            running,
            log,
        }
    }

    fn take_over(&mut self, settings: Settings) {
        let level = settings.logging.level.clone();
        let announce =
            || tracing::info!(level, "SIGHUP: the log level of the settings is taken over");
        // Told while it can be heard, before or after.
        let heard = tracing::enabled!(tracing::Level::INFO);
        if heard {
            announce();
        }
        match self.log.set_level(&level) {
            Ok(()) if heard => {}
            Ok(()) => announce(),
            Err(error) => tracing::error!(%error, "SIGHUP: the log level stays"),
        }
        self.running.logging.level.clone_from(&level);
        if settings != self.running {
            tracing::warn!(
                "SIGHUP: other settings have changed too; they apply from the next start on"
            );
        }
    }
}

impl OnSignal for OperatorsSignals {
    fn hangup(&mut self) {
        match self.source.load() {
            Ok(settings) => self.take_over(settings),
            Err(LoadError::Invalid(violations)) => {
                for violation in violations {
                    tracing::error!("SIGHUP: {violation}");
                }
                tracing::error!("SIGHUP: the settings are wrong, nothing has changed");
            }
            Err(error @ LoadError::Unreadable { .. }) => {
                tracing::error!("SIGHUP: {error}; nothing has changed");
            }
        }
    }

    fn user1(&mut self) {
        if self.log.reopen() {
            tracing::info!("SIGUSR1: log files are opened again");
        } else {
            tracing::info!("SIGUSR1: there is no log file to open again");
        }
    }
}
