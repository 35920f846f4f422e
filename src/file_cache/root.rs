//! The folders that are served.

use std::path::PathBuf;

use bytes::Bytes;

use super::cache_rules::CacheRules;

/// The page that is served where there is no folder: the one that is shipped as `config/public/index.html`.
pub(crate) static BUILT_IN_PAGE: &[u8] = include_bytes!("../../config/public/index.html");
/// The built-in page's file name.
pub(crate) const BUILT_IN_INDEX: &str = "index.html";

/// A root's number: its place in the list given to [`Files::new`](super::Files::new).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct RootId(u32);

impl RootId {
    /// The root at `place` of the list, the first being 0.
    pub(crate) const fn new(place: u32) -> Self {
        Self(place)
    }

    pub(crate) fn place(self) -> usize {
        crate::num::as_usize(u64::from(self.0))
    }
}

/// A folder that is served; nothing outside of it ever is.
#[derive(Debug, Clone)]
pub(crate) struct Root {
    /// The folder. It may be a link; it is resolved at each look, so that switching the link switches the site.
    pub path: PathBuf,
    /// The file a folder's path answers with, such as `index.html`.
    pub index: String,
    /// Whether [`BUILT_IN_PAGE`] stands in while the folder does not exist.
    pub built_in: bool,
    /// What its files say about being kept.
    pub cache: CacheRules,
}

impl Root {
    /// The content of the built-in site at a key, if it has that key.
    pub(crate) fn built_in(key: &str) -> Option<Bytes> {
        let index = key == "/" || key.strip_prefix('/') == Some(BUILT_IN_INDEX);
        index.then(|| Bytes::from_static(BUILT_IN_PAGE))
    }
}
