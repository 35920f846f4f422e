//! The data folder: where the parts of a store are, how large they are, and how one is moved aside.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::plain_file;
use crate::storage::journal::MARK_FILES;

/// The most folders of what was moved aside that are kept, and the most bytes in them. The newest is kept whatever it holds.
const ASIDE_MAX: usize = 16;
const ASIDE_BYTES_MAX: u64 = 4 << 30;
const ASIDE: &str = "aside-";
/// The files of a data folder besides the marks and the lock.
const SMALL_FILES: [&str; 5] = ["running", "ballast", "probe", "room", "incidents.ndjson"];

/// The paths of a store.
#[derive(Debug, Clone)]
pub(in crate::storage) struct DataFolder {
    pub(in crate::storage) path: PathBuf,
}

impl DataFolder {
    pub(in crate::storage) fn new(path: &Path) -> Self {
        let path = path.to_owned();
        Self { path }
    }

    pub(in crate::storage) fn journal(&self) -> PathBuf {
        self.path.join("journal")
    }

    pub(in crate::storage) fn snapshots(&self) -> PathBuf {
        self.path.join("snapshots")
    }

    /// The first of the two places of a view.
    pub(in crate::storage) fn view(&self) -> PathBuf {
        self.path.join("view")
    }

    /// The view that the next start uses: that in the first place, unless only the second has one that is finished.
    pub(in crate::storage) fn found_view(&self) -> PathBuf {
        let (first, next) = (self.view(), second_place(&self.view()));
        if !is_finished(&first) && is_finished(&next) {
            next
        } else {
            first
        }
    }

    /// All views that there are, also one that was not finished.
    pub(in crate::storage) fn views(&self) -> Vec<PathBuf> {
        let mut places = vec![self.view(), second_place(&self.view())];
        places.retain(|place| place.is_dir());
        places
    }

    /// Whether something else is in the place of a folder of the store. What was in that is lost.
    pub(in crate::storage) fn lost_a_folder(&self) -> bool {
        let places = [
            self.journal(),
            self.snapshots(),
            self.view(),
            second_place(&self.view()),
        ];
        places.iter().any(|place| place.exists() && !place.is_dir())
    }

    /// Moves aside what is in the place of a file or a folder and is none. Returns what was moved. The views see to that
    /// themselves, and so does the lock.
    pub(super) fn make_way(&self) -> io::Result<Vec<PathBuf>> {
        let is = |path: &PathBuf, of_kind: fn(&fs::Metadata) -> bool| {
            fs::metadata(path).map_or(true, |found| of_kind(&found))
        };
        let mut moved = vec![self.journal(), self.snapshots()];
        moved.retain(|folder| !is(folder, fs::Metadata::is_dir));
        let files = MARK_FILES.iter().chain(&SMALL_FILES);
        let files = files.map(|name| self.path.join(name));
        moved.extend(files.filter(|file| !is(file, fs::Metadata::is_file)));
        if !moved.is_empty() {
            let paths: Vec<_> = moved.iter().map(PathBuf::as_path).collect();
            let why = "something else was in the place of a file or a folder";
            move_all_aside(&self.path, &paths, why)?;
        }
        Ok(moved)
    }

    /// The store of the format before the journal.
    pub(in crate::storage) fn old(&self) -> PathBuf {
        self.path.join("sled")
    }

    /// The last change of that store that was acknowledged.
    pub(in crate::storage) fn old_mark(&self) -> PathBuf {
        self.path.join("sled.acknowledged")
    }

    /// Whether it has a store of that format, and not yet one of today's.
    pub(in crate::storage) fn is_old(&self) -> bool {
        self.old().exists() && !self.journal().exists()
    }

    /// The place where a store is restored before it is moved to its own.
    pub(in crate::storage) fn restoring(&self) -> PathBuf {
        self.path.join("restoring")
    }

    /// Whether there is a store in the folder, or a part of one. What a restore left that was cut off is none.
    pub(in crate::storage) fn has_store(&self) -> bool {
        let parts = [self.journal(), self.found_view(), self.old()];
        let marks = MARK_FILES.map(|name| self.path.join(name));
        parts.iter().chain(&marks).any(|part| part.exists())
            || self.snapshots().exists() && !self.restoring().exists()
    }

