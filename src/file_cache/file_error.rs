//! Errors of loading a file.

// Decision: A copy in memory is better than an error of the disk.

use std::io;
use std::time::Duration;

use rustix::io::Errno;

use super::containment::PathRefusal;
use super::loader::READ_TRIES;

/// The reasons why a file can't be served. Texts name no path: they may reach a client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FileError {
    /// The path breaks a rule.
    #[error(transparent)]
    Refused(#[from] PathRefusal),
    /// There is no such file.
    #[error("there is no such file")]
    Absent,
    /// A link leads out of the root.
    #[error("the path leads out of its folder")]
    Outside,
    /// The path names a device, a socket, a pipe.
    #[error("the path names something that is not a regular file")]
    Irregular,
    /// The daemon may not read the file.
    #[error("the file may not be read: look at its permissions")]
    Denied,
    /// The daemon may not enter a folder on the way to the file.
    #[error("a folder on the way to the file may not be entered: look at its permissions")]
    Barred,
    /// It changed during each attempt to read it.
    #[error(
        "the file changed during {READ_TRIES} attempts to read it: write to another file and rename it"
    )]
    Restless,
    /// The folder of the route is missing, or no folder, or can't be read.
    #[error("the folder of this route can't be read: {0}")]
    Root(Errno),
    /// The folder of the route does not answer.
    #[error("the folder of this route does not answer: try again later")]
    Hung,
    /// Too many requests wait for files of this root.
    #[error("too many requests wait for files of this route: try again later")]
    Busy,
    /// The disk failed, or no file could be opened any more.
    #[error("the file could not be read: {0}")]
    Io(Errno),
}

/// The time for which a copy in memory stands in for a file that may not be looked at. Permissions that are wrong for a moment,
/// in the middle of a deployment, are bridged; a page that was taken away by its permissions goes.
const BARRED_MAX: Duration = Duration::from_secs(60);

impl FileError {
    /// The time after its last comparison with the file for which a copy in memory is served instead of this error: not at all
    /// if the error is true of the file, for ever if it says nothing about the file.
    pub(crate) fn bridged_for(&self) -> Duration {
        match self {
            Self::Refused(_)
            | Self::Absent
            | Self::Outside
            | Self::Irregular
            | Self::Denied
            | Self::Root(Errno::NOENT | Errno::NOTDIR) => Duration::ZERO,
            Self::Barred | Self::Root(Errno::ACCESS | Errno::PERM) => BARRED_MAX,
            Self::Restless | Self::Root(_) | Self::Hung | Self::Busy | Self::Io(_) => Duration::MAX,
        }
    }

    /// Whether the error is true of the file itself, so that a copy in memory has to be dropped.
    pub(crate) fn is_about_the_file(&self) -> bool {
        self.bridged_for().is_zero() && !matches!(self, Self::Root(_))
    }

    /// The error for a path below a root that could not be opened.
    pub(crate) fn of(error: io::Error) -> Self {
        // A name below a file, a ring of links, a name too long for this file system: no such file.
        let absent = matches!(
            error.kind(),
            io::ErrorKind::NotFound
                | io::ErrorKind::NotADirectory
                | io::ErrorKind::IsADirectory
                | io::ErrorKind::InvalidFilename
                | io::ErrorKind::InvalidInput
        );
        // The kind of a ring of links has no stable name.
        if absent || number(&error) == Errno::LOOP {
            Self::Absent
        } else if error.kind() == io::ErrorKind::PermissionDenied {
            Self::Barred
        } else {
            Self::Io(number(&error))
        }
    }

    /// The error for an existing file that could not be opened or read.
    pub(crate) fn of_file(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::PermissionDenied {
            return Self::Denied;
        }
        Self::of(error)
    }
}

/// The system's number of an error, which has a text for every kind.
pub(crate) fn number(error: &io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}
