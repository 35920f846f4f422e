//! Reads the changes for feeds: from memory, or the next page of them from the files of the journal.

use std::sync::Arc;

use super::data_folder::DataFolder;
use super::holder::Holder;
use super::snapshots::first_change;
use super::store::SledStore;
use crate::num::{as_millis, as_u64};
use crate::storage::feed::{ChangesPage, FeedStep, PAST_BYTES_MAX};
use crate::storage::journal::{JournalError, JournalFiles, StoreId};
use crate::storage::{StoreError, unix_ms};

/// The most readings of the journal at a time; others wait for their turn, and often find then what the one before has read.
pub(super) const PAGES_READ_MAX: usize = 1;

/// The number of changes before a page that are read, too: an update that an old release made in the millisecond of the creation is known
/// by the change that created.
const CHANGES_BEFORE: u64 = 1_000;

/// The end of a reading.
#[derive(Debug, thiserror::Error)]
enum PageEnd {
    /// There is enough for a page.
    #[error("the page is full")]
    Full,
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// Reads the changes after `after` and up to `until`, as many as a page has. `None` if the journal begins later.
fn read_page(
    data: &DataFolder,
    store: StoreId,
    after: u64,
    until: u64,
) -> Result<Option<Arc<ChangesPage>>, JournalError> {
    let files = JournalFiles::find(&data.journal(), store)?;
    let first = first_change(&files, data, store)?;
    if first > after.saturating_add(1) {
        return Ok(None);
    }
    let begin = after
        .saturating_sub(CHANGES_BEFORE)
        .max(first.saturating_sub(1));
    let (mut page, mut bytes) = (Vec::new(), 0);
    let read = files.read::<PageEnd>(begin, |changes| {
        for change in changes {
            if change.seq > until {
                return Err(PageEnd::Full);
            }
            if change.seq > after {
                bytes += change.bytes();
            }
            page.push(change);
        }
        if bytes >= PAST_BYTES_MAX {
            return Err(PageEnd::Full);
        }
        Ok(())
    });
    let page = ChangesPage::behind(after, page);
    match read {
        Ok(reach) => match files.shortfall(reach, until, until) {
            Some(error) if page.is_none() => Err(error),
            Some(_) | None => Ok(page),
        },
        Err(PageEnd::Full) => Ok(page),
        Err(PageEnd::Journal(error)) => Err(error),
    }
}

impl SledStore {
    /// Looks for the changes after this one without reading the disk.
    pub(super) fn feed_step(&self, after: u64) -> FeedStep {
        let durable = self.holder.readers.progress().borrow().durable;
        let history = as_u64(self.holder.limits.now().feed_history);
        match durable.checked_sub(after) {
            Some(0) => FeedStep::UpToDate,
            Some(behind) if behind > history => FeedStep::Gone,
            Some(_) => {
                let page = self.holder.readers.recent.page(after);
                page.map_or(FeedStep::Past, |page| {
                    step_to(page, after, oldest(&self.holder))
                })
            }
            // Before the store is open, nobody knows.
            None if durable == 0 => FeedStep::Past,
            None => FeedStep::Gone,
        }
    }

    /// The next step of a feed after this change, from the journal if need be.
    pub(super) async fn read_feed(&self, after: u64) -> Result<FeedStep, StoreError> {
        self.readable(0, self.deadline_from_now()).await?;
        let turn = Arc::clone(&self.feed_reads).acquire_owned();
        let turn = turn.await.map_err(|_| StoreError::ShuttingDown)?;
        // The reading before may have been of the same page.
        match self.feed_step(after) {
            FeedStep::Past => {}
            known @ (FeedStep::Page(_) | FeedStep::UpToDate | FeedStep::Gone) => return Ok(known),
        }
        let holder = Arc::clone(&self.holder);
        let read = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            read_past(&holder, after)
        });
        read.await.map_err(|_| StoreError::Failed)?
    }
}

