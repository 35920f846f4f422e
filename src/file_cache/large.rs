//! A file that is not kept in memory: opened, to be streamed.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use futures_util::stream::{self, Stream};

use super::containment::SafePath;
use super::fingerprint;
use super::representation::{NameHeaders, Representation};
use super::root_io::RootIo;
use super::stamp::Stamp;
use crate::num::{as_u64, as_usize};

/// Bytes of one piece of a stream, which is what a large file costs in memory for each client.
pub(crate) const CHUNK_BYTES: usize = 128 * 1024;
/// How many bytes are read again to tell whether a file that has grown was appended to or rewritten.
const SAMPLE_BYTES: usize = 4096;
/// A writer that appends changes the file's time a moment before its length: how often the file is looked at meanwhile.
const APPENDING_LOOKS: u32 = 200;

/// An opened file, with its header fields.
#[derive(Debug, Clone)]
pub(crate) struct Opened {
    file: Arc<File>,
    stamp: Stamp,
    beginning: Sample,
    /// The header fields. The entity tag is made of the file's state, and strong if the file has been left alone for some
    /// seconds; before that two states might share their times, so it is weak (`W/"..."`).
    pub about: Representation,
}

impl Opened {
    pub(crate) fn new(name: NameHeaders, file: File, stamp: Stamp, now: SystemTime) -> Self {
        let weak = if stamp.settled(now) { "" } else { "W/" };
        let etag = format!("{weak}{}", fingerprint::of_state(&stamp));
        let mut bytes = vec![0; SAMPLE_BYTES.min(as_usize(stamp.length()))];
        let read = file.read_at(&mut bytes, 0).unwrap_or_default();
        bytes.truncate(read);
        Self {
            file: Arc::new(file),
            stamp,
            beginning: Sample {
                at: 0,
                bytes: Bytes::from(bytes),
            },
            about: Representation::new(name, etag, stamp.modified(), now),
        }
    }
}

/// A file that is larger than what is cached. The path was judged before; nothing has to be opened again.
#[derive(Debug, Clone)]
pub(crate) struct Large {
    opened: Opened,
    root: Arc<RootIo>,
    path: SafePath,
}

impl Large {
    pub(crate) fn new(opened: Opened, root: &Arc<RootIo>, path: &SafePath) -> Self {
        Self {
            opened,
            root: Arc::clone(root),
            path: path.clone(),
        }
    }

    /// The header fields.
    pub(crate) fn about(&self) -> &Representation {
        &self.opened.about
    }

    /// Bytes of the file when it was opened.
    pub(crate) fn length(&self) -> u64 {
        self.opened.stamp.length()
    }

    /// The bytes of `range`, in pieces of at most [`CHUNK_BYTES`], read on the threads of the root.
    ///
    /// A file that is appended to meanwhile is sent up to the length it had. The stream ends with an error, and a line in
    /// the log, if the file is rewritten or cut (the head has promised one state of it), if the disk fails, or if the folder
    /// does not answer; the connection has to be broken off then.
    pub(crate) fn chunks(
        &self,
        range: Range<u64>,
    ) -> impl Stream<Item = io::Result<Bytes>> + Send + use<> {
        let progress = DownloadProgress {
            range,
            seen: self.opened.stamp,
            sent: self.opened.beginning.clone(),
        };
        let large = self.clone();
        stream::try_unfold(progress, move |progress| {
            let large = large.clone();
            async move {
                if progress.range.is_empty() {
                    return Ok(None);
                }
                let next = large.next(progress).await;
                if let Err(error) = &next {
                    let (route, file) = (&large.root.site.route, large.path.as_str());
                    tracing::warn!(route, file, %error, "a download was broken off");
                }
                next.map(Some)
            }
        })
    }

    async fn next(&self, progress: DownloadProgress) -> io::Result<(Bytes, DownloadProgress)> {
        let file = Arc::clone(&self.opened.file);
        let call = self.root.begin(&self.path, move || progress.read(&file));
        let read = match call.await {
            Some(mut call) => call.in_time().await,
            None => None,
        };
        read.unwrap_or_else(|| Err(io::Error::other("the folder of the route does not answer")))
    }
}

/// The progress of a stream.
#[derive(Debug)]
struct DownloadProgress {
    /// The bytes that are still to be sent.
    range: Range<u64>,
    /// The state of the file after the last piece.
    seen: Stamp,
    /// The end of the last piece, or the beginning of the file.
    sent: Sample,
}

/// Some bytes of a file, as they were at one moment.
#[derive(Debug, Clone)]
struct Sample {
    at: u64,
    bytes: Bytes,
}

impl Sample {
    fn is_there(&self, file: &File) -> io::Result<bool> {
        let mut again = vec![0; self.bytes.len()];
        file.read_exact_at(&mut again, self.at)?;
        Ok(again == self.bytes)
    }
}

impl DownloadProgress {
    fn read(mut self, file: &File) -> io::Result<(Bytes, Self)> {
        let start = self.range.start;
        let left = as_usize(self.range.end.saturating_sub(start));
        let mut bytes = vec![0; left.min(CHUNK_BYTES)];
        file.read_exact_at(&mut bytes, start).map_err(|error| {
            if error.kind() == io::ErrorKind::UnexpectedEof {
                io::Error::other("the file was cut while it was sent")
            } else {
                error
            }
        })?;
        self.seen = self.verify(file)?;
        let end = bytes.len().saturating_sub(SAMPLE_BYTES);
        self.sent = Sample {
            at: start.saturating_add(as_u64(end)),
            bytes: Bytes::copy_from_slice(bytes.get(end..).unwrap_or_default()),
        };
        self.range.start = start.saturating_add(as_u64(bytes.len()));
        Ok((Bytes::from(bytes), self))
    }

    /// The state of the file now, unless it may have other bytes than those that were promised.
    ///
    /// A rename or a removal leaves the opened file as it is; a write shows in length or time. A file that is longer and
    /// still has what was sent last was appended to.
    fn verify(&self, file: &File) -> io::Result<Stamp> {
        for _ in 0..APPENDING_LOOKS {
            let now = Stamp::of(&file.metadata()?);
            if now.same_content(&self.seen) {
                return Ok(now);
            }
            if now.length() > self.seen.length() && self.sent.is_there(file)? {
                return Ok(now);
            }
            if now.length() != self.seen.length() {
                break;
            }
            std::thread::yield_now();
        }
        Err(io::Error::other("the file was rewritten while it was sent"))
    }
}
