//! Compaction: sled's files never shrink. When they hold much more than what lives, or when a record in the view is damaged,
//! another view is made beside the one in use, from a snapshot and the journal, and takes its place between two groups.
//! Readers use the old one meanwhile.

// Decision: A view is replaced by one that was made beside it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::built_view::BuiltView;
use super::engine::OpenFault;
use super::held_bytes::{FreshView, HeldBytes, RECORD_BYTES};
use super::holder::Holder;
use super::message::StoreMessage;
use super::opening::Opening;
use super::reader_state::OpenEngine;
use super::snapshots;
use super::store::SledStore;
use crate::incidents::{Incident, IncidentKind, STORAGE};
use crate::supervision::{ChildRef, contain};
use crate::telemetry::{Counter, Rows};

/// The time between two looks at how much the parts of the store hold.
const LOOK: Duration = if cfg!(test) {
    Duration::from_millis(20)
} else {
    Duration::from_secs(5)
};
/// After a compaction or a snapshot this many times its duration passes before the next one, within a limit.
const REST: u32 = 3;
const REST_MAX: Duration = Duration::from_secs(10);
/// A view that was made beside is handed over when it lacks at most this many changes; the writer waits while they are added.
const LAG_MAX: u64 = 256;
/// The most times that it catches up before it is handed over, however many it lacks.
const CATCH_UPS: u32 = 10;
/// The pause after a damaged view could not be made again.
const HEAL_AGAIN: Duration = Duration::from_secs(10);
/// The longest time that making a view waits until a snapshot is finished.
const SNAPSHOT_WAIT: Duration = Duration::from_secs(60);
/// The pause between two looks whether that, or a reader, has ended: there is no event to wait for.
const PAUSE: Duration = Duration::from_millis(10);
/// The most times that the old view is looked at again until no reader uses it: a minute.
const RELEASES: u32 = 6_000;

/// The fault of a view that does not give a record.
pub(super) const DAMAGED_RECORD: &str = "a record in the view was damaged";

/// Makes views beside the one in use.
#[derive(Clone)]
pub(super) struct Compactor {
    pub(super) holder: Arc<Holder>,
    pub(super) writer: ChildRef<StoreMessage>,
    pub(super) counts: Arc<CompactionCounts>,
}

/// The views that were made.
#[derive(Debug, Default)]
pub(super) struct CompactionCounts {
    pub(super) compactions: Counter,
    pub(super) healings: Counter,
    /// The era in which a damaged view was found last.
    damaged_era: AtomicU64,
    fresh: Mutex<FreshView>,
    /// The last change at the last look.
    looked_at: AtomicU64,
    /// Whether the disk had no room at the last look that needed some.
    no_room: AtomicBool,
}

impl CompactionCounts {
    /// Writes the families of compaction.
    pub(super) fn write(&self, rows: &mut Rows<'_>) {
        rows.metric(
            "perennial_storage_compactions",
            "How often the view was made again because its files were much larger than its records",
            &self.compactions,
        );
        rows.metric(
            "perennial_storage_healings",
            "How often the view was made again beside the old one because it was damaged",
            &self.healings,
        );
    }
}

impl Compactor {
    /// Looks after the sizes of a store as long as it is used, on a thread of its own.
    pub(super) fn in_background(&self, store: &Arc<SledStore>) {
        let (compactor, store): (_, Weak<_>) = (self.clone(), Arc::downgrade(store));
        let look = move || {
            let mut next = Instant::now();
            while compactor.holder.wait_look(LOOK) && store.strong_count() > 0 {
                if Instant::now() < next {
                    continue;
                }
                let begun = Instant::now();
                if let Err(panic) = contain(|| compactor.look()) {
                    tracing::error!(%panic, "compacting the store ended in a panic");
                }
                next = Instant::now() + (begun.elapsed() * REST).min(REST_MAX);
            }
        };
        let thread = std::thread::Builder::new().name("compaction".to_owned());
        if let Err(error) = thread.spawn(look) {
            tracing::warn!(%error, "no thread for compaction: the store does not shrink");
        }
    }

