//! Opens a data folder: finds what is in it, carries out what [`start`](super::start) decides, and heals what is damaged.
//!
//! Nothing that may be the only copy of something is written into. What is replaced is moved to `aside-<unix ms>`.

use super::answers::without_answers;
use super::checked::{self, Checked, SCHEMA};
use super::data_folder::{DataFolder, move_aside};
use super::engine::{Engine, OpenFault, Opener};
use super::healing::{Healing, HealingTask, TaskKind};
use super::index_catalog::IndexCatalog;
use super::looking_first::figures;
use super::old_format;
use super::owner::own_marks;
use super::replay::Replay;
use super::snapshots;
use super::sources::{Agreement, refused};
use super::start::{self, DataParts, Remedy, StoreKind, ViewState};
use crate::incidents::{Incident, IncidentKind, STORAGE};
use crate::storage::TaskProgress;
use crate::storage::fit::Resources;
use crate::storage::journal::{
    Acknowledged, Journal, JournalEnd, JournalError, JournalFiles, Mark, Marks, MarksFound,
    Snapshot, StoreId, boot_id,
};

/// The text for a folder that has no store any more.
pub(super) const MOVED: &str = "was moved or emptied while it was in use";

/// The parts of a store that only the writer uses.
#[derive(Debug)]
pub(super) struct CommitLog {
    pub(super) journal: Journal,
    pub(super) marks: Marks,
    pub(super) mark: Mark,
}

/// An opened store.
pub(super) struct OpenedStore {
    pub(super) engine: Box<dyn Engine>,
    pub(super) checked: Checked,
    pub(super) log: CommitLog,
    /// The length of what the journal has after the newest snapshot.
    pub(super) journal_bytes: u64,
}

/// One attempt to open a store.
pub(super) struct Opening<'a> {
    pub(super) data: &'a DataFolder,
    pub(super) opener: &'a dyn Opener,
    pub(super) collections: &'a [String],
    /// The declared resources: a view that is made has their indexes from the beginning.
    pub(super) resources: &'a Resources,
    /// The number of changes that the log of them keeps.
    pub(super) log_keep: u64,
    /// The first change whose entry the log of changes keeps in any case.
    pub(super) log_needed: u64,
    /// The store that this process had open before, and its last change.
    pub(super) before: Option<(StoreId, u64)>,
    /// Whether the view was left in the middle of a group.
    pub(super) view_in_doubt: bool,
    pub(super) healing: &'a Healing,
    /// Removes what an earlier run left, as soon as it is certain that the store is not refused.
    pub(super) tidy: &'a dyn Fn() -> Result<(), OpenFault>,
}

