//! Opens sled without trusting it: it panics on bad data, and may take long.
//!
//! The open runs on a thread of its own, behind a panic boundary, with a time limit. If it fails, the view is moved aside
//! and made again.
//!
//! A view has two places, `view` and `view-next`: one is in use, and another view may be made in the other one. Beside a view
//! that is being made there is a file `..-unfinished`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use super::data_folder::{
    copy_all, is_finished, move_aside, named, remove_all, second_place, unfinished,
};
use super::database::SledEngine;
use super::engine::{Engine, OpenFault, Opener};
use super::view_log;
use crate::plain_file;
use crate::supervision::contain;

/// The longest time that an open may take: enough to replay a log of many gigabytes on a slow disk.
pub(super) const OPEN_LIMIT: Duration = Duration::from_secs(600);
/// The longest wait for the lock of an engine that this process has just closed: sled's threads release it late.
const LOCK_LIMIT: Duration = Duration::from_secs(5);
/// The pause between two attempts to take the lock: there is no event to wait for.
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// Opens sled at a path.
pub(super) struct SledOpener {
    path: PathBuf,
    cache_bytes: u64,
    /// Whether the second place is the one in use.
    uses_next: AtomicBool,
}

/// Looks whether the files of the view at a place are files: sled would wait for a FIFO, and takes other faults for those of the
/// disk.
pub(super) fn has_files(place: &Path) -> Result<(), OpenFault> {
    let entries = match fs::read_dir(place) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(OpenFault::Io)?,
    };
    for entry in entries {
        let path = entry.map_err(OpenFault::Io)?.path();
        let Ok(found) = fs::metadata(&path) else {
            continue;
        };
        let fits = if path.ends_with("blobs") {
            found.is_dir()
        } else {
            found.is_file()
        };
        if !fits {
            let path = path.display();
            return Err(OpenFault::View(format!("{path} is not what sled wrote")));
        }
    }
    Ok(())
}

/// Syncs the files of a folder and of the folders in it, and their names.
fn sync_below(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            sync_below(&path)?;
        } else {
            plain_file::open(&path)?.sync_all()?;
        }
    }
    fs::File::open(folder)?.sync_all()
}

impl SledOpener {
    /// A view in the folder `path`.
    pub(super) fn new(path: PathBuf, cache_bytes: u64) -> Self {
        Self {
            path,
            cache_bytes,
            uses_next: AtomicBool::new(false),
        }
    }

    /// The place in use, and the other one.
    fn places(&self) -> (PathBuf, PathBuf) {
        let (first, next) = (self.path.clone(), second_place(&self.path));
        if self.uses_next.load(Ordering::SeqCst) {
            (next, first)
        } else {
            (first, next)
        }
    }

    fn move_aside(&self, place: &Path, why: &str) -> io::Result<()> {
        let data = self.path.parent().unwrap_or(&self.path);
        move_aside(data, place, why)
    }

    /// Opens a view without looking through its log: it may lack records, and no error says so. For salvage only.
    pub(super) fn open_damaged(&self) -> Result<Box<dyn Engine>, OpenFault> {
        self.attempts(&self.path, &[], |_| Ok(()))
    }

    fn open_at(&self, place: &Path, collections: &[String]) -> Result<Box<dyn Engine>, OpenFault> {
        self.attempts(place, collections, view_log::look_through)
    }

    fn attempts(
        &self,
        place: &Path,
        collections: &[String],
        look: fn(&Path) -> Result<(), OpenFault>,
    ) -> Result<Box<dyn Engine>, OpenFault> {
        has_files(place)?;
        let tries = LOCK_LIMIT.as_millis() / LOCK_PAUSE.as_millis();
        for _ in 0..tries {
            if let Some(engine) = self.attempt(place, collections, look)? {
                return Ok(Box::new(engine));
            }
            std::thread::park_timeout(LOCK_PAUSE);
        }
        let holder = "unknown".to_owned();
        Err(OpenFault::Locked { holder })
    }

