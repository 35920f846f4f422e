//! The child that waits for the next backup. The work is done on another thread: a place that hangs holds nothing up.

// Decision: A failed backup is no failed child.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use super::due::{BackupFailures, next_backup, wait_after};
use super::metrics::BackupMetrics;
use super::run::{BackupRunError, Ran, Run, now};
use crate::settings::Settings;
use crate::storage::Store;
use crate::supervision::{
    BoxError, Child, ChildContext, ChildSpec, Delivery, Faults, LocalBoxFuture, Message, Slot,
    contain,
};

/// The child's fault point.
pub(super) const BEFORE_RUN: &str = "backup.before_run";
/// The longest sleep: the clock may be set, and the machine may sleep longer than the child.
const NAP: Duration = Duration::from_secs(60);
/// The pause between two looks whether the store is open.
const OPEN_PAUSE: Duration = Duration::from_secs(1);
/// A run that takes longer than this is told.
const LONG: Duration = Duration::from_secs(3600);

/// Backups by schedule.
#[derive(Debug)]
pub(super) struct BackupSchedule {
    run: Arc<Run>,
    /// Held by the thread that works, also when the incarnation that began it has ended.
    at_work: Arc<tokio::sync::Mutex<()>>,
    /// Whether a backup that is being written is finished when the child stops.
    finishes: AtomicBool,
}

/// The child takes no messages: it works by the clock.
#[derive(Debug)]
enum BackupMessage {}

impl Message for BackupMessage {
    fn kind(&self) -> &'static str {
        match *self {}
    }
}

/// One incarnation.
struct BackupChild {
    schedule: Arc<BackupSchedule>,
}

impl BackupSchedule {
    /// The schedule that the settings describe; `None` if there is no place for backups.
    pub(super) fn new(
        settings: &Settings,
        faults: &Faults,
        store: Option<&Arc<dyn Store>>,
        at_work: &Arc<tokio::sync::Mutex<()>>,
    ) -> Option<Self> {
        let to = settings.backup.to.clone()?;
        let mut run = Run::new(settings, to);
        run.faults = faults.clone();
        run.store = store.cloned();
        Some(Self {
            run: Arc::new(run),
            at_work: Arc::clone(at_work),
            finishes: AtomicBool::new(false),
        })
    }

    /// The child spec.
    pub(super) fn child_spec(self: &Arc<Self>, name: &str) -> ChildSpec {
        let schedule = Arc::clone(self);
        let (slot, _) = Slot::new(name);
        ChildSpec::actor(&slot, move |_| {
            let schedule = Arc::clone(&schedule);
            schedule.run.stopped.store(false, Ordering::Relaxed);
            async { Ok(BackupChild { schedule }) }
        })
    }

    /// Its counters and times.
    pub(super) fn metrics(&self) -> &BackupMetrics {
        &self.run.metrics
    }

    /// A backup that is being written when the child stops is finished.
    pub(super) fn finish_what_runs(&self) {
        self.finishes.store(true, Ordering::Relaxed);
    }

    /// Runs once on a thread of its own. A panic there is a failure as any other.
    async fn once(&self) -> Result<Ran, String> {
        // If the thread of an incarnation that died is still at work, it ends first.
        let turn = Arc::clone(&self.at_work).lock_owned().await;
        let (answer, mut answered) = oneshot::channel();
        let run = Arc::clone(&self.run);
        let work = move || {
            let ran = match contain(|| run.run()) {
                Ok(ran) => ran.map_err(|error| {
                    if let (BackupRunError::Write(error), Some(store)) = (&error, &run.store)
                        && error.is_damage()
                    {
                        store.look_for_damage();
                    }
                    error.to_string()
                }),
                Err(panic) => Err(format!("the backup was not finished: {panic}")),
            };
            drop(turn);
            drop(answer.send(ran));
        };
        let thread = std::thread::Builder::new().name("backup-run".to_owned());
        if let Err(error) = thread.spawn(work) {
            return Err(format!("no thread for a backup: {error}"));
        }
        loop {
            match timeout(LONG, &mut answered).await {
                Ok(Ok(ran)) => return ran,
                Ok(Err(_)) => return Err("the thread of the backup ended".to_owned()),
                Err(_) => {
                    let (to, long) = (&self.run.to, humantime::format_duration(LONG));
                    tracing::warn!(%to, "a backup is not finished after {long}: look whether {to} answers");
                }
            }
        }
    }

    async fn keep_running(&self) -> Result<(), BoxError> {
        let every = self.run.settings.every;
        let mut failures = BackupFailures::default();
        let mut newest = None;
        loop {
            let due = next_backup(newest, every, failures, now());
            let wait = Duration::from_secs(due.saturating_sub(now()));
            if !wait.is_zero() {
                sleep(wait.min(NAP)).await;
                continue;
            }
            self.run.faults.hit(BEFORE_RUN);
            match self.once().await {
                Ok(Ran::NoStore) => sleep(OPEN_PAUSE).await,
                Ok(Ran::Newest(taken)) => {
                    newest = Some(taken);
                    failures = BackupFailures::default();
                }
                Err(error) => {
                    self.run.metrics.failures.inc();
                    failures.count = failures.count.saturating_add(1);
                    failures.last = now();
                    let again = humantime::format_duration(wait_after(failures.count, every));
                    tracing::warn!(to = %self.run.to, "no backup: {error}. It is tried again in {again}; everything else goes on");
                }
            }
        }
    }
}

impl Child for BackupChild {
    type Message = BackupMessage;

    fn handle(&mut self, message: Delivery<BackupMessage>, _: &mut ChildContext) {
        match *message {}
    }

    fn run(
        &mut self,
        _: &mut ChildContext,
    ) -> Option<LocalBoxFuture<'static, Result<(), BoxError>>> {
        let schedule = Arc::clone(&self.schedule);
        Some(Box::pin(async move { schedule.keep_running().await }))
    }

    /// A backup that is being written is given up, unless another schedule takes over.
    fn stop(&mut self) -> LocalBoxFuture<'static, ()> {
        let gives_up = !self.schedule.finishes.load(Ordering::Relaxed);
        self.schedule.run.stopped.store(gives_up, Ordering::Relaxed);
        Box::pin(async {})
    }

    fn step_aside(&mut self) -> LocalBoxFuture<'static, ()> {
        Box::pin(async {})
    }
}