    /// Removes the folders that were moved aside first, if there is too much of it, and none that was moved aside at `since` or
    /// later. Returns how many it removed.
    pub(in crate::storage) fn limit_aside(&self, since: u64) -> io::Result<usize> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let name = entry.file_name();
            let time = name.to_str().and_then(|name| name.strip_prefix(ASIDE));
            if let Some(time) = time.and_then(|time| time.parse::<u64>().ok()) {
                found.push((time, bytes_below(&entry.path()), entry.path()));
            }
        }
        found.sort_unstable_by(|one, other| other.cmp(one));
        let sizes: Vec<_> = found.iter().map(|(_, bytes, _)| *bytes).collect();
        let new = found.iter().filter(|(time, ..)| *time >= since).count();
        let removed = found.split_off(kept(&sizes).max(new).min(found.len()));
        for (_, bytes, folder) in &removed {
            remove_all(folder)?;
            tracing::warn!(folder = %folder.display(), bytes, "removed the oldest of what was moved aside, since there is too much of it");
        }
        Ok(removed.len())
    }

    /// Removes what a restore left that was cut off when all parts of the store were in their places: its marks come last.
    pub(in crate::storage) fn remove_restored(&self) -> io::Result<()> {
        let restoring = self.restoring();
        let is_left = restoring.exists()
            && !restoring.join("marks").exists()
            && self.path.join("marks").exists();
        if is_left {
            fs::remove_dir_all(&restoring)?;
            tracing::info!(folder = %restoring.display(), "removed what a restore that was cut off at its end has left");
        }
        Ok(())
    }

    /// The bytes of the files of each part.
    pub(in crate::storage) fn bytes(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let mut parts = [("journal", 0), ("view", 0), ("snapshots", 0), ("aside", 0)];
        let entries = fs::read_dir(&self.path).into_iter().flatten().flatten();
        for entry in entries {
            let name = entry.file_name();
            let of = |part: &&mut (&str, u64)| name.to_string_lossy().starts_with(part.0);
            if let Some(part) = parts.iter_mut().find(of) {
                part.1 += bytes_below(&entry.path());
            }
        }
        parts.into_iter()
    }
}

/// The second of the two places of a view.
pub(super) fn second_place(view: &Path) -> PathBuf {
    named(view, "-next")
}

/// The file that is there while the view at this place is being made.
pub(super) fn unfinished(place: &Path) -> PathBuf {
    named(place, "-unfinished")
}

/// Whether a view is at this place, and not only a part of one.
pub(super) fn is_finished(place: &Path) -> bool {
    place.is_dir() && !unfinished(place).exists()
}

/// Removes a folder with all that is in it, if there is one, or a file.
pub(super) fn remove_all(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        fs::remove_dir_all(path)
    } else {
        plain_file::remove(path)
    }
}

