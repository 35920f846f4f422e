//! The folders that are served, as the settings describe them.

// Decision: A root is resolved for each file.

use std::path::PathBuf;

use bytes::Bytes;

use super::cache_rules::CacheRules;
use super::content_type::ContentTypes;

/// The page that is served where there is no folder: the one that is shipped as `config/public/index.html`.
pub(crate) static BUILT_IN_PAGE: &[u8] = include_bytes!("../../config/public/index.html");
/// The built-in page's file name.
pub(crate) const BUILT_IN_INDEX: &str = "index.html";

/// A root's number: its index in the list given to [`Files::new`](super::Files::new).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct RootId(u32);

impl RootId {
    /// The root at `index` of the list, the first being 0.
    pub(crate) const fn new(index: u32) -> Self {
        Self(index)
    }

    pub(crate) fn index(self) -> usize {
        crate::num::as_usize(u64::from(self.0))
    }
}

/// A folder that is served; nothing outside of it ever is.
#[derive(Debug, Clone)]
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

impl SiteRoot {
    /// The content of the built-in site at a key, if it has that key.
    pub(crate) fn built_in(key: &str) -> Option<Bytes> {
        let index = key == "/" || key.strip_prefix('/') == Some(BUILT_IN_INDEX);
        index.then(|| Bytes::from_static(BUILT_IN_PAGE))
    }
}

#[cfg(test)]
impl SiteRoot {
    /// A folder with nothing said about it.
    pub(crate) fn plain(path: &std::path::Path) -> Self {
        Self {
            route: "/".to_owned(),
            path: path.to_owned(),
            index: BUILT_IN_INDEX.to_owned(),
            built_in: false,
            cache: CacheRules::default(),
            types: ContentTypes::default(),
        }
    }
}
