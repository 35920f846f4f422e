//! sled 0.34.7 behind [`Engine`]: with [`opener`](super::opener) the only file that names the crate.
//!
//! A transaction is applied tree by tree, in the order in which the trees are given, under one process-wide lock. A process
//! that dies in the middle leaves nothing of it; an error in the middle leaves a part, and then the view is made again.

use std::borrow::Cow;
use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use sled::transaction::{ConflictableTransactionError, TransactionError, Transactional};

use super::engine::{Engine, EngineError, Group, Keyspace, Visit};
use super::guarded_keys::{guarded, plain};

/// The memory taken for each byte of sled's own limit, measured with a million records: also what sled keeps of pages that are not in
/// the cache.
const PAGE_MEMORY: u64 = 2;

/// The beginning of the name of a tree of records.
const RECORDS: &str = "r/";

/// An open sled database.
pub(super) struct SledEngine {
    db: sled::Db,
    log: sled::Tree,
    meta: sled::Tree,
    resources: ArcSwap<ResourceTrees>,
}

/// The trees of each resource, by its number.
#[derive(Clone, Default)]
struct ResourceTrees {
    names: Arc<[String]>,
    records: Vec<sled::Tree>,
    chunks: Vec<sled::Tree>,
    indexes: Vec<sled::Tree>,
}

impl SledEngine {
    /// Opens the database at `path` with the keyspaces of these resources and of those that it has already. Its cache takes about
    /// `cache_bytes` of memory.
    ///
    /// sled panics on some damage, so the caller must catch panics.
    pub(super) fn open(
        path: &Path,
        cache_bytes: u64,
        collections: &[String],
    ) -> sled::Result<Self> {
        let db = sled::Config::new()
            .path(path)
            .cache_capacity(cache_bytes / PAGE_MEMORY)
            .open()?;
        let engine = Self {
            log: db.open_tree("log")?,
            meta: db.open_tree("meta")?,
            resources: ArcSwap::default(),
            db,
        };
        let mut known: Vec<_> = engine.db.tree_names();
        known.sort_unstable();
        let known = known.iter().filter_map(|name| {
            let name = std::str::from_utf8(name).ok()?.strip_prefix(RECORDS)?;
            Some(name.to_owned())
        });
        let known: Vec<_> = collections.iter().cloned().chain(known).collect();
        for name in known {
            engine.open_trees(&name)?;
        }
        Ok(engine)
    }

    /// Only its one opener or writer calls it, never two at a time.
    fn open_trees(&self, collection: &str) -> sled::Result<()> {
        let mut next = ResourceTrees::clone(&self.resources.load());
        if next.names.iter().any(|known| known == collection) {
            return Ok(());
        }
        let records = self.db.open_tree(format!("{RECORDS}{collection}"))?;
        let chunks = self.db.open_tree(format!("c/{collection}"))?;
        let indexes = self.db.open_tree(format!("x/{collection}"))?;
        next.records.push(records);
        next.chunks.push(chunks);
        next.indexes.push(indexes);
        let name = std::iter::once(collection.to_owned());
        next.names = next.names.iter().cloned().chain(name).collect();
        self.resources.store(Arc::new(next));
        Ok(())
    }

    fn tree<'a>(
        &'a self,
        resources: &'a ResourceTrees,
        keyspace: Keyspace,
    ) -> Result<&'a sled::Tree, EngineError> {
        let (trees, id) = match keyspace {
            Keyspace::Log => return Ok(&self.log),
            Keyspace::Meta => return Ok(&self.meta),
            Keyspace::Records(id) => (&resources.records, id),
            Keyspace::Chunks(id) | Keyspace::OldChunks(id) => (&resources.chunks, id),
            Keyspace::Index(id) => (&resources.indexes, id),
        };
        trees
            .get(id.0)
            .ok_or_else(|| EngineError::Failed(format!("there is no collection {}", id.0)))
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

