//! The interface below which sled stands: ordered keyspaces of bytes, groups of changes, and a flush. Narrow enough that
//! tests can put an engine in memory in its place that fails or waits when told to.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::storage::CollectionId;
use crate::storage::fit::DataFinding;
use crate::storage::journal::{FRAME_VERSION, FrameFault, JournalError, LockError, is_full};

/// A part of the store with keys of its own. A group is applied in the order of these variants, and recovery relies on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Keyspace {
    /// From the number of a change to its entry in the log of changes. Applied first.
    Log,
    /// From id and number to a part of a long body. New parts are applied before the records that need them.
    Chunks(CollectionId),
    /// From id to record.
    Records(CollectionId),
    /// The keyspace of [`Chunks`](Self::Chunks) once more: parts that no record needs are removed after the records.
    OldChunks(CollectionId),
    /// From the number of an index, a section, values and id to nothing: all indexes of a resource.
    Index(CollectionId),
    /// Counters, the indexes that there are, and the number of the last change. Applied last.
    Meta,
}

/// The new values of some keys of a keyspace; `None` removes a key.
type KeyChanges = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// Changes that are applied together.
#[derive(Debug, Clone, Default)]
pub(super) struct Group {
    keyspaces: BTreeMap<Keyspace, KeyChanges>,
    bytes: usize,
}

impl Group {
    /// Sets `key` to `value`.
    pub(super) fn put(&mut self, keyspace: Keyspace, key: impl Into<Vec<u8>>, value: Vec<u8>) {
        self.bytes += value.len();
        self.set(keyspace, key.into(), Some(value));
    }

    /// Removes `key`.
    pub(super) fn remove(&mut self, keyspace: Keyspace, key: impl Into<Vec<u8>>) {
        self.set(keyspace, key.into(), None);
    }

    fn set(&mut self, keyspace: Keyspace, key: Vec<u8>, value: Option<Vec<u8>>) {
        self.bytes += key.len();
        self.keyspaces
            .entry(keyspace)
            .or_default()
            .insert(key, value);
    }

    /// The length of all keys and values that were put or removed, chunks included.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The keys that the group changes in `keyspace`, from `from` on.
    pub(super) fn keys_from(&self, keyspace: Keyspace, from: &[u8]) -> impl Iterator<Item = &[u8]> {
        let from = from.to_vec();
        self.keyspaces
            .get(&keyspace)
            .into_iter()
            .flat_map(move |changes| changes.range(from.clone()..))
            .map(|(key, _)| key.as_slice())
    }

    /// The value that the group leaves at `key`; the outer `None` if it does not change it.
    #[expect(
        clippy::option_option,
        reason = "the outer one is whether the group changes the key, the inner one whether a value is left"
    )]
    pub(super) fn get(&self, keyspace: Keyspace, key: &[u8]) -> Option<Option<&[u8]>> {
        self.keyspaces
            .get(&keyspace)?
            .get(key)
            .map(Option::as_deref)
    }

    /// Whether it changes nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.keyspaces.is_empty()
    }

    /// The changes, in the order of application.
    pub(super) fn keyspaces(&self) -> impl Iterator<Item = (Keyspace, &KeyChanges)> {
        self.keyspaces
            .iter()
            .map(|(keyspace, changes)| (*keyspace, changes))
    }
}

/// The error of an engine that could not read or write.
#[derive(Debug, thiserror::Error)]
pub(super) enum EngineError {
    /// The disk or the file system returned an error.
    #[error("the disk failed: {what}")]
    Io {
        /// The operation that failed.
        what: &'static str,
        #[source]
        source: io::Error,
    },
    /// The engine itself failed.
    #[error("the engine failed: {0}")]
    Failed(String),
}

impl EngineError {
    /// Whether the disk was full.
    pub(super) fn is_full(&self) -> bool {
        matches!(self, Self::Io { source, .. } if is_full(source))
    }
}

/// The reasons why a store can't be opened. Each text says what to do.
#[derive(Debug, thiserror::Error)]
#[error("the store {} {fault}", .path.display())]
pub(super) struct OpenError {
    /// The store's folder.
    pub(super) path: PathBuf,
    pub(super) fault: OpenFault,
}

/// The fault of a store that can't be opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenFault {
    /// Another process has the store open.
    #[error(
        "is in use by process {holder}; stop that one, or give this one a data folder of its own (server.data): it is tried again"
    )]
    Locked {
        /// Its number, if it is known.
        holder: String,
    },
    /// The file system returned an error.
    #[error(
        "can't be used: {0}; look at the folder's owner and rights and at the disk: it is tried again"
    )]
    Io(io::Error),
    /// The stored data can't be read, or contradict themselves, and no other copy has them.
    #[error(
        "is damaged: {0}; nothing was deleted: keep a copy of the folder, then put back a backup, or have perennial salvage make a store of what can be read"
    )]
    Damaged(String),
    /// The view can't be read or written. It is made again from the journal.
    #[error("has a damaged view: {0}; it is made again from the journal")]
    View(String),
    /// Opening took too long.
    #[error("could not be opened within {limit:?}; look at the disk: it is tried again")]
    Hung { limit: Duration },
    /// A newer release wrote the store.
    #[error("has version {found}, this program knows {known}; run the newer release that wrote it{}", way_back(*.back))]
    Newer {
        found: u32,
        known: u32,
        /// The last change of the newest snapshot that this program can read.
        back: Option<u64>,
    },
    /// The settings don't fit what is stored.
    #[error("does not fit the settings: {0}")]
    Settings(DataFinding),
    /// The folder is not the one that was open before.
    #[error("{0}; put the folder back, or restart to begin with what is there: it is tried again")]
    Replaced(String),
    /// The engine must be closed first, but a reader or a commit still uses it.
    #[error(
        "could not be closed within {limit:?}, since a reader or a write still uses it: it is tried again"
    )]
    StillHeld { limit: Duration },
}

