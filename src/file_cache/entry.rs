//! One file in memory, with its header fields.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::SystemTime;

use bytes::Bytes;

use super::fingerprint;
use super::representation::{NameHeaders, Representation};
use super::stamp::Stamp;

/// A file in memory. Its content never changes: a file that changes gets a new entry.
#[derive(Debug)]
pub(crate) struct Entry {
    /// The content.
    pub bytes: Bytes,
    /// The header fields; the entity tag is strong and made of the content.
    pub about: Representation,
    /// The state of the file that was read; `None` for the page that is compiled in.
    pub(crate) stamp: Option<Stamp>,
    /// Whether a later change of the file is sure to have another stamp.
    pub(crate) settled: bool,
    /// When the file was last compared with the entry, in milliseconds of the cache's own clock.
    checked_at: AtomicU64,
    /// Whether a comparison was asked for and has not happened yet.
    asked: AtomicBool,
    /// Whether the entry was served since the budget last looked.
    used: AtomicBool,
    /// Whether the last attempt to compare it with its file failed.
    doubtful: AtomicBool,
}

/// The content of a file, and the time at which it was read.
#[derive(Debug, Clone)]
pub(crate) struct Content {
    pub(crate) bytes: Bytes,
    pub(crate) stamp: Option<Stamp>,
    /// The time of the last modification of the file.
    pub(crate) modified: SystemTime,
    /// The time of day.
    pub(crate) now: SystemTime,
    /// The time of the cache's own clock.
    pub(crate) now_ms: u64,
}

impl Entry {
    pub(crate) fn new(name: NameHeaders, content: Content) -> Self {
        let etag = fingerprint::of_content(&content.bytes);
        let now = content.now;
        Self {
            about: Representation::new(name, etag, content.modified, now),
            settled: content.stamp.is_none_or(|stamp| stamp.settled(now)),
            stamp: content.stamp,
            bytes: content.bytes,
            checked_at: AtomicU64::new(content.now_ms),
            asked: AtomicBool::new(false),
            used: AtomicBool::new(false),
            doubtful: AtomicBool::new(false),
        }
    }

    /// The time since it was compared with its file.
    pub(crate) fn age_ms(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(self.checked_at.load(Ordering::Relaxed))
    }

    /// Notes that a comparison with its file, begun at `now_ms`, found no change.
    pub(crate) fn checked(&self, now_ms: u64) {
        self.checked_at.fetch_max(now_ms, Ordering::Relaxed);
        self.asked.store(false, Ordering::Relaxed);
        self.doubtful.store(false, Ordering::Relaxed);
    }

    /// Asks for a comparison with the file; true for the one caller who has to send the message.
    pub(crate) fn ask(&self) -> bool {
        !self.asked.load(Ordering::Relaxed) && !self.asked.swap(true, Ordering::Relaxed)
    }

    /// Notes that the comparison did not take place: the next caller may ask.
    pub(crate) fn unask(&self) {
        self.asked.store(false, Ordering::Relaxed);
    }

    /// Notes that the file could not be looked at; true for the first time since it could.
    pub(crate) fn doubt(&self) -> bool {
        self.unask();
        !self.doubtful.swap(true, Ordering::Relaxed)
    }

    /// Notes that it was served. Writes only if that is news, so that threads don't fight over the cache line.
    pub(crate) fn touch(&self) {
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
    }

    /// Whether it was served since the last call.
    pub(crate) fn take_used(&self) -> bool {
        self.used.swap(false, Ordering::Relaxed)
    }
}

#[cfg(test)]
impl Entry {
    /// A page with this content, for tests in which nothing else matters.
    pub(crate) fn page(content: &str) -> Self {
        let name = NameHeaders {
            content_type: Bytes::from_static(b"text/html"),
            content_encoding: None,
            cache_control: None,
        };
        let content = Content {
            bytes: Bytes::copy_from_slice(content.as_bytes()),
            stamp: None,
            modified: SystemTime::UNIX_EPOCH,
            now: SystemTime::UNIX_EPOCH,
            now_ms: 40,
        };
        Self::new(name, content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_asked_about_once_until_it_has_been_looked_at() {
        let entry = Entry::page("<p>");
        assert!(entry.ask());
        assert!(!entry.ask());
        entry.checked(100);
        assert_eq!(entry.age_ms(130), 30);
        entry.checked(90);
        assert_eq!(
            entry.age_ms(130),
            30,
            "a look that began earlier makes it no older"
        );
        assert!(entry.ask());
        entry.unask();
        assert!(entry.ask());
        assert_eq!(entry.age_ms(0), 0);
    }

    #[test]
    fn a_doubt_is_news_once_until_the_file_could_be_looked_at() {
        let entry = Entry::page("<p>");
        assert!(entry.doubt());
        assert!(!entry.doubt());
        assert!(entry.ask(), "a failed look leaves the question open");
        entry.checked(100);
        assert!(entry.doubt());
    }

    #[test]
    fn use_is_remembered_until_it_is_taken() {
        let entry = Entry::page("<p>");
        assert!(!entry.take_used());
        entry.touch();
        entry.touch();
        assert!(entry.take_used());
        assert!(!entry.take_used());
    }
}