/// The key as sled has it.
fn in_sled(keyspace: Keyspace, key: &[u8]) -> Cow<'_, [u8]> {
    match keyspace {
        Keyspace::Index(_) => guarded(key),
        Keyspace::Log
        | Keyspace::Chunks(_)
        | Keyspace::Records(_)
        | Keyspace::OldChunks(_)
        | Keyspace::Meta => Cow::Borrowed(key),
    }
}

/// The key that sled has as `key`.
fn out_of_sled(keyspace: Keyspace, key: &[u8]) -> Cow<'_, [u8]> {
    match keyspace {
        Keyspace::Index(_) => plain(key),
        Keyspace::Log
        | Keyspace::Chunks(_)
        | Keyspace::Records(_)
        | Keyspace::OldChunks(_)
        | Keyspace::Meta => Cow::Borrowed(key),
    }
}

impl Engine for SledEngine {
    fn collections(&self) -> Arc<[String]> {
        Arc::clone(&self.resources.load().names)
    }

    fn declare(&self, collection: &str) -> Result<(), EngineError> {
        self.open_trees(collection).map_err(failed)
    }

    fn get(&self, keyspace: Keyspace, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        let resources = self.resources.load();
        let key = in_sled(keyspace, key);
        let value = self.tree(&resources, keyspace)?.get(key).map_err(failed)?;
        Ok(value.map(|value| Bytes::copy_from_slice(&value)))
    }

    fn scan(&self, keyspace: Keyspace, from: &[u8], visit: Visit<'_>) -> Result<(), EngineError> {
        let resources = self.resources.load();
        let from = in_sled(keyspace, from);
        for item in self.tree(&resources, keyspace)?.range(from..) {
            let (key, value) = item.map_err(failed)?;
            if !visit(&out_of_sled(keyspace, &key), &value) {
                break;
            }
        }
        Ok(())
    }

    fn scan_back(
        &self,
        keyspace: Keyspace,
        before: &[u8],
        visit: Visit<'_>,
    ) -> Result<(), EngineError> {
        let resources = self.resources.load();
        let tree = self.tree(&resources, keyspace)?;
        for item in tree.range(..in_sled(keyspace, before)).rev() {
            let (key, value) = item.map_err(failed)?;
            if !visit(&out_of_sled(keyspace, &key), &value) {
                break;
            }
        }
        Ok(())
    }

    fn commit(&self, group: &Group) -> Result<(), EngineError> {
        let resources = self.resources.load();
        let trees: Result<Vec<_>, _> = group
            .keyspaces()
            .map(|(keyspace, _)| self.tree(&resources, keyspace))
            .collect();
        let trees = trees?;
        if trees.is_empty() {
            // sled takes no transaction without a tree.
            return Ok(());
        }
        let applied = trees.as_slice().transaction(|views| {
            for (view, (keyspace, changes)) in views.iter().zip(group.keyspaces()) {
                for (key, value) in changes {
                    let key = in_sled(keyspace, key);
                    match value {
                        Some(value) => view.insert(&*key, value.as_slice())?,
                        None => view.remove(&*key)?,
                    };
                }
            }
            Ok::<_, ConflictableTransactionError<Infallible>>(())
        });
        applied.map_err(|error| match error {
            TransactionError::Abort(never) => match never {},
            TransactionError::Storage(error) => failed(error),
        })
    }

    fn load(&self, group: &Group) -> Result<(), EngineError> {
        let resources = self.resources.load();
        for (keyspace, changes) in group.keyspaces() {
            let tree = self.tree(&resources, keyspace)?;
            for (key, value) in changes {
                let key = in_sled(keyspace, key);
                let before = match value {
                    Some(value) => tree.insert(&*key, value.as_slice()),
                    None => tree.remove(&*key),
                };
                before.map_err(failed)?;
            }
        }
        Ok(())
    }

    fn flush(&self) -> Result<(), EngineError> {
        self.db.flush().map(drop).map_err(failed)
    }
}
