//! A disk that does not take what is written, or does not answer at all: while it fails, writes are refused and reads go on, and a
//! probe looks whether it takes writes again.

// Decision: A failing disk refuses writes and nothing else.

use std::convert::Infallible;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::commit::FAILING_SYNC;
use super::holder::Holder;
use super::look_clock::LOOK_LIMIT;
use crate::incidents::{Incident, IncidentKind, STORAGE};
use crate::plain_file;
use crate::storage::StoreError;
use crate::storage::journal::{JournalError, is_full};
use crate::supervision::{Faults, contain};
use crate::telemetry::{Counter, Rows};

/// The pause before the first probe; it doubles up to the longest.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// A disk that fails again this soon is probed with the pause that it had.
const SETTLED: Duration = Duration::from_secs(10);
/// The bytes that a probe writes.
const PROBE: [u8; 4096] = [0x55; 4096];

/// Knows whether the disk takes what is written into the data folder.
pub(super) struct FailingDisk {
    folder: PathBuf,
    state: Mutex<DiskState>,
    /// Groups that the disk did not take at the first attempt.
    pub(super) failures: Counter,
    refused: Counter,
}

#[derive(Debug, Default)]
struct DiskState {
    trouble: Option<DiskTrouble>,
    /// The end of the trouble before, and the pause that there was between two probes.
    before: Option<(Instant, Duration)>,
}

/// The trouble with a disk that fails now.
#[derive(Debug)]
struct DiskTrouble {
    begun: Instant,
    /// The first error.
    error: String,
    pause: Duration,
}

/// The outcome of a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Probed {
    /// The disk takes writes. Whether there is room for them is another question.
    Works,
    Fails,
    /// No file could be opened, which says nothing of the disk.
    Unknown,
}

impl Probed {
    fn of(probe: io::Result<()>) -> Self {
        match probe {
            Ok(()) => Self::Works,
            Err(error) if is_full(&error) => Self::Works,
            Err(error) => match rustix::io::Errno::from_io_error(&error) {
                Some(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE) => Self::Unknown,
                Some(_) | None => Self::Fails,
            },
        }
    }
}

/// The pause before the first probe of a disk that fails now.
fn first_pause(before: Option<(Instant, Duration)>, now: Instant) -> Duration {
    match before {
        Some((end, pause)) if now.duration_since(end) < SETTLED => next_pause(pause),
        Some(_) | None => PAUSE_MIN,
    }
}

fn next_pause(pause: Duration) -> Duration {
    (pause * 2).min(PAUSE_MAX)
}

impl FailingDisk {
    pub(super) fn new(data: &Path) -> Self {
        Self {
            folder: data.to_owned(),
            state: Mutex::default(),
            failures: Counter::default(),
            refused: Counter::default(),
        }
    }

    /// Counts a group that the disk did not take at the first attempt.
    pub(super) fn count(&self) {
        self.failures.inc();
    }

    /// Notes that the disk does not take what is written. Returns the pause before the first probe if that is new.
    fn fails(&self, error: &JournalError) -> Option<Duration> {
        let mut state = self.state.lock();
        if state.trouble.is_some() {
            return None;
        }
        let begun = Instant::now();
        let pause = first_pause(state.before, begun);
        let error = error.to_string();
        tracing::error!(%error, "the disk fails: writes are refused until it takes them again, reads go on; look at the disk");
        state.trouble = Some(DiskTrouble {
            begun,
            error,
            pause,
        });
        Some(pause)
    }

    /// Has another thread or this one probe the disk. If that is not possible, the next write is tried: it probes the disk, too.
    fn probe_by<E: std::fmt::Display>(&self, probing: impl FnOnce() -> Result<(), E>) {
        let why = match contain(probing) {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(panic) => panic.to_string(),
        };
        tracing::error!(why, "the disk can't be probed: the next write is tried");
        self.end_trouble();
    }

    /// Notes that another probe failed. Returns the pause before the next.
    fn fails_still(&self) -> Duration {
        let mut state = self.state.lock();
        let Some(trouble) = &mut state.trouble else {
            return PAUSE_MIN;
        };
        trouble.pause = next_pause(trouble.pause);
        trouble.pause
    }

