//! An engine in memory that notes what it is told, and fails or waits when it is told to.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::super::engine::{
    CommitError, Engine, EngineError, Group, Keyspace, OpenError, Opener, Visit,
};

/// Every tree with its keys and values.
pub(super) type Trees = BTreeMap<Keyspace, BTreeMap<Vec<u8>, Vec<u8>>>;

/// What is shared by all lives of an engine in memory.
#[derive(Default)]
pub(super) struct Memory {
    pub(super) trees: Mutex<Trees>,
    pub(super) calls: Mutex<Vec<&'static str>>,
    pub(super) failing_flushes: AtomicU32,
    /// While it is locked, a flush does not return.
    pub(super) gate: Mutex<()>,
}

/// What is kept under the name of `tree`: chunks are applied in two steps, to one tree.
fn kept(tree: Keyspace) -> Keyspace {
    match tree {
        Keyspace::OldChunks(id) => Keyspace::Chunks(id),
        other @ (Keyspace::Log | Keyspace::Chunks(_) | Keyspace::Records(_) | Keyspace::Meta) => {
            other
        }
    }
}

pub(super) struct MemoryEngine(pub(super) Arc<Memory>);

impl Engine for MemoryEngine {
    fn get(&self, tree: Keyspace, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        let trees = self.0.trees.lock().unwrap();
        Ok(trees
            .get(&kept(tree))
            .and_then(|tree| tree.get(key))
            .map(|v| Bytes::from(v.clone())))
    }

    fn scan(&self, tree: Keyspace, from: &[u8], visit: Visit<'_>) -> Result<(), EngineError> {
        let found = self
            .0
            .trees
            .lock()
            .unwrap()
            .get(&kept(tree))
            .cloned()
            .unwrap_or_default();
        let _stopped = found
            .range(from.to_vec()..)
            .all(|(key, value)| visit(key, value));
        Ok(())
    }

    fn last(&self, tree: Keyspace) -> Result<Option<(Vec<u8>, Bytes)>, EngineError> {
        let trees = self.0.trees.lock().unwrap();
        let last = trees.get(&kept(tree)).and_then(BTreeMap::last_key_value);
        Ok(last.map(|(key, value)| (key.clone(), Bytes::from(value.clone()))))
    }

    fn commit(&self, group: &Group, allowed: &dyn Fn() -> bool) -> Result<(), CommitError> {
        if !allowed() {
            return Err(CommitError::Fenced);
        }
        self.0.calls.lock().unwrap().push("commit");
        let mut trees = self.0.trees.lock().unwrap();
        for (tree, changes) in group.trees() {
            for (key, value) in changes {
                let tree = trees.entry(kept(tree)).or_default();
                match value {
                    Some(value) => drop(tree.insert(key.clone(), value.clone())),
                    None => drop(tree.remove(key)),
                }
            }
        }
        Ok(())
    }

    fn durable_flush(&self) -> Result<(), EngineError> {
        drop(self.0.gate.lock().unwrap());
        let failing = &self.0.failing_flushes;
        if failing
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1))
            .is_ok()
        {
            return Err(EngineError::Failed("no flush today".to_owned()));
        }
        self.0.calls.lock().unwrap().push("flush");
        Ok(())
    }
}

pub(super) struct MemoryOpener(pub(super) Arc<Memory>, pub(super) PathBuf);

impl Opener for MemoryOpener {
    fn open(&self, _: &[String]) -> Result<Box<dyn Engine>, OpenError> {
        Ok(Box::new(MemoryEngine(Arc::clone(&self.0))))
    }

    fn path(&self) -> &Path {
        &self.1
    }
}
