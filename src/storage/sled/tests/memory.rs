//! An engine in memory that records the calls it gets, and fails or waits when a test tells it to.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;

use super::super::engine::{
    CommitError, Engine, EngineError, Group, Keyspace, OpenFault, Opener, Visit,
};

/// Every keyspace with its keys and values.
pub(super) type Keyspaces = BTreeMap<Keyspace, BTreeMap<Vec<u8>, Vec<u8>>>;

/// The content of an engine in memory; it stays when the engine is opened again.
#[derive(Default)]
pub(super) struct Memory {
    pub(super) keyspaces: Mutex<Keyspaces>,
    pub(super) calls: Mutex<Vec<&'static str>>,
    pub(super) failing_flushes: AtomicU32,
    /// A flush does not return while it is locked.
    pub(super) gate: Mutex<()>,
}

/// The keyspace in which `keyspace` is stored: chunks are applied in two steps, but to one keyspace.
fn kept(keyspace: Keyspace) -> Keyspace {
    match keyspace {
        Keyspace::OldChunks(id) => Keyspace::Chunks(id),
        other @ (Keyspace::Log | Keyspace::Chunks(_) | Keyspace::Records(_) | Keyspace::Meta) => {
            other
        }
    }
}

pub(super) struct MemoryEngine(pub(super) Arc<Memory>);

impl Engine for MemoryEngine {
    fn get(&self, keyspace: Keyspace, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        let keyspaces = self.0.keyspaces.lock();
        Ok(keyspaces
            .get(&kept(keyspace))
            .and_then(|keys| keys.get(key))
            .map(|v| Bytes::from(v.clone())))
    }

    fn scan(&self, keyspace: Keyspace, from: &[u8], visit: Visit<'_>) -> Result<(), EngineError> {
        let found = self
            .0
            .keyspaces
            .lock()
            .get(&kept(keyspace))
            .cloned()
            .unwrap_or_default();
        let _stopped = found
            .range(from.to_vec()..)
            .all(|(key, value)| visit(key, value));
        Ok(())
    }

    fn last(&self, keyspace: Keyspace) -> Result<Option<(Vec<u8>, Bytes)>, EngineError> {
        let keyspaces = self.0.keyspaces.lock();
        let last = keyspaces
            .get(&kept(keyspace))
            .and_then(BTreeMap::last_key_value);
        Ok(last.map(|(key, value)| (key.clone(), Bytes::from(value.clone()))))
    }

    fn commit(&self, group: &Group, allowed: &dyn Fn() -> bool) -> Result<(), CommitError> {
        if !allowed() {
            return Err(CommitError::Fenced);
        }
        self.0.calls.lock().push("commit");
        let mut keyspaces = self.0.keyspaces.lock();
        for (keyspace, changes) in group.keyspaces() {
            for (key, value) in changes {
                let keys = keyspaces.entry(kept(keyspace)).or_default();
                match value {
                    Some(value) => drop(keys.insert(key.clone(), value.clone())),
                    None => drop(keys.remove(key)),
                }
            }
        }
        Ok(())
    }

    fn durable_flush(&self) -> Result<(), EngineError> {
        drop(self.0.gate.lock());
        let failing = &self.0.failing_flushes;
        if failing
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1))
            .is_ok()
        {
            return Err(EngineError::Failed("no flush today".to_owned()));
        }
        self.0.calls.lock().push("flush");
        Ok(())
    }
}

pub(super) struct MemoryOpener(pub(super) Arc<Memory>, pub(super) PathBuf);

impl Opener for MemoryOpener {
    fn open(&self, _: &[String]) -> Result<Box<dyn Engine>, OpenFault> {
        Ok(Box::new(MemoryEngine(Arc::clone(&self.0))))
    }

    fn path(&self) -> &Path {
        &self.1
    }
}