    /// Notes that the disk takes writes again. Returns what it was, and how long it lasted.
    fn works(&self) -> Option<(String, Duration)> {
        let (what, lasted) = self.end_trouble()?;
        let seconds = lasted.as_secs_f64();
        tracing::info!(seconds, "the disk takes writes again");
        Some((what, lasted))
    }

    fn end_trouble(&self) -> Option<(String, Duration)> {
        let mut state = self.state.lock();
        let trouble = state.trouble.take()?;
        state.before = Some((Instant::now(), trouble.pause));
        Some((trouble.error, trouble.begun.elapsed()))
    }

    /// The trouble with the disk, if there is some; for an operator.
    pub(super) fn trouble(&self) -> Option<String> {
        let state = self.state.lock();
        let DiskTrouble { error, begun, .. } = state.trouble.as_ref()?;
        let seconds = begun.elapsed().as_secs();
        Some(format!(
            "the disk has failed for {seconds} s: {error}; writes are refused until it takes them again, records are read: look at the disk"
        ))
    }

    /// The error for a write that is not begun, if the disk fails.
    pub(super) fn refusal(&self) -> Option<StoreError> {
        let pause = self.state.lock().trouble.as_ref()?.pause;
        self.refused.inc();
        Some(not_written(pause))
    }

    /// Writes something that is on the disk afterwards.
    fn probe(&self) -> Probed {
        let path = self.folder.join("probe");
        let probe = || {
            // A write begins with this call, so a disk on which it hangs does not work. Its result does not matter.
            drop(rustix::fs::statvfs(&self.folder));
            // A file of its own each time: a sync after a failed one says nothing about the same file.
            let file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .open(&path)?;
            file.write_all_at(&PROBE, 0)?;
            file.sync_all()?;
            fs::File::open(&self.folder)?.sync_all()
        };
        drop(plain_file::remove(&path));
        let probed = Probed::of(probe());
        drop(plain_file::remove(&path));
        probed
    }

    /// Writes the families of the disk.
    pub(super) fn write(&self, rows: &mut Rows<'_>) {
        let failing = u64::from(self.state.lock().trouble.is_some());
        rows.gauge(
            "perennial_storage_disk_failing",
            "1 while writes are refused because the disk fails, else 0",
            failing,
        );
        rows.metric(
            "perennial_storage_failed_appends",
            "Groups of writes that the disk did not take at the first attempt",
            &self.failures,
        );
        rows.metric(
            "perennial_storage_writes_refused_by_disk",
            "Writes refused because the disk failed",
            &self.refused,
        );
    }
}

/// The error for a write of which nothing was written.
pub(super) fn not_written(retry_after: Duration) -> StoreError {
    StoreError::Unready {
        told: "the disk of the server fails; this write was not done, and reads go on".to_owned(),
        retry_after: retry_after.max(Duration::from_secs(1)),
    }
}

impl Holder {
    /// Notes that the disk does not take what is written, and probes it until it does.
    pub(super) fn disk_fails(self: &Arc<Self>, error: &JournalError, faults: &Faults) {
        let Some(pause) = self.disk.fails(error) else {
            return;
        };
        let (holder, faults) = (Arc::clone(self), faults.clone());
        let probing = move || {
            holder.disk.probe_by(|| {
                holder.probe_disk(pause, &faults);
                Ok::<_, Infallible>(())
            });
        };
        let thread = std::thread::Builder::new().name("disk-probe".to_owned());
        self.disk.probe_by(|| thread.spawn(probing).map(drop));
    }

    /// A look at the room on the disk that hangs is an error of the disk, once for each. `ran` is how long the process has run by
    /// now, without its pauses.
    pub(super) fn notice_hanging_look(self: &Arc<Self>, ran: Duration, faults: &Faults) {
        if !self.space.clock.hangs(ran) {
            return;
        }
        let seconds = LOOK_LIMIT.as_secs();
        let told = format!("no answer of the file system for {seconds} s");
        let error = JournalError::Io {
            path: self.disk.folder.clone(),
            source: io::Error::new(io::ErrorKind::TimedOut, told),
        };
        self.disk_fails(&error, faults);
    }

