//! One look at a file: whether the entry in memory still has its content, and if not, the new content.
//!
//! Everything here blocks: it runs on the threads of `root_io`.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use rustix::io::Errno;
use tokio::sync::Semaphore;

use super::compressor::{COMPRESSED_BYTES_MAX, COMPRESSED_BYTES_MIN};
use super::containment::SafePath;
use super::content_type::is_compressible;
use super::encodings::{EncodingSource, Encodings};
use super::entry::Entry;
use super::file_error::FileError;
use super::fingerprint;
use super::folder::{FoundPath, Located, find, open};
use super::large::Opened;
use super::listing::Listing;
use super::metrics::CacheCounters;
use super::representation::Representation;
use super::root::{BUILT_IN_INDEX, BUILT_IN_PAGE, SiteRoot};
use super::siblings::Siblings;
use super::stamp::Stamp;
use crate::memory_file::MemoryFiles;
use crate::num::{as_u64, as_usize};
use crate::settings::ContentCoding;

/// Attempts at reading a file that changes meanwhile.
pub(crate) const READ_TRIES: u32 = 3;
/// The paths at which the built-in page is served.
const BUILT_IN_PATHS: [&str; 2] = ["/", "/index.html"];

/// The result of comparing an entry with its file.
#[derive(Debug)]
pub(crate) enum Look {
    /// The entry in memory is still equal to the file.
    Unchanged(Arc<Entry>),
    /// The file was read.
    Read(Arc<Entry>),
    /// The file is too large to be read, and was opened.
    Large(Arc<Opened>),
    /// It is a folder, asked for without its slash.
    Moved,
    /// It is a folder without an index file, whose files are listed.
    Listing(Arc<Listing>),
}

/// Loads one file.
#[derive(Debug)]
pub(crate) struct Loader<'a> {
    pub(crate) root: &'a SiteRoot,
    pub(crate) max_file_bytes: usize,
    pub(crate) counters: &'a CacheCounters,
    /// Keeps large contents.
    pub(crate) memory_files: &'a MemoryFiles,
    /// Places for opened large files.
    pub(crate) large_files: &'a Arc<Semaphore>,
    /// The time of day, for dates and the trust in stamps.
    pub(crate) now: SystemTime,
    /// The time of the cache's own clock.
    pub(crate) now_ms: u64,
}

