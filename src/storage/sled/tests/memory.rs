//! An engine in memory that records the calls it gets, and fails or waits when a test tells it to.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;

use super::super::engine::{Engine, EngineError, Group, Keyspace, OpenFault, Opener, Visit};

/// Every keyspace with its keys and values.
pub(in super::super) type Keyspaces = BTreeMap<Keyspace, BTreeMap<Vec<u8>, Vec<u8>>>;

type BeforeScan = Box<dyn Fn(Keyspace) -> Result<(), EngineError> + Send>;

/// The content of an engine in memory; it stays when the engine is opened again.
#[derive(Default)]
pub(in super::super) struct Memory {
    pub(super) keyspaces: Mutex<Keyspaces>,
    pub(super) calls: Mutex<Vec<&'static str>>,
    /// Fails the next commit after its first keyspace.
    pub(super) failing: AtomicBool,
    /// Fails each scan of records until all of it is moved aside.
    pub(super) unreadable: AtomicBool,
    /// Called before each scan, which may fail by it.
    pub(in super::super) before_scan: Mutex<Option<BeforeScan>>,
    /// The number of the error that the disk returns to each scan of records.
    pub(super) failing_reads: Mutex<Option<i32>>,
    /// Makes commits wait.
    pub(super) held: AtomicBool,
    /// Makes the next scan of indexes wait; and whether one waits.
    pub(super) scan_held: AtomicBool,
    pub(super) scan_waits: AtomicBool,
    /// The number of keys that scans of indexes and reads of records have visited.
    pub(super) visited: AtomicU64,
    /// Whether a declaration has begun.
    pub(super) declaring: AtomicBool,
    /// Makes declarations wait.
    pub(super) declaring_held: AtomicBool,
}

