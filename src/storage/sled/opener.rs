//! Opens sled without trusting it: it panics on bad data, and may take long.
//!
//! The open runs on a thread of its own, behind a panic boundary, with a time limit. If it fails, the view is moved aside
//! and made again.

use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use super::data_folder::move_aside;
use super::database::SledEngine;
use super::engine::{Engine, OpenFault, Opener};
use crate::supervision::contain;

/// How long an open may take: enough to replay a log of many gigabytes on a slow disk.
pub(super) const OPEN_LIMIT: Duration = Duration::from_secs(600);
/// How long to wait for the lock of an engine that this process has just closed: sled's threads release it late.
const LOCK_LIMIT: Duration = Duration::from_secs(5);
/// The pause between two attempts to take the lock: there is no event to wait for.
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// Opens sled at a path.
pub(super) struct SledOpener {
    path: PathBuf,
    cache_bytes: u64,
}

impl SledOpener {
    /// A view in the folder `path`.
    pub(super) fn new(path: PathBuf, cache_bytes: u64) -> Self {
        Self { path, cache_bytes }
    }

    /// One attempt to open it, guarded. `None` if sled's own lock is still held.
    fn attempt(&self, collections: &[String]) -> Result<Option<SledEngine>, OpenFault> {
        let (path, cache_bytes) = (self.path.clone(), self.cache_bytes);
        let collections = collections.to_vec();
        let (tx, rx) = mpsc::channel();
        let spawned = std::thread::Builder::new()
            .name("store-open".to_owned())
            .spawn(move || {
                let opened = contain(|| SledEngine::open(&path, cache_bytes, &collections));
                // After the limit nobody waits any more, and the engine is dropped here.
                drop(tx.send(opened));
            });
        spawned.map_err(OpenFault::Io)?;
        let locked = |error: &io::Error| {
            error.kind() == io::ErrorKind::WouldBlock || error.to_string().contains("WouldBlock")
        };
        match rx.recv_timeout(OPEN_LIMIT) {
            Ok(Ok(Ok(engine))) => Ok(Some(engine)),
            Ok(Ok(Err(sled::Error::Io(error)))) if locked(&error) => Ok(None),
            Ok(Ok(Err(sled::Error::Io(error)))) => Err(OpenFault::Io(error)),
            Ok(Ok(Err(
                error @ (sled::Error::CollectionNotFound(_)
                | sled::Error::Unsupported(_)
                | sled::Error::Corruption { .. }
                | sled::Error::ReportableBug(_)),
            ))) => Err(OpenFault::View(error.to_string())),
            Ok(Err(panic)) => Err(OpenFault::View(format!("opening it ended in a {panic}"))),
            Err(RecvTimeoutError::Timeout) => Err(OpenFault::Hung { limit: OPEN_LIMIT }),
            Err(RecvTimeoutError::Disconnected) => Err(OpenFault::View(
                "opening it ended without a result".to_owned(),
            )),
        }
    }
}

impl Opener for SledOpener {
    fn exists(&self) -> bool {
        self.path.exists()
    }

    fn open(&self, collections: &[String]) -> Result<Box<dyn Engine>, OpenFault> {
        let tries = LOCK_LIMIT.as_millis() / LOCK_PAUSE.as_millis();
        for _ in 0..tries {
            if let Some(engine) = self.attempt(collections)? {
                return Ok(Box::new(engine));
            }
            std::thread::park_timeout(LOCK_PAUSE);
        }
        let holder = "unknown".to_owned();
        Err(OpenFault::Locked { holder })
    }

    fn set_aside(&self, why: &str) -> io::Result<()> {
        if self.exists() {
            let data = self.path.parent().unwrap_or(&self.path);
            move_aside(data, &self.path, why)?;
        }
        Ok(())
    }
}
