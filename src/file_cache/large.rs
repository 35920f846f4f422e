//! A file that is not kept in memory: opened, to be streamed.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, Stream};
use tokio::sync::OwnedSemaphorePermit;

use super::containment::SafePath;
use super::representation::Representation;
use super::root_io::RootIo;
use super::stamp::Stamp;
use crate::num::{as_u64, as_usize};

/// Bytes of one piece of a stream, which is what a large file costs in memory for each client.
pub(crate) const CHUNK_BYTES: usize = 128 * 1024;
/// How many bytes are read again to tell whether a file that has grown was appended to or rewritten.
const SAMPLE_BYTES: usize = 4096;
/// How often a piece is read while the time of the file has changed and its length has not.
const APPENDING_LOOKS: u32 = 20;
/// The time between two of these attempts.
const APPENDING_PAUSE: Duration = Duration::from_millis(1);

/// An opened file, with its header fields.
#[derive(Debug)]
pub(crate) struct Opened {
    file: File,
    stamp: Stamp,
    beginning: Sample,
    /// The header fields. The entity tag is made of the file's state, and strong if the file has been left alone for some
    /// seconds; before that two states might share their times, so it is weak (`W/"..."`).
    pub about: Representation,
    _place: OwnedSemaphorePermit,
}

impl Opened {
    pub(crate) fn new(
        file: File,
        stamp: Stamp,
        about: Representation,
        place: OwnedSemaphorePermit,
    ) -> Self {
        let mut bytes = vec![0; SAMPLE_BYTES.min(as_usize(stamp.length()))];
        let read = file.read_at(&mut bytes, 0).unwrap_or_default();
        bytes.truncate(read);
        Self {
            file,
            stamp,
            beginning: Sample {
                at: 0,
                bytes: Bytes::from(bytes),
            },
            about,
            _place: place,
        }
    }
}

/// A file that is larger than what is cached. Its path was checked before; nothing has to be opened again.
#[derive(Debug, Clone)]
pub(crate) struct Large {
    pub(super) opened: Arc<Opened>,
    pub(super) root: Arc<RootIo>,
    pub(super) path: SafePath,
}

impl Large {
    /// The header fields.
    pub(crate) fn about(&self) -> &Representation {
        &self.opened.about
    }

    /// Bytes of the file when it was opened.
    pub(crate) fn length(&self) -> u64 {
        self.opened.stamp.length()
    }

    /// The bytes of `range`, read on the threads of the root in pieces of at most [`CHUNK_BYTES`], or of `most` if that is less
    /// when a piece begins.
    ///
    /// A file that is appended to meanwhile is sent up to the length it had. The stream ends with an error, and a line in
    /// the log, if the file is rewritten or cut (the head has promised one state of it), if the disk fails, or if the folder
    /// does not answer; the connection has to be broken off then.
    pub(crate) fn chunks(
        &self,
        range: Range<u64>,
        most: Arc<AtomicUsize>,
    ) -> impl Stream<Item = io::Result<Bytes>> + Send + use<> {
        let progress = DownloadProgress {
            large: self.clone(),
            range,
            most,
            seen: self.opened.stamp,
            sent: self.opened.beginning.clone(),
        };
        stream::try_unfold(progress, DownloadProgress::next)
    }
}

/// The progress of a stream.
#[derive(Debug)]
struct DownloadProgress {
    large: Large,
    /// The bytes that are still to be sent.
    range: Range<u64>,
    /// The most bytes of the next piece.
    most: Arc<AtomicUsize>,
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
    /// The next piece, and the progress after it; `None` at the end.
    async fn next(self) -> io::Result<Option<(Bytes, Self)>> {
        if self.range.is_empty() {
            return Ok(None);
        }
        let Large { root, path, .. } = self.large.clone();
        let read = self.piece().await.inspect_err(|error| {
            let (route, file) = (&root.site.route, path.as_str());
            tracing::warn!(route, file, %error, "a download was broken off");
        });
        read.map(Some)
    }

    async fn piece(mut self) -> io::Result<(Bytes, Self)> {
        let Large { root, path, .. } = self.large.clone();
        for _ in 0..APPENDING_LOOKS {
            let turn = root.turn().await;
            let mut call = root.begin(&path, turn, move || self.read());
            let Some(read) = call.in_time().await else {
                let error = "the folder of the route does not answer";
                return Err(io::Error::other(error));
            };
            match read? {
                (Some(bytes), next) => return Ok((bytes, next)),
                (None, next) => self = next,
            }
            tokio::time::sleep(APPENDING_PAUSE).await;
        }
        Err(rewritten())
    }

    /// Reads the next piece. `None` if a writer may be appending at this moment: read again.
    fn read(mut self) -> io::Result<(Option<Bytes>, Self)> {
        let file = &self.large.opened.file;
        let start = self.range.start;
        let left = as_usize(self.range.end.saturating_sub(start));
        let most = self.most.load(Ordering::Relaxed).clamp(1, CHUNK_BYTES);
        let mut bytes = vec![0; left.min(most)];
        file.read_exact_at(&mut bytes, start).map_err(|error| {
            if error.kind() == io::ErrorKind::UnexpectedEof {
                io::Error::other("the file was cut while it was sent")
            } else {
                error
            }
        })?;
        let Some(seen) = self.verify()? else {
            return Ok((None, self));
        };
        self.seen = seen;
        let end = bytes.len().saturating_sub(SAMPLE_BYTES);
        self.sent = Sample {
            at: start.saturating_add(as_u64(end)),
            bytes: Bytes::copy_from_slice(bytes.get(end..).unwrap_or_default()),
        };
        self.range.start = start.saturating_add(as_u64(bytes.len()));
        Ok((Some(Bytes::from(bytes)), self))
    }

    /// The state of the file now, or an error if it may have other bytes than those that were promised.
    ///
    /// A rename or a removal leaves the opened file as it is; a write shows in length or time. A file that is longer and
    /// still has what was sent last was appended to. `None` if only the time is another: a writer that appends changes it a
    /// moment before the length.
    fn verify(&self) -> io::Result<Option<Stamp>> {
        let file = &self.large.opened.file;
        let (now, seen) = (Stamp::of(&file.metadata()?), &self.seen);
        let longer = now.length() > seen.length();
        if now.same_content(seen) || longer && self.sent.is_there(file)? {
            Ok(Some(now))
        } else if now.length() == seen.length() {
            Ok(None)
        } else {
            Err(rewritten())
        }
    }
}

fn rewritten() -> io::Error {
    io::Error::other("the file was rewritten while it was sent")
}