impl Memory {
    fn visit(&self, keyspace: Keyspace) {
        if matches!(keyspace, Keyspace::Index(_) | Keyspace::Records(_)) {
            self.visited.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// The keyspace in which `keyspace` is stored: chunks are applied in two steps, but to one keyspace.
fn kept(keyspace: Keyspace) -> Keyspace {
    match keyspace {
        Keyspace::OldChunks(id) => Keyspace::Chunks(id),
        other @ (Keyspace::Log
        | Keyspace::Chunks(_)
        | Keyspace::Records(_)
        | Keyspace::Index(_)
        | Keyspace::Meta) => other,
    }
}

pub(in super::super) struct MemoryEngine(pub(in super::super) Arc<Memory>, Mutex<Arc<[String]>>);

impl MemoryEngine {
    pub(in super::super) fn new(memory: Arc<Memory>, collections: &[String]) -> Self {
        Self(memory, Mutex::new(collections.into()))
    }
}

impl Engine for MemoryEngine {
    fn collections(&self) -> Arc<[String]> {
        Arc::clone(&self.1.lock())
    }

    fn declare(&self, collection: &str) -> Result<(), EngineError> {
        self.0.declaring.store(true, Ordering::SeqCst);
        while self.0.declaring_held.load(Ordering::SeqCst) {
            std::thread::park_timeout(Duration::from_millis(2));
        }
        let mut names = self.1.lock();
        if !names.iter().any(|known| known == collection) {
            let name = std::iter::once(collection.to_owned());
            *names = names.iter().cloned().chain(name).collect();
        }
        Ok(())
    }

    fn get(&self, keyspace: Keyspace, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        self.0.visit(keyspace);
        let keyspaces = self.0.keyspaces.lock();
        Ok(keyspaces
            .get(&kept(keyspace))
            .and_then(|keys| keys.get(key))
            .map(|v| Bytes::from(v.clone())))
    }

    fn scan(&self, keyspace: Keyspace, from: &[u8], visit: Visit<'_>) -> Result<(), EngineError> {
        if let Some(before) = &*self.0.before_scan.lock() {
            before(keyspace)?;
        }
        if matches!(keyspace, Keyspace::Records(_)) && self.0.unreadable.load(Ordering::SeqCst) {
            return Err(EngineError::Failed("no scan today".to_owned()));
        }
        if let (Keyspace::Records(_), Some(error)) = (keyspace, *self.0.failing_reads.lock()) {
            self.0.calls.lock().push("failed read");
            return Err(EngineError::Io {
                what: "no read today",
                source: io::Error::from_raw_os_error(error),
            });
        }
        if matches!(keyspace, Keyspace::Index(_)) && self.0.scan_held.swap(false, Ordering::SeqCst)
        {
            self.0.scan_waits.store(true, Ordering::SeqCst);
            while self.0.scan_waits.load(Ordering::SeqCst) {
                std::thread::park_timeout(Duration::from_millis(2));
            }
        }
        let found = self
            .0
            .keyspaces
            .lock()
            .get(&kept(keyspace))
            .cloned()
            .unwrap_or_default();
        let _stopped = found
            .range(from.to_vec()..)
            .inspect(|_| self.0.visit(keyspace))
            .all(|(key, value)| visit(key, value));
        Ok(())
    }

    fn scan_back(
        &self,
        keyspace: Keyspace,
        before: &[u8],
        visit: Visit<'_>,
    ) -> Result<(), EngineError> {
        let keyspaces = self.0.keyspaces.lock();
        let found = keyspaces.get(&kept(keyspace)).cloned().unwrap_or_default();
        drop(keyspaces);
        let _stopped = found
            .range(..before.to_vec())
            .rev()
            .inspect(|_| self.0.visit(keyspace))
            .all(|(key, value)| visit(key, value));
        Ok(())
    }

    fn commit(&self, group: &Group) -> Result<(), EngineError> {
        self.0.calls.lock().push("commit");
        while self.0.held.load(Ordering::SeqCst) {
            std::thread::park_timeout(Duration::from_millis(2));
        }
        let mut keyspaces = self.0.keyspaces.lock();
        for (keyspace, changes) in group.keyspaces() {
            for (key, value) in changes {
                let keys = keyspaces.entry(kept(keyspace)).or_default();
                match value {
                    Some(value) => drop(keys.insert(key.clone(), value.clone())),
                    None => drop(keys.remove(key)),
                }
            }
            if self.0.failing.swap(false, Ordering::SeqCst) {
                return Err(EngineError::Failed("no commit today".to_owned()));
            }
        }
        Ok(())
    }

    fn flush(&self) -> Result<(), EngineError> {
        Ok(())
    }
}

pub(super) struct MemoryOpener(pub(super) Arc<Memory>);

impl Opener for MemoryOpener {
    fn exists(&self) -> bool {
        !self.0.keyspaces.lock().is_empty()
    }

    fn is_removed(&self) -> bool {
        false
    }

    fn open(&self, collections: &[String]) -> Result<Box<dyn Engine>, OpenFault> {
        Ok(Box::new(MemoryEngine::new(
            Arc::clone(&self.0),
            collections,
        )))
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn set_aside(&self, _: &str) -> io::Result<()> {
        self.0.keyspaces.lock().clear();
        self.0.unreadable.store(false, Ordering::SeqCst);
        self.0.calls.lock().push("aside");
        Ok(())
    }

    fn finished(&self) -> io::Result<()> {
        Ok(())
    }

    fn choose(&self) {}

    fn tidy(&self) -> io::Result<()> {
        Ok(())
    }

    fn open_copy(&self) -> Result<Box<dyn Engine>, OpenFault> {
        self.open(&[])
    }

    fn remove_copy(&self) -> io::Result<()> {
        Ok(())
    }

    fn open_beside(&self, _: &[String]) -> Result<Box<dyn Engine>, OpenFault> {
        Err(OpenFault::View("there is room for one".to_owned()))
    }

    fn switch(&self) {}

    fn remove_unused(&self, _: Option<&str>) -> io::Result<()> {
        Ok(())
    }
}