    fn probe_disk(&self, mut pause: Duration, faults: &Faults) {
        while self.wait_look(pause) {
            let failing = faults.take(FAILING_SYNC);
            let probed = if failing {
                Probed::Fails
            } else {
                self.disk.probe()
            };
            match probed {
                Probed::Works => {}
                Probed::Unknown => continue,
                Probed::Fails => {
                    pause = self.disk.fails_still();
                    continue;
                }
            }
            if let Some((what, lasted)) = self.disk.works() {
                let done = "writes were refused until the disk took them again";
                let incident = Incident::new(IncidentKind::FailedWrite, STORAGE, &what, done);
                self.healing.incidents.add(incident.lasting(lasted));
            }
            // What was written before may have suffered.
            self.ask_for_scrub();
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_and_a_disk_that_fails_again_soon_keeps_its_own() {
        let second = Duration::from_secs(1);
        for (pause, next) in [
            (PAUSE_MIN, PAUSE_MIN * 2),
            (second, PAUSE_MAX),
            (PAUSE_MAX, PAUSE_MAX),
        ] {
            assert_eq!(next_pause(pause), next);
        }
        let end = Instant::now();
        for (before, after, pause) in [
            (None, 0, PAUSE_MIN),
            (Some((end, second)), 9, PAUSE_MAX),
            (Some((end, PAUSE_MIN)), 9, PAUSE_MIN * 2),
            (Some((end, second)), 10, PAUSE_MIN),
        ] {
            assert_eq!(first_pause(before, end + second * after), pause);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_failing_disk_is_told_of_until_it_works() {
        let folder = tempfile::tempdir().unwrap();
        let disk = FailingDisk::new(folder.path());
        assert_eq!((disk.trouble(), disk.refusal()), (None, None));
        let error = JournalError::Io {
            path: "x".into(),
            source: io::Error::other("no"),
        };
        assert_eq!(disk.fails(&error), Some(PAUSE_MIN));
        assert_eq!(disk.fails(&error), None, "it is probed already");
        assert_eq!(disk.fails_still(), PAUSE_MIN * 2);
        tokio::time::advance(Duration::from_secs(3)).await;
        let told = disk.trouble().unwrap();
        assert!(
            told.starts_with("the disk has failed for 3 s: x: no"),
            "{told}"
        );
        assert!(matches!(
            disk.refusal(),
            Some(StoreError::Unready { retry_after, .. }) if retry_after == Duration::from_secs(1)
        ));
        assert_eq!(disk.probe(), Probed::Works);
        assert_eq!(folder.path().read_dir().unwrap().count(), 0);
        let (what, lasted) = disk.works().unwrap();
        assert_eq!((what.as_str(), lasted.as_secs()), ("x: no", 3));
        assert_eq!((disk.trouble(), disk.works()), (None, None));
        let nowhere = FailingDisk::new(Path::new("/nowhere"));
        assert_eq!(nowhere.probe(), Probed::Fails);
    }

    #[test]
    fn a_probe_tells_a_failing_disk_from_a_full_one_and_from_too_many_open_files() {
        use rustix::io::Errno;
        for (errno, probed) in [
            (Errno::NOSPC, Probed::Works),
            (Errno::DQUOT, Probed::Works),
            (Errno::MFILE, Probed::Unknown),
            (Errno::NFILE, Probed::Unknown),
            (Errno::IO, Probed::Fails),
            (Errno::ROFS, Probed::Fails),
            (Errno::NOENT, Probed::Fails),
        ] {
            assert_eq!(Probed::of(Err(errno.into())), probed, "{errno:?}");
        }
        assert_eq!(Probed::of(Ok(())), Probed::Works);
    }

    #[test]
    fn a_disk_that_cannot_be_probed_is_tried_by_the_next_write() {
        let disk = FailingDisk::new(Path::new("/nowhere"));
        let error = JournalError::Io {
            path: "x".into(),
            source: io::Error::other("no"),
        };
        let panics = || -> io::Result<()> { panic!("a fault of the probe") };
        let no_thread = || Err(io::Error::other("no thread"));
        assert_eq!(disk.fails(&error), Some(PAUSE_MIN));
        disk.probe_by(panics);
        assert!(disk.refusal().is_none());
        assert_eq!(disk.fails(&error), Some(PAUSE_MIN * 2), "soon again");
        disk.probe_by(no_thread);
        assert!(disk.refusal().is_none());
        disk.fails(&error);
        disk.probe_by(|| io::Result::Ok(()));
        assert!(disk.refusal().is_some(), "it is being probed");
    }
}
