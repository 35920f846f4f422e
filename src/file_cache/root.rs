//! The folders that are served, as the settings describe them.

// Decision: A root is resolved for each file.

use std::path::PathBuf;

use super::cache_rules::CacheRules;
use super::content_type::ContentTypes;

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
    /// The file a folder's path answers with, such as `index.html`.
    pub index: String,
    /// Whether [`BUILT_IN_PAGE`] stands in while the folder does not exist.
    pub built_in: bool,
    /// The values of `Cache-Control` for its files.
    pub cache: CacheRules,
    /// The content types of its files.
    pub types: ContentTypes,
}
