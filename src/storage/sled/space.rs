//! Room on the disk: when writes are refused, and a file that keeps some room back.
//!
//! A full disk must not reach the engine: after an error sled must be opened again, which needs room itself, and reading
//! may need some, too. So writes are refused while a *reserve* is left, and reads go on. If another program fills the disk
//! to the last byte, the *ballast*, a file that only takes up room, is cut to nothing, so that the engine can be opened and
//! read. When there is room again, writes are taken again, and the ballast is made again. Deleting is the one write that
//! may use the reserve: otherwise nobody could make room.

// Decision: A full disk never reaches sled.

#[cfg(test)]
mod tests;

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::data_folder::DataFolder;
use super::holder::Holder;
use super::limits::SharedLimits;
use super::look_clock::LookClock;
use crate::incidents::{Incident, IncidentKind, Incidents, STORAGE};
use crate::plain_file;
use crate::settings::AutoSize;
use crate::storage::journal::JournalError;
use crate::telemetry::Rows;

/// The size of the ballast, in bytes.
const BALLAST_BYTES: u64 = 32 << 20;
/// There is a ballast only on disks with room for at least this many of it.
const BALLAST_SHARE: u64 = 16;
/// The reserve that `"auto"` means: a twentieth of the disk, within the next two bounds.
const RESERVE_SHARE: u64 = 20;
const RESERVE_BYTES_MIN: u64 = 64 << 20;
const RESERVE_BYTES_MAX: u64 = 1 << 30;
/// The bytes that must be free for deleting: the view grows by a little before it can shrink.
const DELETING_BYTES: u64 = 4 << 20;
/// The pause after the disk had no room, whatever the file system says of it: an attempt to make room costs time. Also that
/// between two looks at the room.
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
    pub(super) fn reserve(self, reserve: AutoSize) -> u64 {
        match reserve {
            AutoSize::Auto => {
                (self.total / RESERVE_SHARE).clamp(RESERVE_BYTES_MIN, RESERVE_BYTES_MAX)
            }
            AutoSize::Bytes(bytes) => bytes,
        }
    }

    /// The size of the ballast that fits beside the reserve.
    fn ballast(self, reserve: AutoSize) -> Option<u64> {
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
pub(crate) fn spare_bytes(folder: &Path, reserve: AutoSize) -> io::Result<u64> {
    let disk = Disk::of(folder)?;
    Ok(disk.available.saturating_sub(disk.reserve(reserve)))
}

/// The room in the data folder. It is measured by those who write and once a second; whoever asks gets what was found last, and
/// does not wait for the disk.
pub(super) struct Space {
    folder: PathBuf,
    /// Has the reserve, which may change.
    limits: SharedLimits,
    incidents: Arc<Incidents>,
    ballasted: AtomicBool,
    found: Mutex<SpaceFound>,
    refused: AtomicU64,
    /// Times the look that is made once a second.
    pub(super) clock: LookClock,
}

/// The room as it was found last.
#[derive(Debug, Default)]
struct SpaceFound {
    room: Option<Room>,
    /// The bytes of the files of each part of the store.
    parts: Vec<(&'static str, u64)>,
    shortage: Option<Shortage>,
}

/// Writes are refused.
#[derive(Debug)]
struct Shortage {
    begun: Instant,
    /// The number of writes that had been refused before.
    refused_before: u64,
    cause: ShortageCause,
}

#[derive(Debug)]
enum ShortageCause {
    /// Fewer bytes are free than the reserve.
    Reserve(Room),
    /// The disk took no more, whatever it says of its room: a quota, or no free inode.
    Refused {
        error: String,
        /// The bytes that had no room.
        bytes: u64,
        /// The time of the next attempt.
        next: Instant,
    },
}

impl SpaceFound {
    /// The bytes that had no room, and when the next attempt is due.
    fn attempt(&self) -> Option<(u64, Instant)> {
        match self.shortage.as_ref()?.cause {
            ShortageCause::Refused { bytes, next, .. } => Some((bytes, next)),
            ShortageCause::Reserve(_) => None,
        }
    }
}

impl std::fmt::Display for ShortageCause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Reserve(Room { disk, reserve }) => write!(
                f,
                "the disk is full: {} bytes are free, and storage.reserve keeps {reserve}",
                disk.available
            ),
            Self::Refused { error, .. } => write!(f, "the disk has no room: {error}"),
        }
    }
}