    /// Makes a snapshot and a view if they are due.
    fn look(&self) {
        let Some(era) = self.holder.look(|open| open.era) else {
            return;
        };
        self.holder.look_at_marks();
        if self.holder.files.opener.is_removed() && self.holder.files.is_in_place() {
            let found = "the folder of the view was removed while it was in use";
            self.heal(era, found);
        }
        let durable = || self.holder.readers.progress().borrow().durable;
        let begin = durable();
        let before = self.counts.looked_at.swap(begin, Ordering::Relaxed);
        let held = self.held(begin.saturating_sub(before) <= LAG_MAX);
        let view_is_due = held.view_is_due();
        if !view_is_due && !held.snapshot_is_due() {
            return;
        }
        let needed = held.expected().saturating_mul(2);
        let has_room = self.holder.space.has(needed);
        let told = self.counts.no_room.swap(!has_room, Ordering::Relaxed);
        if !has_room {
            if !told {
                tracing::warn!(
                    needed,
                    "the store could hold less, but the disk has no room to make its view again: it is tried again"
                );
            }
            return;
        }
        // From an older one, a view would be made with all that was removed since it was begun. Two are kept, so the second one
        // takes the place of an old one that is too large.
        let needed = if held.snapshot_is_due() { 2 } else { 1 };
        for _ in 0..needed {
            if !self.holder.journal.snapshotting.begin() {
                return;
            }
            snapshots::make(&self.holder);
        }
        if view_is_due {
            match self.replace(era, None) {
                Ok(true) => {
                    self.counts.compactions.inc();
                    let (before, after) = (held.view, self.held(false).view);
                    *self.counts.fresh.lock() = FreshView {
                        live: held.in_view(),
                        view: after,
                        undisturbed: durable().saturating_sub(begin) <= LAG_MAX,
                    };
                    tracing::info!(before, after, live = held.live, "the view was compacted");
                }
                Ok(false) => tracing::debug!(
                    "the view was not compacted, since the store was opened again meanwhile"
                ),
                Err(fault) => {
                    tracing::warn!(%fault, "the view was not compacted: it is tried again");
                }
            }
        }
    }

    pub(super) fn held(&self, quiet: bool) -> HeldBytes {
        let mut held = HeldBytes {
            live: self
                .holder
                .readers
                .sum(|tally| tally.bytes + tally.records * RECORD_BYTES),
            indexes: self
                .holder
                .look(|open| open.indexes.load().index_bytes())
                .unwrap_or(0),
            quiet,
            fresh: *self.counts.fresh.lock(),
            ..HeldBytes::default()
        };
        for (part, bytes) in self.holder.files.data.bytes() {
            match part {
                "view" => held.view += bytes,
                "journal" | "snapshots" => held.kept += bytes,
                _ => {}
            }
        }
        held
    }

    /// Makes the view again, since this was found to be wrong with it, as it was in this era. The old one serves what it can
    /// meanwhile.
    pub(super) fn heal(&self, era: u64, found: &'static str) {
        if self.counts.damaged_era.fetch_max(era, Ordering::AcqRel) >= era {
            return;
        }
        let healer = self.clone();
        let heal = move || {
            tracing::warn!("{found}: another view is made beside it");
            match contain(|| healer.replace(era, Some("a damaged view"))) {
                Ok(Ok(true)) => {
                    healer.counts.healings.inc();
                    let done = "another view, made beside it, took its place";
                    let incident = Incident::new(IncidentKind::DamagedView, STORAGE, found, done);
                    healer.holder.healing.incidents.add(incident);
                    tracing::info!("the damaged view was replaced");
                    return;
                }
                // Not now: the store was opened again, or nothing may be put in place of the view at present.
                Ok(Ok(false)) => return healer.look_again(era),
                Ok(Err(fault @ OpenFault::View(_))) => {
                    tracing::warn!(%fault, "the damaged view could not be made again beside the old one");
                }
                Ok(Err(fault)) => {
                    tracing::error!(%fault, "the damaged view can't be made again now: it serves the other records, and it is tried again");
                    return healer.look_again(era);
                }
                Err(panic) => {
                    tracing::error!(%panic, "making the damaged view again ended in a panic");
                }
            }
            if let Err(error) = healer.writer.tell(StoreMessage::Heal { era }) {
                tracing::warn!(%error, "the damaged view is not made again now: it is tried again");
                healer.look_again(era);
            }
        };
        let thread = std::thread::Builder::new().name("view-healing".to_owned());
        if let Err(error) = thread.spawn(heal) {
            tracing::warn!(%error, "no thread to make the damaged view again");
            self.forget_damage(era);
        }
    }

