//! A stamp: tells one state of a file from another without reading it.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime};

/// The time after its last change from which on a file's times can be trusted to show the next one, in milliseconds: the
/// coarsest step, and one second because fractions of the second of the change are left out.
///
/// File systems keep times in steps (a few milliseconds on most, 2 s on the coarsest). Two changes within one step leave
/// one stamp; so what was read sooner than this after a change is read again, whatever its stamp says. Git calls such a
/// file "racily clean".
const SETTLED_AFTER_MS: i64 = 3000;

/// The identity of one state of a file.
///
/// The time of the last change of the *inode* is a part of it because the time of the last modification can be set: a
/// file that is replaced by `cp -p` or `rsync -t` may keep length and modification time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Stamp {
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Bytes of the file.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Whether length and time of modification are the same; a change of owner or mode leaves them as they are.
    pub(crate) fn same_content(&self, other: &Self) -> bool {
        (self.length, self.modified) == (other.length, other.modified)
    }

    /// Whether its file was modified before the other one.
    pub(crate) fn is_modified_before(&self, other: &Self) -> bool {
        self.modified < other.modified
    }

    /// The time of its modification in whole seconds; 1970 for anything before.
    pub(crate) fn modified(&self) -> SystemTime {
        let since = Duration::from_secs(u64::try_from(self.modified.0).unwrap_or(0));
        SystemTime::UNIX_EPOCH
            .checked_add(since)
            .unwrap_or(SystemTime::UNIX_EPOCH)
    }

    /// Whether two stamps are of one file, whatever its state.
    pub(crate) fn same_file(&self, other: &Self) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }

    /// Whether, at `now`, the next change is sure to change the stamp.
    pub(crate) fn settled(&self, now: SystemTime) -> bool {
        let now = now.duration_since(SystemTime::UNIX_EPOCH);
        let now = now.map_or(0, |since| {
            i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
        });
        // A change in the future means that the clock was set back: then nothing is sure.
        now.saturating_sub(self.changed.0.saturating_mul(1000)) > SETTLED_AFTER_MS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Stamp {
        /// A stamp whose file was changed at this second.
        pub(crate) fn changed_at(seconds: i64) -> Self {
            Self {
                changed: (seconds, 0),
                ..Self::default()
            }
        }
    }

    impl Stamp {
        /// A stamp whose file was modified in this second, and not at its beginning.
        pub(crate) fn modified_at(seconds: i64) -> Self {
            Self {
                modified: (seconds, 700_000_000),
                ..Self::default()
            }
        }
    }

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn a_young_stamp_is_not_trusted() {
        let stamp = Stamp::changed_at(100);
        assert!(!stamp.settled(at(99)));
        assert!(!stamp.settled(at(100)));
        assert!(!stamp.settled(at(103)));
        assert!(stamp.settled(at(104)));
        assert!(Stamp::changed_at(-5).settled(at(0)));
    }
}
