//! A stamp: tells one state of a file from another without reading it.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime};

/// How long after its last change a file's times can be trusted to show the next one.
///
/// File systems keep times in steps (a few milliseconds on most, 2 s on the coarsest). Two changes within one step leave
/// one stamp; so what was read sooner than this after a change is read again, whatever its stamp says. Git calls such a
/// file "racily clean".
pub(crate) const SETTLED_AFTER: Duration = Duration::from_secs(2);

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

    /// Whether nothing shows that the content is another: a change of owner or mode leaves it as it is.
    pub(crate) fn same_content(&self, other: &Self) -> bool {
        (self.length, self.modified) == (other.length, other.modified)
    }

    /// The time of its modification; 1970 for anything before.
    pub(crate) fn modified(&self) -> SystemTime {
        let since = u64::try_from(self.modified.0).map_or(Duration::ZERO, |seconds| {
            Duration::new(seconds, u32::try_from(self.modified.1).unwrap_or(0))
        });
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
        let Ok(seconds) = u64::try_from(self.changed.0) else {
            return true;
        };
        let changed = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
        // A change in the future is a clock that was set back: nothing is sure.
        changed
            .and_then(|changed| now.duration_since(changed).ok())
            .is_some_and(|age| age > SETTLED_AFTER + Duration::from_secs(1))
    }
}

#[cfg(test)]
impl Stamp {
    /// A stamp whose file was changed at this second.
    pub(crate) fn changed_at(seconds: i64) -> Self {
        Self {
            changed: (seconds, 0),
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