/// The path with another ending of its name.
pub(super) fn named(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// The bytes of all files below a folder; of those that can be read.
pub(super) fn bytes_below(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let bytes = entries.map(|entry| match entry.metadata() {
        Ok(found) if found.is_dir() => bytes_below(&entry.path()),
        Ok(found) => found.len(),
        Err(_) => 0,
    });
    bytes.sum()
}

/// The number of folders of these sizes that are kept, the newest first.
fn kept(sizes: &[u64]) -> usize {
    let mut sum: u64 = 0;
    let fit = sizes.iter().take(ASIDE_MAX).take_while(|bytes| {
        sum = sum.saturating_add(**bytes);
        sum <= ASIDE_BYTES_MAX
    });
    fit.count().max(1)
}

/// The time in the names of folders that are moved aside now: the milliseconds since 1970.
pub(super) fn aside_time() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(now.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

/// Moves a file or folder of a data folder into a new folder `aside-<unix ms>` of it.
pub(super) fn move_aside(data: &Path, path: &Path, why: &str) -> io::Result<()> {
    move_all_aside(data, &[path], why)
}

/// The same with files and folders that belong together: they go into one folder, so that none is removed before the others.
pub(super) fn move_all_aside(data: &Path, paths: &[&Path], why: &str) -> io::Result<()> {
    let aside = data.join(format!("{ASIDE}{}", aside_time()));
    fs::create_dir_all(&aside)?;
    for path in paths {
        if let Some(name) = path.file_name() {
            fs::rename(path, aside.join(name))?;
            tracing::warn!(moved = %path.display(), to = %aside.display(), why, "moved a part of the store aside");
        }
    }
    Ok(())
}

/// Copies a folder with all that is in it.
pub(super) fn copy_all(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_all(&entry.path(), &target)?;
        } else {
            let mut from = plain_file::open(&entry.path())?;
            io::copy(&mut from, &mut plain_file::create(&target)?)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_restore_left_is_removed_only_when_its_marks_are_in_their_place() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataFolder::new(folder.path());
        let restoring = data.restoring();
        for (place, removed) in [
            ("restoring/marks", false),
            ("other", false),
            ("marks", true),
        ] {
            fs::create_dir_all(&restoring).unwrap();
            let marks = folder.path().join(place);
            fs::write(&marks, "").unwrap();
            data.remove_restored().unwrap();
            assert_eq!(!restoring.exists(), removed, "{place}");
            fs::remove_file(marks).unwrap();
        }
    }

    #[test]
    fn what_belongs_together_is_moved_into_one_folder() {
        let folder = tempfile::tempdir().unwrap();
        let parts = ["sled", "sled.acknowledged"].map(|name| folder.path().join(name));
        for part in &parts {
            fs::write(part, "x").unwrap();
        }
        let [first, second] = &parts;
        move_all_aside(folder.path(), &[first, second], "a test").unwrap();
        let entries = fs::read_dir(folder.path()).unwrap();
        let asides: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        assert_eq!(asides.len(), 1, "{asides:?}");
        assert_eq!(fs::read_dir(&asides[0]).unwrap().count(), 2);
    }

    #[test]
    fn what_is_no_file_or_no_folder_is_moved_aside() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataFolder::new(folder.path());
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("journal")).unwrap();
        fs::write(at("marks"), "x").unwrap();
        assert!(data.make_way().unwrap().is_empty());
        assert!(!data.lost_a_folder());
        fs::write(at("snapshots"), "x").unwrap();
        fs::create_dir(at("marks-copy")).unwrap();
        std::os::unix::fs::symlink("/dev/null", at("ballast")).unwrap();
        assert!(data.lost_a_folder());
        let moved = ["snapshots", "marks-copy", "ballast"].map(at);
        assert_eq!(data.make_way().unwrap(), moved);
        assert!(moved.iter().all(|path| fs::symlink_metadata(path).is_err()));
        assert!(at("journal").exists() && at("marks").exists());
        assert!(!data.lost_a_folder());
        fs::write(at("view-next"), "x").unwrap();
        assert!(data.lost_a_folder());
    }

    #[test]
    fn of_what_was_moved_aside_the_oldest_goes_first() {
        for (sizes, expected) in [
            (&[u64::MAX][..], 1),
            (&[u64::MAX, 1], 1),
            (&[1, u64::MAX, 1], 1),
            (&[1 << 31, 1 << 31, 1], 2),
            (&[1; 16], 16),
            (&[1; 17], 16),
        ] {
            assert_eq!(kept(sizes), expected, "{sizes:?}");
        }
        let folder = tempfile::tempdir().unwrap();
        let data = DataFolder::new(folder.path());
        assert_eq!(data.limit_aside(0).unwrap(), 0);
        for time in 8..26 {
            fs::create_dir(folder.path().join(format!("aside-{time}"))).unwrap();
        }
        fs::create_dir(folder.path().join("aside-by-hand")).unwrap();
        assert_eq!(data.limit_aside(8).unwrap(), 0, "they are all of now");
        assert_eq!(data.limit_aside(9).unwrap(), 1);
        assert_eq!(data.limit_aside(u64::MAX).unwrap(), 1);
        let there = |name: &str| folder.path().join(name).exists();
        assert!(!there("aside-8") && !there("aside-9"));
        assert!(there("aside-10") && there("aside-25") && there("aside-by-hand"));
    }
}
