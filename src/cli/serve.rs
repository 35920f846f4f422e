//! `perennial serve`: the daemon.

use super::{Exit, complain};
use crate::app::{self, BuildError, Ended, RunError};
use crate::http::SILENCED;
use crate::settings::Settings;
use crate::supervision::install_panic_hook;
use crate::telemetry::Logs;

pub(super) fn run(settings: Settings, path: &str) -> Exit {
    let logs = match Logs::install(&settings.logging, SILENCED) {
        Ok(logs) => logs,
        Err(error) => {
            complain(&error);
            return Exit::Config;
        }
    };
    install_panic_hook();
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        settings = path,
        "starting"
    );
    let outcome = app::run(settings);
    drop(logs);
    match outcome {
        Ok(()) => Exit::Ok,
        Err(error) => {
            complain(&error);
            exit_of(&error)
        }
    }
}

fn exit_of(error: &RunError) -> Exit {
    match error {
        RunError::Build(BuildError::Bind(_)) => Exit::Unavailable,
        RunError::Ended(Ended::DataRefused { .. }) => Exit::Data,
        RunError::Build(BuildError::Address(_) | BuildError::Spec(_) | BuildError::Thread(_))
        | RunError::System { .. }
        | RunError::Ended(Ended::GaveUp(_) | Ended::NotStarted { .. }) => Exit::GaveUp,
    }
}
