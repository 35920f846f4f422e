//! The content of a folder, for a list of its files.

use std::cmp::Ordering;
use std::fs;
use std::path::Path;
use std::time::SystemTime;

use super::containment::SafePath;
use super::file_error::FileError;
use super::representation::whole_seconds;
use super::root::SiteRoot;

/// The most files and folders of one folder that are listed.
pub(crate) const LISTED_MAX: usize = 2_000;

/// The files and folders in a folder that are served.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Listing {
    /// Folders first, and both by their names.
    pub files: Vec<ListedFile>,
    /// Whether there are more than [`LISTED_MAX`].
    pub is_cut: bool,
}

/// A file or a folder in a list.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ListedFile {
    /// Its kind.
    pub kind: ListedKind,
    /// Its name.
    pub name: String,
    /// The time of its last modification, which a date of HTTP can say.
    pub modified: SystemTime,
}

impl ListedFile {
    fn order(&self, other: &Self) -> Ordering {
        let files = |file: &Self| file.kind != ListedKind::Folder;
        files(self)
            .cmp(&files(other))
            .then_with(|| self.name.cmp(&other.name))
    }
}

/// The kind of what is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ListedKind {
    /// A folder.
    Folder,
    /// A file of this length.
    File(u64),
}

impl Listing {
    /// Reads the folder at `folder`, which `path` leads to below `root`. What a request would not get is left out.
    pub(super) fn read(
        root: &SiteRoot,
        path: &SafePath,
        folder: &Path,
        now: SystemTime,
    ) -> Result<Self, FileError> {
        let base = root.path.canonicalize().map_err(FileError::of)?;
        let mut files = Vec::new();
        let mut is_cut = false;
        for entry in fs::read_dir(folder).map_err(FileError::of_file)? {
            let entry = entry.map_err(FileError::of_file)?;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            if !path.may_have(&name) {
                continue;
            }
            if files.len() >= LISTED_MAX {
                is_cut = true;
                break;
            }
            files.extend(listed(&base, &entry.path(), name, now));
        }
        files.sort_unstable_by(ListedFile::order);
        Ok(Self { files, is_cut })
    }
}

/// The file or the folder at `path`, maybe by a link; `None` if it is below another folder than `base`.
fn listed(base: &Path, path: &Path, name: String, now: SystemTime) -> Option<ListedFile> {
    let real = path.canonicalize().ok()?;
    let metadata = real.metadata().ok().filter(|_| real.starts_with(base))?;
    let kind = if metadata.is_dir() {
        ListedKind::Folder
    } else if metadata.is_file() {
        ListedKind::File(metadata.len())
    } else {
        return None;
    };
    let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    Some(ListedFile {
        kind,
        name,
        modified: whole_seconds(modified, now),
    })
}
