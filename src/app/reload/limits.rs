//! The part of a reload that needs hardly anything new: limits of supervisors, of queues and of the store, the drain, whether
//! fault points can be armed, and the schedule of backups.

// Decision: Limits outside the edition change one by one.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::admin::NotReloaded;
use crate::app::assembly::{ROOT, SETTINGS, STORAGE};
use crate::app::serving::Serving;
use crate::backup::Backups;
use crate::request_handler::stop_timeout;
use crate::settings::Settings;
use crate::supervision::{
    Backoff, Faults, Intensity, Strategy, SupervisorLimits, SupervisorRef, Supervisors,
};
use crate::wire::Drain;

/// The longest wait for a supervisor that is being restarted.
const RESTART_MAX: Duration = Duration::from_secs(3);
/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(50);

/// The parts whose limits follow the settings.
pub(in crate::app) struct Limited {
    /// Of the public request handlers.
    pub(in crate::app) drain: Drain,
    pub(in crate::app) faults: Faults,
    pub(in crate::app) backups: Arc<Backups>,
    /// Known once the tree is prepared.
    pub(in crate::app) supervisors: OnceLock<Supervisors>,
}

impl Limited {
    /// The parts of the start.
    pub(in crate::app) fn new(settings: &Settings) -> Self {
        let faults = Faults::switched(settings.chaos.enabled);
        Self {
            drain: Drain::new(settings.server.drain),
            backups: Arc::new(Backups::new(&faults)),
            faults,
            supervisors: OnceLock::new(),
        }
    }

    /// Puts the limits of these settings in force.
    pub(super) fn set(&self, serving: &Serving, settings: &Settings) {
        let Serving { files, store, .. } = serving;
        let queue = settings.supervision.children.file_cache;
        files.set_limits(&settings.file_cache, queue.deadline);
        files.set_queue(queue.limits());
        store.set_limits(settings);
        self.drain.set_limit(settings.server.drain);
        let supervisors = self.supervisors.get().into_iter();
        for supervisor in supervisors.flat_map(Supervisors::all) {
            set(supervisor, settings);
        }
        self.faults.set_enabled(settings.chaos.enabled);
    }

    /// Looks whether the schedule of backups can be replaced, if these settings ask for that.
    pub(super) fn prepare(&self, settings: &Settings) -> Result<(), NotReloaded> {
        let storage = self.storage();
        if self.backups.follows(settings) || storage.is_some_and(SupervisorRef::is_running) {
            return Ok(());
        }
        let stopped = "the schedule of backups can't change while storage is down; start it first";
        Err(NotReloaded::NotNow(stopped.to_owned()))
    }

    /// Replaces the schedule of backups, if these settings ask for that.
    pub(super) async fn replace(&self, settings: &Settings) {
        let Some(storage) = self.storage() else {
            return;
        };
        let until = Instant::now() + RESTART_MAX;
        while let Err(error) = self.backups.follow(settings, storage).await {
            if Instant::now() >= until {
                tracing::error!(%error, "reload: the schedule of backups could not be replaced; there may be none until the settings are read again, which tries it again");
                return;
            }
            // Its supervisor is being restarted.
            sleep(PAUSE).await;
        }
    }

    fn storage(&self) -> Option<&SupervisorRef> {
        self.supervisors.get()?.named(STORAGE)
    }
}

fn set(supervisor: &SupervisorRef, settings: &Settings) {
    let limits = supervisor_limits(supervisor.name(), settings);
    if let Err(error) = supervisor.set_limits(limits) {
        // The table of keys lets no such value through.
        tracing::error!(%error, "reload: the limits of a supervisor could not be changed");
    }
}

/// The longest delay before one of the children that read the settings is restarted: an operator may wait for it.
const DELAY_MAX: Duration = Duration::from_secs(1);
/// The restarts of these children. Their supervisor practically never gives up: they must not end what serves.
// Decision: A reload that panics does not end the daemon.
const RELOADERS: Intensity = Intensity {
    max_restarts: 1_000,
    period: Duration::from_secs(1),
};

/// The limits that the settings ask for. `supervision.start_timeout` is not meant for the store, which may have much to read,
/// nor for the admin's own children.
pub(in crate::app) fn supervisor_limits(name: &str, settings: &Settings) -> SupervisorLimits {
    let supervision = &settings.supervision;
    let timed = [ROOT, "request-handlers", "listeners"].contains(&name);
    let drains = name == "request-handlers";
    if name == SETTINGS {
        let backoff = supervision.backoff;
        return SupervisorLimits {
            strategy: Strategy::OneForOne,
            intensity: RELOADERS,
            backoff: Backoff {
                max: backoff.max.min(DELAY_MAX),
                first: backoff.first.min(DELAY_MAX),
                ..backoff
            },
            start_timeout: None,
            stop_timeout: None,
        };
    }
    SupervisorLimits {
        strategy: supervision.strategy,
        intensity: supervision.max_restarts,
        backoff: supervision.backoff,
        start_timeout: timed.then_some(supervision.start_timeout),
        stop_timeout: drains.then(|| stop_timeout(settings.server.drain)),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn each_supervisor_has_the_limits_that_are_meant_for_it() {
        let mut settings = Settings::default();
        settings.supervision.start_timeout = Duration::from_secs(7);
        settings.server.drain = Duration::from_secs(3);
        let (start, stop) = (Some(Duration::from_secs(7)), Some(Duration::from_secs(4)));
        for (name, start_timeout, stop_timeout) in [
            (ROOT, start, None),
            ("admin", None, None),
            (STORAGE, None, None),
            ("request-handlers", start, stop),
            ("listeners", start, None),
        ] {
            let limits = supervisor_limits(name, &settings);
            let timeouts = (limits.start_timeout, limits.stop_timeout);
            assert_eq!(timeouts, (start_timeout, stop_timeout), "{name}");
            assert_eq!(limits.intensity, settings.supervision.max_restarts);
        }
        let reloaders = supervisor_limits(SETTINGS, &settings);
        assert_eq!(reloaders.backoff.max, DELAY_MAX);
        assert_eq!(reloaders.intensity, RELOADERS);
    }
}
