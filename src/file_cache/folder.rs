//! Opening what a safe path names, and nothing that lies outside of its root.
//!
//! The rules on names are `containment`'s. Here it is about links: root and file are resolved to their real paths, and
//! the file's has to lie below the root's. So a link inside of the root may lead anywhere inside of it, also through
//! hidden names (a Kubernetes `ConfigMap` is mounted as `index.html -> ..data/index.html`), and never out of it.
//!
//! The root is resolved at each look and not once: a site is often deployed by switching a link (`current ->
//! releases/42`), and the switch has to be seen like any other change.
//!
//! Somebody who may write *into* the root could swap a link between the look and the opening. After the opening the path
//! is therefore resolved again and has to lead to the very file that was opened. Hard links can't be told from files;
//! making one needs write access to the root, and whoever has that decides what the site shows.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::{Errno, retry_on_intr};

use super::containment::SafePath;
use super::file_error::{FileError, number};
use super::root::SiteRoot;
use super::stamp::Stamp;

/// A regular file, looked at and not opened yet.
#[derive(Debug)]
pub(crate) struct Located {
    /// Its name below the root, by which it was found.
    pub(crate) name: String,
    /// Its real path.
    pub(crate) path: PathBuf,
    /// The metadata when it was opened.
    pub(crate) metadata: Metadata,
}

/// The thing to which a path leads.
#[derive(Debug)]
pub(crate) enum FoundPath {
    /// A file.
    File(Located),
    /// A folder that is shown, asked for without its slash.
    Moved,
    /// A folder without an index file, whose files are listed.
    Folder(Located),
}

/// The thing to which `path` leads below `root`.
pub(crate) fn find(root: &SiteRoot, path: &SafePath) -> Result<FoundPath, FileError> {
    let base = root.path.canonicalize().map_err(root_error)?;
    let located = match first_of(&base, root.names(path)) {
        Err(FileError::Absent) if root.listing && path.is_folder() => {
            locate(&base, path.as_str().to_owned())
        }
        located => located,
    };
    let located = located.or_else(|error| {
        // Below a root that is a file, may not be entered or lies on a mount whose server is gone, every look fails.
        enter(&base)?;
        Err(error)
    })?;
    if located.path == base {
        enter(&base)?;
    }
    if located.metadata.is_file() {
        return Ok(FoundPath::File(located));
    }
    if !located.metadata.is_dir() {
        return Err(FileError::Irregular);
    }
    if path.is_folder() {
        // A folder in the place of an index file: what is not listed does not exist.
        let is_itself = root.listing && located.name == path.as_str();
        return is_itself
            .then_some(FoundPath::Folder(located))
            .ok_or(FileError::Absent);
    }
    let inside = root
        .index
        .iter()
        .map(|index| format!("{}/{index}", path.as_str()));
    match first_of(&base, inside) {
        Ok(index) if index.metadata.is_file() => return Ok(FoundPath::Moved),
        Ok(_) | Err(FileError::Absent) => {}
        Err(error) => return Err(error),
    }
    // A folder without an index.
    match first_of(&base, root.page_of(path).into_iter()) {
        Ok(page) if page.metadata.is_file() => Ok(FoundPath::File(page)),
        Ok(_) | Err(FileError::Absent) if root.listing => Ok(FoundPath::Moved),
        Ok(_) => Err(FileError::Absent),
        Err(error) => Err(error),
    }
}

/// The file beside `original` whose name has this ending behind that of the original; `None` if it is no file.
pub(crate) fn find_beside(
    root: &SiteRoot,
    original: &Located,
    ending: &str,
) -> Result<Option<Located>, FileError> {
    let base = root.path.canonicalize().map_err(root_error)?;
    let located = locate(&base, format!("{}{ending}", original.name))?;
    Ok(located.metadata.is_file().then_some(located))
}

/// The first of these names at which there is something.
fn first_of(base: &Path, names: impl Iterator<Item = String>) -> Result<Located, FileError> {
    for name in names {
        match locate(base, name) {
            Err(FileError::Absent) => {}
            found => return found,
        }
    }
    Err(FileError::Absent)
}

/// Fails if `base` is no folder or may not be entered.
fn enter(base: &Path) -> Result<(), FileError> {
    let inside = base.join(".").metadata();
    inside.map(drop).map_err(root_error)
}

fn root_error(error: io::Error) -> FileError {
    FileError::Root(number(&error))
}

/// The file or folder of this name below `base`: the safe form of a path, with the name of a file behind it at most.
fn locate(base: &Path, name: String) -> Result<Located, FileError> {
    let mut path = base.to_owned();
    path.extend(name.split('/').filter(|part| !part.is_empty()));
    let path = path.canonicalize().map_err(FileError::of)?;
    if !path.starts_with(base) {
        return Err(FileError::Outside);
    }
    let metadata = path.symlink_metadata().map_err(FileError::of)?;
    Ok(Located {
        name,
        path,
        metadata,
    })
}

/// Opens `located`. `None` if something else has taken its place meanwhile: look again.
pub(crate) fn open(located: &Located) -> Result<Option<(File, Stamp)>, FileError> {
    let opened = (|| -> io::Result<Option<(File, Stamp)>> {
        // A pipe or a device that has taken the file's place must neither block the opening nor become a terminal of ours.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = File::from(retry_on_intr(|| {
            openat(CWD, &located.path, flags, Mode::empty())
        })?);
        let metadata = file.metadata()?;
        let stamp = Stamp::of(&metadata);
        let same = metadata.is_file()
            && stamp.same_file(&Stamp::of(&located.metadata))
            && located.path.canonicalize()? == located.path;
        Ok(same.then_some((file, stamp)))
    })();
    match opened {
        // A socket can't be opened, and a file that another program has leased only when it is given back.
        Err(error) if matches!(number(&error), Errno::NOENT | Errno::NXIO | Errno::AGAIN) => {
            Ok(None)
        }
        other => other.map_err(FileError::of_file),
    }
}

/// Looks whether `root` answers, by the calls that a request for `path` makes. Only [`FileError::Root`] says anything about
/// the root.
pub(crate) fn probe(root: &SiteRoot, path: &SafePath) -> Result<(), FileError> {
    match find(root, path) {
        Ok(FoundPath::File(located)) => {
            if let Some((file, _)) = open(&located)? {
                file.read_at(&mut [0], 0).map_err(FileError::of_file)?;
            }
            Ok(())
        }
        Err(FileError::Root(Errno::NOENT)) if root.built_in => Ok(()),
        other => other.map(drop),
    }
}
