//! A file that is not kept in memory: opened, to be streamed.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use futures_util::stream::{self, Stream};

use super::content_type::content_type;
use super::entry::whole_seconds;
use super::stamp::Stamp;

/// Bytes of one piece of a stream, which is what a large file costs in memory for each client.
pub(crate) const CHUNK_BYTES: usize = 128 * 1024;

/// An opened file which is larger than what is cached. The path was judged before; nothing has to be opened again.
#[derive(Debug, Clone)]
pub(crate) struct Large {
    file: Arc<File>,
    stamp: Stamp,
    /// Bytes of the file.
    pub length: u64,
    /// Such as `video/mp4`.
    pub content_type: Bytes,
    /// An entity tag of length and modification time. Strong if the file has been left alone for some seconds; before
    /// that two states might share the time, so it is weak (`W/"..."`).
    pub etag: Bytes,
    /// [`modified`](Self::modified) as a date of HTTP.
    pub last_modified: Bytes,
    /// What `Cache-Control` says, if anything.
    pub cache_control: Option<Bytes>,
    /// When the file was modified, in whole seconds, never in the future.
    pub modified: SystemTime,
}

impl Large {
    pub(crate) fn new(path: &Path, file: File, stamp: Stamp, now: SystemTime) -> Self {
        let weak = if stamp.settled(now) { "" } else { "W/" };
        let (length, modified_ns) = (stamp.length(), stamp.modified_ns());
        let modified = whole_seconds(stamp.modified(), now);
        Self {
            file: Arc::new(file),
            stamp,
            length,
            content_type: content_type(path),
            etag: Bytes::from(format!("{weak}\"{length:x}-{modified_ns:x}\"")),
            last_modified: Bytes::from(httpdate::fmt_http_date(modified)),
            cache_control: None,
            modified,
        }
    }

    /// With this `Cache-Control`.
    pub(crate) fn kept_as(mut self, cache_control: Option<Bytes>) -> Self {
        self.cache_control = cache_control;
        self
    }

    /// The bytes of `range`, in pieces of at most [`CHUNK_BYTES`], read on the runtime's blocking threads.
    ///
    /// Ends with an error if the disk fails or the file changes meanwhile (a head has promised one state of it); the
    /// connection has to be broken off then.
    pub(crate) fn chunks(
        &self,
        range: Range<u64>,
    ) -> impl Stream<Item = io::Result<Bytes>> + Send + use<> {
        let (file, stamp) = (Arc::clone(&self.file), self.stamp);
        stream::try_unfold(range, move |range| {
            let file = Arc::clone(&file);
            async move {
                let left = usize::try_from(range.end.saturating_sub(range.start));
                let length = left.unwrap_or(usize::MAX).min(CHUNK_BYTES);
                if length == 0 {
                    return Ok(None);
                }
                let start = range.start;
                let read = move || read_at(&file, &stamp, start, length);
                let chunk = tokio::task::spawn_blocking(read)
                    .await
                    .map_err(io::Error::other)??;
                let next = start.saturating_add(u64::try_from(length).unwrap_or(u64::MAX));
                Ok(Some((chunk, next..range.end)))
            }
        })
    }
}

fn read_at(file: &File, stamp: &Stamp, start: u64, length: usize) -> io::Result<Bytes> {
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, start)?;
    let now = Stamp::of(&file.metadata()?);
    // A rename or a removal leaves the opened file as it is; a write shows in length or time.
    if (now.length(), now.modified_ns()) != (stamp.length(), stamp.modified_ns()) {
        return Err(io::Error::other("the file changed while it was streamed"));
    }
    Ok(Bytes::from(bytes))
}
