//! The messages of the file cache, and their answers.

use std::sync::Arc;

use crate::settings::ContentCoding;
use crate::supervision::{Message, ReplyTo};

use super::containment::SafePath;
use super::entry::Entry;
use super::file_error::FileError;
use super::large::Large;
use super::listing::Listing;
use super::root_io::RootIo;

/// The answer: the content that a path leads to.
#[derive(Debug, Clone)]
pub(crate) enum Loaded {
    /// A file in memory.
    Entry(Arc<Entry>),
    /// A file that is too large to be kept, opened.
    Large(Large),
    /// A folder, asked for without its slash: ask again for the path with `/` at its end. Relative links in the folder's
    /// page would be wrong otherwise. (Paths with empty segments never come this far, so the new location is always on
    /// this site.)
    Moved,
    /// A folder without an index file, whose files are listed.
    Listing(Arc<Listing>),
}

/// A message to the file cache.
#[derive(Debug)]
pub(crate) struct FileMessage {
    /// The root below which the file lies.
    pub(crate) root: Arc<RootIo>,
    /// The path of the file.
    pub(crate) path: SafePath,
    /// The coding that the file in memory is to have, too; `None` if it is to be loaded.
    pub(crate) coding: Option<ContentCoding>,
    /// The caller; `None` if an ageing entry is to be compared with its file.
    pub(crate) reply: Option<ReplyTo<Loaded, FileError>>,
}

impl Message for FileMessage {
    fn kind(&self) -> &'static str {
        match (self.coding, &self.reply) {
            (Some(_), _) => "encode",
            (None, Some(_)) => "load",
            (None, None) => "revalidate",
        }
    }

    fn size_bytes(&self) -> usize {
        size_of_val(self) + self.path.as_str().len()
    }
}