impl Loader<'_> {
    /// Looks at `path`, which is in memory as `known`. `pause` is called after each reading, before it is verified, for
    /// tests that want to change the file just then.
    pub(crate) fn look(
        &self,
        path: &SafePath,
        known: Option<&Arc<Entry>>,
        mut pause: impl FnMut(),
    ) -> Result<Look, FileError> {
        for _ in 0..READ_TRIES {
            let located = match find(self.root, path) {
                Ok(FoundPath::File(located)) => located,
                Ok(FoundPath::Moved) => return Ok(Look::Moved),
                Ok(FoundPath::Folder(folder)) => {
                    self.counters.listings.inc();
                    let listing = Listing::read(self.root, path, &folder.path, self.now)?;
                    return Ok(Look::Listing(Arc::new(listing)));
                }
                Err(FileError::Root(Errno::NOENT)) if self.root.built_in => {
                    return self.built_in(path, known);
                }
                Err(error) => return Err(error),
            };
            let stamp = Stamp::of(&located.metadata);
            let small = as_usize(stamp.length()) <= self.max_file_bytes;
            let siblings = self.siblings(&located, &stamp);
            let same = known.filter(|known| {
                small && known.stamp == Some(stamp) && known.has_siblings(&siblings)
            });
            if let Some(same) = same
                && same.about.settled
            {
                return Ok(self.unchanged(same));
            }
            match self.take(&located, &siblings, &mut pause) {
                Ok(Some(look)) => return Ok(look),
                Ok(None) => {
                    self.counters.rereads.inc();
                }
                // A change of the file's own permissions would have changed its stamp; a folder on the way was closed.
                Err(FileError::Denied) if same.is_some() => return Err(FileError::Barred),
                Err(error) => return Err(error),
            }
        }
        Err(FileError::Restless)
    }

    /// Opens and reads; `None` if the file changed meanwhile.
    fn take(
        &self,
        located: &Located,
        siblings: &Siblings,
        pause: impl FnOnce(),
    ) -> Result<Option<Look>, FileError> {
        let Some((file, stamp)) = open(located)? else {
            return Ok(None);
        };
        self.counters.stale_siblings.inc_by(siblings.stale);
        if as_usize(stamp.length()) > self.max_file_bytes {
            let Ok(place) = Arc::clone(self.large_files).try_acquire_owned() else {
                self.counters.large_full.inc();
                return Err(FileError::Busy);
            };
            let about = self.about(
                &located.name,
                &located.path,
                self.tag_of_state(&stamp),
                Some(&stamp),
            );
            let encoded = self.open_siblings(siblings, &about);
            let opened = Opened::new(file, stamp, about, place);
            let opened = opened.beside(encoded);
            return Ok(Some(Look::Large(Arc::new(opened))));
        }
        let read = read_whole(&file, &stamp, pause).map_err(FileError::of_file)?;
        Ok(read.map(|bytes| {
            self.counters.reads.inc();
            let bytes = Bytes::from(bytes);
            self.entry(&located.name, &located.path, bytes, Some((stamp, siblings)))
        }))
    }

    /// The compressed files beside one; none if it is compressed itself.
    fn siblings(&self, original: &Located, state: &Stamp) -> Siblings {
        let types = &self.root.types;
        if self.root.precompressed.is_empty() || types.headers(&original.path).1.is_some() {
            return Siblings::default();
        }
        Siblings::find(self.root, original, state)
    }

    /// The tag of a file that is sent from the disk.
    fn tag_of_state(&self, stamp: &Stamp) -> String {
        let weak = if stamp.settled(self.now) { "" } else { "W/" };
        format!("{weak}{}", fingerprint::of_state(stamp))
    }

    /// Opens the compressed files beside a large one. One that can't be opened is left out: the original is there.
    fn open_siblings(
        &self,
        siblings: &Siblings,
        about: &Representation,
    ) -> Vec<(ContentCoding, Arc<Opened>)> {
        let open = |(coding, located): (ContentCoding, &Located)| {
            let place = Arc::clone(self.large_files).try_acquire_owned().ok()?;
            let (file, stamp) = open(located).ok()??;
            let about = about.encoded(coding, self.tag_of_state(&stamp));
            Some((coding, Arc::new(Opened::new(file, stamp, about, place))))
        };
        siblings.iter().filter_map(open).collect()
    }

    /// The content of the compressed file beside the one at `path`; `None` if it is not in this state any more, or too large to be
    /// kept.
    pub(crate) fn read_sibling(
        &self,
        path: &SafePath,
        original: &Stamp,
        coding: ContentCoding,
        expected: &Stamp,
    ) -> Result<Option<Bytes>, FileError> {
        let FoundPath::File(beside) = find(self.root, path)? else {
            return Ok(None);
        };
        let found = Siblings::find(self.root, &beside, original).take(coding);
        let Some(located) = found else {
            return Ok(None);
        };
        let Some((file, stamp)) = open(&located)? else {
            return Ok(None);
        };
        if stamp != *expected || as_usize(stamp.length()) > self.max_file_bytes {
            return Ok(None);
        }
        let read = read_whole(&file, &stamp, || ()).map_err(FileError::of_file)?;
        Ok(read.map(Bytes::from))
    }

    /// The sources of the encoded contents of a file of this length that is kept in memory.
    fn encodings(
        &self,
        about: &Representation,
        length: u64,
        siblings: Option<&Siblings>,
    ) -> Option<Box<Encodings>> {
        if !about.varies {
            return None;
        }
        let fits = (COMPRESSED_BYTES_MIN..=COMPRESSED_BYTES_MAX).contains(&length);
        let worth_it = fits && is_compressible(&about.content_type);
        let mut stamps = siblings.map_or([None; ContentCoding::ALL.len()], Siblings::stamps);
        let mut stamps = stamps.iter_mut();
        Encodings::new(ContentCoding::ALL.map(|coding| {
            let sibling = stamps.next().and_then(Option::take);
            let compressed = worth_it && self.root.compress.contains(&coding);
            let compressed = compressed.then_some(EncodingSource::Content);
            sibling.map(EncodingSource::Sibling).or(compressed)
        }))
    }

    fn built_in(&self, path: &SafePath, known: Option<&Arc<Entry>>) -> Result<Look, FileError> {
        if !BUILT_IN_PATHS.contains(&path.as_str()) {
            return Err(FileError::Absent);
        }
        if let Some(known) = known
            && known.stamp.is_none()
        {
            return Ok(self.unchanged(known));
        }
        let page = Bytes::from_static(BUILT_IN_PAGE);
        Ok(self.entry(BUILT_IN_INDEX, Path::new(BUILT_IN_INDEX), page, None))
    }

    fn unchanged(&self, known: &Arc<Entry>) -> Look {
        known.checked(self.now_ms);
        Look::Unchanged(Arc::clone(known))
    }

    /// The header fields of the file at `file`, which was found by this name.
    fn about(
        &self,
        name: &str,
        file: &Path,
        etag: String,
        stamp: Option<&Stamp>,
    ) -> Representation {
        Representation::new(self.root, name, file, etag, stamp, self.now)
    }

    fn entry(
        &self,
        name: &str,
        file: &Path,
        bytes: Bytes,
        from: Option<(Stamp, &Siblings)>,
    ) -> Look {
        let (stamp, siblings) = from.unzip();
        let etag = fingerprint::of_content(&bytes);
        let mut about = self.about(name, file, etag, stamp.as_ref());
        let beside = siblings.map_or([None; ContentCoding::ALL.len()], Siblings::stamps);
        about.settled &= beside.iter().flatten().all(|stamp| stamp.settled(self.now));
        let encodings = self.encodings(&about, as_u64(bytes.len()), siblings);
        let content = self.memory_files.keep(bytes);
        if content.is_large_on_heap() {
            self.counters.memory_files_full.inc();
        }
        let entry = Entry::new(content, about, encodings, stamp, self.now_ms);
        Look::Read(Arc::new(entry))
    }
}

