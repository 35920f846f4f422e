//! The limit of open files, divided: public connections, large files that are being sent, and memory files have a share
//! each, and the spare is for the rest, so that the admin listener, the store and the logs always get a descriptor.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::num::{as_u64, as_usize};

/// The descriptors reserved for everything else: the admin's connections, the store's files, listeners, logs, and the pipes of the
/// calls that send large files.
const SPARE: u64 = 256;
/// The most memory files. They may have an eighth of the limit.
const MEMORY_FILES_MAX: usize = 256;
const MEMORY_FILES_DIVISOR: u64 = 8;

/// Lets the process open as many files as the system allows it to. (The usual limit is there for programs that use
/// `select`, and far too low for a server.)
pub(crate) fn raise() {
    let limit = getrlimit(Resource::Nofile);
    let most = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if limit != most
        && let Err(error) = setrlimit(Resource::Nofile, most)
    {
        tracing::warn!(%error, limit = limit.current, "the limit of open files could not be raised");
    }
}

/// The shares of the limit of open files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DescriptorShares {
    /// For public connections, and as many again for large files that are being sent. One connection of HTTP/2 may use several
    /// of those.
    pub(crate) connections: usize,
    /// For memory files.
    pub(crate) memory_files: usize,
}

impl DescriptorShares {
    /// The shares of the limit as it is now.
    pub(crate) fn now() -> Self {
        Self::of(getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX))
    }

    /// The shares of a limit. There is always a connection, and a large file for it.
    fn of(limit: u64) -> Self {
        let memory_files = as_usize(limit / MEMORY_FILES_DIVISOR).min(MEMORY_FILES_MAX);
        let spare = SPARE + as_u64(memory_files);
        let left = limit - spare.min(limit / 2);
        Self {
            connections: as_usize(left / 2).max(1),
            memory_files,
        }
    }
}

/// The connection limit: `wanted`, or fewer if descriptors are short.
pub(crate) fn places(wanted: usize) -> usize {
    wanted.min(DescriptorShares::now().connections)
}

/// Logs that there are fewer places for connections than wanted, if there are.
pub(crate) fn tell_fewer(wanted: usize, places: usize) {
    if places < wanted {
        tracing::warn!(
            "server.max_connections is {wanted}, but the limit of open files allows {places}; more wait in the kernel's backlog. To serve them, raise LimitNOFILE or ulimit -n"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_a_share_and_the_rest_is_for_what_else_there_is() {
        for (limit, connections, memory_files) in [
            (1 << 20, 524_032, 256),
            (10_000, 4744, 256),
            (1024, 320, 128),
            (300, 75, 37),
            (80, 20, 10),
            (1, 1, 0),
            (0, 1, 0),
        ] {
            let shares = DescriptorShares {
                connections,
                memory_files,
            };
            assert_eq!(DescriptorShares::of(limit), shares, "of {limit}");
        }
    }
}
