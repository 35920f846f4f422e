//! Files that their owner has compressed, beside those that they are made of: `app.js.br` beside `app.js`.
//!
//! One that is older than its original is of another state of it, and is not sent. Tools that compress give both files one time,
//! or the compressed one a later time.

// Decision: A compressed file that is older than its original is not sent.

use super::folder::{Located, find_beside};
use super::root::SiteRoot;
use super::stamp::Stamp;
use crate::settings::ContentCoding;

/// The files beside one file that would be sent in its place, in the order of [`ContentCoding::ALL`].
#[derive(Debug, Default)]
pub(crate) struct Siblings {
    found: [Option<Located>; ContentCoding::ALL.len()],
    /// The number of those that are too old to be sent.
    pub(crate) stale: u64,
}

impl Siblings {
    /// Looks for them beside a file that was found in a state.
    pub(crate) fn find(root: &SiteRoot, original: &Located, seen: &Stamp) -> Self {
        let mut stale = 0;
        let found = ContentCoding::ALL.map(|coding| {
            if !root.precompressed.contains(&coding) {
                return None;
            }
            // If it can't be looked at, the original is sent.
            let located = find_beside(root, original, coding.ending()).ok()??;
            let stamp = Stamp::of(&located.metadata);
            if stamp.is_modified_before(seen) {
                stale += 1;
                return None;
            }
            (stamp.length() > 0).then_some(located)
        });
        Self { found, stale }
    }

    /// Their states.
    pub(crate) fn stamps(&self) -> [Option<Stamp>; ContentCoding::ALL.len()] {
        self.found.each_ref().map(|found| {
            let located = found.as_ref()?;
            Some(Stamp::of(&located.metadata))
        })
    }

    /// All, with their codings.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (ContentCoding, &Located)> {
        let found = ContentCoding::ALL.iter().zip(&self.found);
        found.filter_map(|(coding, found)| Some((*coding, found.as_ref()?)))
    }

    /// The one in this coding.
    pub(crate) fn take(self, coding: ContentCoding) -> Option<Located> {
        let mut found = ContentCoding::ALL.into_iter().zip(self.found);
        found.find(|(of, _)| *of == coding)?.1
    }
}
