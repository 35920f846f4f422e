//! Backups in a folder.

// Decision: Folders of copies are not made.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::name::BackupName;
use super::target::{BackupTarget, Found, TargetError, UNFINISHED, Unfinished, VERIFIED};

/// A folder, which is never made: it may be that of a disk that is away.
#[derive(Debug)]
pub(super) struct FolderTarget {
    folder: PathBuf,
}

/// A file that has not got its name yet.
struct UnfinishedFile<'a> {
    target: &'a FolderTarget,
    name: BackupName,
    file: File,
    finished: bool,
}

/// Adds the path to an error.
fn at(path: &Path) -> impl FnOnce(io::Error) -> TargetError + use<'_> {
    move |source| TargetError::Io {
        path: path.to_owned(),
        source,
    }
}

impl FolderTarget {
    pub(super) fn new(folder: &Path) -> Self {
        let folder = folder.to_owned();
        Self { folder }
    }

    fn path(&self, name: BackupName, ending: &str) -> PathBuf {
        self.folder.join(format!("{name}{ending}"))
    }

    fn remove_file(&self, name: BackupName, ending: &str) -> Result<(), TargetError> {
        let path = self.path(name, ending);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(&path)(error)),
            _ => Ok(()),
        }
    }

    /// Makes the names in the folder survive a power cut.
    fn sync(&self) -> Result<(), TargetError> {
        let folder = File::open(&self.folder).and_then(|folder| folder.sync_all());
        folder.map_err(at(&self.folder))
    }
}

impl BackupTarget for FolderTarget {
    fn list(&self) -> Result<Found, TargetError> {
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(TargetError::NoFolder(self.folder.clone()));
            }
            entries => entries.map_err(at(&self.folder))?,
        };
        let mut files = Vec::new();
        for entry in entries {
            let entry = entry.map_err(at(&self.folder))?;
            if let Ok(name) = entry.file_name().into_string()
                && let Ok(is) = entry.metadata()
                && is.is_file()
            {
                files.push((name, is.len()));
            }
        }
        Ok(Found::of(files.into_iter()))
    }

    fn begin(&self, name: BackupName) -> Result<Box<dyn Unfinished + '_>, TargetError> {
        let path = self.path(name, UNFINISHED);
        let file = File::create(&path).map_err(at(&path))?;
        Ok(Box::new(UnfinishedFile {
            target: self,
            name,
            file,
            finished: false,
        }))
    }

    fn abort(&self, name: BackupName) -> Result<(), TargetError> {
        self.remove_file(name, UNFINISHED)
    }

    fn read(&self, name: BackupName) -> Result<Box<dyn Read + '_>, TargetError> {
        let path = self.path(name, "");
        let file = File::open(&path).map_err(at(&path))?;
        Ok(Box::new(file))
    }

    fn mark_verified(&self, name: BackupName) -> Result<(), TargetError> {
        let path = self.path(name, VERIFIED);
        File::create(&path).map_err(at(&path))?;
        self.sync()
    }

    fn remove(&self, name: BackupName) -> Result<(), TargetError> {
        self.remove_file(name, "")?;
        self.remove_file(name, VERIFIED)
    }
}

impl Write for UnfinishedFile<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Unfinished for UnfinishedFile<'_> {
    fn finish(mut self: Box<Self>) -> Result<(), TargetError> {
        let unfinished = self.target.path(self.name, UNFINISHED);
        self.file.sync_all().map_err(at(&unfinished))?;
        let path = self.target.path(self.name, "");
        fs::rename(&unfinished, &path).map_err(at(&path))?;
        self.finished = true;
        self.target.sync()
    }
}

impl Drop for UnfinishedFile<'_> {
    fn drop(&mut self) {
        if !self.finished
            && let Err(error) = self.target.abort(self.name)
        {
            tracing::debug!(%error, "what was written of a backup is left; the next run removes it");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backup_has_its_name_when_all_of_it_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let target = FolderTarget::new(folder.path());
        let name = BackupName {
            store: 7,
            taken: 100,
            change: 3,
        };
        let mut out = target.begin(name).unwrap();
        out.write_all(b"half").unwrap();
        assert_eq!(target.list().unwrap().unfinished, [name]);
        drop(out);
        assert_eq!(target.list().unwrap(), Found::default());

        let mut out = target.begin(name).unwrap();
        out.write_all(b"whole").unwrap();
        out.finish().unwrap();
        target.mark_verified(name).unwrap();
        let found = target.list().unwrap();
        assert_eq!(found.backups, [(name, 5)]);
        assert!(found.verified.contains(&name) && found.unfinished.is_empty());
        let mut read = String::new();
        target
            .read(name)
            .unwrap()
            .read_to_string(&mut read)
            .unwrap();
        assert_eq!(read, "whole");
        target.remove(name).unwrap();
        target.remove(name).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_folder_that_is_away_is_told_and_not_made() {
        let folder = tempfile::tempdir().unwrap();
        let away = folder.path().join("away");
        let error = FolderTarget::new(&away).list().unwrap_err();
        assert!(error.to_string().contains("mount its disk"), "{error}");
        assert!(!away.exists());
    }
}