/// Reads `file`, which had `stamp` when it was opened, and looks at it again afterwards. `None` if it changed meanwhile:
/// what was read may be half of one state and half of another.
///
/// A write sets the file's times when it begins, and the rest of it does not show: a file that is read while one write goes on
/// may be served half old and half new until `file_cache.revalidate` is over. Who replaces a file by a rename is safe.
fn read_whole(mut file: &File, stamp: &Stamp, pause: impl FnOnce()) -> io::Result<Option<Vec<u8>>> {
    let expected = as_usize(stamp.length());
    let mut bytes = Vec::new();
    bytes
        .try_reserve_exact(expected)
        .map_err(|_| Errno::NOMEM)?;
    // One byte more than expected: a file that grew is noticed, and one that grows without end is not read without end.
    Read::by_ref(&mut file)
        .take(stamp.length().saturating_add(1))
        .read_to_end(&mut bytes)?;
    pause();
    let whole = bytes.len() == expected && Stamp::of(&file.metadata()?) == *stamp;
    Ok(whole.then_some(bytes))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use super::*;

    /// A site of one page of six bytes, looked at some time after it was written.
    struct LoadedSite {
        folder: tempfile::TempDir,
        root: SiteRoot,
        counters: CacheCounters,
        memory_files: MemoryFiles,
        large_files: Arc<Semaphore>,
        path: SafePath,
    }

    impl LoadedSite {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join("index.html"), "honest").unwrap();
            let root = SiteRoot::plain(folder.path());
            let (counters, path) = (CacheCounters::default(), SafePath::new("/").unwrap());
            Self {
                folder,
                root,
                counters,
                memory_files: MemoryFiles::new(1),
                large_files: Arc::new(Semaphore::new(1)),
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
                memory_files: &self.memory_files,
                large_files: &self.large_files,
                now,
                now_ms: 0,
            }
        }

        fn read(&self, loader: &Loader<'_>, known: Option<&Arc<Entry>>) -> Arc<Entry> {
            match loader.look(&self.path, known, || ()).unwrap() {
                Look::Read(entry) => entry,
                other @ (Look::Unchanged(_) | Look::Large(_) | Look::Moved | Look::Listing(_)) => {
                    panic!("{other:?}")
                }
            }
        }
    }

    const MAX: usize = 1 << 20;
    const LATER: Duration = Duration::from_secs(60);

    #[test]
    fn a_file_that_never_rests_is_not_read_for_ever() {
        let site = LoadedSite::new();
        let mut writes = 0;
        let restless = site.after(LATER, MAX).look(&site.path, None, || {
            writes += 1;
            site.write(&"x".repeat(writes));
        });
        assert_eq!(restless.unwrap_err(), FileError::Restless);
        let rereads = site.counters.rereads.get();
        assert_eq!(rereads, u64::from(READ_TRIES));
    }

    #[test]
    fn a_file_that_comes_to_rest_is_read_whole() {
        let site = LoadedSite::new();
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
        assert_eq!(entry.bytes(), "yy");
        assert!(matches!(
            loader.look(&site.path, Some(&entry), || ()),
            Ok(Look::Unchanged(_))
        ));
    }

    #[test]
    fn a_file_that_was_just_written_is_read_again_though_its_stamp_is_the_same() {
        let site = LoadedSite::new();
        let young = site.read(&site.after(Duration::ZERO, MAX), None);
        assert!(!young.about.settled);
        let later = site.after(LATER, MAX);
        let settled = site.read(&later, Some(&young));
        assert!(settled.about.settled && settled.about.etag == young.about.etag);
        assert!(matches!(
            later.look(&site.path, Some(&settled), || ()),
            Ok(Look::Unchanged(_))
        ));
    }

    #[test]
    fn the_tag_of_a_large_file_is_weak_until_its_times_can_be_trusted() {
        let site = LoadedSite::new();
        let tag_after = |age| match site.after(age, 5).look(&site.path, None, || ()).unwrap() {
            Look::Large(large) => String::from_utf8(large.about.etag.to_vec()).unwrap(),
            other @ (Look::Unchanged(_) | Look::Read(_) | Look::Moved | Look::Listing(_)) => {
                panic!("{other:?}")
            }
        };
        let (young, old) = (tag_after(Duration::ZERO), tag_after(LATER));
        assert_eq!(young, format!("W/{old}"));
        assert!(old.starts_with("\"6-") && old.ends_with('"'), "{old}");
    }

    #[test]
    fn no_more_large_files_are_open_than_there_are_places() {
        let site = LoadedSite::new();
        let loader = site.after(LATER, 5);
        let look = || loader.look(&site.path, None, || ());
        let opened = look();
        assert!(matches!(opened, Ok(Look::Large(_))));
        assert_eq!(look().unwrap_err(), FileError::Busy);
        assert_eq!(site.counters.large_full.get(), 1);
        drop(opened);
        assert!(look().is_ok());
    }

    #[test]
    fn two_contents_never_share_the_tag_of_a_large_file() {
        let site = LoadedSite::new();
        let page = site.folder.path().join("index.html");
        let tag = || match site.after(LATER, 5).look(&site.path, None, || ()).unwrap() {
            Look::Large(large) => String::from_utf8(large.about.etag.to_vec()).unwrap(),
            other @ (Look::Unchanged(_) | Look::Read(_) | Look::Moved | Look::Listing(_)) => {
                panic!("{other:?}")
            }
        };
        let first = tag();
        assert_eq!(tag(), first, "unchanged, and so is the tag");
        // What `cp -p`, `rsync -t` and `tar -x` do: the same length and time of modification, in the same or a new file.
        let modified = fs::metadata(&page).unwrap().modified().unwrap();
        let keep_time = |path: &Path| {
            let file = File::options().write(true).open(path).unwrap();
            file.set_modified(modified).unwrap();
        };
        site.write("frozen");
        keep_time(&page);
        let second = tag();
        assert_ne!(second, first);
        let new = site.folder.path().join("new");
        fs::write(&new, "forged").unwrap();
        keep_time(&new);
        fs::rename(&new, &page).unwrap();
        let third = tag();
        assert!(third != first && third != second);
    }

    #[test]
    fn a_root_that_is_a_file_is_no_folder_and_is_not_served() {
        let mut site = LoadedSite::new();
        site.root.path = site.folder.path().join("index.html");
        for path in ["", "/", "/index.html"] {
            let look = site
                .after(LATER, MAX)
                .look(&SafePath::new(path).unwrap(), None, || ());
            assert_eq!(
                look.unwrap_err(),
                FileError::Root(Errno::NOTDIR),
                "{path:?}"
            );
        }
    }
}
