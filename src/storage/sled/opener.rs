//! Opens sled without trusting it: it refuses good data because of unfinished scratch files, and panics on bad data.
//!
//! 1. Unfinished snapshots (`snap.*.generating`) and an empty `conf` are moved aside, since each of them makes every open
//!    fail.
//! 2. The open runs on a thread of its own, behind a panic boundary, with a time limit.
//! 3. After `Corruption`, the snapshots are moved aside, then `conf`, because the log alone restores everything.
//!
//! Nothing is ever deleted: what was moved aside is in `aside-<unix ms>` beside the store.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::database::SledEngine;
use super::engine::{Engine, OpenFault, Opener};
use crate::supervision::{Faults, contain};

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
    faults: Faults,
}

impl SledOpener {
    /// A store in `<data>/sled`, whose engines get these fault points.
    pub(super) fn new(data: &Path, cache_bytes: u64, faults: &Faults) -> Self {
        faults.register(super::database::WEAK_FLUSH);
        Self {
            path: data.join("sled"),
            cache_bytes,
            faults: faults.clone(),
        }
    }

    /// One attempt to open the store, guarded.
    fn attempt(&self, collections: &[String]) -> Result<SledEngine, Attempt> {
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
        spawned.map_err(|source| Attempt::Final(OpenFault::Io(source)))?;
        let locked = |error: &io::Error| {
            error.kind() == io::ErrorKind::WouldBlock || error.to_string().contains("WouldBlock")
        };
        match rx.recv_timeout(OPEN_LIMIT) {
            Ok(Ok(Ok(mut engine))) => {
                engine.faults = self.faults.clone();
                Ok(engine)
            }
            Ok(Ok(Err(sled::Error::Corruption { at, .. }))) => {
                Err(Attempt::Corrupt(format!("sled found corruption at {at:?}")))
            }
            Ok(Ok(Err(sled::Error::Io(error)))) if locked(&error) => {
                Err(Attempt::Final(OpenFault::Locked))
            }
            Ok(Ok(Err(sled::Error::Io(error)))) => Err(Attempt::Final(OpenFault::Io(error))),
            Ok(Ok(Err(
                error @ (sled::Error::CollectionNotFound(_)
                | sled::Error::Unsupported(_)
                | sled::Error::ReportableBug(_)),
            ))) => Err(Attempt::Final(damaged(error.to_string()))),
            Ok(Err(panic)) => Err(Attempt::Final(damaged(format!(
                "opening it ended in a {panic}"
            )))),
            Err(RecvTimeoutError::Timeout) => {
                Err(Attempt::Final(OpenFault::Hung { limit: OPEN_LIMIT }))
            }
            Err(RecvTimeoutError::Disconnected) => {
                Err(Attempt::Final(damaged("opening it ended without a result")))
            }
        }
    }

    fn attempt_with_lock(&self, collections: &[String]) -> Result<SledEngine, Attempt> {
        let tries = LOCK_LIMIT.as_millis() / LOCK_PAUSE.as_millis();
        for _ in 0..tries {
            match self.attempt(collections) {
                Err(Attempt::Final(OpenFault::Locked)) => std::thread::park_timeout(LOCK_PAUSE),
                opened => return opened,
            }
        }
        Err(Attempt::Final(OpenFault::Locked))
    }

    /// Moves those files of the store for which `wanted` returns true into a folder beside it. False if there are none.
    fn move_aside(&self, why: &str, wanted: impl Fn(&Path) -> bool) -> io::Result<bool> {
        if !self.path.exists() {
            return Ok(false);
        }
        let files: Result<Vec<_>, io::Error> = fs::read_dir(&self.path)?
            .map(|file| file.map(|file| file.path()))
            .collect();
        let files: Vec<_> = files?.into_iter().filter(|path| wanted(path)).collect();
        if files.is_empty() {
            return Ok(false);
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.unwrap_or_default().as_millis();
        let aside = self.path.with_file_name(format!("aside-{now}"));
        fs::create_dir_all(&aside)?;
        for file in files {
            if let Some(name) = file.file_name() {
                fs::rename(&file, aside.join(name))?;
                tracing::warn!(file = %file.display(), to = %aside.display(), why, "moved a file of the store aside");
            }
        }
        Ok(true)
    }
}

fn damaged(found: impl Into<String>) -> OpenFault {
    OpenFault::Damaged(found.into())
}

/// The failure of one attempt to open sled.
enum Attempt {
    Corrupt(String),
    Final(OpenFault),
}

fn name_of(path: &Path) -> &str {
    path.file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default()
}

fn is_snapshot(path: &Path) -> bool {
    name_of(path).starts_with("snap.")
}

fn is_unfinished(path: &Path) -> bool {
    is_snapshot(path)
        && path
            .extension()
            .is_some_and(|extension| extension == "generating")
}

fn is_conf(path: &Path) -> bool {
    name_of(path) == "conf"
}

fn is_empty_conf(path: &Path) -> bool {
    is_conf(path) && fs::metadata(path).is_ok_and(|file| file.len() == 0)
}

/// A kind of files: why they are moved, and how they are recognised.
type Suspect = (&'static str, fn(&Path) -> bool);

/// The files that are moved aside after `Corruption`, one kind after the other.
const SUSPECTS: [Suspect; 2] = [
    ("corruption: a snapshot", is_snapshot),
    ("corruption: conf", is_conf),
];

impl Opener for SledOpener {
    fn open(&self, collections: &[String]) -> Result<Box<dyn Engine>, OpenFault> {
        if let Some(data) = self.path.parent() {
            fs::create_dir_all(data).map_err(OpenFault::Io)?;
        }
        self.move_aside("an unfinished snapshot", is_unfinished)
            .map_err(OpenFault::Io)?;
        self.move_aside("an empty conf", is_empty_conf)
            .map_err(OpenFault::Io)?;
        let mut opened = self.attempt_with_lock(collections);
        for (why, suspect) in SUSPECTS {
            if matches!(opened, Err(Attempt::Corrupt(_)))
                && self.move_aside(why, suspect).map_err(OpenFault::Io)?
            {
                opened = self.attempt_with_lock(collections);
            }
        }
        match opened {
            Ok(engine) => Ok(Box::new(engine)),
            Err(Attempt::Final(fault)) => Err(fault),
            Err(Attempt::Corrupt(found)) => Err(damaged(found)),
        }
    }

    fn distrust_cache(&self) {
        let forgotten = fs::File::open(self.path.join("db")).and_then(|file| {
            let advice = rustix::fs::Advice::DontNeed;
            Ok(rustix::fs::fadvise(&file, 0, None, advice)?)
        });
        if let Err(error) = forgotten {
            tracing::warn!(%error, "the kernel's cache of the store could not be dropped; it may differ from the disk");
        }
    }

    fn path(&self) -> &Path {
        &self.path
    }
}