impl OpenFault {
    /// Whether the disk was full.
    pub(super) fn is_full(&self) -> bool {
        matches!(self, Self::Io(source) if is_full(source))
    }

    /// Whether the fault may pass by itself.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::Locked { .. }
            | Self::Io(_)
            | Self::View(_)
            | Self::Hung { .. }
            | Self::StillHeld { .. }
            | Self::Replaced(_) => true,
            Self::Damaged(_) | Self::Newer { .. } | Self::Settings(_) => false,
        }
    }
}

fn way_back(back: Option<u64>) -> String {
    let text = |change| {
        format!(
            ", or lose what was changed after change {change}, which a snapshot has: perennial restore FOLDER --at {change} --into ANOTHER"
        )
    };
    back.map(text).unwrap_or_default()
}

impl From<EngineError> for OpenFault {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Io { source, .. } => Self::Io(source),
            EngineError::Failed(found) => Self::View(found),
        }
    }
}

impl From<JournalError> for OpenFault {
    fn from(error: JournalError) -> Self {
        match error {
            JournalError::Io { ref source, .. } => {
                Self::Io(io::Error::new(source.kind(), error.to_string()))
            }
            JournalError::Damaged {
                fault: FrameFault::Version(found),
                ..
            } => Self::Newer {
                found: found.into(),
                known: FRAME_VERSION.into(),
                back: None,
            },
            JournalError::Damaged { .. }
            | JournalError::Missing { .. }
            | JournalError::Mixed { .. } => Self::Damaged(error.to_string()),
            JournalError::TooMuch => Self::Io(io::Error::other(error.to_string())),
            JournalError::Replaced { .. } => Self::Replaced(error.to_string()),
        }
    }
}

impl From<LockError> for OpenFault {
    fn from(error: LockError) -> Self {
        match error {
            LockError::Held(holder) => Self::Locked { holder },
            LockError::Io(source) => Self::Io(source),
        }
    }
}

/// The next key that is possible after this one.
pub(super) fn following(key: &[u8]) -> Vec<u8> {
    [key, &[0]].concat()
}

/// Is shown the keys and values of a range, one by one; returns false to see no more.
pub(super) type Visit<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> bool;

/// A store of bytes. Readers may use it beside the one writer.
pub(super) trait Engine: Send + Sync + 'static {
    /// The names of the resources that it has keyspaces for; a `CollectionId` is a position in it. Names are only added.
    fn collections(&self) -> Arc<[String]>;
    /// Makes keyspaces for a resource that it has none for.
    fn declare(&self, collection: &str) -> Result<(), EngineError>;
    /// The value at `key`.
    fn get(&self, keyspace: Keyspace, key: &[u8]) -> Result<Option<Bytes>, EngineError>;
    /// Visits keys in ascending order, beginning with `from`.
    fn scan(&self, keyspace: Keyspace, from: &[u8], visit: Visit<'_>) -> Result<(), EngineError>;
    /// Visits keys in descending order, beginning with the last one before `before`.
    fn scan_back(
        &self,
        keyspace: Keyspace,
        before: &[u8],
        visit: Visit<'_>,
    ) -> Result<(), EngineError>;
    /// Applies `group` keyspace by keyspace. After an error part of it may be visible.
    fn commit(&self, group: &Group) -> Result<(), EngineError>;
    /// Applies `group` to a view that nobody uses, and that is made again if the process ends before it has all. Quicker than
    /// [`commit`](Self::commit): after a kill, part of it may be there.
    fn load(&self, group: &Group) -> Result<(), EngineError> {
        self.commit(group)
    }
    /// Writes everything that was applied to its files, without a sync.
    fn flush(&self) -> Result<(), EngineError>;
}

/// Opens an engine, as often as necessary.
pub(super) trait Opener: Send + Sync + 'static {
    /// Whether there is one to open, and not only one to make.
    fn exists(&self) -> bool;
    /// Whether the files of the one in use were removed.
    fn is_removed(&self) -> bool;
    /// Opens the engine or makes it, with keyspaces for each of these resources and for those that it had before.
    fn open(&self, collections: &[String]) -> Result<Box<dyn Engine>, OpenFault>;
    /// Makes what was flushed survive a power cut.
    fn sync(&self) -> io::Result<()>;
    /// Moves all of it aside, or removes it if it was not finished. The next open makes an empty one, which is unfinished.
    fn set_aside(&self, why: &str) -> io::Result<()>;
    /// From now on the one that was made is finished.
    fn finished(&self) -> io::Result<()>;
    /// Chooses the one to use, before any is opened: a process that was killed may have left a second one. Changes nothing.
    fn choose(&self);
    /// Removes what such a process left besides that one. Called before any but a copy is opened.
    fn tidy(&self) -> io::Result<()>;
    /// Opens a copy of the one to use, which is only read: opening changes what is opened.
    fn open_copy(&self) -> Result<Box<dyn Engine>, OpenFault>;
    /// Removes that copy, which must be closed, if there is one.
    fn remove_copy(&self) -> io::Result<()>;
    /// Makes an empty engine beside the one in use.
    fn open_beside(&self, collections: &[String]) -> Result<Box<dyn Engine>, OpenFault>;
    /// From now on the one beside is the one in use.
    fn switch(&self);
    /// Removes the one that is not in use, which must be closed, or moves it aside if there is a reason for that.
    fn remove_unused(&self, aside: Option<&str>) -> io::Result<()>;
}
