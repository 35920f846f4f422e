//! The schedule of backups, which follows the settings: its child is added, replaced and removed while the daemon runs.

// Decision: A backup ends by the settings that it began with.

use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use super::child::{BEFORE_RUN, BackupSchedule};
use super::run::IN_THE_MIDDLE;
use crate::settings::{AutoSize, BackupSettings, Settings};
use crate::storage::Store;
use crate::supervision::{ChildSpec, Faults, OrderError, SupervisorRef};
use crate::telemetry::{MetricSource, Rows};

/// The name of the child.
const CHILD: &str = "backup";
/// The fault point between the end of one schedule and the beginning of the next.
const REPLACING: &str = "backup.replacing";

/// The settings of a schedule.
type ScheduleSettings = (BackupSettings, AutoSize);

/// The schedule that is in force, if there is one.
#[derive(Debug)]
pub(crate) struct Backups {
    faults: Faults,
    /// The store, which is asked to mend what a backup finds damaged.
    store: OnceLock<Arc<dyn Store>>,
    /// Held by the thread that works, whatever schedule began it.
    at_work: Arc<tokio::sync::Mutex<()>>,
    now: Mutex<InForce>,
}

/// The settings that the child follows.
#[derive(Debug, Default, PartialEq, Eq)]
enum Follows {
    /// None that are known: it is being replaced, or could not be.
    #[default]
    Unknown,
    /// Those of a schedule.
    Schedule(Box<ScheduleSettings>),
    /// Those that have no place for backups.
    NoPlace,
}

#[derive(Debug, Default)]
struct InForce {
    follows: Follows,
    schedule: Option<Arc<BackupSchedule>>,
}

impl Backups {
    /// No schedule.
    pub(crate) fn new(faults: &Faults) -> Self {
        for point in [BEFORE_RUN, IN_THE_MIDDLE, REPLACING] {
            faults.register(point);
        }
        Self {
            faults: faults.clone(),
            store: OnceLock::new(),
            at_work: Arc::default(),
            now: Mutex::default(),
        }
    }

    /// Names the store, before the first schedule begins; a second call does nothing.
    pub(crate) fn attach(&self, store: &Arc<dyn Store>) {
        self.store.get_or_init(|| Arc::clone(store));
    }

    /// The child of the schedule that the settings describe, which is in force from now on; `None` if there is no place for
    /// backups.
    pub(crate) fn begin(&self, settings: &Settings) -> Option<ChildSpec> {
        let schedule = BackupSchedule::new(settings, &self.faults, self.store.get(), &self.at_work)
            .map(Arc::new);
        let spec = schedule.as_ref().map(|schedule| schedule.child_spec(CHILD));
        *self.now.lock() = InForce {
            follows: Follows::of(settings),
            schedule,
        };
        spec
    }

    /// Whether the schedule in force is the one that the settings describe.
    pub(crate) fn follows(&self, settings: &Settings) -> bool {
        self.now.lock().follows == Follows::of(settings)
    }

    /// Has `supervisor` run the schedule that the settings describe, and no other. If it runs already, nothing is done. A backup
    /// that is being made is finished as it was begun.
    pub(crate) async fn follow(
        &self,
        settings: &Settings,
        supervisor: &SupervisorRef,
    ) -> Result<(), OrderError> {
        if self.follows(settings) {
            return Ok(());
        }
        self.now.lock().follows = Follows::Unknown;
        if let Some(schedule) = &self.now.lock().schedule {
            schedule.finish_what_runs();
        }
        match supervisor.remove_child(CHILD).await {
            Ok(()) | Err(OrderError::NotFound) => {}
            Err(error) => return Err(error),
        }
        self.faults.hit(REPLACING);
        let Some(spec) = self.begin(settings) else {
            return Ok(());
        };
        let added = supervisor.add_child(spec, None).await;
        if added.is_err() {
            self.now.lock().follows = Follows::Unknown;
        }
        added.map(drop)
    }
}

impl Follows {
    fn of(settings: &Settings) -> Self {
        let (backup, reserve) = (&settings.backup, settings.storage.reserve);
        if backup.to.is_some() {
            Self::Schedule(Box::new((backup.clone(), reserve)))
        } else {
            Self::NoPlace
        }
    }
}

impl MetricSource for Arc<Backups> {
    fn write(&self, rows: &mut Rows<'_>) {
        if let Some(schedule) = &self.now.lock().schedule {
            schedule.metrics().write(rows);
        }
    }
}
