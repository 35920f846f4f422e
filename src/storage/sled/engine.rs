//! The seam between storage and the thing that stores: narrow enough for another engine, and for one that fails.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;

/// A declared collection, by its place in the list of the collections that were opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct CollectionId(pub usize);

/// A tree of the store. The order of the variants is the order in which a group is applied; recovery depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Keyspace {
    /// Sequence number to change: applied first.
    Log,
    /// Id and number to a part of a long body: the new ones, before the envelopes that need them.
    Chunks(CollectionId),
    /// Id to envelope.
    Records(CollectionId),
    /// The same tree as [`Chunks`](Self::Chunks), once more: what nobody needs after the envelopes.
    OldChunks(CollectionId),
    /// Counters and the last sequence number: applied last.
    Meta,
}

/// Changes that are applied together.
#[derive(Debug, Clone, Default)]
pub(crate) struct Group {
    trees: BTreeMap<Keyspace, BTreeMap<Vec<u8>, Option<Vec<u8>>>>,
    bytes: usize,
}

impl Group {
    /// Writes `value` at `key`.
    pub(crate) fn put(&mut self, tree: Keyspace, key: impl Into<Vec<u8>>, value: Vec<u8>) {
        let key = key.into();
        self.bytes += key.len() + value.len();
        self.trees.entry(tree).or_default().insert(key, Some(value));
    }

    /// Removes `key`.
    pub(crate) fn remove(&mut self, tree: Keyspace, key: impl Into<Vec<u8>>) {
        let key = key.into();
        self.bytes += key.len();
        self.trees.entry(tree).or_default().insert(key, None);
    }

    /// The bytes of everything it was told, chunks included.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The keys it touches in `tree`, from `from` on.
    pub(crate) fn keys_from(&self, tree: Keyspace, from: &[u8]) -> impl Iterator<Item = &[u8]> {
        let from = from.to_vec();
        self.trees
            .get(&tree)
            .into_iter()
            .flat_map(move |changes| changes.range(from.clone()..))
            .map(|(key, _)| key.as_slice())
    }

    /// What the group will have at `key`: `None` if it does not touch it.
    #[expect(
        clippy::option_option,
        reason = "the outer one is whether the group changes the key, the inner one whether a value is left"
    )]
    pub(crate) fn get(&self, tree: Keyspace, key: &[u8]) -> Option<Option<&[u8]>> {
        self.trees.get(&tree)?.get(key).map(Option::as_deref)
    }

    /// Whether it changes nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.trees.is_empty()
    }

    /// The changes, in the order of application.
    pub(crate) fn trees(
        &self,
    ) -> impl Iterator<Item = (Keyspace, &BTreeMap<Vec<u8>, Option<Vec<u8>>>)> {
        self.trees.iter().map(|(tree, changes)| (*tree, changes))
    }
}

/// What an engine could not do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EngineError {
    /// The disk, or the file system, refused.
    #[error("the disk refused {what}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The engine refused.
    #[error("the engine failed: {0}")]
    Failed(String),
}

impl EngineError {
    /// Whether there was no room on the disk.
    pub(crate) fn is_full(&self) -> bool {
        matches!(self, Self::Io { source, .. } if is_full(source))
    }
}

fn is_full(error: &std::io::Error) -> bool {
    use std::io::ErrorKind;
    matches!(
        error.kind(),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded
    )
}

/// Why a group was not applied.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommitError {
    /// The incarnation has been replaced; nothing was changed.
    #[error("the writer has been replaced")]
    Fenced,
    /// The engine failed; part of the group may be visible, and may become durable.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// Why a store can't be opened. The texts end with what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    /// Another process has it.
    #[error(
        "the store {} is in use by another process; stop that one, or give this one a data folder of its own (server.data)",
        path.display()
    )]
    Locked {
        /// The store's folder.
        path: PathBuf,
    },
    /// The file system refused.
    #[error("the store {} can't be used; look at the folder's owner and rights and at the disk, then start again", path.display())]
    Io {
        /// The folder or file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// What is there can't be read.
    #[error(
        "the store {} is damaged: {found}; nothing was deleted: keep a copy of the folder, then restore the \
         last backup into an empty data folder",
        path.display()
    )]
    Damaged {
        /// The store's folder.
        path: PathBuf,
        /// What was found.
        found: String,
    },
    /// Opening took too long.
    #[error(
        "opening the store {} took longer than {limit:?}; look at the disk, then start again",
        path.display()
    )]
    Hung {
        /// The store's folder.
        path: PathBuf,
        /// How long was waited.
        limit: Duration,
    },
    /// It was written by a newer release.
    #[error(
        "the store {} has version {found}, this program knows {known}; run the newer release that wrote it",
        path.display()
    )]
    Newer {
        /// The store's folder.
        path: PathBuf,
        /// The version in the store.
        found: u32,
        /// The version of this program.
        known: u32,
    },
    /// Somebody still holds the store that was to be closed first.
    #[error(
        "a reader did not let go of the store within {limit:?}; only a new process can open it again"
    )]
    StillHeld {
        /// How long was waited.
        limit: Duration,
    },
}

impl OpenError {
    /// Whether there was no room on the disk.
    pub(crate) fn is_full(&self) -> bool {
        matches!(self, Self::Io { source, .. } if is_full(source))
    }
}

/// Takes one key and value of a range; false ends it.
pub(crate) type Visit<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> bool;

/// A store of trees of bytes. Reads may run beside the one writer.
pub(crate) trait Engine: Send + Sync + 'static {
    /// The value at `key`.
    fn get(&self, tree: Keyspace, key: &[u8]) -> Result<Option<Bytes>, EngineError>;
    /// Visits keys in ascending order from `from` on (inclusive).
    fn scan(&self, tree: Keyspace, from: &[u8], visit: Visit<'_>) -> Result<(), EngineError>;
    /// The last key and its value.
    fn last(&self, tree: Keyspace) -> Result<Option<(Vec<u8>, Bytes)>, EngineError>;
    /// Applies `group` tree by tree, in its order, or not at all; asks `allowed` last thing before.
    fn commit(&self, group: &Group, allowed: &dyn Fn() -> bool) -> Result<(), CommitError>;
    /// Returns when everything applied before is on the disk and will be there after a power cut.
    fn durable_flush(&self) -> Result<(), EngineError>;
}

/// Opens an engine, as often as it takes.
pub(crate) trait Opener: Send + Sync + 'static {
    /// Opens it, with a tree for each collection.
    fn open(&self, collections: &[String]) -> Result<Box<dyn Engine>, OpenError>;
    /// Makes sure that the next open reads from the disk: after a failed sync the kernel still has pages in its cache that
    /// never got there.
    fn distrust_cache(&self) {}
    /// The store's folder.
    fn path(&self) -> &std::path::Path;
}
