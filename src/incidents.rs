//! Incidents: what was damaged or failed in this daemon, and what was done about it. The newest are kept in a file of the data
//! folder, so that they are known after a restart.
//!
//! Whoever adds one does not wait for the disk: a thread writes the file. What can't be written is logged and counted, and is
//! still listed as long as the process runs.

mod file;

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use parking_lot::{Condvar, Mutex};
use serde::{Deserialize, Serialize};

use crate::num::as_u64;
use file::IncidentFile;

/// The name of the part that keeps the records, as `/readyz` has it.
pub(crate) const STORAGE: &str = "storage";
/// The most incidents that are kept.
const KEPT: usize = 200;
/// The most characters of each text of an incident; the rest is cut off.
const TEXT_CHARS: usize = 400;

/// Defines [`IncidentKind`] with the name of each kind.
macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $name:literal;)+) => {
        /// The kind of an incident.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub(crate) enum IncidentKind {
            $($(#[$doc])* $kind,)+
        }

        impl IncidentKind {
            const ALL: &[Self] = &[$(Self::$kind),+];

            /// The name, as it is written.
            pub(crate) fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)+
                }
            }
        }
    };
}

kinds! {
    /// A file that says up to where writes were acknowledged was damaged.
    DamagedMark = "damaged_mark";
    /// The journal was damaged.
    DamagedJournal = "damaged_journal";
    /// A snapshot was damaged.
    DamagedSnapshot = "damaged_snapshot";
    /// The view of the records was damaged, or could not be trusted.
    DamagedView = "damaged_view";
    /// A write to the journal failed.
    FailedWrite = "failed_write";
    /// Writes were refused, since the disk had no room.
    FullDisk = "full_disk";
    /// The store could not be opened for some time.
    Unavailable = "unavailable";
    /// One of a newer release.
    #[serde(other)]
    Other = "other";
}

/// One incident.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Incident {
    /// The time at which it was over, in RFC 3339.
    pub(crate) at: String,
    pub(crate) kind: IncidentKind,
    /// The part of the daemon that it happened to.
    pub(crate) part: String,
    /// The fault.
    pub(crate) what: String,
    /// The file or folder that was damaged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) file: Option<String>,
    /// The remedy.
    pub(crate) done: String,
    /// The time that it lasted, as far as that is known.
    #[serde(default)]
    pub(crate) seconds: f64,
}

impl Incident {
    /// One that is over now.
    pub(crate) fn new(kind: IncidentKind, part: &str, what: &str, done: &str) -> Self {
        Self {
            at: humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
            kind,
            part: part.to_owned(),
            what: cut(what),
            file: None,
            done: cut(done),
            seconds: 0.0,
        }
    }

    /// Names the file or folder that was damaged.
    pub(crate) fn of_file(mut self, file: &Path) -> Self {
        self.file = Some(cut(&file.display().to_string()));
        self
    }

    /// Says how long it lasted.
    pub(crate) fn lasting(mut self, duration: Duration) -> Self {
        self.seconds = duration.as_secs_f64();
        self
    }
}

/// The text, or its beginning if it is too long.
fn cut(text: &str) -> String {
    text.chars().take(TEXT_CHARS).collect()
}

/// The incidents of a daemon, this run's and those before.
#[derive(Debug)]
pub(crate) struct Incidents {
    shared: Arc<SharedIncidents>,
}

#[derive(Debug, Default)]
struct SharedIncidents {
    list: Mutex<IncidentList>,
    changed: Condvar,
    counts: [AtomicU64; IncidentKind::ALL.len()],
    unwritten: AtomicU64,
}

#[derive(Debug, Default)]
struct IncidentList {
    /// The newest ones, in the order of their times.
    kept: VecDeque<Incident>,
    /// The number of those at the end of `kept` that are not in the file yet.
    pending: usize,
    /// Whether the data folder is this process's, and may be written into.
    owned: bool,
    /// Whether the thread is writing.
    writing: bool,
    closed: bool,
}

impl IncidentList {
    fn may_write(&self) -> bool {
        !self.closed && self.owned && self.pending > 0
    }

    fn push(&mut self, incident: Incident) {
        self.kept.push_back(incident);
        while self.kept.len() > KEPT {
            self.kept.pop_front();
        }
    }
}

impl Incidents {
    /// The incidents that are kept in the data folder `data`. They are read and written in the background, from
    /// [`begin_writing`](Self::begin_writing) on.
    pub(crate) fn new(data: &Path) -> Self {
        let shared = Arc::<SharedIncidents>::default();
        let (of, file) = (Arc::clone(&shared), IncidentFile::new(data));
        let thread = std::thread::Builder::new().name("incidents".to_owned());
        if let Err(error) = thread.spawn(move || of.keep(file)) {
            tracing::warn!(%error, "no thread for incidents: they are not kept beyond this run");
            shared.list.lock().closed = true;
        }
        Self { shared }
    }

    /// Adds one.
    pub(crate) fn add(&self, incident: Incident) {
        let kinds = IncidentKind::ALL.iter().zip(&self.shared.counts);
        for (_, count) in kinds.filter(|(kind, _)| **kind == incident.kind) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        let mut list = self.shared.list.lock();
        list.push(incident);
        if list.closed {
            self.shared.unwritten.fetch_add(1, Ordering::Relaxed);
        } else {
            list.pending = (list.pending + 1).min(list.kept.len());
        }
        drop(list);
        self.shared.changed.notify_all();
    }

    /// All that are kept, the oldest first.
    pub(crate) fn all(&self) -> Vec<Incident> {
        self.shared.list.lock().kept.iter().cloned().collect()
    }