    /// One attempt to open it, guarded. `None` if sled's own lock is still held.
    fn attempt(
        &self,
        place: &Path,
        collections: &[String],
        look: fn(&Path) -> Result<(), OpenFault>,
    ) -> Result<Option<SledEngine>, OpenFault> {
        let (path, cache_bytes) = (place.to_owned(), self.cache_bytes);
        let collections = collections.to_vec();
        let (tx, rx) = mpsc::channel();
        let spawned = std::thread::Builder::new()
            .name("store-open".to_owned())
            .spawn(move || {
                let opened = contain(|| {
                    look(&path).map(|()| SledEngine::open(&path, cache_bytes, &collections))
                });
                // After the limit nobody waits any more, and the engine is dropped here.
                drop(tx.send(opened));
            });
        spawned.map_err(OpenFault::Io)?;
        let locked = |error: &io::Error| {
            error.kind() == io::ErrorKind::WouldBlock || error.to_string().contains("WouldBlock")
        };
        match rx.recv_timeout(OPEN_LIMIT) {
            Ok(Ok(Err(damaged))) => Err(damaged),
            Ok(Ok(Ok(Ok(engine)))) => Ok(Some(engine)),
            Ok(Ok(Ok(Err(sled::Error::Io(error))))) if locked(&error) => Ok(None),
            Ok(Ok(Ok(Err(sled::Error::Io(error))))) => Err(OpenFault::Io(error)),
            Ok(Ok(Ok(Err(
                error @ (sled::Error::CollectionNotFound(_)
                | sled::Error::Unsupported(_)
                | sled::Error::Corruption { .. }
                | sled::Error::ReportableBug(_)),
            )))) => Err(OpenFault::View(error.to_string())),
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
        is_finished(&self.places().0)
    }

    fn is_removed(&self) -> bool {
        match fs::metadata(self.places().0) {
            Ok(found) => !found.is_dir(),
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        }
    }

    fn open(&self, collections: &[String]) -> Result<Box<dyn Engine>, OpenFault> {
        self.open_at(&self.places().0, collections)
    }

    fn open_copy(&self) -> Result<Box<dyn Engine>, OpenFault> {
        let (place, copy) = (self.places().0, named(&self.path, "-copy"));
        has_files(&place)?;
        remove_all(&copy).map_err(OpenFault::Io)?;
        copy_all(&place, &copy).map_err(OpenFault::Io)?;
        self.open_at(&copy, &[])
    }

    fn remove_copy(&self) -> io::Result<()> {
        remove_all(&named(&self.path, "-copy"))
    }

    fn sync(&self) -> io::Result<()> {
        let (used, other) = self.places();
        // Only these files: a sync of the whole file system would wait for whatever other programs have written.
        for place in [used, other] {
            if place.exists() {
                sync_below(&place)?;
            }
        }
        fs::File::open(self.path.parent().unwrap_or(&self.path))?.sync_all()
    }

    fn set_aside(&self, why: &str) -> io::Result<()> {
        let (place, _) = self.places();
        let unfinished = unfinished(&place);
        if unfinished.exists() {
            remove_all(&place)?;
        } else if place.exists() {
            self.move_aside(&place, why)?;
        }
        plain_file::create(&unfinished).map(drop)
    }

    fn finished(&self) -> io::Result<()> {
        let (place, _) = self.places();
        plain_file::remove(&unfinished(&place))
    }

    fn choose(&self) {
        let (first, next) = (&self.path, second_place(&self.path));
        let uses_next = !is_finished(first) && is_finished(&next);
        self.uses_next.store(uses_next, Ordering::SeqCst);
    }

    fn tidy(&self) -> io::Result<()> {
        let (first, next) = (&self.path, second_place(&self.path));
        for place in [first, &next] {
            let unfinished = unfinished(place);
            if unfinished.exists() {
                remove_all(place)?;
                plain_file::remove(&unfinished)?;
            } else if place.exists() && !place.is_dir() {
                self.move_aside(place, "something else was in the place of a view")?;
            }
        }
        for unused in ["-old", "-copy"] {
            remove_all(&named(&self.path, unused))?;
        }
        if first.exists() {
            // The process ended right after the switch: the journal still has what only the next one took over.
            remove_all(&next)?;
        } else if next.exists() {
            fs::rename(next, first)?;
        }
        self.uses_next.store(false, Ordering::SeqCst);
        Ok(())
    }

    fn open_beside(&self, collections: &[String]) -> Result<Box<dyn Engine>, OpenFault> {
        let (_, place) = self.places();
        self.remove_unused(None).map_err(OpenFault::Io)?;
        plain_file::create(&unfinished(&place)).map_err(OpenFault::Io)?;
        self.open_at(&place, collections)
    }

    fn switch(&self) {
        let (_, place) = self.places();
        self.uses_next.fetch_xor(true, Ordering::SeqCst);
        if let Err(error) = fs::remove_file(unfinished(&place)) {
            tracing::warn!(%error, "the view that was made will be made again at the next start");
        }
    }

    fn remove_unused(&self, aside: Option<&str>) -> io::Result<()> {
        let (_, place) = self.places();
        if place.exists() {
            if let Some(why) = aside {
                self.move_aside(&place, why)?;
            } else {
                // Under another name at once: a view is never there in part.
                let old = named(&self.path, "-old");
                remove_all(&old)?;
                fs::rename(&place, &old)?;
                remove_all(&old)?;
            }
        }
        plain_file::remove(&unfinished(&place))
    }
}
