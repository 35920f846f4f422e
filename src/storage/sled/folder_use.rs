//! The use of the data folder by one process: whoever has the lock, and nobody else, writes into it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::run_file::RunFile;
use crate::incidents::Incidents;
use crate::storage::journal::{DataLock, LockError};

/// The longest time that the end waits until all incidents are written.
const INCIDENTS_FLUSH: Duration = Duration::from_secs(1);

/// The use of a data folder.
pub(super) struct FolderUse {
    lock: DataLock,
    run_file: RunFile,
    incidents: Arc<Incidents>,
}

impl FolderUse {
    /// Takes the lock of the folder `data`. From here on `incidents` are written into it.
    pub(super) fn begin(data: &Path, incidents: &Arc<Incidents>) -> Result<Self, LockError> {
        let lock = DataLock::take(data)?;
        incidents.begin_writing();
        Ok(Self {
            lock,
            run_file: RunFile::begin(data),
            incidents: Arc::clone(incidents),
        })
    }

    /// Whether it is of what is at `data` now.
    pub(super) fn is_of(&self, data: &Path) -> bool {
        self.lock.is_of(data)
    }

    /// Ends it. The lock goes last: after it another process may write into the folder.
    pub(super) fn end(self) {
        self.incidents.end_writing(INCIDENTS_FLUSH);
        self.run_file.end();
        drop(self.lock);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::incidents::{Incident, IncidentKind, STORAGE};

    #[test]
    fn only_the_process_with_the_lock_writes_into_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path();
        let [first, second] = [(); 2].map(|()| Arc::new(Incidents::new(data)));
        let used = FolderUse::begin(data, &first).unwrap();
        let names = || {
            let names = fs::read_dir(data).unwrap();
            let mut names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
            names.sort_unstable();
            names
        };
        assert_eq!(names(), ["lock", "running"]);
        let running = fs::read_to_string(data.join("running")).unwrap();
        let pid = std::process::id().to_string();
        assert_eq!(running.lines().next(), Some(pid.as_str()));
        assert!(FolderUse::begin(data, &second).is_err());
        let incident = |what| Incident::new(IncidentKind::Unavailable, STORAGE, what, "waited");
        second.add(incident("of the second"));
        second.end_writing(INCIDENTS_FLUSH);
        assert_eq!(
            names(),
            ["lock", "running"],
            "the second touched the folder"
        );
        first.add(incident("of the first"));
        used.end();
        assert_eq!(names(), ["incidents.ndjson", "lock"]);
        // Now it is the second's, which knows what the first has written and adds its own.
        let used = FolderUse::begin(data, &second).unwrap();
        used.end();
        let text = fs::read_to_string(data.join("incidents.ndjson")).unwrap();
        let of_first = text.lines().map(|line| line.contains("of the first"));
        assert_eq!(of_first.collect::<Vec<_>>(), [true, false]);
    }
}