/// Reads a page from the journal, and keeps it for others.
fn read_past(holder: &Holder, after: u64) -> Result<FeedStep, StoreError> {
    let store = holder.look(|open| open.store);
    let store = store.ok_or(StoreError::Unavailable)?;
    let until = holder.readers.progress().borrow().durable;
    if until == after {
        return Ok(FeedStep::UpToDate);
    }
    let read = || read_page(&holder.files.data, store, after, until);
    let is_gone =
        |read: &Result<_, JournalError>| read.as_ref().is_err_and(JournalError::is_vanished);
    let page = match JournalFiles::beside_daemon(read, is_gone) {
        Ok(page) => page,
        Err(error) => {
            tracing::error!(%error, "the changes for a feed could not be read");
            if !error.is_damage() && !error.is_of_disk() {
                return Err(StoreError::Failed);
            }
            holder.ask_for_scrub();
            // Damage is mended with a snapshot, and the journal begins after that.
            return Err(StoreError::Unavailable);
        }
    };
    let Some(page) = page else {
        return Ok(FeedStep::Gone);
    };
    let step = step_to(page, after, oldest(holder));
    if let FeedStep::Page(page) = &step {
        holder.readers.recent.add_past(page);
    }
    Ok(step)
}

/// The time of the oldest change that a feed may still tell.
fn oldest(holder: &Holder) -> u64 {
    unix_ms().saturating_sub(as_millis(holder.limits.now().feed_history_age))
}

/// The step of a reader behind `after` to this page, unless its next change there is from before `oldest`.
fn step_to(page: Arc<ChangesPage>, after: u64, oldest: u64) -> FeedStep {
    let next = page.after(after).next();
    if next.is_some_and(|change| change.at_ms() < oldest) {
        return FeedStep::Gone;
    }
    FeedStep::Page(page)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::FeedKind;
    use crate::storage::journal::{FrameSync, Journal, JournalChange, JournalEffect, JournalEnd};
    use crate::supervision::MessageId;

    #[test]
    fn a_page_tells_creations_from_updates_of_the_same_millisecond_in_groups_before_it() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataFolder::new(folder.path());
        let store = StoreId(7);
        let end = JournalEnd::default();
        let mut journal = Journal::open(&data.journal(), store, &end).unwrap();
        // As an old release wrote it: each record is created and updated within a millisecond, in two groups.
        for seq in 1..=40 {
            let at_ms = u64::div_ceil(seq, 2);
            let change = JournalChange {
                seq,
                at_ms,
                message: MessageId(0),
                collection: "books".to_owned(),
                key: format!("b{at_ms}").into_bytes(),
                effect: JournalEffect::Put {
                    created_ms: at_ms,
                    json: "{}".into(),
                },
                by: None,
            };
            journal.prepare(&[change], false).unwrap();
            journal.append(seq, FrameSync::Synced).unwrap();
        }
        for after in 0..40 {
            let page = read_page(&data, store, after, 40).unwrap().unwrap();
            let kinds: Vec<_> = page.after(0).map(|of| (of.seq(), of.kind())).collect();
            let kind = |seq: u64| match seq % 2 {
                1 => Some(FeedKind::Create),
                _ => Some(FeedKind::Update),
            };
            let told: Vec<_> = (after + 1..=40).map(|seq| (seq, kind(seq))).collect();
            assert_eq!(kinds, told, "after {after}");
        }
        assert!(read_page(&data, store, 40, 40).unwrap().is_none());
    }

    #[test]
    fn a_page_is_gone_for_readers_whose_next_change_is_too_old() {
        let page = ChangesPage::of_books(&[(1, "{}"), (2, "{}"), (3, "{}")]);
        for (after, oldest, gone) in [
            (0, 1000, false),
            (0, 1001, true),
            (1, 2000, false),
            (1, 2001, true),
            (2, 3000, false),
        ] {
            let step = step_to(Arc::clone(&page), after, oldest);
            assert_eq!(matches!(step, FeedStep::Gone), gone, "{after} {oldest}");
        }
    }
}