impl Space {
    pub(super) fn new(folder: &Path, limits: &SharedLimits, incidents: &Arc<Incidents>) -> Self {
        Self {
            folder: folder.to_owned(),
            limits: limits.clone(),
            incidents: Arc::clone(incidents),
            ballasted: AtomicBool::new(false),
            found: Mutex::default(),
            refused: AtomicU64::new(0),
            clock: LookClock::default(),
        }
    }

    fn ballast(&self) -> PathBuf {
        self.folder.join("ballast")
    }

    /// Asks the file system how much room there is.
    fn measure(&self) -> io::Result<Room> {
        let disk = Disk::of(&self.folder)?;
        let reserve = disk.reserve(self.limits.now().reserve);
        Ok(Room { disk, reserve })
    }

    /// Whether writes are refused now. Costs one system call.
    pub(super) fn refuses(&self) -> bool {
        let attempt = self.found.lock().attempt();
        if attempt.is_some_and(|(_, next)| Instant::now() < next) {
            return true;
        }
        let room = match self.measure() {
            Ok(room) => room,
            Err(error) => {
                tracing::debug!(%error, "the file system does not tell how much room there is");
                return false;
            }
        };
        let full = room.disk.available < room.reserve;
        self.note(room, full);
        if !full && !self.ballasted.load(Ordering::Relaxed) {
            self.take_ballast(room.disk);
        }
        full
    }

    fn note(&self, room: Room, full: bool) {
        let (available, reserve) = (room.disk.available, room.reserve);
        let mut found = self.found.lock();
        found.room = Some(room);
        match found.shortage.as_ref().map(|known| &known.cause) {
            Some(ShortageCause::Refused { .. }) => {}
            Some(ShortageCause::Reserve(_)) if !full => {
                tracing::info!(
                    available,
                    reserve,
                    "there is room on the disk again: writes are taken"
                );
                self.end(&mut found);
            }
            None if !full => {}
            known => {
                if known.is_none() {
                    tracing::warn!(
                        available,
                        reserve,
                        "the disk is full: writes are refused, reads go on, and deleting may use the reserve"
                    );
                }
                self.go_on(&mut found, ShortageCause::Reserve(room));
            }
        }
    }

    /// Begins a shortage, or notes another cause of the one that there is.
    fn go_on(&self, found: &mut SpaceFound, cause: ShortageCause) {
        let begun = || (Instant::now(), self.refused_total());
        let known = found.shortage.as_ref();
        let (begun, refused_before) =
            known.map_or_else(begun, |known| (known.begun, known.refused_before));
        found.shortage = Some(Shortage {
            begun,
            refused_before,
            cause,
        });
    }

    /// Ends the shortage. It was an incident if a write was refused by it.
    fn end(&self, found: &mut SpaceFound) {
        let Some(ended) = found.shortage.take() else {
            return;
        };
        let refused = self.refused_total() - ended.refused_before;
        if refused > 0 {
            let done = format!("writes were refused until there was room: {refused}");
            let what = ended.cause.to_string();
            let incident = Incident::new(IncidentKind::FullDisk, STORAGE, &what, &done);
            self.incidents.add(incident.lasting(ended.begun.elapsed()));
        }
    }

    /// Notes that the disk had no room for a file of so many bytes, though it may say that it has: a quota, or no free inode.
    /// Writes are refused, and tried once in a while.
    pub(super) fn had_none(&self, error: &JournalError, bytes: u64) {
        let mut found = self.found.lock();
        if found.shortage.is_none() {
            tracing::warn!(%error, "the disk has no room: writes are refused, reads go on");
        }
        let cause = ShortageCause::Refused {
            error: error.to_string(),
            bytes,
            next: Instant::now() + FULL_PAUSE,
        };
        self.go_on(&mut found, cause);
    }

    /// Notes that the disk had room for a group.
    pub(super) fn had_some(&self) {
        let mut found = self.found.lock();
        if found.attempt().is_some() {
            tracing::info!("the disk has room again: writes are taken");
            self.end(&mut found);
        }
    }

