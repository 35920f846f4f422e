//! Opens files that must be regular ones. A folder, a FIFO or a device in the place of one is an error at once: opening a FIFO
//! waits for its other end, and a device may be read for ever.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::io::Errno;

/// The flags with which opening waits for nobody. They change nothing about a regular file.
pub(crate) const AT_ONCE: OFlags = OFlags::NONBLOCK
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

/// Something else is in the place of a regular file.
#[derive(Debug, thiserror::Error)]
#[error("{} is no regular file: move it away", .0.display())]
struct NotPlain(PathBuf);

/// Opens a file by these options.
pub(crate) fn open_by(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    let flags = AT_ONCE.bits().cast_signed();
    match options.custom_flags(flags).open(path) {
        Ok(file) => plain(file, path),
        Err(error) if is_of_another_kind(&error) => Err(not_plain(path)),
        Err(error) => Err(error),
    }
}

/// Whether only another kind of file can't be opened because of this error.
fn is_of_another_kind(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(errno, Some(Errno::NXIO | Errno::ISDIR | Errno::NODEV))
}

/// The file that was opened, if it is a regular one.
pub(crate) fn plain(file: File, path: &Path) -> io::Result<File> {
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(not_plain(path))
    }
}

fn not_plain(path: &Path) -> io::Error {
    io::Error::other(NotPlain(path.to_owned()))
}

/// Whether something else is in the place of a regular file.
pub(crate) fn is_not_plain(error: &io::Error) -> bool {
    error
        .get_ref()
        .is_some_and(<dyn std::error::Error + Send + Sync>::is::<NotPlain>)
}

/// Opens a file to read it.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    open_by(OpenOptions::new().read(true), path)
}

/// Reads a file.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    open(path)?.read_to_end(&mut content)?;
    Ok(content)
}

/// Makes an empty file, or empties the one that is there.
pub(crate) fn create(path: &Path) -> io::Result<File> {
    let file = open_by(
        OpenOptions::new().write(true).create(true).truncate(false),
        path,
    )?;
    file.set_len(0)?;
    Ok(file)
}

/// Removes what has this name, if something has: a file of any kind, or an empty folder.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

#[cfg(test)]
mod tests {
    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    #[test]
    fn only_regular_files_are_opened_and_nothing_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("file"), "content").unwrap();
        std::os::unix::fs::symlink("file", path("link")).unwrap();
        for name in ["file", "link"] {
            assert_eq!(read(&path(name)).unwrap(), b"content");
        }
        fs::create_dir(path("folder")).unwrap();
        mknodat(CWD, path("fifo"), FileType::Fifo, Mode::RWXU, 0).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(path("socket")).unwrap();
        std::os::unix::fs::symlink("/dev/zero", path("device")).unwrap();
        for name in ["folder", "fifo", "socket", "device"] {
            let mut by_both = OpenOptions::new();
            by_both.read(true).write(true);
            for error in [
                read(&path(name)).unwrap_err(),
                create(&path(name)).unwrap_err(),
                open_by(&mut by_both, &path(name)).unwrap_err(),
            ] {
                assert!(is_not_plain(&error), "{name}: {error}");
            }
            remove(&path(name)).unwrap();
            assert!(!path(name).exists());
            remove(&path(name)).unwrap();
        }
        assert!(
            !is_not_plain(&read(&path("folder")).unwrap_err()),
            "nothing is there"
        );
        create(&path("file")).unwrap();
        assert_eq!(read(&path("link")).unwrap(), b"");
    }
}
