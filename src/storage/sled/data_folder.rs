//! The data folder: where the parts of a store are, how large they are, and how one is moved aside.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// The most folders of what was moved aside that are kept, and the most bytes in them. The newest is kept whatever it holds.
const ASIDE_MAX: usize = 16;
const ASIDE_BYTES_MAX: u64 = 4 << 30;
const ASIDE: &str = "aside-";

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
        let is_there = |place: &Path| place.exists() && !unfinished(place).exists();
        if !is_there(&first) && is_there(&next) {
            next
        } else {
            first
        }
    }

    /// All views that there are, also one that was not finished.
    pub(in crate::storage) fn views(&self) -> Vec<PathBuf> {
        let mut places = vec![self.view(), second_place(&self.view())];
        places.retain(|place| place.exists());
        places
    }

    /// The store of the format before the journal.
    pub(in crate::storage) fn old(&self) -> PathBuf {
        self.path.join("sled")
    }

    /// The last change of that store that was acknowledged.
    pub(in crate::storage) fn old_mark(&self) -> PathBuf {
        self.path.join("sled.acknowledged")
    }

    /// The place where a store is restored before it is moved to its own.
    pub(in crate::storage) fn restoring(&self) -> PathBuf {
        self.path.join("restoring")
    }

    /// Whether there is a store in the folder, or a part of one. What a restore left that was cut off is none.
    pub(in crate::storage) fn has_store(&self) -> bool {
        let parts = [
            self.path.join("marks"),
            self.journal(),
            self.found_view(),
            self.old(),
        ];
        parts.iter().any(|part| part.exists())
            || self.snapshots().exists() && !self.restoring().exists()
    }

    /// Removes the folders that were moved aside first, if there is too much of it. Returns how many it removed.
    pub(in crate::storage) fn limit_aside(&self) -> io::Result<usize> {
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
        let removed = found.split_off(kept(&sizes).min(found.len()));
        for (_, bytes, folder) in &removed {
            fs::remove_dir_all(folder)?;
            tracing::warn!(folder = %folder.display(), bytes, "removed the oldest of what was moved aside, since there is too much of it");
        }
        Ok(removed.len())
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

/// Moves a file or folder of a data folder into a new folder `aside-<unix ms>` of it.
pub(super) fn move_aside(data: &Path, path: &Path, why: &str) -> io::Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.unwrap_or_default().as_millis();
    let aside = data.join(format!("{ASIDE}{now}"));
    fs::create_dir_all(&aside)?;
    if let Some(name) = path.file_name() {
        fs::rename(path, aside.join(name))?;
        tracing::warn!(moved = %path.display(), to = %aside.display(), why, "moved a part of the store aside");
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
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(data.limit_aside().unwrap(), 0);
        for time in 8..26 {
            fs::create_dir(folder.path().join(format!("aside-{time}"))).unwrap();
        }
        fs::create_dir(folder.path().join("aside-by-hand")).unwrap();
        assert_eq!(data.limit_aside().unwrap(), 2);
        let there = |name: &str| folder.path().join(name).exists();
        assert!(!there("aside-8") && !there("aside-9"));
        assert!(there("aside-10") && there("aside-25") && there("aside-by-hand"));
    }
}
