//! A glance at a file, for whoever only asks what a request for it would get.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::containment::SafePath;
use super::encodings::{CodingState, EncodingSource};
use super::entry::Entry;
use super::file_error::FileError;
use super::handle::{Files, kept};
use super::large::Opened;
use super::limits::CacheLimits;
use super::listing::Listing;
use super::loader::{Loader, Look};
use super::message::Loaded;
use super::metrics::CacheCounters;
use super::representation::Representation;
use super::root_io::CallThreads;
use super::roots::{RootHandle, Roots};
use crate::memory_file::MemoryFiles;
use crate::num::as_u64;
use crate::settings::{ContentCoding, FileCacheSettings};
use crate::supervision::AskError;

/// The thing to which a path leads.
#[derive(Debug)]
pub(crate) enum Glance {
    /// A file.
    File {
        /// Its header fields.
        about: Box<Representation>,
        /// Its length.
        bytes: u64,
        /// Its place.
        place: ContentPlace,
        /// The codings in which it can be had, the best one first, each with where it comes from.
        encodings: Vec<(ContentCoding, EncodedPlace)>,
    },
    /// A folder, asked for without its slash.
    Moved,
    /// A folder whose files are listed.
    Listing(Arc<Listing>),
}

/// The place of the content of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ContentPlace {
    /// In memory, and compared with the file so long ago.
    Memory(Duration),
    /// On the disk; it is read when it is asked for, and kept in memory if there is room.
    Disk,
    /// On the disk, since it is larger than what is kept in memory.
    DiskAlone,
}

/// The place of an encoded content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EncodedPlace {
    /// In memory, with this length.
    Memory(u64),
    /// A compressed file beside it, which is read when a client takes it.
    Beside,
    /// A compressed file beside it with this length, which is sent from the disk.
    DiskAlone(u64),
    /// Nowhere: it is compressed when a client takes it.
    Unmade,
}

impl Glance {
    fn entry(entry: &Entry, place: ContentPlace) -> Self {
        let encoded = |coding| match (entry.encoded(coding), entry.coding(coding)) {
            (Some(encoded), _) => Some(EncodedPlace::Memory(as_u64(encoded.content.length()))),
            (None, CodingState::Unmade) => match entry.encodings.as_ref()?.source(coding)? {
                EncodingSource::Content => Some(EncodedPlace::Unmade),
                EncodingSource::Sibling(_) => Some(EncodedPlace::Beside),
            },
            (None, CodingState::Absent | CodingState::Ready) => None,
        };
        let encodings = ContentCoding::ALL.into_iter();
        Self::File {
            about: Box::new(entry.about.clone()),
            bytes: as_u64(entry.content.length()),
            place,
            encodings: encodings
                .filter_map(|coding| Some((coding, encoded(coding)?)))
                .collect(),
        }
    }

    fn opened(opened: &Opened) -> Self {
        let beside = opened.encoded();
        Self::File {
            about: Box::new(opened.about.clone()),
            bytes: opened.length(),
            place: ContentPlace::DiskAlone,
            encodings: beside
                .map(|(coding, opened)| (coding, EncodedPlace::DiskAlone(opened.length())))
                .collect(),
        }
    }
}

/// Folders without a file cache, for [`glance`].
pub(crate) fn roots_alone(limits: &FileCacheSettings, deadline: Duration) -> io::Result<Roots> {
    let limits = Arc::new(CacheLimits::new(limits, deadline));
    Ok(Roots::new(limits, CallThreads::new()?))
}

/// Looks at a file without a file cache. This blocks.
pub(crate) fn glance(
    root: &RootHandle,
    path: &str,
    max_file_bytes: usize,
) -> Result<Glance, FileError> {
    let loader = Loader {
        root: root.site(),
        max_file_bytes,
        counters: &CacheCounters::default(),
        memory_files: &MemoryFiles::new(0),
        large_files: &Arc::new(Semaphore::new(1 + ContentCoding::ALL.len())),
        now: SystemTime::now(),
        now_ms: 0,
    };
    Ok(match loader.look(&SafePath::new(path)?, None, || {})? {
        Look::Unchanged(entry) | Look::Read(entry) => Glance::entry(&entry, ContentPlace::Disk),
        Look::Large(opened) => Glance::opened(&opened),
        Look::Moved => Glance::Moved,
        Look::Listing(listing) => Glance::Listing(listing),
    })
}

impl Files {
    /// The file in memory, or else the one that the child finds. Neither is a hit nor a miss.
    pub(crate) async fn glance(
        &self,
        root: &RootHandle,
        path: &str,
        now: Instant,
    ) -> Result<Glance, AskError<FileError>> {
        if let Some(entry) = kept(root, path) {
            let age = entry.age_ms(self.published.millis_at(now));
            let place = ContentPlace::Memory(Duration::from_millis(age));
            return Ok(Glance::entry(&entry, place));
        }
        Ok(match self.ask(root, path).await? {
            Loaded::Entry(entry) => Glance::entry(&entry, ContentPlace::Disk),
            Loaded::Large(large) => Glance::opened(&large.opened),
            Loaded::Moved => Glance::Moved,
            Loaded::Listing(listing) => Glance::Listing(listing),
        })
    }
}
