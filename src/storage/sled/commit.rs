//! A commit: one group goes to the journal, then it is answered, and then it is applied to the view.
//!
//! From the answer on, readers must see it. So until the view has it, a reader of one record looks first into the group
//! ([`OpenEngine::unapplied`]), and a reader of more than one waits.

// Decision: A group is answered before it is applied.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::checked::Checked;
use super::engine::{Group, Keyspace};
use super::holder::Holder;
use super::log::seq_key;
use super::opening::CommitLog;
use super::reader_state::OpenEngine;
use super::replay::add_figures;
use super::snapshots;
use super::staging::Staging;
use super::writer::Writer;
use crate::supervision::BoxError;

/// The fault point that skips the sync of the journal, so that a test can show what a power cut does without it.
pub(super) const WEAK_SYNC: &str = "storage.weak_sync";
/// The fault point at which the disk fails while the journal is written.
pub(super) const FAILING_SYNC: &str = "storage.failing_sync";
/// The fault point at which the disk does not answer for a tenth of a second.
pub(super) const HANGING_SYNC: &str = "storage.hanging_sync";
const HANG: Duration = Duration::from_millis(100);
/// The fewest entries the log keeps. A message that is delivered again is looked for there, two groups later at most.
const LOG_KEEP_MIN: u64 = 2560;
/// How many entries of the log a group removes at most, besides as many as it adds.
const LOG_TRIM: u64 = 256;

/// The end of a commit that left no doubt.
pub(super) enum Committed {
    Done,
    /// The disk had no room for the journal; nothing was changed.
    NoRoom,
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
            ..
        } = staging;
        self.trim_log(&mut group, &mut checked);
        add_figures(&mut group, &checked, &*open.engine);
        let begun = Instant::now();
        let mut log = open.log.lock();
        let mut doubt = Doubt::begin(&self.holder, &mut log, begun);
        if self.holder.takes_new_segment() {
            doubt.log.journal.leave_segment();
        }
        if let Err(error) = doubt.log.journal.prepare(&changes, full) {
            if error.is_full() {
                self.holder.space.had_none(&error);
                doubt.dispel();
                return Ok(Committed::NoRoom);
            }
            return Err(error.into());
        }
        faults.hit("writer.in_transaction");
        // The one fault point that is hit again at a second delivery: it makes a message fail for good.
        self.settings.faults.hit("writer.fatal");
        if !self.holder.engine.begin_commit(&|| self.fence.holds()) {
            // Nothing was changed, and another incarnation has the store by now.
            doubt.dispel();
            return Err("the writer has been replaced".into());
        }
        if self.settings.faults.take(FAILING_SYNC) {
            return Err(std::io::Error::other("a fault that was asked for").into());
        }
        self.hang();
        let sync = !self.settings.faults.take(WEAK_SYNC);
        if let Err(error) = doubt.log.journal.append(checked.last_seq, sync) {
            // What the disk has of the group is not known. A new segment says where the old one ends.
            self.holder.leave_segment();
            return Err(error.into());
        }
        doubt.log.mark.acknowledged = checked.last_seq;
        let CommitLog { marks, mark, .. } = &mut *doubt.log;
        marks.write(mark)?;
        faults.hit("writer.before_answers");
        self.settings.commits.observe(begun.elapsed().as_secs_f64());
        let group = Arc::new(group);
        let applying = self.holder.readers.applying();
        open.unapplied.store(Some(Arc::clone(&group)));
        self.holder.readers.group_begins(&checked);
        self.holder.engine.applies_group();
        answer();
        faults.hit("writer.before_view");
        doubt.view = true;
        open.engine.commit(&group)?;
        doubt.view = false;
        open.unapplied.store(None);
        self.holder.readers.group_ends();
        drop(applying);
        doubt.dispel();
        let journal_bytes = log.journal.bytes_since_asked();
        drop(log);
        self.holder.engine.committed(checked.clone());
        if !full {
            self.holder.space.had_some();
        }
        self.checked = checked;
        let grown = self.holder.grown(journal_bytes);
        if snapshots::is_due(grown, &self.checked) {
            snapshots::make_in_background(&self.holder);
        }
        Ok(Committed::Done)
    }

    /// Waits for as long as a test has asked for.
    fn hang(&self) {
        while self.settings.faults.take(HANGING_SYNC) {
            std::thread::park_timeout(HANG);
        }
    }

    /// Removes the oldest entries of a log that is too long, a bounded number of them.
    fn trim_log(&self, group: &mut Group, checked: &mut Checked) {
        let added = checked.last_seq - self.checked.last_seq;
        for _ in 0..added.saturating_add(LOG_TRIM) {
            let kept = checked.last_seq + 1 - checked.log_first;
            if kept <= self.settings.log_keep.max(LOG_KEEP_MIN) {
                break;
            }
            group.remove(Keyspace::Log, seq_key(checked.log_first));
            checked.log_first += 1;
        }
    }
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
            self.holder.doubt_view(self.log);
        }
        if self.doubtful {
            self.holder.doubt();
        }
    }
}