    /// After a pause, whoever finds the damage of this era again makes the view again.
    fn look_again(&self, era: u64) {
        self.holder.wait_look(HEAL_AGAIN);
        self.forget_damage(era);
    }

    fn forget_damage(&self, era: u64) {
        let damaged = &self.counts.damaged_era;
        // A later era has its own damage.
        if damaged.load(Ordering::Acquire) == era {
            damaged.store(0, Ordering::Release);
        }
    }

    /// Makes a view beside the one of this era and puts it in its place. False if that one is not in use any more.
    fn replace(&self, era: u64, aside: Option<&str>) -> Result<bool, OpenFault> {
        let begun = Instant::now();
        while !self.holder.journal.snapshotting.begin() {
            if begun.elapsed() > SNAPSHOT_WAIT || self.holder.is_closed() {
                return Ok(false);
            }
            std::thread::park_timeout(PAUSE);
        }
        // No snapshot is made meanwhile: the old view must be able to catch up if the process ends in between.
        let swapped = contain(|| self.hand_over(era)).unwrap_or_else(|panic| {
            Err(OpenFault::View(format!(
                "making it again ended in a {panic}"
            )))
        });
        let aside = aside.filter(|_| matches!(swapped, Ok(true)));
        // Also of one that could not be made: it may have taken the last room on the disk.
        if let Err(error) = self.holder.files.opener.remove_unused(aside) {
            tracing::warn!(%error, "a view that is not used any more could not be removed: the next start removes it");
        }
        snapshots::end(&self.holder);
        swapped
    }

    /// Makes another view, and waits until it is in use and nobody uses the old one. False if it is not used.
    fn hand_over(&self, era: u64) -> Result<bool, OpenFault> {
        let (sender, receiver) = mpsc::channel();
        let Some(built) = self.build(era, sender)? else {
            return Ok(false);
        };
        let view = Mutex::new(Some(Box::new(built)));
        if self.writer.tell(StoreMessage::UseView { view }).is_err() {
            return Ok(false);
        }
        let Ok(mut old) = receiver.recv() else {
            return Ok(false);
        };
        for _ in 0..RELEASES {
            match Arc::try_unwrap(old) {
                Ok(last) => {
                    drop(last);
                    break;
                }
                Err(held) => old = held,
            }
            std::thread::park_timeout(PAUSE);
        }
        Ok(true)
    }

    /// Makes a view that lacks a few changes at most. `None` if the store was closed.
    pub(super) fn build(
        &self,
        era: u64,
        replaced: mpsc::Sender<Arc<OpenEngine>>,
    ) -> Result<Option<BuiltView>, OpenFault> {
        let current = |open: &OpenEngine| (open.era == era).then_some(open.store);
        let Some(store) = self.holder.look(current).flatten() else {
            return Ok(None);
        };
        let durable = self.holder.readers.progress().borrow().durable;
        let known = self.holder.resources.known.load_full();
        let names = known.names();
        let opening = Opening {
            resources: &known.declared(),
            data: &self.holder.files.data,
            opener: &*self.holder.files.opener,
            collections: &names,
            log_keep: self.holder.limits.now().log_keep,
            log_needed: self.holder.engine.handovers.needed_from(),
            before: None,
            view_in_doubt: false,
            healing: &self.holder.healing,
            tidy: &|| Ok(()),
        };
        let (engine, checked) = opening.beside(store, durable)?;
        let mut built = BuiltView {
            engine,
            checked,
            era,
            replaced,
        };
        for _ in 0..CATCH_UPS {
            if self.holder.is_closed() {
                return Ok(None);
            }
            let durable = self.holder.readers.progress().borrow().durable;
            if durable.saturating_sub(built.checked.last_seq) <= LAG_MAX {
                break;
            }
            built.catch_up(&self.holder, store, durable)?;
        }
        built.engine.flush()?;
        Ok(Some(built))
    }
}
