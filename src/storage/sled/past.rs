//! Reads the history of a record from the files of the journal, and what is older from the oldest snapshot.
//!
//! A scan of the whole journal: a frame is taken apart only if the bytes of the record's key occur in it, which costs about as
//! much as its check sum.

use std::collections::BTreeMap;
use std::sync::Arc;

use memchr::memmem::Finder;
use tokio::time::Instant;

use super::data_folder::DataFolder;
use super::snapshots::first_change;
use super::store::SledStore;
use crate::record::{HistoryQuery, RecordId};
use crate::storage::history::{KeptChanges, RecordHistory};
use crate::storage::journal::{JournalChange, JournalError, JournalFiles, Snapshot, StoreId};
use crate::storage::{CollectionId, StoreError};

/// The most histories that are read at once; for more the answer is an error.
pub(super) const HISTORIES_MAX: usize = 2;

/// The record whose history is read, and from which files.
pub(super) struct PastOf<'a> {
    pub(super) data: &'a DataFolder,
    pub(super) store: StoreId,
    /// The part of the store in `ETag`s.
    pub(super) tag: &'a str,
    /// The name of the resource.
    pub(super) resource: &'a str,
    pub(super) id: &'a RecordId,
    pub(super) query: HistoryQuery,
    /// Later changes are not told: they may not be on the disk.
    pub(super) until: u64,
    /// The last change that is known to be on the disk: a journal that ends before it is damaged.
    pub(super) needed: u64,
}

impl PastOf<'_> {
    /// Reads the history. `go_on` ends it with an error.
    pub(super) fn read<E: From<JournalError>>(
        &self,
        go_on: impl Fn() -> Result<(), E>,
    ) -> Result<RecordHistory, E> {
        let key = self.id.key();
        let name_and_key = [self.resource.as_bytes(), &*key].concat();
        let finder = Finder::new(&name_and_key);
        let is_its = |change: &JournalChange| {
            change.seq <= self.until && change.collection == self.resource && change.key == *key
        };
        let files = JournalFiles::find(&self.data.journal(), self.store)?;
        let first = first_change(&files, self.data, self.store)?;
        let mut kept = KeptChanges::new(self.query);
        let wanted = |body: &[u8]| go_on().map(|()| finder.find(body).is_some());
        let reach = files.read_wanted::<E>(first.saturating_sub(1), wanted, |changes| {
            for change in changes.iter().filter(|change| is_its(change)) {
                kept.add(change);
            }
            Ok(())
        })?;
        if let Some(error) = files.shortfall(reach, self.until, self.needed) {
            return Err(error.into());
        }
        if first > 1 && kept.wants_older() {
            let mut older = BTreeMap::new();
            let snapshots = Snapshot::find(&self.data.snapshots(), self.store)?;
            if let Some(oldest) = snapshots.last() {
                oldest.read::<E>(|changes| {
                    go_on()?;
                    let its = changes.into_iter().filter(is_its);
                    older.extend(its.filter(|it| it.seq < first).map(|it| (it.seq, it)));
                    Ok(())
                })?;
            }
            for change in older.values().rev() {
                kept.add_older(change);
            }
        }
        Ok(kept.finish(first, self.tag.to_owned()))
    }
}

/// The reason why a history was not read.
#[derive(Debug, thiserror::Error)]
enum PastError {
    #[error("the deadline has passed")]
    TooSlow,
    #[error(transparent)]
    Journal(#[from] JournalError),
}

impl PastError {
    /// Whether a file was removed while the others were read, since a snapshot took its place.
    fn is_gone(&self) -> bool {
        matches!(self, Self::Journal(error) if error.is_vanished())
    }
}

impl From<PastError> for StoreError {
    fn from(error: PastError) -> Self {
        match error {
            PastError::TooSlow => return Self::TooSlow,
            PastError::Journal(ref error) => {
                tracing::error!(%error, "the history of a record could not be read");
                // It is mended with a snapshot, and the history begins after that.
                if error.is_damage() {
                    return Self::Unavailable;
                }
            }
        }
        Self::Failed
    }
}

impl SledStore {
    /// Reads the history of a record, on a thread for blocking work.
    pub(super) async fn past(
        &self,
        collection: CollectionId,
        id: &RecordId,
        query: HistoryQuery,
    ) -> Result<RecordHistory, StoreError> {
        let Ok(permit) = Arc::clone(&self.histories).try_acquire_owned() else {
            self.queries.refuse_history();
            return Err(StoreError::Busy);
        };
        let deadline = self.deadline_from_now();
        self.readable(0, deadline).await?;
        let (holder, id) = (Arc::clone(&self.holder), id.clone());
        let read = move || {
            let _permit = permit;
            let tag = holder.files.mark().ok_or(StoreError::Unavailable)?;
            let store = holder.look(|open| open.store);
            let known = holder.resources.known.load_full();
            let (store, resource) = store
                .zip(known.name(collection))
                .ok_or(StoreError::Unavailable)?;
            let durable = holder.readers.progress().borrow().durable;
            let past = PastOf {
                data: &holder.files.data,
                tag,
                store,
                resource,
                id: &id,
                query,
                until: durable,
                needed: durable,
            };
            let go_on = || {
                let late = Instant::now() >= deadline;
                if late {
                    Err(PastError::TooSlow)
                } else {
                    Ok(())
                }
            };
            let is_gone =
                |read: &Result<_, PastError>| read.as_ref().is_err_and(PastError::is_gone);
            let read = JournalFiles::beside_daemon(|| past.read(go_on), is_gone);
            if let Err(PastError::Journal(error)) = &read
                && (error.is_damage() || error.is_of_disk())
            {
                holder.ask_for_scrub();
            }
            Ok(read?)
        };
        let read = tokio::task::spawn_blocking(read);
        read.await.map_err(|_| StoreError::Failed)?
    }
}
