//! `perennial serve`: the daemon.

use super::{Exit, LoadOrSay as _, complain, say};
use crate::app::{self, BuildError, Ended, RunError, SettingsOrigin, Signals, with_causes};
use crate::settings::{CheckedFolders, LoadedSettings, SettingsSource};
use crate::supervision::install_panic_hook;
use crate::telemetry::{Logs, log_panics};
use crate::wire::SILENCED;

/// Catches what must not end the process, and only then reads the settings, which may take a moment.
pub(super) fn run(source: SettingsSource) -> Exit {
    match Signals::catch_first() {
        Ok(signals) => source.with(CheckedFolders::AllButData, |loaded, source| {
            serve(loaded, source, signals)
        }),
        Err(error) => {
            say(format_args!("the system refused signal handlers: {error}"));
            Exit::GaveUp
        }
    }
}

fn serve(loaded: LoadedSettings, source: SettingsSource, signals: Signals) -> Exit {
    let settings = loaded.settings;
    let logs = match Logs::install(&settings.logging, SILENCED) {
        Ok(logs) => logs,
        Err(error) => return complain(&error, Exit::Config),
    };
    log_panics(logs.control.clone());
    install_panic_hook();
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        settings = %source.name(),
        "starting"
    );
    if let Some(hint) = source.no_file() {
        tracing::info!("{hint}");
    }
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let origin = SettingsOrigin {
        source,
        values: loaded.values,
        log: logs.control.clone(),
    };
    match app::run_from(settings, Some(origin), signals) {
        Ok(()) => Exit::Ok,
        Err(error) => {
            tracing::error!("{}", with_causes(&error));
            exit_of(&error)
        }
    }
}

fn exit_of(error: &RunError) -> Exit {
    match error {
        RunError::Build(BuildError::Sockets(_)) => Exit::Unavailable,
        RunError::Build(BuildError::AccessLog(_) | BuildError::Folder(_)) => Exit::Config,
        RunError::Ended(Ended::DataRefused { held: true, .. }) => Exit::TryAgain,
        RunError::Ended(Ended::DataRefused { .. }) => Exit::Data,
        RunError::Build(BuildError::Address(_) | BuildError::Spec(_) | BuildError::Thread(_))
        | RunError::System(..)
        | RunError::Ended(Ended::GaveUp(_) | Ended::NotStarted { .. }) => Exit::GaveUp,
    }
}
