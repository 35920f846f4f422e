//! The limit of open files: public connections may use only a part of it, so that the admin listener, the store and the logs
//! always get a descriptor.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::memory_file::MEMORY_FILES_MAX;
use crate::num::as_u64;

/// What all but the public connections and the memory files may need: the admin's connections, the store's files, listeners, logs.
const SPARE: u64 = 256;
/// What a public connection may need: its socket, and a file that is streamed.
const FOR_A_CONNECTION: u64 = 2;

/// Lets the process open as many files as the system allows it to. (The usual limit is there for programs that use
/// `select`, and far too low for a server.)
pub(super) fn raise() {
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

/// How many public connections there are descriptors for, if `wanted` are allowed. Told where it is fewer.
pub(super) fn places(wanted: usize) -> usize {
    let limit = getrlimit(Resource::Nofile).current;
    let places = limit.map_or(wanted, |limit| fitting(wanted, limit));
    if places < wanted {
        tracing::warn!(
            "server.max_connections is {wanted}, but the limit of open files allows {places}; more wait in the kernel's backlog"
        );
    }
    places
}

/// How many of `wanted` connections fit into a limit of open files; always one.
fn fitting(wanted: usize, limit: u64) -> usize {
    let spare = SPARE + as_u64(MEMORY_FILES_MAX);
    let left = limit - spare.min(limit / 2);
    let places = usize::try_from(left / FOR_A_CONNECTION).unwrap_or(usize::MAX);
    wanted.min(places).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_descriptors_for_what_else_there_is() {
        for (limit, places) in [(1 << 20, 10_000), (1024, 256), (80, 20), (1, 1), (0, 1)] {
            assert_eq!(fitting(10_000, limit), places, "of {limit}");
        }
        assert_eq!(fitting(10, 1024), 10);
    }
}