    /// Looks whether there is room, also if nobody writes, and how large the parts of the store are.
    fn look(&self, data: &DataFolder) {
        let attempt = self.found.lock().attempt();
        if !self.clock.timed(|| self.refuses())
            && let Some((bytes, _)) = attempt
            && self.clock.timed(|| self.takes(bytes))
        {
            self.had_some();
        }
        let parts = self.clock.timed(|| data.bytes().collect());
        self.found.lock().parts = parts;
    }

    /// Whether the disk takes a file of so many bytes now. One that can't reserve room takes it, as far as can be told.
    fn takes(&self, bytes: u64) -> bool {
        let path = self.folder.join("room");
        drop(plain_file::remove(&path));
        let made = allocate(&path, bytes);
        drop(fs::remove_file(&path));
        made.map_or_else(
            |error| error.kind() == io::ErrorKind::Unsupported,
            |()| true,
        )
    }

    /// Whether writes are refused, as far as is known.
    pub(super) fn is_short(&self) -> bool {
        self.found.lock().shortage.is_some()
    }

    /// The reason why writes are refused, if they are; for an operator.
    pub(super) fn trouble(&self) -> Option<String> {
        let found = self.found.lock();
        let Shortage { begun, cause, .. } = found.shortage.as_ref()?;
        let (folder, seconds) = (self.folder.display(), begun.elapsed().as_secs());
        Some(format!(
            "{cause}, for {seconds} s now; writes are refused until there is room, records are read: remove something from the disk of {folder}, or delete records"
        ))
    }

    /// Writes the families of the room, as it was found last.
    pub(super) fn write(&self, rows: &mut Rows<'_>) {
        let found = self.found.lock();
        if let Some(Room { disk, .. }) = found.room {
            rows.gauge(
                "perennial_storage_available_bytes",
                "Free bytes on the disk of the data folder",
                disk.available,
            );
            rows.gauge(
                "perennial_storage_reserve_bytes",
                "Writes are refused while fewer bytes than this are free",
                disk.reserve(self.limits.now().reserve),
            );
        }
        rows.gauge(
            "perennial_storage_full",
            "1 while writes are refused because the disk has no room, else 0",
            u64::from(found.shortage.is_some()),
        );
        rows.gauges(
            "perennial_storage_bytes",
            "Bytes of the files of the store: the journal of changes, the view that is read, snapshots, and what was moved aside",
            found.parts.iter().map(|(part, bytes)| ([("part", *part)], *bytes)),
        );
        rows.counter(
            "perennial_storage_refused_writes",
            "Writes refused because the disk was full",
            self.refused_total(),
        );
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

    fn refused_total(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    fn take_ballast(&self, disk: Disk) {
        let Some(bytes) = disk.ballast(self.limits.now().reserve) else {
            return;
        };
        // Tried once, since some file systems can't do it.
        if self.ballasted.swap(true, Ordering::Relaxed) {
            return;
        }
        if let Err(error) = allocate(&self.ballast(), bytes) {
            tracing::debug!(%error, "no ballast: the file system could not reserve room");
        }
    }

    /// Frees the room of the ballast. False if there is none.
    pub(super) fn release(&self) -> bool {
        let path = self.ballast();
        let Ok(file) = plain_file::open_by(OpenOptions::new().write(true), &path) else {
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

/// Looks once a second whether there is room, on a thread of its own, as long as the store is used. Nothing is written into a
/// folder whose store is not open, or that was moved away.
pub(super) fn look_in_background(holder: &Arc<Holder>) {
    let holder = Arc::clone(holder);
    let look = move || {
        while holder.wait_look(FULL_PAUSE) {
            let space = &holder.space;
            if holder.look(|_| ()).is_some() && space.clock.timed(|| holder.files.is_in_place()) {
                space.look(&holder.files.data);
            }
        }
    };
    let thread = std::thread::Builder::new().name("room".to_owned());
    if let Err(error) = thread.spawn(look) {
        tracing::warn!(%error, "no thread that looks for room on the disk: only writes find out whether there is some");
    }
}

fn allocate(path: &Path, bytes: u64) -> io::Result<()> {
    let known = fs::metadata(path).map_or(0, |file| file.len());
    if known >= bytes {
        return Ok(());
    }
    let file = plain_file::create(path)?;
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes)?;
    Ok(())
}
