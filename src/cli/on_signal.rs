//! Handles SIGHUP and SIGUSR1 of a running daemon.

// Decision: SIGHUP applies the log level and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use super::SettingsSource;
use crate::app::OnSignal;
use crate::settings::{CheckedFolders, LoadError, LoadedSettings};
use crate::telemetry::LogControl;

/// SIGHUP reads the settings again and takes over the log level; SIGUSR1 opens the log files again.
#[derive(Debug)]
pub(super) struct OperatorsSignals {
    pub(super) source: SettingsSource,
    /// The settings that the daemon runs with.
    pub(super) running: LoadedSettings,
    pub(super) log: LogControl,
}

impl OperatorsSignals {
    fn take_over(&mut self, loaded: &LoadedSettings) {
        let level = &loaded.settings.logging.level;
        let announce =
            || tracing::info!(level, "SIGHUP: the log level of the settings is taken over");
        // Told while it can be heard, before or after.
        let heard = tracing::enabled!(tracing::Level::INFO);
        if heard {
            announce();
        }
        match self.log.set_level(level) {
            Ok(()) if heard => {}
            Ok(()) => announce(),
            Err(error) => tracing::error!(%error, "SIGHUP: the log level stays"),
        }
        let running = &mut self.running;
        running.settings.logging.level.clone_from(level);
        if loaded.settings != running.settings {
            let changes = changes(&running.written, &loaded.written);
            tracing::warn!(
                "SIGHUP: other settings have changed too; they apply from the next start on: {changes}"
            );
        }
    }
}

/// Names each key whose value differs, with both values. The log level is left out: it has been taken over.
fn changes(old: &BTreeMap<String, String>, new: &BTreeMap<String, String>) -> String {
    let keys: BTreeSet<_> = old.keys().chain(new.keys()).collect();
    let differ = keys
        .into_iter()
        .filter(|key| key.as_str() != "logging.level" && old.get(*key) != new.get(*key));
    let told = differ.map(|key| {
        let [from, to] = [old, new].map(|of| of.get(key).map_or("the default", String::as_str));
        format!("{key} from {from} to {to}")
    });
    told.collect::<Vec<_>>().join(", ")
}

impl OnSignal for OperatorsSignals {
    fn hangup(&mut self) {
        match self.source.load(CheckedFolders::None) {
            Ok(loaded) => self.take_over(&loaded),
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

    fn log(&self) -> Option<LogControl> {
        Some(self.log.clone())
    }

    fn user1(&mut self) {
        if self.log.reopen() {
            tracing::info!("SIGUSR1: log files are opened again");
        } else {
            tracing::info!("SIGUSR1: there is no log file to open again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_told_by_its_key_with_both_values() {
        let table = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            let pairs = pairs.iter();
            pairs
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect()
        };
        let old = table(&[
            ("a", "1"),
            ("b.c", "\"x\""),
            ("same", "0"),
            ("logging.level", "1"),
        ]);
        let new = table(&[("a", "2"), ("same", "0"), ("d", "[3]")]);
        assert_eq!(
            changes(&old, &new),
            "a from 1 to 2, b.c from \"x\" to the default, d from the default to [3]"
        );
    }
}
