//! The long tasks that bring a store into order or read it through, and how far each of them is: the text that `/readyz/storage`,
//! the answers to clients and the log have, and the numbers of `/metrics`.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::time::Instant;

use crate::incidents::{Incident, IncidentKind, Incidents, STORAGE};
use crate::storage::TaskProgress;
use crate::telemetry::Rows;

/// The time between two lines of the log about one task.
const TELL_EVERY: Duration = Duration::from_secs(10);
/// A task that nobody can read records beside may take this long before requests are refused because of it.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);
/// The bounds of the time after which a client is asked to come again.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(60);
const MIB: u64 = 1 << 20;

/// The kind of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TaskKind {
    /// The view takes over what only the journal has.
    CatchUp,
    /// The view is made again.
    MakeView,
    /// Another view is made beside the one in use.
    MakeBeside,
    /// A snapshot of the view takes the place of the journal.
    RenewJournal,
    /// A snapshot of the view is written.
    Snapshot,
    /// Everything that is stored is read.
    Scrub,
    /// Records are compared with rules that are to be declared.
    Compare,
    /// Records are added to new indexes.
    BuildIndexes,
    /// A backup is written.
    Backup,
    /// A backup is restored and compared.
    VerifyBackup,
}

impl TaskKind {
    const ALL: [Self; 10] = [
        Self::CatchUp,
        Self::MakeView,
        Self::MakeBeside,
        Self::RenewJournal,
        Self::Snapshot,
        Self::Scrub,
        Self::Compare,
        Self::BuildIndexes,
        Self::Backup,
        Self::VerifyBackup,
    ];

    /// Its name in metrics.
    fn name(self) -> &'static str {
        match self {
            Self::CatchUp => "catch_up",
            Self::MakeView => "make_view",
            Self::MakeBeside => "make_beside",
            Self::RenewJournal => "renew_journal",
            Self::Snapshot => "snapshot",
            Self::Scrub => "scrub",
            Self::Compare => "compare",
            Self::BuildIndexes => "build_indexes",
            Self::Backup => "backup",
            Self::VerifyBackup => "verify_backup",
        }
    }

    /// The text for people.
    fn text(self) -> &'static str {
        match self {
            Self::CatchUp => "taking over changes from the journal",
            Self::MakeView => {
                "making the view of the records again from a snapshot and the journal"
            }
            Self::RenewJournal => "writing a snapshot in place of the damaged journal",
            Self::MakeBeside => "making another view of the records beside the one in use",
            Self::Snapshot => "writing a snapshot of the records",
            Self::Scrub => "reading everything that is stored, to find damage",
            Self::Compare => "comparing the stored records with new rules of their fields",
            Self::BuildIndexes => "adding the records to new indexes",
            Self::Backup => "writing a backup",
            Self::VerifyBackup => "restoring the backup elsewhere, to verify it",
        }
    }

    /// Whether the records can't be read meanwhile.
    fn blocks(self) -> bool {
        match self {
            Self::CatchUp | Self::MakeView | Self::RenewJournal => true,
            Self::MakeBeside
            | Self::Snapshot
            | Self::Scrub
            | Self::Compare
            | Self::BuildIndexes
            | Self::Backup
            | Self::VerifyBackup => false,
        }
    }
}

/// A task at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct HealingStage {
    kind: TaskKind,
    done: u64,
    /// All bytes that have to be read; 0 if that is not known.
    total: u64,
    lasted: Duration,
}

impl HealingStage {
    /// The time that it still takes, if it goes on as fast.
    fn rest(&self) -> Option<Duration> {
        let left = self.total.checked_sub(self.done)?;
        if self.done == 0 || self.total == 0 {
            return None;
        }
        let lasted = self.lasted.as_millis();
        let rest = lasted * u128::from(left) / u128::from(self.done);
        u64::try_from(rest).ok().map(Duration::from_millis)
    }

    /// The time after which a client should come again. If nobody knows better, it takes as long again.
    fn retry_after(&self) -> Duration {
        let rest = self.rest().unwrap_or(self.lasted);
        rest.clamp(RETRY_MIN, RETRY_MAX)
    }

