//! Why a file can't be had.

use std::io;

use super::containment::Refusal;

/// Why a file can't be had. Texts name no path: they may reach a client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FileError {
    /// The path breaks a rule.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// There is no such file.
    #[error("there is no such file")]
    Absent,
    /// A link leads out of the root.
    #[error("the path leads out of its folder")]
    Outside,
    /// A device, a socket, a pipe.
    #[error("the path names something that is no regular file")]
    Irregular,
    /// The daemon may not read it.
    #[error("the file may not be read: look at its permissions")]
    Denied,
    /// It changed during each attempt to read it.
    #[error(
        "the file changed during {tries} attempts to read it: write to another file and rename it"
    )]
    Restless {
        /// How many attempts.
        tries: u32,
    },
    /// The folder itself is missing, or no folder.
    #[error("the folder of this site can't be read: {kind}")]
    Root {
        /// What the system said.
        kind: io::ErrorKind,
    },
    /// The disk failed, or no file could be opened any more.
    #[error("the file could not be read: {kind}")]
    Io {
        /// What the system said.
        kind: io::ErrorKind,
    },
}

impl FileError {
    /// What a failed look at a path below a root means.
    pub(crate) fn of(error: &io::Error) -> Self {
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
        if absent || error.raw_os_error() == Some(ELOOP) {
            Self::Absent
        } else if error.kind() == io::ErrorKind::PermissionDenied {
            Self::Denied
        } else {
            Self::Io { kind: error.kind() }
        }
    }
}

/// Linux's number for too many levels of symbolic links.
const ELOOP: i32 = 40;
