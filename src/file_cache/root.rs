//! The folders that are served, as the settings describe them.

// Decision: A root is resolved for each file.

use std::path::PathBuf;

use super::cache_rules::{CacheRules, Patterns};
use super::containment::SafePath;
use super::content_type::ContentTypes;
use crate::settings::ContentCoding;

/// The page that is served where there is no folder: the one that is shipped as `config/public/index.html`.
pub(crate) static BUILT_IN_PAGE: &[u8] = include_bytes!("../../config/public/index.html");
/// The built-in page's file name.
pub(crate) const BUILT_IN_INDEX: &str = "index.html";

/// A root's number. No other root ever gets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct RootId(pub u64);

/// A folder that is served, with the rules for its files. Nothing outside of it is ever served. Of two that are equal, each file
/// has the same answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SiteRoot {
    /// The prefix of its route: its name in logs, metrics and `/readyz`.
    pub route: String,
    /// The folder. It may be a link; it is resolved at each look, so that switching the link switches the site.
    pub path: PathBuf,
    /// The files that a folder's path answers with, such as `index.html`: the first that is there.
    pub index: Vec<String>,
    /// Whether `/about` answers with `about.html` if there is no `about`.
    pub clean_urls: bool,
    /// Whether the files of a folder without an index are listed.
    pub listing: bool,
    /// The page below the folder that is shown to a browser where there is no file.
    pub fallback: Option<String>,
    /// Whether [`BUILT_IN_PAGE`] stands in while the folder does not exist.
    pub built_in: bool,
    /// The values of `Cache-Control` for its files.
    pub cache: CacheRules,
    /// The content types of its files.
    pub types: ContentTypes,
    /// The files that a browser stores and does not show, by the patterns of their paths.
    pub downloads: Patterns,
    /// The codings in which its files are compressed.
    pub compress: Vec<ContentCoding>,
    /// The codings for which compressed files may lie beside others.
    pub precompressed: Vec<ContentCoding>,
}

impl SiteRoot {
    /// The names below the folder at which the file of a path may be, in their order.
    pub(super) fn names(&self, path: &SafePath) -> impl Iterator<Item = String> {
        let index = if path.is_folder() { &*self.index } else { &[] };
        let inside = index
            .iter()
            .map(|index| format!("{}{index}", path.as_str()));
        let itself = (!path.is_folder()).then(|| path.as_str().to_owned());
        inside.chain(itself).chain(self.page_of(path))
    }

    /// The name of the page that a path means which leaves out its ending.
    pub(super) fn page_of(&self, path: &SafePath) -> Option<String> {
        let named = self.clean_urls && !path.is_folder() && !path.as_str().is_empty();
        named.then(|| format!("{}.html", path.as_str()))
    }
}
