//! Listening at a path: a unix socket, for clients on this machine that may open its file.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::Access;
use socket2::{Domain, SockAddr, Socket, Type};

use super::bind::BACKLOG;
use super::socket_error::SocketError;

/// The users who may connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OpenTo {
    /// The user of the daemon and its group, such as a proxy's.
    Group,
    /// Only the user of the daemon, and root.
    Owner,
}

impl OpenTo {
    fn mode(self) -> u32 {
        match self {
            Self::Group => 0o660,
            Self::Owner => 0o600,
        }
    }
}

/// The file of a socket that listens. Dropping it removes the file, unless another one has taken its place.
#[derive(Debug)]
pub(crate) struct SocketFile {
    /// The path of the socket.
    pub(crate) path: PathBuf,
    /// Device and inode of the file.
    identity: (u64, u64),
    /// Whether it need not be looked for any more: it was removed, or the log has been told that it is gone.
    gone: AtomicBool,
}

impl SocketFile {
    /// Logs, once, that the file was removed or replaced.
    pub(crate) fn look(&self) {
        if !self.gone.load(Ordering::Relaxed)
            && !self.is_there()
            && !self.gone.swap(true, Ordering::Relaxed)
        {
            tracing::error!(path = %self.path.display(), "the file of a unix socket was removed or replaced, so no client can connect to it: restart the daemon, which makes it again");
        }
    }

    /// Removes the file, unless another one has taken its place.
    pub(crate) fn remove(&self) {
        if self.gone.swap(true, Ordering::Relaxed) || !self.is_there() {
            return;
        }
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "the file of a unix socket could not be removed");
        }
    }

    fn is_there(&self) -> bool {
        identity(&self.path).is_ok_and(|identity| identity == self.identity)
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        self.remove();
    }
}

/// Listens at `path`. A socket that a killed process has left there is removed.
pub(crate) fn bind_unix(
    path: &Path,
    open_to: OpenTo,
) -> Result<(UnixListener, SocketFile), SocketError> {
    let refused = |source| SocketError::Refused(path.to_owned(), source);
    if has_abandoned(path)? {
        tracing::info!(path = %path.display(), "removed a socket that nobody listens at");
        fs::remove_file(path).map_err(refused)?;
    }
    listen(path, open_to).map_err(refused)
}

/// The reason why nobody could listen at `path` now. Nothing is changed.
pub(crate) fn try_bind_unix(path: &Path) -> Result<(), SocketError> {
    has_abandoned(path)?;
    let folder = path.parent().filter(|folder| *folder != Path::new(""));
    let folder = folder.unwrap_or(Path::new("."));
    let may_be_made = rustix::fs::access(folder, Access::WRITE_OK | Access::EXEC_OK);
    may_be_made.map_err(|error| SocketError::Refused(path.to_owned(), error.into()))
}

/// Whether there is a socket that a killed process has left. The error says what else is in the way.
fn has_abandoned(path: &Path) -> Result<bool, SocketError> {
    let refused = |source| SocketError::Refused(path.to_owned(), source);
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(refused(error)),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            Err(SocketError::NoSocket(path.to_owned()))
        }
        Ok(_) => match UnixStream::connect(path) {
            Ok(_) => Err(SocketError::InUse(path.to_owned())),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(true),
            Err(error) => Err(refused(error)),
        },
    }
}

fn listen(path: &Path, open_to: OpenTo) -> io::Result<(UnixListener, SocketFile)> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::unix(path)?)?;
    // From here on the file is removed, whatever happens.
    let file = SocketFile {
        path: path.to_owned(),
        identity: identity(path)?,
        gone: AtomicBool::new(false),
    };
    // Before it listens, so that nobody connects who must not.
    fs::set_permissions(path, Permissions::from_mode(open_to.mode()))?;
    socket.listen(BACKLOG)?;
    Ok((socket.into(), file))
}

/// The identity of the file: device and inode.
fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_there_for_its_group_and_gone_with_its_owner() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        let (_socket, _file) = bind_unix(&path, OpenTo::Owner).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let path = folder.path().join("http.sock");
        let (socket, file) = bind_unix(&path, OpenTo::Group).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o660);
        assert!(UnixStream::connect(&path).is_ok());
        assert!(matches!(
            bind_unix(&path, OpenTo::Group),
            Err(SocketError::InUse { .. })
        ));
        drop((socket, file));
        assert!(!path.exists());
    }

    #[test]
    fn what_a_killed_process_left_is_taken_away_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("http.sock");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "as after kill -9");
        let (_socket, file) = bind_unix(&path, OpenTo::Group).unwrap();
        assert!(UnixStream::connect(&path).is_ok());
        // Somebody else's file in its place is left alone.
        fs::remove_file(&path).unwrap();
        fs::write(&path, "mine").unwrap();
        drop(file);
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
        let error = bind_unix(&path, OpenTo::Group).unwrap_err();
        assert!(matches!(error, SocketError::NoSocket { .. }), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
    }

    #[test]
    fn a_folder_that_is_not_there_is_told() {
        let error = bind_unix(Path::new("/nowhere/http.sock"), OpenTo::Owner).unwrap_err();
        let told = "cannot listen on unix:/nowhere/http.sock; does the folder exist,";
        assert!(error.to_string().starts_with(told), "{error}");
    }
}
