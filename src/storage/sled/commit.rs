//! A commit: one group goes to the journal, then it is answered, and then it is applied to the view.
//!
//! From the answer on, readers must see it. So until the view has it, a reader of one record looks first into the group
//! ([`OpenEngine::unapplied`]), and a reader of more than one waits.

// Decision: A group is answered before it is applied.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::checked::Checked;
use super::engine::{Group, Keyspace};
use super::holder::Holder;
use super::index_catalog::IndexCatalog;
use super::log::seq_key;
use super::opening::CommitLog;
use super::reader_state::OpenEngine;
use super::replay::add_figures;
use super::snapshots;
use super::staging::Staging;
use super::writer::Writer;
use crate::incidents::{Incident, IncidentKind, STORAGE};
use crate::storage::journal::{FrameSync, Journal, JournalChange, JournalError};
use crate::supervision::{BoxError, Faults};

/// The fault point that skips the sync of the journal, so that a test can show what a power cut does without it.
pub(super) const WEAK_SYNC: &str = "storage.weak_sync";
/// The fault point at which the disk fails while the journal is written.
pub(super) const FAILING_SYNC: &str = "storage.failing_sync";
/// The fault point at which the disk does not answer for a tenth of a second.
pub(super) const HANGING_SYNC: &str = "storage.hanging_sync";
const HANG: Duration = Duration::from_millis(100);
/// The fewest entries the log of changes keeps, besides those of the last writes.
const LOG_KEEP_MIN: u64 = 2560;
/// The most entries of the log of changes that a group removes, besides as many as it adds.
const LOG_TRIM: u64 = 256;

/// The end of a commit that left the view in no doubt.
pub(super) enum Committed {
    Done,
    /// The group is too long for the journal; nothing was changed.
    TooMuch,
    /// The disk had no room for the journal; nothing was changed.
    NoRoom,
    /// The disk failed before anything was written.
    NotWritten,
    /// The disk failed, and may have the group, unless a later one is written.
    Unknown,
    /// Nothing was changed: another incarnation has the store by now.
    Replaced,
}

impl Writer {
    /// Appends the group to the journal, answers it, and applies it to the view while its callers are on their way.
    pub(super) fn commit(
        &mut self,
        open: &OpenEngine,
        staging: Staging<'_>,
        answer: impl FnOnce(),
    ) -> Result<Committed, BoxError> {
        let Staging {
            mut group,
            mut checked,
            faults,
            changes,
            full,
            indexes,
            moves,
            answers,
            ..
        } = staging;
        self.trim_log(&mut group, &mut checked);
        add_figures(&mut group, &checked, &*open.engine);
        let begun = Instant::now();
        let mut log = open.log.lock();
        let mut doubt = Doubt::begin(&self.holder, &mut log, begun);
        if let Some(committed) = self.journal(doubt.log, &checked, &changes, &faults, full)? {
            doubt.dispel();
            return Ok(committed);
        }
        faults.hit("writer.before_answers");
        self.settings.commits.observe(begun.elapsed().as_secs_f64());
        let group = Arc::new(group);
        let applying = self.holder.readers.applying();
        self.holder.readers.recent.add(changes);
        let show = || open.unapplied.store(Some(Arc::clone(&group)));
        self.holder.readers.group_begins(&checked, show);
        self.holder.engine.applies_group();
        answer();
        faults.hit("writer.before_view");
        doubt.view = true;
        open.engine.commit(&group)?;
        doubt.view = false;
        moves.apply(&*open.engine, &indexes);
        open.unapplied.store(None);
        self.holder.readers.group_ends();
        drop(applying);
        doubt.dispel();
        let journal_bytes = log.journal.bytes_since_asked();
        drop(log);
        if !full {
            self.holder.space.had_some();
        }
        if let Some(order) = &mut self.answers {
            order.follow(answers);
        }
        self.committed(checked, journal_bytes);
        Ok(Committed::Done)
    }

    /// Goes on after a commit by which the journal has grown.
    fn committed(&mut self, checked: Checked, journal_bytes: u64) {
        self.holder.engine.committed(checked.clone());
        self.checked = checked;
        let grown = self.holder.journal.grown(journal_bytes);
        if snapshots::is_due(grown, &self.checked) {
            snapshots::make_in_background(&self.holder);
        }
    }

    /// Changes the view only, between two groups: what the journal does not have.
    pub(super) fn change_view(
        &self,
        open: &OpenEngine,
        group: &Group,
        indexes: IndexCatalog,
    ) -> Result<(), BoxError> {
        let mut log = open.log.lock();
        let mut doubt = Doubt::begin(&self.holder, &mut log, Instant::now());
        if !self.holder.engine.begin_commit(&|| self.fence.holds()) {
            doubt.dispel();
            return Err("the writer has been replaced".into());
        }
        let applying = self.holder.readers.applying();
        self.holder.readers.group_begins(&self.checked, || ());
        self.holder.engine.applies_group();
        doubt.view = true;
        open.engine.commit(group)?;
        open.indexes.store(Arc::new(indexes));
        doubt.view = false;
        self.holder.readers.group_ends();
        drop(applying);
        doubt.dispel();
        drop(log);
        self.holder.engine.committed(self.checked.clone());
        Ok(())
    }

