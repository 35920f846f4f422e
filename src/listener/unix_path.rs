//! Listening at a path: a unix socket, for clients on this machine that may open its file.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};

use super::bind::BACKLOG;

/// Who may connect: the user of the daemon and its group, such as a proxy's.
const MODE: u32 = 0o660;

/// A path that can't be listened at.
#[derive(Debug, thiserror::Error)]
pub enum UnixBindError {
    /// Another program listens there.
    #[error("cannot listen on unix:{}; another program does", .0.display())]
    InUse(PathBuf),
    /// There is another kind of file, which the daemon must not remove.
    #[error("cannot listen on unix:{}; there is a file that is no socket: move it away", .0.display())]
    NoSocket(PathBuf),
    /// The system refused.
    #[error("cannot listen on unix:{}; is there the folder, and may this user write to it?", .0.display())]
    Refused(PathBuf, #[source] io::Error),
}

/// The file of a socket that listens. Dropping it removes the file, unless another one has taken its place.
#[derive(Debug)]
pub(crate) struct SocketFile(SocketWatch);

impl SocketFile {
    /// The path of the socket.
    pub(crate) fn path(&self) -> &Path {
        &self.0.path
    }

    /// A watch over the file.
    pub(crate) fn watch(&self) -> SocketWatch {
        self.0.clone()
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.0.is_there()
            && let Err(error) = fs::remove_file(self.path())
        {
            tracing::warn!(path = %self.path().display(), %error, "the file of a unix socket could not be removed");
        }
    }
}

/// Notices that the file of a socket was removed.
#[derive(Debug, Clone)]
pub(crate) struct SocketWatch {
    path: PathBuf,
    /// Device and inode of the file.
    identity: (u64, u64),
    /// Whether the log has been told.
    told: bool,
}

impl SocketWatch {
    /// Logs, once, that the file was removed or replaced.
    pub(crate) fn look(&mut self) {
        if !self.told && !self.is_there() {
            self.told = true;
            tracing::error!(path = %self.path.display(), "the file of a unix socket was removed or replaced, so no client can connect to it: restart the daemon, which makes it again");
        }
    }

    fn is_there(&self) -> bool {
        identity(&self.path).is_ok_and(|identity| identity == self.identity)
    }
}

/// Listens at `path`. A socket that a killed process has left there is removed.
pub(crate) fn bind_unix(path: &Path) -> Result<(UnixListener, SocketFile), UnixBindError> {
    let refused = |source| UnixBindError::Refused(path.to_owned(), source);
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(refused(error)),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(UnixBindError::NoSocket(path.to_owned()));
        }
        Ok(_) => match UnixStream::connect(path) {
            Ok(_) => return Err(UnixBindError::InUse(path.to_owned())),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                tracing::info!(path = %path.display(), "removed a socket that nobody listens at");
                fs::remove_file(path).map_err(refused)?;
            }
            Err(error) => return Err(refused(error)),
        },
    }
    listen(path).map_err(refused)
}

fn listen(path: &Path) -> io::Result<(UnixListener, SocketFile)> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::unix(path)?)?;
    // From here on the file is removed, whatever happens.
    let file = SocketFile(SocketWatch {
        path: path.to_owned(),
        identity: identity(path)?,
        told: false,
    });
    // Before it listens, so that nobody connects who must not.
    fs::set_permissions(path, Permissions::from_mode(MODE))?;
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
        let path = folder.path().join("http.sock");
        let (socket, file) = bind_unix(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o660);
        assert!(UnixStream::connect(&path).is_ok());
        assert!(matches!(bind_unix(&path), Err(UnixBindError::InUse { .. })));
        drop((socket, file));
        assert!(!path.exists());
    }

    #[test]
    fn what_a_killed_process_left_is_taken_away_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("http.sock");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "as after kill -9");
        let (_socket, file) = bind_unix(&path).unwrap();
        assert!(UnixStream::connect(&path).is_ok());
        // Somebody else's file in its place is left alone.
        fs::remove_file(&path).unwrap();
        fs::write(&path, "mine").unwrap();
        drop(file);
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
        let error = bind_unix(&path).unwrap_err();
        assert!(matches!(error, UnixBindError::NoSocket { .. }), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
    }

    #[test]
    fn a_folder_that_is_not_there_is_told() {
        let error = bind_unix(Path::new("/nowhere/http.sock")).unwrap_err();
        let told = "cannot listen on unix:/nowhere/http.sock; is there the folder,";
        assert!(error.to_string().starts_with(told), "{error}");
    }
}
