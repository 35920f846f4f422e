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
    /// Its real path.
    pub(crate) path: PathBuf,
    /// The metadata when it was opened.
    pub(crate) metadata: Metadata,
}

/// The file that `path` leads to below `root`; `None` for a folder with an index file that was asked for without the slash.
pub(crate) fn find(root: &SiteRoot, path: &SafePath) -> Result<Option<Located>, FileError> {
    let (base, index) = (root.path.canonicalize().map_err(root_error)?, &root.index);
    let located = locate(&base, &path.under(&base, index)).or_else(|error| {
        // Below a root that is a file, may not be entered or lies on a mount whose server is gone, every look fails.
        enter(&base)?;
        Err(error)
    })?;
    if located.path == base {
        enter(&base)?;
    }
    if located.metadata.is_file() {
        return Ok(Some(located));
    }
    if !located.metadata.is_dir() {
        return Err(FileError::Irregular);
    }
    // A folder in the place of an index file, or a folder without an index: what is not listed does not exist.
    if path.is_folder() || !locate(&base, &located.path.join(index))?.metadata.is_file() {
        return Err(FileError::Absent);
    }
    Ok(None)
}

/// Fails if `base` is no folder or may not be entered.
fn enter(base: &Path) -> Result<(), FileError> {
    let inside = base.join(".").metadata();
    inside.map(drop).map_err(root_error)
}

fn root_error(error: io::Error) -> FileError {
    FileError::Root(number(&error))
}

fn locate(base: &Path, path: &Path) -> Result<Located, FileError> {
    let path = path.canonicalize().map_err(FileError::of)?;
    if !path.starts_with(base) {
        return Err(FileError::Outside);
    }
    let metadata = path.symlink_metadata().map_err(FileError::of)?;
    Ok(Located { path, metadata })
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
        Ok(Some(located)) => {
            if let Some((file, _)) = open(&located)? {
                file.read_at(&mut [0], 0).map_err(FileError::of_file)?;
            }
            Ok(())
        }
        Err(FileError::Root(Errno::NOENT)) if root.built_in => Ok(()),
        other => other.map(drop),
    }
}