    /// Appends the group to the journal. Otherwise returns why not, if that leaves no doubt about the view.
    fn journal(
        &self,
        log: &mut CommitLog,
        checked: &Checked,
        changes: &[JournalChange],
        faults: &Faults,
        full: bool,
    ) -> Result<Option<Committed>, BoxError> {
        let CommitLog {
            journal,
            marks,
            mark,
        } = log;
        if self.holder.journal.takes_new_segment() {
            journal.leave_segment();
        }
        if let Err(error) = journal.prepare(changes, full) {
            if error.is_too_much() {
                return Ok(Some(Committed::TooMuch));
            }
            if error.is_full() {
                self.holder.space.had_none(&error, journal.next_bytes());
                return Ok(Some(Committed::NoRoom));
            }
            if error.is_of_disk() {
                self.holder.disk.count();
                self.holder.disk_fails(&error, &self.settings.faults);
                return Ok(Some(Committed::NotWritten));
            }
            return Err(error.into());
        }
        faults.hit("writer.in_transaction");
        // The one fault point that is hit again at a second delivery: it makes a message fail for good.
        self.settings.faults.hit("writer.fatal");
        if !self.holder.engine.begin_commit(&|| self.fence.holds()) {
            // Nothing was changed, and another incarnation has the store by now.
            return Ok(Some(Committed::Replaced));
        }
        self.hang();
        if let Err(error) = self.append(journal, checked.last_seq) {
            if error.is_of_disk() {
                // The view has nothing of the group.
                self.holder.engine.committed(self.checked.clone());
                self.holder.disk_fails(&error, &self.settings.faults);
                return Ok(Some(Committed::Unknown));
            }
            return Err(error.into());
        }
        mark.acknowledged = checked.last_seq;
        if let Err(error) = marks.write(mark) {
            // The journal has the group. A mark that is too low does no harm.
            self.holder.disk_fails(&error, &self.settings.faults);
        }
        Ok(None)
    }

    /// Appends the group; if the disk fails, once more in a new file.
    fn append(&self, journal: &mut Journal, last: u64) -> Result<(), JournalError> {
        let first = match journal.append(last, self.sync()) {
            Err(error) if error.is_of_disk() => error,
            appended => return appended,
        };
        self.holder.disk.count();
        journal.append_again(last, self.sync())?;
        tracing::warn!(error = %first, "the disk did not take a group of writes; a new file of the journal has it");
        let done = "a new file of the journal has the writes";
        let incident = Incident::new(IncidentKind::FailedWrite, STORAGE, &first.to_string(), done);
        self.holder.healing.incidents.add(incident);
        self.holder.ask_for_scrub();
        Ok(())
    }

    fn sync(&self) -> FrameSync {
        let faults = &self.settings.faults;
        if faults.take(FAILING_SYNC) {
            FrameSync::Failing
        } else if faults.take(WEAK_SYNC) {
            FrameSync::Skipped
        } else {
            FrameSync::Synced
        }
    }

    /// Waits for as long as a test has asked for.
    fn hang(&self) {
        while self.settings.faults.take(HANGING_SYNC) {
            std::thread::park_timeout(HANG);
        }
    }

    /// Removes the oldest entries of a log of changes that is too long, a bounded number of them.
    fn trim_log(&self, group: &mut Group, checked: &mut Checked) {
        let keep = self.holder.limits.now().log_keep.max(LOG_KEEP_MIN);
        let added = checked.last_seq - self.checked.last_seq;
        let needed = self.holder.engine.handovers.needed_from();
        let trimmed = trimmed(checked.log_first, checked.last_seq, added, keep, needed);
        for seq in trimmed.clone() {
            group.remove(Keyspace::Log, seq_key(seq));
        }
        checked.log_first = trimmed.end;
    }
}

/// The entries that are removed from a log of changes of `first..=last`, of which `added` are new, `keep` are to be kept, and those from
/// `needed` on are kept in any case. Pure.
fn trimmed(first: u64, last: u64, added: u64, keep: u64, needed: u64) -> Range<u64> {
    let end = (last + 1).saturating_sub(keep).min(needed);
    let most = added.saturating_add(LOG_TRIM);
    first..end.min(first.saturating_add(most)).max(first)
}

/// Held during a commit: unless it is dispelled, the store is in doubt when it is dropped, by an error or a panic.
struct Doubt<'a> {
    holder: &'a Holder,
    log: &'a mut CommitLog,
    doubtful: bool,
    /// Whether the group may be in the view in part.
    view: bool,
}

impl<'a> Doubt<'a> {
    fn begin(holder: &'a Holder, log: &'a mut CommitLog, begun: Instant) -> Self {
        holder.engine.clock_commit(Some(begun));
        Self {
            holder,
            log,
            doubtful: true,
            view: false,
        }
    }

    fn dispel(mut self) {
        self.doubtful = false;
    }
}

impl Drop for Doubt<'_> {
    fn drop(&mut self) {
        self.holder.engine.clock_commit(None);
        if self.view {
            self.holder.files.doubt_view(self.log);
        }
        if self.doubtful {
            self.holder.doubt();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_loses_its_oldest_entries_and_none_of_the_last_writes() {
        for (first, last, added, keep, needed, removed) in [
            (1, 100, 10, 100, 91, 1..1),
            (1, 110, 10, 100, 91, 1..11),
            (1, 110, 10, 100, 5, 1..5),
            // A group that is longer than all that is kept.
            (1, 9_000, 8_000, 2_560, 990, 1..990),
            (990, 9_100, 100, 2_560, 1_001, 990..1_001),
            (990, 9_200, 100, 2_560, 9_001, 990..990 + 100 + LOG_TRIM),
            (1, 9_000, 1, 100, 1, 1..1),
            (50, 60, 5, 100, 55, 50..50),
        ] {
            let found = trimmed(first, last, added, keep, needed);
            assert_eq!(found, removed, "{first} {last} {added} {keep} {needed}");
        }
    }
}