impl Opening<'_> {
    /// Opens the store.
    pub(super) fn run(&self) -> Result<OpenedStore, OpenFault> {
        let (marks, store) = own_marks(self.data, || self.store_of_view())?;
        if marks == MarksFound::Absent && self.data.restoring().exists() {
            let unfinished =
                "holds a restore that was cut off; run it again, or remove its folder restoring";
            return Err(OpenFault::Replaced(unfinished.to_owned()));
        }
        let parts = DataParts {
            marks,
            journal: JournalFiles::any(&self.data.journal())?,
            copies: self.data.snapshots().exists()
                || self.opener.exists()
                || self.data.lost_a_folder(),
            old: self.data.old().exists(),
        };
        let kind = start::kind(&parts);
        self.same_store(kind)?;
        let opened = self.of_kind(kind, store, marks.known());
        let opened = opened.map_err(|fault| self.with_way_back(kind, fault))?;
        let damage = match marks {
            MarksFound::Found { damaged: true, .. } => {
                Some("a mark of the last acknowledged change was damaged")
            }
            MarksFound::Found { .. } => None,
            MarksFound::Damaged | MarksFound::Absent => (kind == StoreKind::Unmarked)
                .then_some("the marks of the last acknowledged change could not be read"),
        };
        if let Some(damage) = damage {
            let done = "it was written again";
            tracing::warn!(folder = %self.data.path.display(), "{damage}: {done}");
            let incident = Incident::new(IncidentKind::DamagedMark, STORAGE, damage, done);
            let file = self.data.path.join("marks");
            self.healing.incidents.add(incident.of_file(&file));
        }
        Ok(opened)
    }

    /// Opens a store of this kind.
    fn of_kind(
        &self,
        kind: StoreKind,
        store: Option<StoreId>,
        acknowledged: Acknowledged,
    ) -> Result<OpenedStore, OpenFault> {
        match kind {
            StoreKind::New => {
                tracing::info!(folder = %self.data.path.display(), "new, empty store");
                self.begin(StoreId::random())
            }
            StoreKind::Old => {
                let store = StoreId::random();
                old_format::take_over(self.data, store)?;
                let opened = self.rebuild(store, Acknowledged::Exactly(0), None)?;
                old_format::move_aside(self.data)?;
                Ok(opened)
            }
            StoreKind::Marked(mark) => {
                let opened = self.known(mark, acknowledged)?;
                // Taken over before, but the process ended before it was moved.
                old_format::move_aside(self.data)?;
                Ok(opened)
            }
            StoreKind::Unmarked => {
                let unknown = "neither the file marks nor the journal can be read";
                let store = store.ok_or_else(|| OpenFault::Damaged(unknown.to_owned()))?;
                tracing::warn!(folder = %self.data.path.display(), "the file marks can't be read; the copies of the store are compared");
                // Whether the machine went down since the view was used is not known either. What the view has was acknowledged
                // or is in the journal.
                let read = |engine: &dyn Engine| figures(engine, store);
                let certain = match self.opener.exists().then(|| self.in_copy(read)) {
                    Some(Err(fault)) if fault.is_full() => return Err(fault),
                    Some(Ok(checked)) => checked.last_seq,
                    Some(Err(_)) | None => 0,
                };
                let acknowledged = Acknowledged::AtLeast(certain);
                self.rebuild(store, acknowledged, Some(self.doubt(ViewState::Doubted)))
            }
        }
    }

    /// Names the snapshot to which a store that a newer release wrote can be taken back.
    fn with_way_back(&self, kind: StoreKind, fault: OpenFault) -> OpenFault {
        let (OpenFault::Newer { found, known, .. }, StoreKind::Marked(mark)) = (&fault, kind)
        else {
            return fault;
        };
        let (found, known) = (*found, *known);
        let snapshots = Snapshot::find(&self.data.snapshots(), mark.store).unwrap_or_default();
        let is_known = |snapshot: &&Snapshot| snapshot.read::<JournalError>(|_| Ok(())).is_ok();
        let back = snapshots.iter().find(is_known).map(|snapshot| snapshot.seq);
        OpenFault::Newer { found, known, back }
    }

    /// Looks whether the folder still holds the store that was open before.
    fn same_store(&self, kind: StoreKind) -> Result<(), OpenFault> {
        let Some((store, last)) = self.before else {
            return Ok(());
        };
        let why = match kind {
            StoreKind::Marked(mark) if mark.store != store => {
                "holds another store than before".to_owned()
            }
            StoreKind::Marked(mark) if mark.acknowledged < last => format!(
                "ends at change {}, but was at {last} before: an older copy took its place",
                mark.acknowledged
            ),
            StoreKind::Marked(_) | StoreKind::Unmarked => return Ok(()),
            StoreKind::New | StoreKind::Old => MOVED.to_owned(),
        };
        Err(OpenFault::Replaced(why))
    }

    /// Begins an empty store. Its marks come first: a view or a journal without them is never taken for a new store.
    fn begin(&self, store: StoreId) -> Result<OpenedStore, OpenFault> {
        let mark = Mark {
            store,
            branch: 0,
            boot: boot_id(),
            acknowledged: 0,
            clean: false,
        };
        self.make_way()?;
        Marks::open(&self.data.path)?.write_both(&mark)?;
        self.opener
            .set_aside("a view without a store")
            .map_err(OpenFault::Io)?;
        let mut engine = self.opener.open(self.collections)?;
        let checked = Checked {
            log_first: 1,
            ..Checked::default()
        };
        IndexCatalog::declare_empty(&*engine, self.resources)?;
        let (checked, _) = Replay::new(&mut *engine, store, checked, 0)?.finish(0)?;
        let opened = self.opened(engine, checked, store, &JournalEnd::default())?;
        self.opener.finished().map_err(OpenFault::Io)?;
        Ok(opened)
    }

    /// Opens a store that exists. A view that is not trusted is made again.
    fn known(&self, mark: Mark, acknowledged: Acknowledged) -> Result<OpenedStore, OpenFault> {
        let (store, boot) = (mark.store, boot_id());
        let view = start::view_state(&mark, boot);
        if view == ViewState::Unmade {
            return self.rebuild(store, acknowledged, None);
        }
        if view == ViewState::Doubted || self.view_in_doubt || !self.opener.exists() {
            return self.rebuild(store, acknowledged, Some(self.doubt(view)));
        }
        let agrees = self.will_agree(store, acknowledged);
        let opened = agrees.and_then(|()| {
            self.make_way()?;
            if mark.clean {
                // From here on the view is used, and a power cut makes it worthless.
                let clean = false;
                Marks::open(&self.data.path)?.write_both(&Mark {
                    boot,
                    clean,
                    ..mark
                })?;
            }
            let engine = self.opener.open(self.collections)?;
            let checked = figures(&*engine, store)?;
            self.with_view(store, acknowledged, engine, checked)
        });
        match opened {
            Err(OpenFault::View(found)) => {
                tracing::warn!(found, "the view of the store is damaged: it is made again");
                let what = format!("the view of the records was damaged: {found}");
                self.rebuild(store, acknowledged, Some(&what))
            }
            Err(OpenFault::Damaged(told)) => {
                let what = "the view of the records lacked changes that the journal has no more";
                match self.rebuild(store, acknowledged, Some(what)) {
                    Err(OpenFault::Damaged(_)) => Err(OpenFault::Damaged(told)),
                    rebuilt => rebuilt,
                }
            }
            opened => opened,
        }
    }

    /// The reason why a view in this state is made again.
    fn doubt(&self, view: ViewState) -> &'static str {
        if !self.opener.exists() {
            "the view of the records was missing"
        } else if view == ViewState::Doubted {
            "the machine may have gone down while the view of the records was in use"
        } else {
            "a group of changes may have been in the view of the records in part"
        }
    }

    /// Removes what an earlier run left, and moves aside what is in the place of a file or a folder and is not one.
    fn make_way(&self) -> Result<(), OpenFault> {
        (self.tidy)()?;
        for path in self.data.make_way().map_err(OpenFault::Io)? {
            let kind = if path == self.data.journal() {
                IncidentKind::DamagedJournal
            } else if path == self.data.snapshots() {
                IncidentKind::DamagedSnapshot
            } else {
                continue;
            };
            let what = "something else was in the place of a folder of the store";
            let incident = Incident::new(kind, STORAGE, what, "it was moved aside");
            self.healing.incidents.add(incident.of_file(&path));
        }
        Ok(())
    }

    /// Makes a trusted view and the journal agree.
    fn with_view(
        &self,
        store: StoreId,
        acknowledged: Acknowledged,
        mut engine: Box<dyn Engine>,
        checked: Checked,
    ) -> Result<OpenedStore, OpenFault> {
        let at = checked.last_seq;
        let task = self.healing.begin(TaskKind::CatchUp);
        let files = JournalFiles::find(&self.data.journal(), store)?.counted(task.counter());
        task.has_left(2 * files.bytes_to_read(at));
        let Agreement {
            remedy,
            view,
            end,
            found,
        } = Agreement::read(&files, store, at, acknowledged)?;
        match remedy {
            Remedy::Replay => {
                self.before_step(&*engine, &checked, store)?;
                let mut replay =
                    Replay::new(&mut *engine, store, checked, self.log_from(end.last))?;
                if end.last > at {
                    files.read::<OpenFault>(at, |changes| replay.add(changes))?;
                }
                let (checked, applied) = replay.finish(end.last)?;
                tell_taken_over(applied);
                self.opened(engine, checked, store, &end)
            }
            Remedy::Renew => {
                drop(task);
                // Also without changes this writes the version of the format: this release makes indexes in an older one, too.
                let mut replay = Replay::new(&mut *engine, store, checked, self.log_from(view))?;
                if view > at {
                    files.read_past_damage(store, at, |changes| replay.add(changes))?;
                }
                let (checked, applied) = replay.finish(view)?;
                tell_taken_over(applied);
                let short = || format!("it ended at change {}, the view at {view}", end.last);
                self.renew(engine, checked, store, &found.unwrap_or_else(short))
            }
            lost @ (Remedy::Lost { .. } | Remedy::Unknown { .. }) => Err(refused(lost)),
        }
    }

    /// Makes the journal begin again with a snapshot of a view, which has all that was acknowledged.
    fn renew(
        &self,
        engine: Box<dyn Engine>,
        checked: Checked,
        store: StoreId,
        found: &str,
    ) -> Result<OpenedStore, OpenFault> {
        let at = checked.last_seq;
        let done =
            "it begins again with a snapshot of the view, which has all that was acknowledged";
        tracing::warn!(change = at, "the journal is damaged: {done}");
        let task = self.healing.begin(TaskKind::RenewJournal).announced();
        task.has_left(checked.tallies.iter().map(|tally| tally.bytes).sum());
        let snapshot = snapshots::of_view(&*engine, &checked, store, self.data, task.counter())?;
        let journal = self.data.journal();
        if journal.exists() {
            move_aside(&self.data.path, &journal, "a damaged journal").map_err(OpenFault::Io)?;
        }
        tracing::info!(file = %snapshot.path().display(), "snapshot written");
        let end = JournalEnd {
            last: at,
            ..JournalEnd::default()
        };
        let opened = self.opened(engine, checked, store, &end)?;
        task.mended(IncidentKind::DamagedJournal, found, done);
        Ok(opened)
    }

    /// Makes a snapshot of a view that is about to get another version: the release of before can go back to it.
    fn before_step(
        &self,
        engine: &dyn Engine,
        checked: &Checked,
        store: StoreId,
    ) -> Result<(), OpenFault> {
        let version = checked::version(engine)?.filter(|version| *version < SCHEMA);
        if let Some(version) = version {
            let task = self.healing.begin(TaskKind::Snapshot);
            let snapshot = snapshots::of_view(engine, checked, store, self.data, task.counter())?;
            tracing::info!(file = %snapshot.path().display(), change = snapshot.seq, "snapshot written, before the view goes from version {version} to {SCHEMA}");
        }
        Ok(())
    }

    /// Makes the view from its best source; again if something was found to be wrong with it.
    fn rebuild(
        &self,
        store: StoreId,
        acknowledged: Acknowledged,
        found: Option<&str>,
    ) -> Result<OpenedStore, OpenFault> {
        let task = self.healing.begin(TaskKind::MakeView).announced();
        let files = JournalFiles::find(&self.data.journal(), store)?.counted(task.counter());
        let (snapshot, end) = self.best_source(store, &files, acknowledged, &task)?;
        self.make_way()?;
        let why = "it is made again from the journal";
        self.opener.set_aside(why).map_err(OpenFault::Io)?;
        let engine = self.opener.open(self.collections)?;
        let source = (&files, snapshot.as_ref(), end.last);
        let (engine, checked) = self.fill(engine, store, source, false, &task)?;
        let opened = self.opened(engine, checked, store, &end)?;
        self.opener.finished().map_err(OpenFault::Io)?;
        if let Some(found) = found {
            let done = format!("it was made again, up to change {}", end.last);
            task.mended(IncidentKind::DamagedView, found, &done);
        }
        Ok(opened)
    }

    /// Makes a view beside the one in use, with all changes up to `durable`: later ones may never have been acknowledged.
    pub(super) fn beside(
        &self,
        store: StoreId,
        durable: u64,
    ) -> Result<(Box<dyn Engine>, Checked), OpenFault> {
        let task = self.healing.begin(TaskKind::MakeBeside).announced();
        let files = JournalFiles::find(&self.data.journal(), store)?.counted(task.counter());
        let (snapshot, _) =
            self.best_source(store, &files, Acknowledged::Exactly(durable), &task)?;
        let engine = self.opener.open_beside(self.collections)?;
        // One may have been made meanwhile.
        let base = snapshot.as_ref().map_or(0, |snapshot| snapshot.seq);
        let source = (&files, snapshot.as_ref(), durable.max(base));
        self.fill(engine, store, source, true, &task)
    }

    /// Fills an empty view with the changes up to `last`.
    fn fill(
        &self,
        mut engine: Box<dyn Engine>,
        store: StoreId,
        (files, snapshot, last): (&JournalFiles, Option<&Snapshot>, u64),
        beside: bool,
        task: &HealingTask<'_>,
    ) -> Result<(Box<dyn Engine>, Checked), OpenFault> {
        let base = snapshot.map_or(0, |snapshot| snapshot.seq);
        IndexCatalog::declare_empty(&*engine, self.resources)?;
        let replay = Replay::new(&mut *engine, store, Checked::default(), u64::MAX)?;
        let mut replay = replay.of_snapshot().beside(beside);
        if let Some(snapshot) = snapshot {
            snapshot.read_counted::<OpenFault>(task.counter(), |changes| replay.add(changes))?;
        }
        let (checked, records) = replay.finish(base)?;
        let from = self.log_from(last);
        let replay = Replay::new(&mut *engine, store, checked, from)?;
        let mut replay = replay.of_new_view().beside(beside);
        if last > base {
            files.read::<OpenFault>(base, |changes| {
                let wanted = changes.into_iter().filter(|change| change.seq <= last);
                replay.add(wanted.collect())
            })?;
        }
        let (mut checked, changes) = replay.finish(last)?;
        checked.log_first = (base + 1).max(from);
        let seconds = task.lasted().as_secs_f64();
        tracing::info!(records, changes, beside, seconds, "the view was made again");
        Ok((engine, checked))
    }

    fn log_from(&self, last: u64) -> u64 {
        let from = (last + 1).saturating_sub(self.log_keep);
        from.min(self.log_needed)
    }

    fn opened(
        &self,
        engine: Box<dyn Engine>,
        checked: Checked,
        store: StoreId,
        end: &JournalEnd,
    ) -> Result<OpenedStore, OpenFault> {
        let journal = Journal::open(&self.data.journal(), store, end)?;
        let mark = Mark {
            store,
            branch: Marks::branch_of(&self.data.path, store)?,
            boot: boot_id(),
            acknowledged: checked.last_seq,
            clean: false,
        };
        let mut marks = Marks::open(&self.data.path)?;
        marks.write_both(&mark)?;
        let names = engine.collections();
        let records = without_answers(&names, &checked.tallies).map(|tally| tally.records);
        let records: u64 = records.sum();
        tracing::info!(records, change = checked.last_seq, folder = %self.data.path.display(), "store open");
        let log = CommitLog {
            journal,
            marks,
            mark,
        };
        let snapshots = Snapshot::find(&self.data.snapshots(), store)?;
        let newest = snapshots.first().map_or(0, |snapshot| snapshot.seq);
        let files = JournalFiles::find(&self.data.journal(), store)?;
        Ok(OpenedStore {
            engine,
            checked,
            log,
            journal_bytes: files.bytes_after(newest),
        })
    }
}

fn tell_taken_over(changes: u64) {
    if changes > 0 {
        tracing::info!(
            changes,
            "the view took over changes that only the journal had"
        );
    }
}