    /// The text for people, such as `making ..: 43 % (12 of 28 MiB) in 3 s, about 4 s left`.
    fn text(&self) -> String {
        let mut text = self.kind.text().to_owned();
        if self.total > 0 {
            let done = self.done.min(self.total);
            let percent = u128::from(done) * 100 / u128::from(self.total);
            let (done, total) = (done / MIB, self.total.div_ceil(MIB));
            // Writing into a String does not fail.
            let _infallible = write!(text, ": {percent} % ({done} of {total} MiB)");
        }
        let _infallible = write!(text, " in {} s", self.lasted.as_secs());
        if let Some(rest) = self.rest() {
            let _infallible = write!(text, ", about {} s left", rest.as_secs() + 1);
        }
        text
    }
}

/// One task that runs.
#[derive(Debug)]
struct Task {
    kind: TaskKind,
    begun: Instant,
    done: Arc<AtomicU64>,
    total: AtomicU64,
}

impl Task {
    fn stage(&self) -> HealingStage {
        HealingStage {
            kind: self.kind,
            done: self.done.load(Ordering::Relaxed),
            total: self.total.load(Ordering::Relaxed),
            lasted: self.begun.elapsed(),
        }
    }
}

/// The tasks of a store.
#[derive(Debug)]
pub(super) struct Healing {
    running: Arc<RunningTasks>,
    ended: [AtomicU64; TaskKind::ALL.len()],
    pub(super) incidents: Arc<Incidents>,
}

#[derive(Debug, Default)]
struct RunningTasks {
    tasks: Mutex<Vec<Arc<Task>>>,
    changed: Condvar,
}

impl RunningTasks {
    /// Tells the log of a task from time to time until it ends.
    fn tell(&self, task: &Arc<Task>) {
        let runs = |tasks: &mut Vec<Arc<Task>>| tasks.iter().any(|known| Arc::ptr_eq(known, task));
        let mut tasks = self.tasks.lock();
        while runs(&mut tasks) {
            let waited = self.changed.wait_while_for(&mut tasks, runs, TELL_EVERY);
            if waited.timed_out() {
                tracing::info!("{}", task.stage().text());
            }
        }
    }
}

impl Healing {
    pub(super) fn new(incidents: &Arc<Incidents>) -> Self {
        Self {
            running: Arc::default(),
            ended: Default::default(),
            incidents: Arc::clone(incidents),
        }
    }

    /// Begins a task, which ends when the result is dropped.
    pub(super) fn begin(&self, kind: TaskKind) -> HealingTask<'_> {
        let task = Arc::new(Task {
            kind,
            begun: Instant::now(),
            done: Arc::default(),
            total: AtomicU64::new(0),
        });
        self.running.tasks.lock().push(Arc::clone(&task));
        let (running, of) = (Arc::clone(&self.running), Arc::clone(&task));
        let teller = std::thread::Builder::new().name("healing".to_owned());
        if let Err(error) = teller.spawn(move || running.tell(&of)) {
            tracing::debug!(%error, "no thread that tells how far a task is");
        }
        HealingTask {
            healing: self,
            task,
        }
    }

    fn stages(&self) -> Vec<HealingStage> {
        let tasks = self.running.tasks.lock();
        tasks.iter().map(|task| task.stage()).collect()
    }

    /// The text about all tasks that run, if any does.
    pub(super) fn text(&self) -> Option<String> {
        let texts: Vec<_> = self.stages().iter().map(HealingStage::text).collect();
        (!texts.is_empty()).then(|| texts.join("; "))
    }

    /// The text and the time to come again, if a task keeps the records from being read for longer than a caller waits.
    pub(super) fn blocked(&self) -> Option<(String, Duration)> {
        let blocks = |stage: &HealingStage| stage.kind.blocks() && stage.lasted >= PATIENCE;
        let stage = self.stages().into_iter().find(blocks)?;
        Some((stage.text(), stage.retry_after()))
    }

    /// Writes the families of healing.
    pub(super) fn write(&self, rows: &mut Rows<'_>) {
        let stages = self.stages();
        let of = |value: fn(&HealingStage) -> u64| {
            TaskKind::ALL.map(|kind| {
                let stages = stages.iter().filter(|stage| stage.kind == kind);
                ([("task", kind.name())], stages.map(value).sum::<u64>())
            })
        };
        rows.gauges(
            "perennial_storage_healing_active",
            "Tasks running now that repair the store or read all of it",
            of(|_| 1),
        );
        rows.gauges(
            "perennial_storage_healing_done_bytes",
            "Bytes that the tasks that run now have read",
            of(|stage| stage.done),
        );
        rows.gauges(
            "perennial_storage_healing_bytes",
            "Bytes that the tasks that run now have to read in all, as far as that is known",
            of(|stage| stage.total),
        );
        let ended = TaskKind::ALL.iter().zip(&self.ended);
        rows.counters(
            "perennial_storage_healing_ended",
            "Tasks that have ended, with or without success",
            ended.map(|(kind, ended)| ([("task", kind.name())], ended.load(Ordering::Relaxed))),
        );
    }
}

