//! sled 0.34.7 behind [`Engine`]: with [`opener`](super::opener) the only file that names the crate.
//!
//! Two properties of sled decide what is done here. Its `flush()` writes and starts the write-back, but waits neither for
//! the disk nor for the files in `blobs/`: [`SledEngine::durable_flush`] does. And a transaction is applied tree by tree, in
//! the order in which the trees are given, under one process-wide lock: an error half way leaves a part of it, which
//! [`recovery`](super::recovery) recognises by that order.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use parking_lot::Mutex;
use sled::transaction::{ConflictableTransactionError, TransactionError, Transactional};

use super::engine::{CommitError, Engine, EngineError, Group, Keyspace, Visit};
use crate::supervision::Faults;

/// The fault point that skips the syncs of [`SledEngine::durable_flush`].
pub(super) const WEAK_FLUSH: &str = "storage.weak_flush";

/// An open sled database.
pub(super) struct SledEngine {
    db: sled::Db,
    log: sled::Tree,
    meta: sled::Tree,
    records: Vec<sled::Tree>,
    chunks: Vec<sled::Tree>,
    path: PathBuf,
    /// A handle of our own of sled's log file, to sync it: sled does not lend its own.
    file: File,
    synced_blobs: Mutex<HashSet<PathBuf>>,
    pub(super) faults: Faults,
}

impl SledEngine {
    /// Opens the database at `path` with the keyspaces of these resources.
    ///
    /// sled panics on some damage, so the caller must catch panics.
    pub(super) fn open(
        path: &Path,
        cache_bytes: u64,
        collections: &[String],
    ) -> sled::Result<Self> {
        let fresh = !path.join("db").exists();
        let db = sled::Config::new()
            .path(path)
            .cache_capacity(cache_bytes)
            .open()?;
        let log = db.open_tree("log")?;
        let meta = db.open_tree("meta")?;
        let open = |kind| {
            let trees = collections
                .iter()
                .map(|name| db.open_tree(format!("{kind}/{name}")));
            trees.collect::<sled::Result<Vec<_>>>()
        };
        let (records, chunks) = (open("r")?, open("c")?);
        let file = File::open(path.join("db"))?;
        let synced_blobs = Mutex::new(HashSet::new());
        let engine = Self {
            db,
            log,
            meta,
            records,
            chunks,
            path: path.to_owned(),
            file,
            synced_blobs,
            faults: Faults::none(),
        };
        if fresh {
            engine.sync_creation()?;
        }
        Ok(engine)
    }

    /// Makes a new database survive a power cut: the names of its files and its configuration, too.
    fn sync_creation(&self) -> sled::Result<()> {
        self.db.flush()?;
        File::open(self.path.join("conf"))?.sync_all()?;
        self.file.sync_all()?;
        let mut folder = Some(self.path.as_path());
        // The folder, its parent (the data folder), and the folder that the data folder is in.
        for _ in 0..3 {
            let Some(path) = folder.filter(|path| !path.as_os_str().is_empty()) else {
                break;
            };
            File::open(path)?.sync_all()?;
            folder = path.parent();
        }
        Ok(())
    }

    fn tree(&self, keyspace: Keyspace) -> Result<&sled::Tree, EngineError> {
        let (trees, id) = match keyspace {
            Keyspace::Log => return Ok(&self.log),
            Keyspace::Meta => return Ok(&self.meta),
            Keyspace::Records(id) => (&self.records, id),
            Keyspace::Chunks(id) | Keyspace::OldChunks(id) => (&self.chunks, id),
        };
        trees
            .get(id.0)
            .ok_or_else(|| EngineError::Failed(format!("there is no collection {}", id.0)))
    }

    /// Pages over 128 KiB are files of their own, which sled never syncs.
    fn sync_new_blobs(&self) -> io::Result<()> {
        let folder = self.path.join("blobs");
        let mut synced = self.synced_blobs.lock();
        let mut present = HashSet::new();
        let mut any_new = false;
        for file in fs::read_dir(&folder)? {
            let path = file?.path();
            if !synced.contains(&path) {
                match File::open(&path) {
                    Ok(file) => file.sync_all()?,
                    // sled removes files that it has rewritten; those need no sync.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    Err(error) => return Err(error),
                }
                any_new = true;
            }
            present.insert(path);
        }
        if any_new {
            File::open(&folder)?.sync_all()?;
        }
        *synced = present;
        Ok(())
    }
}

fn failed(error: sled::Error) -> EngineError {
    match error {
        sled::Error::Io(source) => EngineError::Io {
            what: "a page could not be read or written",
            source,
        },
        error @ (sled::Error::CollectionNotFound(_)
        | sled::Error::Unsupported(_)
        | sled::Error::ReportableBug(_)
        | sled::Error::Corruption { .. }) => EngineError::Failed(error.to_string()),
    }
}

impl Engine for SledEngine {
    fn get(&self, keyspace: Keyspace, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        let value = self.tree(keyspace)?.get(key).map_err(failed)?;
        Ok(value.map(|value| Bytes::copy_from_slice(&value)))
    }

    fn scan(&self, keyspace: Keyspace, from: &[u8], visit: Visit<'_>) -> Result<(), EngineError> {
        for item in self.tree(keyspace)?.range(from..) {
            let (key, value) = item.map_err(failed)?;
            if !visit(&key, &value) {
                break;
            }
        }
        Ok(())
    }

    fn last(&self, keyspace: Keyspace) -> Result<Option<(Vec<u8>, Bytes)>, EngineError> {
        let last = self.tree(keyspace)?.last().map_err(failed)?;
        Ok(last.map(|(key, value)| (key.to_vec(), Bytes::copy_from_slice(&value))))
    }

    fn commit(&self, group: &Group, allowed: &dyn Fn() -> bool) -> Result<(), CommitError> {
        let trees: Result<Vec<_>, _> = group
            .keyspaces()
            .map(|(keyspace, _)| self.tree(keyspace))
            .collect();
        let trees = trees?;
        let applied = trees.as_slice().transaction(|views| {
            for (view, (_, changes)) in views.iter().zip(group.keyspaces()) {
                for (key, value) in changes {
                    match value {
                        Some(value) => view.insert(key.as_slice(), value.as_slice())?,
                        None => view.remove(key.as_slice())?,
                    };
                }
            }
            if allowed() {
                Ok(())
            } else {
                Err(ConflictableTransactionError::Abort(()))
            }
        });
        match applied {
            Ok(()) => Ok(()),
            Err(TransactionError::Abort(())) => Err(CommitError::Fenced),
            Err(TransactionError::Storage(error)) => Err(failed(error).into()),
        }
    }

    /// Flushes sled, then syncs the blobs, then the log: only now a power cut changes nothing.
    fn durable_flush(&self) -> Result<(), EngineError> {
        let io = |what| move |source| EngineError::Io { what, source };
        self.db.flush().map_err(failed)?;
        // Lets a test show what a power cut does without the syncs that follow.
        if self.faults.take(WEAK_FLUSH) {
            return Ok(());
        }
        self.sync_new_blobs()
            .map_err(io("the files of large pages could not be synced"))?;
        self.file
            .sync_data()
            .map_err(io("the log of the store could not be synced"))
    }
}