    /// The number of those of each kind in this run.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let kinds = IncidentKind::ALL.iter().zip(&self.shared.counts);
        kinds.map(|(kind, count)| (kind.name(), count.load(Ordering::Relaxed)))
    }

    /// The number of those that could not be written to the file.
    pub(crate) fn unwritten(&self) -> u64 {
        self.shared.unwritten.load(Ordering::Relaxed)
    }

    /// From now on the data folder is this process's.
    pub(crate) fn begin_writing(&self) {
        self.shared.list.lock().owned = true;
        self.shared.changed.notify_all();
    }

    /// Waits until all are written, for `limit` at most; from then on the data folder may be another process's.
    pub(crate) fn end_writing(&self, limit: Duration) {
        let mut list = self.shared.list.lock();
        let busy = |list: &mut IncidentList| list.writing || list.may_write();
        self.shared.changed.wait_while_for(&mut list, busy, limit);
        list.owned = false;
    }
}

impl Drop for Incidents {
    fn drop(&mut self) {
        self.shared.list.lock().closed = true;
        self.shared.changed.notify_all();
    }
}

impl SharedIncidents {
    /// Reads the file, and writes what is added, as soon as and as long as the folder is this process's.
    fn keep(&self, mut file: IncidentFile) {
        let mut list = self.list.lock();
        let mut has_read = false;
        loop {
            self.changed.wait_while(&mut list, |list| {
                let has_work = list.pending > 0 || !has_read;
                !(list.closed || list.owned && has_work)
            });
            // What was added before the end is written, too.
            if !list.owned || list.pending == 0 && list.closed {
                return;
            }
            list.writing = true;
            if !std::mem::replace(&mut has_read, true) {
                drop(list);
                let mut before = VecDeque::from(file.read());
                list = self.list.lock();
                before.append(&mut list.kept);
                for incident in before {
                    list.push(incident);
                }
            }
            let pending = std::mem::take(&mut list.pending);
            if pending > 0 {
                let kept: Vec<_> = list.kept.iter().cloned().collect();
                drop(list);
                if let Err(error) = file.write(&kept, pending) {
                    self.unwritten.fetch_add(as_u64(pending), Ordering::Relaxed);
                    tracing::warn!(%error, "an incident could not be written to the data folder: it is listed until the daemon ends");
                }
                list = self.list.lock();
            }
            list.writing = false;
            self.changed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    impl Incidents {
        /// Waits until all are written.
        fn flush(&self) {
            self.begin_writing();
            self.end_writing(LIMIT);
        }
    }

    fn incident(n: usize) -> Incident {
        let what = format!("the {n}th");
        Incident::new(IncidentKind::DamagedView, "storage", &what, "made again")
    }

    /// The incidents of a folder, read by a process that begins now.
    fn read(data: &Path) -> Vec<String> {
        IncidentFile::new(data)
            .read()
            .into_iter()
            .map(|incident| incident.what)
            .collect()
    }

    #[test]
    fn incidents_are_known_after_a_restart_and_a_torn_line_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let incidents = Incidents::new(folder.path());
        let file = folder.path().join("journal/1.journal");
        let first = incident(1).of_file(&file).lasting(Duration::from_secs(2));
        incidents.add(first.clone());
        incidents.flush();
        let path = folder.path().join("incidents.ndjson");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, format!("{text}{{\"at\":\"2026-1")).unwrap();
        let later = Incidents::new(folder.path());
        later.add(incident(2));
        later.flush();
        assert_eq!(read(folder.path()), ["the 1th", "the 2th"]);
        assert_eq!(later.all().first(), Some(&first));
        let counts: Vec<_> = later.counts().filter(|(_, count)| *count > 0).collect();
        assert_eq!(counts, [("damaged_view", 1)], "those of this run");
    }

    #[test]
    fn the_newest_are_kept_and_the_file_stays_small() {
        let folder = tempfile::tempdir().unwrap();
        let incidents = Incidents::new(folder.path());
        for n in 0..3 * KEPT {
            let mut long = incident(n);
            long.done = cut(&"\u{1}".repeat(10_000));
            incidents.add(long);
            if n % 100 == 99 {
                incidents.flush();
            }
        }
        let kept = read(folder.path());
        assert_eq!(kept.last().unwrap(), &format!("the {}th", 3 * KEPT - 1));
        assert!(kept.len() <= KEPT, "{}", kept.len());
        let bytes = fs::metadata(folder.path().join("incidents.ndjson")).unwrap();
        assert!(bytes.len() <= file::BYTES_MAX, "{}", bytes.len());
        assert_eq!(incidents.all().len(), KEPT);
    }

    #[test]
    fn what_cannot_be_written_is_counted_and_listed() {
        let folder = tempfile::tempdir().unwrap();
        let incidents = Incidents::new(&folder.path().join("nowhere"));
        incidents.add(incident(1));
        incidents.flush();
        assert_eq!(incidents.unwritten(), 1);
        assert_eq!(incidents.all().len(), 1);
        fs::create_dir(folder.path().join("nowhere")).unwrap();
        incidents.add(incident(2));
        incidents.flush();
        assert_eq!(read(&folder.path().join("nowhere")), ["the 1th", "the 2th"]);
    }

    #[test]
    fn a_kind_is_written_by_its_name_and_a_newer_one_is_read() {
        for kind in IncidentKind::ALL {
            assert_eq!(serde_json::json!(kind), kind.name());
        }
        let newer = r#"{"at":"","kind":"eclipse","part":"","what":"","done":""}"#;
        let newer: Incident = serde_json::from_str(newer).unwrap();
        assert_eq!(newer.kind, IncidentKind::Other);
    }
}
