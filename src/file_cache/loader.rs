//! One look at the disk: is what is in memory still true, and if not, what is?

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;

use super::containment::SafePath;
use super::entry::Entry;
use super::figures::{Counters, count};
use super::file_error::FileError;
use super::folder::{Found, Located, find, open};
use super::large::Large;
use super::reading::{Reading, read};
use super::root::{BUILT_IN_INDEX, Root};
use super::stamp::Stamp;

/// Attempts at reading a file that changes meanwhile.
pub(crate) const READ_TRIES: u32 = 3;

/// What a look found.
#[derive(Debug)]
pub(crate) enum Look {
    /// What is in memory is still true.
    Unchanged,
    /// It was read.
    Read(Arc<Entry>),
    /// It is too large to be read.
    Large(Box<Large>),
    /// It is a folder, asked for without its slash.
    Moved,
}

/// What one look has to go by.
#[derive(Debug)]
pub(crate) struct Loader<'a> {
    pub(crate) root: &'a Root,
    pub(crate) max_file_bytes: usize,
    pub(crate) counters: &'a Counters,
    /// The time of day, for dates and the trust in stamps.
    pub(crate) now: SystemTime,
    /// The time of the cache's own clock.
    pub(crate) now_ms: u64,
}

impl Loader<'_> {
    /// Looks at `path`, which is in memory as `known`. `pause` is called after each reading, before it is verified.
    pub(crate) fn look(
        &self,
        path: &SafePath,
        known: Option<&Entry>,
        mut pause: impl FnMut(),
    ) -> Result<Look, FileError> {
        for _ in 0..READ_TRIES {
            let located = match find(&self.root.path, &self.root.index, path) {
                Ok(Found::File(located)) => located,
                Ok(Found::Folder) => return Ok(Look::Moved),
                Err(FileError::Root {
                    kind: std::io::ErrorKind::NotFound,
                }) if self.root.built_in => {
                    return self.built_in(path, known);
                }
                Err(error) => return Err(error),
            };
            if known.is_some_and(|known| {
                known.settled && known.stamp == Some(Stamp::of(&located.metadata))
            }) {
                return Ok(Look::Unchanged);
            }
            let cache_control = self.root.cache.of(path, &self.root.index);
            if let Some(look) = self.take(&located, cache_control, &mut pause)? {
                return Ok(look);
            }
            count(&self.counters.rereads);
        }
        Err(FileError::Restless { tries: READ_TRIES })
    }

    /// Opens and reads; `None` if the file changed meanwhile.
    fn take(
        &self,
        located: &Located,
        cache_control: Option<Bytes>,
        pause: impl FnOnce(),
    ) -> Result<Option<Look>, FileError> {
        let Some((file, stamp)) = open(located)? else {
            return Ok(None);
        };
        if usize::try_from(stamp.length()).map_or(true, |length| length > self.max_file_bytes) {
            let large = Large::new(&located.path, file, stamp, self.now);
            return Ok(Some(Look::Large(Box::new(large.kept_as(cache_control)))));
        }
        match read(&file, &stamp, pause).map_err(|error| FileError::of(&error))? {
            Reading::Torn => Ok(None),
            Reading::Whole(bytes) => {
                count(&self.counters.reads);
                let (bytes, stamp) = (Bytes::from(bytes), (Some(stamp), stamp.modified()));
                Ok(Some(self.entry(&located.path, bytes, stamp, cache_control)))
            }
        }
    }

    fn built_in(&self, path: &SafePath, known: Option<&Entry>) -> Result<Look, FileError> {
        let bytes = Root::built_in(path.as_str()).ok_or(FileError::Absent)?;
        if known.is_some_and(|known| known.stamp.is_none()) {
            return Ok(Look::Unchanged);
        }
        let cache_control = self.root.cache.of(path, &self.root.index);
        let stamp = (None, self.now);
        Ok(self.entry(Path::new(BUILT_IN_INDEX), bytes, stamp, cache_control))
    }

    fn entry(
        &self,
        path: &Path,
        bytes: Bytes,
        (stamp, modified): (Option<Stamp>, SystemTime),
        cache_control: Option<Bytes>,
    ) -> Look {
        let entry = Entry::new(path, bytes, stamp, modified, self.now, self.now_ms);
        Look::Read(Arc::new(entry.kept_as(cache_control)))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use super::super::cache_rules::CacheRules;
    use super::*;

    /// A site of one page of six bytes, looked at some time after it was written.
    struct Site {
        folder: tempfile::TempDir,
        root: Root,
        counters: Counters,
        path: SafePath,
    }

    impl Site {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join("index.html"), "honest").unwrap();
            let root = Root {
                path: folder.path().to_owned(),
                index: "index.html".to_owned(),
                built_in: false,
                cache: CacheRules::default(),
            };
            let (counters, path) = (Counters::default(), SafePath::new("/").unwrap());
            Self {
                folder,
                root,
                counters,
                path,
            }
        }

        fn write(&self, content: &str) {
            fs::write(self.folder.path().join("index.html"), content).unwrap();
        }

        fn after(&self, age: Duration, max_file_bytes: usize) -> Loader<'_> {
            let now = SystemTime::now() + age;
            Loader {
                root: &self.root,
                max_file_bytes,
                counters: &self.counters,
                now,
                now_ms: 0,
            }
        }

        fn read(&self, loader: &Loader<'_>, known: Option<&Entry>) -> Arc<Entry> {
            match loader.look(&self.path, known, || ()).unwrap() {
                Look::Read(entry) => entry,
                other @ (Look::Unchanged | Look::Large(_) | Look::Moved) => panic!("{other:?}"),
            }
        }
    }

    const MAX: usize = 1 << 20;
    const LATER: Duration = Duration::from_secs(60);

    #[test]
    fn a_file_that_never_rests_is_not_read_for_ever() {
        let site = Site::new();
        let mut writes = 0;
        let restless = site.after(LATER, MAX).look(&site.path, None, || {
            writes += 1;
            site.write(&"x".repeat(writes));
        });
        assert_eq!(
            restless.unwrap_err(),
            FileError::Restless { tries: READ_TRIES }
        );
        assert_eq!(site.counters.read().rereads_total, u64::from(READ_TRIES));
    }

    #[test]
    fn a_file_that_comes_to_rest_is_read_whole() {
        let site = Site::new();
        let loader = site.after(LATER, MAX);
        let mut writes = 0;
        let look = loader.look(&site.path, None, || {
            writes += 1;
            if writes < 3 {
                site.write(&"y".repeat(writes));
            }
        });
        let Ok(Look::Read(entry)) = look else {
            panic!("it was to be read")
        };
        assert_eq!(entry.bytes, "yy");
        assert!(matches!(
            loader.look(&site.path, Some(&entry), || ()),
            Ok(Look::Unchanged)
        ));
    }

    #[test]
    fn a_file_that_was_just_written_is_read_again_though_its_stamp_is_the_same() {
        let site = Site::new();
        let young = site.read(&site.after(Duration::ZERO, MAX), None);
        assert!(!young.settled);
        let later = site.after(LATER, MAX);
        let settled = site.read(&later, Some(&young));
        assert!(settled.settled && settled.etag == young.etag);
        assert!(matches!(
            later.look(&site.path, Some(&settled), || ()),
            Ok(Look::Unchanged)
        ));
    }

    #[test]
    fn the_tag_of_a_large_file_is_weak_until_its_times_can_be_trusted() {
        let site = Site::new();
        let tag_after = |age| match site.after(age, 5).look(&site.path, None, || ()).unwrap() {
            Look::Large(large) => String::from_utf8(large.etag.to_vec()).unwrap(),
            other @ (Look::Unchanged | Look::Read(_) | Look::Moved) => panic!("{other:?}"),
        };
        let (young, old) = (tag_after(Duration::ZERO), tag_after(LATER));
        assert_eq!(young, format!("W/{old}"));
        assert!(old.starts_with("\"6-") && old.ends_with('"'), "{old}");
    }
}
