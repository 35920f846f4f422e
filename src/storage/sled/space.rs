//! Room on the disk: when writes are refused, and a file that keeps some room back.
//!
//! A full disk must not reach the engine: after an error sled must be opened again, which needs room itself, and reading
//! may need some, too. So writes are refused while a *reserve* is left, and reads go on. If another program fills the disk
//! to the last byte, the *ballast*, a file that only takes up room, is cut to nothing, so that the engine can be opened and
//! read. When there is room again, writes are taken again, and the ballast is made again. Deleting is the one write that
//! may use the reserve: otherwise nobody could make room.

// Decision: A full disk never reaches sled.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::limits::SharedLimits;
use crate::settings::Reserve;
use crate::storage::journal::JournalError;

/// The size of the ballast, in bytes.
const BALLAST_BYTES: u64 = 32 << 20;
/// There is a ballast only on disks with room for at least this many of it.
const BALLAST_SHARE: u64 = 16;
/// The reserve that `"auto"` means: a twentieth of the disk, within the next two bounds.
const RESERVE_SHARE: u64 = 20;
const RESERVE_BYTES_MIN: u64 = 64 << 20;
const RESERVE_BYTES_MAX: u64 = 1 << 30;
/// How much must be free for deleting: the view grows by a little before it can shrink.
const DELETING_BYTES: u64 = 4 << 20;
/// The pause after the disk had no room, whatever the file system says of it: an attempt to make room costs time.
const FULL_PAUSE: Duration = Duration::from_secs(1);

/// The size of a file system, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Disk {
    pub(super) available: u64,
    pub(super) total: u64,
}

impl Disk {
    fn of(folder: &Path) -> io::Result<Self> {
        let found = rustix::fs::statvfs(folder)?;
        Ok(Self {
            available: found.f_bavail.saturating_mul(found.f_frsize),
            total: found.f_blocks.saturating_mul(found.f_frsize),
        })
    }

    /// The number of bytes that must stay free.
    pub(super) fn reserve(self, reserve: Reserve) -> u64 {
        match reserve {
            Reserve::Auto => {
                (self.total / RESERVE_SHARE).clamp(RESERVE_BYTES_MIN, RESERVE_BYTES_MAX)
            }
            Reserve::Bytes(bytes) => bytes,
        }
    }

    /// The size of the ballast that fits beside the reserve.
    fn ballast(self, reserve: Reserve) -> Option<u64> {
        let left = self.available.checked_sub(self.reserve(reserve))?;
        (left >= 2 * BALLAST_BYTES && self.total >= BALLAST_SHARE * BALLAST_BYTES)
            .then_some(BALLAST_BYTES)
    }
}

/// A disk, and how much of it must be left free.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    pub(super) disk: Disk,
    pub(super) reserve: u64,
}

/// The bytes that may be written into a folder without touching the reserve of its disk.
pub(crate) fn spare_bytes(folder: &Path, reserve: Reserve) -> io::Result<u64> {
    let disk = Disk::of(folder)?;
    Ok(disk.available.saturating_sub(disk.reserve(reserve)))
}

/// The room in the data folder.
pub(super) struct Space {
    folder: PathBuf,
    /// Has the reserve, which may change.
    limits: SharedLimits,
    ballasted: AtomicBool,
    full: AtomicBool,
    /// Set when the disk had no room, until a group was written: the next attempt is due then.
    next_attempt: Mutex<Option<Instant>>,
    refused: AtomicU64,
}

impl Space {
    pub(super) fn new(folder: &Path, limits: &SharedLimits) -> Self {
        Self {
            folder: folder.to_owned(),
            limits: limits.clone(),
            ballasted: AtomicBool::new(false),
            full: AtomicBool::new(false),
            next_attempt: Mutex::new(None),
            refused: AtomicU64::new(0),
        }
    }

    fn ballast(&self) -> PathBuf {
        self.folder.join("ballast")
    }

    /// Asks the file system how much room there is.
    pub(super) fn measure(&self) -> io::Result<Room> {
        let disk = Disk::of(&self.folder)?;
        let reserve = disk.reserve(self.limits.now().reserve);
        Ok(Room { disk, reserve })
    }

