//! One file in memory, with its header fields.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::budget::cost;
use super::encodings::{CodingState, Encoded, Encodings};
use super::representation::Representation;
use super::siblings::Siblings;
use super::stamp::Stamp;
use crate::memory_file::Content;
use crate::settings::ContentCoding;

/// A file in memory. Its content never changes: a file that changes gets a new entry.
#[derive(Debug)]
pub(crate) struct Entry {
    /// The content.
    pub content: Content,
    /// The header fields; the entity tag is strong and made of the content.
    pub about: Representation,
    /// Its encoded contents, if there can be any.
    pub(crate) encodings: Option<Box<Encodings>>,
    /// The state of the file that was read; `None` for the page that is compiled in.
    pub(crate) stamp: Option<Stamp>,
    /// The time at which the file was last compared with the entry, in milliseconds of the cache's own clock.
    checked_at: AtomicU64,
    /// Whether a comparison was asked for and has not happened yet.
    asked: AtomicBool,
    /// Whether the entry was served since the budget last looked.
    used: AtomicBool,
    /// Whether the last attempt to compare it with its file failed.
    doubtful: AtomicBool,
}

impl Entry {
    /// The content of a file that had `stamp` and was read at `now_ms`.
    pub(crate) fn new(
        content: Content,
        about: Representation,
        encodings: Option<Box<Encodings>>,
        stamp: Option<Stamp>,
        now_ms: u64,
    ) -> Self {
        Self {
            content,
            about,
            encodings,
            stamp,
            checked_at: AtomicU64::new(now_ms),
            asked: AtomicBool::new(false),
            used: AtomicBool::new(false),
            doubtful: AtomicBool::new(false),
        }
    }

    /// The state of a coding of it.
    pub(crate) fn coding(&self, coding: ContentCoding) -> CodingState {
        let encodings = self.encodings.as_ref();
        encodings.map_or(CodingState::Absent, |encodings| encodings.state(coding))
    }

    /// Its content in this coding, if it was made.
    pub(crate) fn encoded(&self, coding: ContentCoding) -> Option<&Encoded> {
        self.encodings.as_ref()?.get(coding)
    }

    /// Whether these are the files beside it that would be sent in its place.
    pub(crate) fn has_siblings(&self, siblings: &Siblings) -> bool {
        let known = self.encodings.as_ref();
        known.map_or([None; ContentCoding::ALL.len()], |known| known.siblings())
            == siblings.stamps()
    }

    /// The bytes that it counts for in the budget.
    pub(crate) fn cost(&self) -> usize {
        let encodings = self.encodings.as_ref();
        let encoded = encodings.map_or(0, |encodings| encodings.cost());
        cost(self.content.length()).saturating_add(encoded)
    }

    /// Whether it has the content of another entry, and in this coding as well.
    pub(crate) fn has_content_of(&self, other: &Self, coding: ContentCoding) -> bool {
        let source = |entry: &Self| entry.encodings.as_ref()?.source(coding);
        self.about.etag == other.about.etag && source(self) == source(other)
    }

    /// Takes over what was made of the entry before this one, if the content is the same.
    pub(crate) fn adopt(&self, before: &Self) {
        if let (Some(own), Some(theirs)) = (&self.encodings, &before.encodings)
            && self.about.etag == before.about.etag
        {
            own.adopt(theirs, &self.about);
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

/// The freshness of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// Serve it.
    Fresh,
    /// Serve it, and have the file looked at meanwhile, so that requests for a busy page never wait.
    Ageing,
    /// Look at the file first.
    Stale,
}

/// The freshness of an entry that was compared with its file `age_ms` ago, where a change has to be seen within
/// `revalidate_ms`: fresh for the first half of that time, ageing for the second, then stale. With 0, it is stale at once.
pub(crate) fn freshness(age_ms: u64, revalidate_ms: u64) -> Freshness {
    if age_ms >= revalidate_ms {
        Freshness::Stale
    } else if age_ms >= revalidate_ms / 2 {
        Freshness::Ageing
    } else {
        Freshness::Fresh
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    impl Entry {
        /// A page with this content, for tests in which nothing else matters.
        pub(crate) fn page(content: &str) -> Self {
            use std::path::Path;
            use std::time::SystemTime;

            use crate::file_cache::{fingerprint, root::SiteRoot};

            let about = Representation::new(
                &SiteRoot::plain(Path::new("/")),
                "/index.html",
                Path::new("index.html"),
                fingerprint::of_content(content.as_bytes()),
                None,
                SystemTime::UNIX_EPOCH,
            );
            let content = Content::Heap(Bytes::copy_from_slice(content.as_bytes()));
            Self::new(content, about, None, None, 40)
        }

        /// The content, of an entry that is small.
        pub(crate) fn bytes(&self) -> &Bytes {
            match &self.content {
                Content::Heap(bytes) => bytes,
                Content::File(_) => panic!("a large content"),
            }
        }
    }

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

    #[test]
    fn an_entry_ages_in_two_steps() {
        for (age, revalidate, expected) in [
            (0, 1000, Freshness::Fresh),
            (499, 1000, Freshness::Fresh),
            (500, 1000, Freshness::Ageing),
            (999, 1000, Freshness::Ageing),
            (1000, 1000, Freshness::Stale),
            (u64::MAX, 1000, Freshness::Stale),
            (0, 0, Freshness::Stale),
            (0, 1, Freshness::Ageing),
        ] {
            assert_eq!(
                freshness(age, revalidate),
                expected,
                "{age} of {revalidate}"
            );
        }
    }
}