/// A task while it runs.
pub(super) struct HealingTask<'a> {
    healing: &'a Healing,
    task: Arc<Task>,
}

impl HealingTask<'_> {
    /// Tells the log that it begins.
    pub(super) fn announced(self) -> Self {
        tracing::info!("{}", self.task.kind.text());
        self
    }

    /// Notes that this many bytes more were read.
    pub(super) fn add(&self, bytes: u64) {
        self.task.done.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The time since it began.
    pub(super) fn lasted(&self) -> Duration {
        self.task.begun.elapsed()
    }

    /// Adds an incident that the task has put in order.
    pub(super) fn mended(&self, kind: IncidentKind, what: &str, done: &str) {
        let incident = Incident::new(kind, STORAGE, what, done);
        self.healing.incidents.add(incident.lasting(self.lasted()));
    }
}

impl TaskProgress for HealingTask<'_> {
    fn counter(&self) -> &Arc<AtomicU64> {
        &self.task.done
    }

    fn has_left(&self, bytes: u64) {
        let done = self.task.done.load(Ordering::Relaxed);
        let total = done.saturating_add(bytes);
        self.task.total.store(total, Ordering::Relaxed);
    }
}

impl Drop for HealingTask<'_> {
    fn drop(&mut self) {
        let mut tasks = self.healing.running.tasks.lock();
        tasks.retain(|known| !Arc::ptr_eq(known, &self.task));
        drop(tasks);
        self.healing.running.changed.notify_all();
        let kinds = TaskKind::ALL.iter().zip(&self.healing.ended);
        for (_, ended) in kinds.filter(|(kind, _)| **kind == self.task.kind) {
            ended.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAGE: HealingStage = HealingStage {
        kind: TaskKind::MakeView,
        done: 12 * MIB,
        total: 28 * MIB,
        lasted: Duration::from_secs(3),
    };

    #[test]
    fn the_text_says_how_far_a_task_is_and_how_long_it_takes() {
        let text = STAGE.text();
        let ends =
            "again from a snapshot and the journal: 42 % (12 of 28 MiB) in 3 s, about 5 s left";
        assert!(text.ends_with(ends), "{text}");
        let unknown = HealingStage { total: 0, ..STAGE };
        assert!(unknown.text().ends_with("journal in 3 s"), "{unknown:?}");
        let more = HealingStage {
            done: 40 * MIB,
            ..STAGE
        };
        assert!(
            more.text().ends_with("100 % (28 of 28 MiB) in 3 s"),
            "{}",
            more.text()
        );
    }

    #[test]
    fn a_client_is_asked_to_come_again_when_the_task_is_over() {
        let seconds = Duration::from_secs;
        for (done, total, lasted, after) in [
            (12, 28, 3, seconds(4)),
            (27, 28, 3, RETRY_MIN),
            (1, 1_000, 3, RETRY_MAX),
            (0, 28, 3, seconds(3)),
            (12, 0, 5, seconds(5)),
        ] {
            let (done, total) = (done * MIB, total * MIB);
            let lasted = seconds(lasted);
            let stage = HealingStage {
                done,
                total,
                lasted,
                ..STAGE
            };
            assert_eq!(stage.retry_after(), after, "{stage:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_long_task_without_which_nothing_is_read_refuses_requests() {
        let folder = tempfile::tempdir().unwrap();
        let healing = Healing::new(&Arc::new(Incidents::new(folder.path())));
        assert_eq!(healing.text(), None);
        let scrub = healing.begin(TaskKind::Scrub);
        tokio::time::advance(PATIENCE).await;
        assert_eq!(healing.blocked(), None);
        let view = healing.begin(TaskKind::MakeView);
        assert_eq!(healing.blocked(), None, "it has only begun");
        tokio::time::advance(PATIENCE).await;
        view.has_left(10 * MIB);
        view.add(5 * MIB);
        let (text, after) = healing.blocked().unwrap();
        assert!(text.contains("50 %"), "{text}");
        assert_eq!(after, RETRY_MIN);
        assert!(healing.text().unwrap().contains("; "), "both are told");
        drop((scrub, view));
        assert_eq!((healing.text(), healing.blocked()), (None, None));
    }
}
