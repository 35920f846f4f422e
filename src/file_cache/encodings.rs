//! The encoded contents of one file in memory: which there may be, and those that were made.
//!
//! One is made when the first client asks for it, by the child (`making`), and stays as long as the entry does. Whoever holds the
//! entry sees it from then on, so that nothing has to be published again.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use super::budget::cost;
use super::representation::Representation;
use super::stamp::Stamp;
use crate::memory_file::Content;
use crate::settings::ContentCoding;

/// The origin of an encoded content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EncodingSource {
    /// The content is compressed.
    Content,
    /// A file beside it, in this state, has it.
    Sibling(Stamp),
}

/// An encoded content, with its own header fields.
#[derive(Debug, Clone)]
pub(crate) struct Encoded {
    /// The content.
    pub content: Content,
    /// The header fields; the entity tag is made of the encoded content.
    pub about: Representation,
}

impl Encoded {
    /// The same content of a file with these header fields.
    pub(crate) fn described_as(self, about: &Representation, coding: ContentCoding) -> Self {
        let etag = String::from_utf8_lossy(&self.about.etag).into_owned();
        Self {
            about: about.encoded(coding, etag),
            content: self.content,
        }
    }
}

/// The state of a coding of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CodingState {
    /// No, or not at this moment.
    Absent,
    /// It can be made.
    Unmade,
    /// Yes.
    Ready,
}

/// The encoded contents of an entry.
#[derive(Debug, Default)]
pub(crate) struct Encodings([Encoding; ContentCoding::ALL.len()]);

#[derive(Debug, Default)]
struct Encoding {
    source: Option<EncodingSource>,
    /// `None` inside: it was tried, and there is none.
    made: OnceLock<Option<Encoded>>,
    /// Whether it is being made and takes so long that nobody waits for it.
    late: AtomicBool,
}

impl Encodings {
    /// Those that can be made from these sources, in the order of [`ContentCoding::ALL`]. `None` if there are none.
    pub(crate) fn new(
        sources: [Option<EncodingSource>; ContentCoding::ALL.len()],
    ) -> Option<Box<Self>> {
        let any = sources.iter().any(Option::is_some);
        any.then(|| {
            Box::new(Self(sources.map(|source| Encoding {
                source,
                ..Encoding::default()
            })))
        })
    }

    fn of(&self, coding: ContentCoding) -> &Encoding {
        let [br, zstd, gzip] = &self.0;
        match coding {
            ContentCoding::Br => br,
            ContentCoding::Zstd => zstd,
            ContentCoding::Gzip => gzip,
        }
    }

    pub(crate) fn state(&self, coding: ContentCoding) -> CodingState {
        let encoding = self.of(coding);
        match encoding.made.get() {
            Some(Some(_)) => CodingState::Ready,
            Some(None) => CodingState::Absent,
            None if encoding.source.is_none() || encoding.late.load(Ordering::Relaxed) => {
                CodingState::Absent
            }
            None => CodingState::Unmade,
        }
    }

    /// The content in this coding, if it was made.
    pub(crate) fn get(&self, coding: ContentCoding) -> Option<&Encoded> {
        self.of(coding).made.get()?.as_ref()
    }

    pub(crate) fn source(&self, coding: ContentCoding) -> Option<EncodingSource> {
        self.of(coding).source
    }

    /// The states of the files beside it that would be sent in its place.
    pub(crate) fn siblings(&self) -> [Option<Stamp>; ContentCoding::ALL.len()] {
        ContentCoding::ALL.map(|coding| match self.source(coding)? {
            EncodingSource::Sibling(stamp) => Some(stamp),
            EncodingSource::Content => None,
        })
    }

    /// Notes what was made, or that there is nothing to be had. The first time counts.
    pub(crate) fn set(&self, coding: ContentCoding, made: Option<Encoded>) {
        // Two incarnations of the child may have made the same.
        drop(self.of(coding).made.set(made));
    }

    /// Marks that nobody waits any more for what is being made, until the mark is dropped.
    pub(crate) fn late(&self, coding: ContentCoding) -> LateMark<'_> {
        let late = &self.of(coding).late;
        late.store(true, Ordering::Relaxed);
        LateMark(late)
    }

    /// Takes over what was made of the same content for the entry before this one, whose header fields may have been others.
    pub(crate) fn adopt(&self, before: &Self, about: &Representation) {
        for coding in ContentCoding::ALL {
            if self.source(coding) == before.source(coding)
                && let Some(made) = before.of(coding).made.get()
            {
                let made = made.clone();
                self.set(coding, made.map(|made| made.described_as(about, coding)));
            }
        }
    }

    /// The bytes that those that were made count for.
    pub(crate) fn cost(&self) -> usize {
        let made = ContentCoding::ALL
            .iter()
            .filter_map(|coding| self.get(*coding));
        made.map(|made| cost(made.content.length())).sum()
    }
}

/// See [`Encodings::late`].
#[derive(Debug)]
pub(crate) struct LateMark<'a>(&'a AtomicBool);

impl Drop for LateMark<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file_cache::entry::Entry;

    const SOURCES: [Option<EncodingSource>; 3] = [Some(EncodingSource::Content), None, None];

    fn made() -> Encoded {
        let entry = Entry::page("short");
        Encoded {
            content: entry.content.clone(),
            about: entry.about.encoded(ContentCoding::Br, "\"1\"".to_owned()),
        }
    }

    #[test]
    fn an_encoding_is_unmade_then_late_then_ready() {
        assert!(Encodings::new([None; 3]).is_none());
        let encodings = Encodings::new(SOURCES).unwrap();
        assert_eq!(encodings.state(ContentCoding::Gzip), CodingState::Absent);
        assert_eq!(encodings.state(ContentCoding::Br), CodingState::Unmade);
        let late = encodings.late(ContentCoding::Br);
        assert_eq!(encodings.state(ContentCoding::Br), CodingState::Absent);
        drop(late);
        assert_eq!(encodings.state(ContentCoding::Br), CodingState::Unmade);
        assert_eq!(encodings.cost(), 0);
        encodings.set(ContentCoding::Br, Some(made()));
        encodings.set(ContentCoding::Br, None);
        assert_eq!(encodings.state(ContentCoding::Br), CodingState::Ready);
        assert_eq!(encodings.cost(), cost(5));
    }

    #[test]
    fn what_was_made_of_the_same_source_is_taken_over_with_other_header_fields() {
        let before = Encodings::new(SOURCES).unwrap();
        before.set(ContentCoding::Br, Some(made()));
        let about = Representation {
            last_modified: "later".into(),
            ..made().about
        };
        let same = Encodings::new(SOURCES).unwrap();
        same.adopt(&before, &about);
        let adopted = same.get(ContentCoding::Br).unwrap();
        assert_eq!(
            (&*adopted.about.etag, &*adopted.about.last_modified),
            (&b"\"1\""[..], &b"later"[..])
        );
        assert_eq!(adopted.about.content_encoding.as_deref(), Some(&b"br"[..]));
        let sibling = EncodingSource::Sibling(Stamp::default());
        let other = Encodings::new([Some(sibling), None, None]).unwrap();
        other.adopt(&before, &about);
        assert_eq!(other.state(ContentCoding::Br), CodingState::Unmade);
        assert_eq!(other.siblings(), [Some(Stamp::default()), None, None]);
    }
}