    /// Whether writes are refused now. Costs one system call.
    pub(super) fn refuses(&self) -> bool {
        let attempt = *self.next_attempt.lock();
        if attempt.is_some_and(|next| Instant::now() < next) {
            return true;
        }
        let Room { disk, reserve } = match self.measure() {
            Ok(room) => room,
            Err(error) => {
                tracing::debug!(%error, "the file system does not tell how much room there is");
                return false;
            }
        };
        let full = disk.available < reserve;
        let available = disk.available;
        if full && !self.full.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                available,
                reserve,
                "the disk is full: writes are refused, reads go on, and deleting may use the reserve"
            );
        } else if !full && attempt.is_none() && self.full.swap(false, Ordering::Relaxed) {
            tracing::info!(
                available,
                reserve,
                "there is room on the disk again: writes are taken"
            );
        }
        if !full && !self.ballasted.load(Ordering::Relaxed) {
            self.take_ballast(disk);
        }
        full
    }

    /// Notes that the disk had no room, though it may say that it has: a quota, or no free inode. Writes are refused, and
    /// tried once in a while.
    pub(super) fn had_none(&self, error: &JournalError) {
        *self.next_attempt.lock() = Some(Instant::now() + FULL_PAUSE);
        if !self.full.swap(true, Ordering::Relaxed) {
            tracing::warn!(%error, "the disk has no room: writes are refused, reads go on");
        }
    }

    /// Notes that the disk had room for a group.
    pub(super) fn had_some(&self) {
        if self.next_attempt.lock().take().is_some() && self.full.swap(false, Ordering::Relaxed) {
            tracing::info!("the disk has room again: writes are taken");
        }
    }

    /// Whether there is room for deleting, for which the ballast is freed.
    pub(super) fn can_delete(&self) -> bool {
        self.has(DELETING_BYTES) || self.release() && self.has(DELETING_BYTES)
    }

    /// Whether so many bytes are free.
    pub(super) fn has(&self, bytes: u64) -> bool {
        let room = self.measure();
        room.is_ok_and(|room| room.disk.available >= bytes)
    }

    /// Counts a write that was refused.
    pub(super) fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// The number of refused writes.
    pub(super) fn refused_total(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    fn take_ballast(&self, disk: Disk) {
        let Some(bytes) = disk.ballast(self.limits.now().reserve) else {
            return;
        };
        // Tried once, since some file systems can't do it.
        self.ballasted.store(true, Ordering::Relaxed);
        if let Err(error) = allocate(&self.ballast(), bytes) {
            tracing::debug!(%error, "no ballast: the file system could not reserve room");
        }
    }

    /// Frees the room of the ballast. False if there is none.
    pub(super) fn release(&self) -> bool {
        let path = self.ballast();
        let Ok(file) = OpenOptions::new().write(true).open(&path) else {
            return false;
        };
        let held = file.metadata().is_ok_and(|file| file.len() > 0);
        self.ballasted.store(false, Ordering::Relaxed);
        let released = held && file.set_len(0).is_ok();
        if released {
            tracing::warn!(file = %path.display(), "the disk is full to the last byte: freed the room of the ballast");
        }
        released
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
    fn the_automatic_reserve_is_a_twentieth_of_the_disk_within_bounds() {
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
    fn there_is_a_ballast_only_on_a_disk_with_plenty_of_room() {
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

    fn reserving(reserve: Reserve) -> crate::settings::Settings {
        let mut settings = crate::settings::Settings::default();
        settings.storage.reserve = reserve;
        settings
    }

    fn limits(reserve: Reserve) -> SharedLimits {
        SharedLimits::new(&reserving(reserve))
    }

    #[test]
    fn the_ballast_is_freed_once_and_can_be_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let space = Space::new(folder.path(), &limits(Reserve::Bytes(0)));
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
    fn writes_are_refused_on_a_disk_with_less_room_than_the_reserve() {
        let folder = tempfile::tempdir().unwrap();
        let limits = limits(Reserve::Bytes(u64::MAX));
        let space = Space::new(folder.path(), &limits);
        assert!(space.refuses());
        limits.set(&reserving(Reserve::Bytes(0)));
        assert!(!space.refuses(), "the reserve was changed");
        assert!(!Space::new(Path::new("/nowhere"), &limits).refuses());
    }
}
