//! What the file cache is asked, and what it answers.

use std::sync::Arc;

use crate::supervision::{Message, ReplyTo};

use super::containment::SafePath;
use super::entry::Entry;
use super::file_error::FileError;
use super::large::Large;
use super::root::RootId;

/// What a path leads to.
#[derive(Debug, Clone)]
pub(crate) enum Loaded {
    /// A file in memory.
    Entry(Arc<Entry>),
    /// A file that is too large to be kept, opened.
    Large(Box<Large>),
    /// A folder, asked for without its slash: ask again for the path with `/` at its end. Relative links in the folder's
    /// page would lead astray otherwise. (Paths with empty segments never come this far, so the new place is always on
    /// this site.)
    Moved,
}

/// A message to the file cache.
#[derive(Debug)]
pub(crate) enum FileMessage {
    /// Look at the file, read it if needed, and answer it.
    Load {
        /// Below which root.
        root: RootId,
        /// Which path.
        path: SafePath,
        /// To whom.
        reply: ReplyTo<Loaded, FileError>,
    },
    /// Look at the file, and read it again if it has changed. Nobody waits.
    Revalidate {
        /// Below which root.
        root: RootId,
        /// Which path.
        path: SafePath,
    },
}

impl Message for FileMessage {
    fn kind(&self) -> &'static str {
        match self {
            Self::Load { .. } => "load",
            Self::Revalidate { .. } => "revalidate",
        }
    }

    fn size_bytes(&self) -> usize {
        let (Self::Load { path, .. } | Self::Revalidate { path, .. }) = self;
        size_of_val(self) + path.as_str().len()
    }
}
