//! Reads files, and notes how each of them was: settings may be in several files, and somebody may replace some of them while
//! they are read.

use std::fs::{self, File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// The largest file.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Device, inode, length and time of the last change of a file. At least one of them is another after a file was replaced or
/// written.
type FileState = (u64, u64, u64, (i64, i64));

/// The files that were read.
#[derive(Debug, Default)]
pub(super) struct ReadFiles(Vec<(PathBuf, FileState)>);

fn state(file: &Metadata) -> FileState {
    // The time of the content alone can be set to any moment.
    let changed = (file.ctime(), file.ctime_nsec());
    (file.dev(), file.ino(), file.len(), changed)
}

impl ReadFiles {
    /// Reads a whole file. A pipe or a device is refused before it is opened, because that may never end.
    pub(super) fn read(&mut self, path: &Path) -> io::Result<Vec<u8>> {
        if !fs::metadata(path)?.is_file() {
            let problem = "it is no regular file (but a folder, a pipe, or a device); name a file";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
        }
        let file = File::open(path)?;
        self.0.push((path.to_owned(), state(&file.metadata()?)));
        let mut bytes = Vec::new();
        let length = file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
        if u64::try_from(length).is_ok_and(|length| length > FILE_BYTES_MAX) {
            let problem = format!("it has more than {FILE_BYTES_MAX} bytes");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, problem));
        }
        Ok(bytes)
    }

    /// A file that is not as it was when it was read.
    pub(super) fn changed(&self) -> Option<&Path> {
        let is_same = |path: &Path, read: &FileState| {
            fs::metadata(path).is_ok_and(|now| state(&now) == *read)
        };
        let mut changed = self.0.iter().filter(|(path, read)| !is_same(path, read));
        changed.next().map(|(path, _)| path.as_path())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_written_replaced_or_gone_has_changed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        fs::write(&path, "one").unwrap();
        let mut files = ReadFiles::default();
        assert_eq!(files.read(&path).unwrap(), b"one");
        assert_eq!(files.changed(), None);
        let other = folder.path().join("b");
        fs::write(&other, "one").unwrap();
        fs::rename(&other, &path).unwrap();
        assert_eq!(files.changed(), Some(&*path));
        files = ReadFiles::default();
        files.read(&path).unwrap();
        fs::write(&path, "longer").unwrap();
        assert_eq!(files.changed(), Some(&*path));
        files = ReadFiles::default();
        files.read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert_eq!(files.changed(), Some(&*path));
        assert!(files.read(folder.path()).is_err());
    }
}
