//! Room on the disk: when nothing may be written any more, and a last piece of it that is kept back.
//!
//! A full disk must not reach the engine: sled's error sticks until it is opened anew, which needs room itself, and reading
//! may need some, too. So writes end while a *reserve* is left, and reading goes on. Should somebody else fill the disk to
//! the last byte, the *ballast*, a file that holds nothing, is given up, so that the engine can be opened and read again.
//! Both come back by themselves.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::settings::Reserve;

/// The size of the ballast, in bytes.
const BALLAST_BYTES: u64 = 32 << 20;
/// A disk has so many times the ballast at least, or there is none.
const BALLAST_SHARE: u64 = 16;
/// What `"auto"` means: one part in so many of the disk ...
const RESERVE_SHARE: u64 = 20;
/// ... at least ...
const RESERVE_BYTES_MIN: u64 = 64 << 20;
/// ... and at most.
const RESERVE_BYTES_MAX: u64 = 1 << 30;
/// How much must be free before the engine is tried again on a disk that was full.
const OPEN_BYTES: u64 = 4 << 20;
/// How long to wait between two looks at a full disk; room has no event.
const PAUSE: Duration = Duration::from_millis(200);

/// What the file system says, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Disk {
    pub(crate) available: u64,
    pub(crate) total: u64,
}

impl Disk {
    fn of(folder: &Path) -> io::Result<Self> {
        let found = rustix::fs::statvfs(folder)?;
        Ok(Self {
            available: found.f_bavail.saturating_mul(found.f_frsize),
            total: found.f_blocks.saturating_mul(found.f_frsize),
        })
    }

    /// What must be left of it.
    pub(crate) fn reserve(self, reserve: Reserve) -> u64 {
        match reserve {
            Reserve::Auto => {
                (self.total / RESERVE_SHARE).clamp(RESERVE_BYTES_MIN, RESERVE_BYTES_MAX)
            }
            Reserve::Bytes(bytes) => bytes,
        }
    }

    /// How large a ballast it bears beside the reserve.
    fn ballast(self, reserve: Reserve) -> Option<u64> {
        let left = self.available.checked_sub(self.reserve(reserve))?;
        (left >= 2 * BALLAST_BYTES && self.total >= BALLAST_SHARE * BALLAST_BYTES)
            .then_some(BALLAST_BYTES)
    }
}

/// The room in the data folder.
#[derive(Debug)]
pub(crate) struct Space {
    folder: PathBuf,
    reserve: Reserve,
    ballasted: AtomicBool,
    full: AtomicBool,
    refused: AtomicU64,
}

impl Space {
    pub(crate) fn new(folder: &Path, reserve: Reserve) -> Self {
        Self {
            folder: folder.to_owned(),
            reserve,
            ballasted: AtomicBool::new(false),
            full: AtomicBool::new(false),
            refused: AtomicU64::new(0),
        }
    }

    fn ballast(&self) -> PathBuf {
        self.folder.join("ballast")
    }

    /// The disk, and what must be left of it.
    pub(crate) fn measure(&self) -> io::Result<(Disk, u64)> {
        let disk = Disk::of(&self.folder)?;
        Ok((disk, disk.reserve(self.reserve)))
    }

    /// Whether nothing may be written now. One system call.
    pub(crate) fn refuses(&self) -> bool {
        let (disk, reserve) = match self.measure() {
            Ok(measured) => measured,
            Err(error) => {
                tracing::debug!(%error, "the room on the disk is not known");
                return false;
            }
        };
        let full = disk.available < reserve;
        if self.full.swap(full, Ordering::Relaxed) != full {
            let available = disk.available;
            if full {
                tracing::warn!(
                    available,
                    reserve,
                    "the disk is full: writes are refused, reads go on"
                );
            } else {
                tracing::info!(available, reserve, "there is room again: writes go on");
            }
        }
        if !full && !self.ballasted.load(Ordering::Relaxed) {
            self.take_ballast(disk);
        }
        full
    }

    /// Counts a write that was refused.
    pub(crate) fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// How many writes were refused.
    pub(crate) fn refused_total(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    fn take_ballast(&self, disk: Disk) {
        let Some(bytes) = disk.ballast(self.reserve) else {
            return;
        };
        // Tried once, whatever comes of it: some file systems can't.
        self.ballasted.store(true, Ordering::Relaxed);
        if let Err(error) = allocate(&self.ballast(), bytes) {
            tracing::debug!(%error, "no ballast: the file system gives none");
        }
    }

    /// Gives the ballast up. False if there is none.
    pub(crate) fn release(&self) -> bool {
        let path = self.ballast();
        let Ok(file) = OpenOptions::new().write(true).open(&path) else {
            return false;
        };
        let held = file.metadata().is_ok_and(|file| file.len() > 0);
        self.ballasted.store(false, Ordering::Relaxed);
        let released = held && file.set_len(0).is_ok();
        if released {
            tracing::warn!(file = %path.display(), "the disk is full to the last byte: gave up the ballast");
        }
        released
    }

    /// Waits until the engine can be tried again. False if `wanted` turned false meanwhile.
    pub(crate) fn wait(&self, wanted: &dyn Fn() -> bool) -> bool {
        tracing::error!(folder = %self.folder.display(), "the disk is full: the store is opened when there is room");
        while wanted() {
            let room = Disk::of(&self.folder);
            if room.map_or(true, |disk| disk.available >= OPEN_BYTES) {
                return true;
            }
            std::thread::park_timeout(PAUSE);
        }
        false
    }
}

fn allocate(path: &Path, bytes: u64) -> io::Result<()> {
    let known = fs::metadata(path).map_or(0, |file| file.len());
    if known >= bytes {
        return Ok(());
    }
    let file = File::create(path)?;
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn the_reserve_is_a_part_of_the_disk_within_bounds() {
        for (total, reserve) in [(100, 64), (2_000, 100), (1_000_000, 1024)] {
            let disk = Disk {
                available: 0,
                total: total * MIB,
            };
            assert_eq!(disk.reserve(Reserve::Auto), reserve * MIB);
            assert_eq!(disk.reserve(Reserve::Bytes(5)), 5);
        }
    }

    #[test]
    fn a_ballast_is_taken_only_where_there_is_plenty() {
        let ballast = |available, total| {
            let disk = Disk {
                available: available * MIB,
                total: total * MIB,
            };
            disk.ballast(Reserve::Auto).is_some()
        };
        assert!(ballast(500, 1_000));
        assert!(!ballast(127, 1_000));
        assert!(!ballast(60, 1_000));
        assert!(!ballast(400, 500));
    }

    #[test]
    fn what_was_taken_is_given_up_once_and_taken_again() {
        let folder = tempfile::tempdir().unwrap();
        let space = Space::new(folder.path(), Reserve::Bytes(0));
        assert!(!space.release(), "there is none yet");
        let disk = Disk {
            available: u64::MAX / 2,
            total: u64::MAX / 2,
        };
        space.take_ballast(disk);
        assert!(space.release());
        assert!(!space.release());
        space.take_ballast(disk);
        assert!(space.release());
    }

    #[test]
    fn a_disk_without_its_reserve_refuses() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Space::new(folder.path(), Reserve::Bytes(u64::MAX)).refuses());
        let space = Space::new(folder.path(), Reserve::Bytes(0));
        assert!(!space.refuses());
        assert!(!Space::new(Path::new("/nowhere"), Reserve::Auto).refuses());
    }
}
