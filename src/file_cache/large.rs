//! A file that is not kept in memory: opened, to be sent from the disk.

// Decision: A large file is sent by the threads of its folder.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout};

use super::containment::SafePath;
use super::representation::Representation;
use super::root_io::RootIo;
use super::stamp::Stamp;
use crate::num::{as_u64, as_usize};
use crate::settings::ContentCoding;

/// The most bytes that one step reads, which is what a large file costs in memory for each client of HTTP/2.
pub(crate) const READ_BYTES_MAX: usize = 128 * 1024;
/// The most bytes that one call writes into a socket.
const SEND_BYTES: usize = 512 * 1024;
/// A call takes no further bytes from the disk after this time, so that a slow disk is not taken for one that hangs.
const TAKING_TIME: Duration = Duration::from_millis(50);
/// The bytes that a call takes first; each of its next pieces may have twice as many.
const FIRST_TAKEN_BYTES: usize = 16 * 1024;
/// The longest time that a download waits for a thread of its folder, which is long even for a slow disk.
const TURN_TIME_MAX: Duration = Duration::from_secs(60);
/// The number of bytes that are read again to tell whether a file that has grown was appended to or rewritten.
const SAMPLE_BYTES: usize = 4096;
/// The most times that a step is tried while the time of the file has changed and its length has not.
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
    /// The compressed files beside it.
    encoded: Vec<(ContentCoding, Arc<Opened>)>,
    _place: OwnedSemaphorePermit,
}

impl Opened {
    pub(crate) fn new(
        file: File,
        stamp: Stamp,
        about: Representation,
        place: OwnedSemaphorePermit,
    ) -> Self {
        // A file that can't be read is noticed when it is sent.
        let beginning = Sample::read(&file, 0, as_usize(stamp.length())).unwrap_or_default();
        Self {
            file,
            stamp,
            beginning,
            about,
            encoded: Vec::new(),
            _place: place,
        }
    }

    /// The same, with the compressed files beside it.
    pub(crate) fn beside(self, encoded: Vec<(ContentCoding, Arc<Self>)>) -> Self {
        Self { encoded, ..self }
    }

    /// The compressed files beside it.
    pub(crate) fn encoded(&self) -> impl Iterator<Item = (ContentCoding, &Arc<Self>)> {
        self.encoded
            .iter()
            .map(|(coding, opened)| (*coding, opened))
    }

    /// Bytes of the file when it was opened.
    pub(crate) fn length(&self) -> u64 {
        self.stamp.length()
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
        self.opened.length()
    }

    /// The compressed file beside it, if there is one in this coding.
    pub(crate) fn encoded(&self, coding: ContentCoding) -> Option<Self> {
        let (_, opened) = self.opened.encoded().find(|(of, _)| *of == coding)?;
        Some(Self {
            opened: Arc::clone(opened),
            ..self.clone()
        })
    }

    /// A download of the bytes of `range`, of which nothing has been sent.
    pub(crate) fn download(&self, range: Range<u64>) -> Download {
        Download {
            large: self.clone(),
            range,
            seen: self.opened.stamp,
            sent: self.opened.beginning,
        }
    }
}

/// The progress of a download.
///
/// A file that is appended to meanwhile is sent up to the length it had. A step fails, and with it the download, if the file is
/// rewritten or cut (the head has promised one state of it), if the disk fails, or if the folder does not answer; the connection
/// has to be broken off then.
#[derive(Debug)]
pub(crate) struct Download {
    large: Large,
    /// The bytes that are still to be sent.
    range: Range<u64>,
    /// The state of the file at the last step.
    seen: Stamp,
    /// The beginning of what the last step has sent, or of the file.
    sent: Sample,
}

/// The result of a step, and the download after it; `None` at the end.
type DownloadStep<T> = io::Result<Option<(T, Box<Download>)>>;

/// The check sum of some bytes of a file, as they were at one moment.
#[derive(Debug, Clone, Copy, Default)]
struct Sample {
    at: u64,
    length: usize,
    sum: u32,
}

impl Sample {
    /// Of the beginning of `bytes`, which lie at this place.
    fn of(bytes: &[u8], at: u64) -> Self {
        let bytes = bytes.get(..SAMPLE_BYTES).unwrap_or(bytes);
        Self {
            at,
            length: bytes.len(),
            sum: crc32fast::hash(bytes),
        }
    }

    /// Of at most `most` bytes from `at` on.
    fn read(file: &File, at: u64, most: usize) -> io::Result<Self> {
        let mut bytes = [0; SAMPLE_BYTES];
        let bytes = bytes.get_mut(..most.min(SAMPLE_BYTES)).unwrap_or_default();
        read_exact(file, bytes, at)?;
        Ok(Self::of(bytes, at))
    }

    fn is_there(self, file: &File) -> io::Result<bool> {
        Ok(Self::read(file, self.at, self.length)?.sum == self.sum)
    }
}

impl Download {
    /// The next bytes, read on a thread of the root: at most [`READ_BYTES_MAX`], or `most` if that is less.
    pub(crate) async fn read(self: Box<Self>, most: usize) -> DownloadStep<Bytes> {
        self.step(move |download| download.take_piece(most)).await
    }

    /// Writes the next bytes into `socket`, which does not block, on a thread of the root and without a copy. The result is
    /// their number, 0 if the socket has no room: wait for room before the next step.
    ///
    /// It fails also if the client has gone. What is written is the kernel's own pages: bytes that are overwritten in place while
    /// they wait in the socket arrive overwritten. Who replaces a file by a rename is safe, and so is who cuts it first.
    pub(crate) async fn send_to(self: Box<Self>, socket: Arc<OwnedFd>) -> DownloadStep<usize> {
        self.step(move |download| download.send(&socket)).await
    }

    /// `step` is done on a thread of the root. It gives `None` if a writer may be appending at this moment, and is tried again.
    async fn step<T: Send + 'static>(
        self: Box<Self>,
        step: impl Fn(&mut Self) -> io::Result<Option<T>> + Clone + Send + 'static,
    ) -> DownloadStep<T> {
        if self.range.is_empty() {
            return Ok(None);
        }
        let Large { root, path, .. } = self.large.clone();
        let done = self.try_step(step).await.inspect_err(|error| {
            let (route, file) = (&root.site.route, path.as_str());
            if !is_of_client(error) {
                tracing::warn!(route, file, %error, "a download was broken off");
            }
        });
        done.map(Some)
    }

    async fn try_step<T: Send + 'static>(
        mut self: Box<Self>,
        step: impl Fn(&mut Self) -> io::Result<Option<T>> + Clone + Send + 'static,
    ) -> io::Result<(T, Box<Self>)> {
        let Large { root, path, .. } = self.large.clone();
        for _ in 0..APPENDING_LOOKS {
            let turn = timeout(TURN_TIME_MAX, root.turn()).await;
            let turn = turn.map_err(|_| io::Error::other("no thread of the folder was free"))?;
            let step = step.clone();
            let mut call = root.begin(&path, turn, move || (step(&mut self), self));
            let Some((done, next)) = call.in_time().await else {
                let error = "the folder of the route does not answer";
                return Err(io::Error::other(error));
            };
            if let Some(done) = done? {
                return Ok((done, next));
            }
            self = next;
            tokio::time::sleep(APPENDING_PAUSE).await;
        }
        Err(rewritten())
    }

    /// The number of bytes that are still to be sent.
    fn left(&self) -> usize {
        as_usize(self.range.end.saturating_sub(self.range.start))
    }

    fn take_piece(&mut self, most: usize) -> io::Result<Option<Bytes>> {
        let most = most.clamp(1, READ_BYTES_MAX);
        let mut bytes = vec![0; self.left().min(most)];
        let start = self.range.start;
        read_exact(&self.large.opened.file, &mut bytes, start)?;
        if !self.verify(Sample::of(&bytes, start))? {
            return Ok(None);
        }
        self.range.start = start.saturating_add(as_u64(bytes.len()));
        Ok(Some(Bytes::from(bytes)))
    }

    /// Writes the next bytes into a socket.
    ///
    /// They go through a pipe, which takes the kernel's pages of the file without a copy: a look at the file then shows that
    /// they are the bytes that were promised, and they can go on whatever happens to the file. (`sendfile` would take pages
    /// that nobody has looked at.)
    fn send(&mut self, socket: &OwnedFd) -> io::Result<Option<usize>> {
        let left = self.left();
        let sample = Sample::read(&self.large.opened.file, self.range.start, left)?;
        let (outlet, inlet) = pipe_with(PipeFlags::CLOEXEC)?;
        // Where the system allows no pipe of this size, a call writes fewer bytes.
        let _size_or_default = fcntl_setpipe_size(&inlet, SEND_BYTES);
        let taken = self.take(&inlet)?;
        if !self.verify(sample)? {
            return Ok(None);
        }
        let flags = if taken < left {
            SpliceFlags::MORE
        } else {
            SpliceFlags::empty()
        };
        let sent = match splice(&outlet, None, socket, None, taken, flags) {
            Ok(sent) => sent,
            Err(Errno::WOULDBLOCK | Errno::INTR) => 0,
            Err(error) => return Err(error.into()),
        };
        self.range.start = self.range.start.saturating_add(as_u64(sent));
        Ok(Some(sent))
    }

    /// Takes the next bytes into a pipe until it is full, or fewer from a slow disk.
    fn take(&self, inlet: &OwnedFd) -> io::Result<usize> {
        let until = Instant::now() + TAKING_TIME;
        let Range { start, end } = self.range;
        let mut at = start;
        let mut piece = FIRST_TAKEN_BYTES;
        loop {
            let (file, offset) = (&self.large.opened.file, Some(&mut at));
            // The pipe does not block; the file may.
            match splice(file, offset, inlet, None, piece, SpliceFlags::NONBLOCK) {
                Ok(0) => return Err(cut()),
                Ok(_) if at < end && Instant::now() < until => {
                    piece = READ_BYTES_MAX.min(2 * piece);
                }
                Ok(_) | Err(Errno::WOULDBLOCK | Errno::INTR) => {
                    return Ok(as_usize(at.min(end).saturating_sub(start)));
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Compares the file with its state at the last step, after `next` was read from it. An error if it may have other bytes
    /// than those that were promised.
    ///
    /// A rename or a removal leaves the opened file as it is; a write shows in length or time. A file that is longer and
    /// still has what was sent last was appended to. False if only the time is another: a writer that appends changes it a
    /// moment before the length.
    fn verify(&mut self, next: Sample) -> io::Result<bool> {
        let file = &self.large.opened.file;
        let (now, seen) = (Stamp::of(&file.metadata()?), &self.seen);
        let longer = now.length() > seen.length();
        if now.same_content(seen) || longer && self.sent.is_there(file)? {
            (self.seen, self.sent) = (now, next);
            Ok(true)
        } else if now.length() == seen.length() {
            Ok(false)
        } else {
            Err(rewritten())
        }
    }
}

/// Whether the error says that the client can't be reached any more, so that nothing is wrong with the file.
fn is_of_client(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::NotConnected
            | io::ErrorKind::TimedOut
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
    )
}

fn read_exact(file: &File, bytes: &mut [u8], at: u64) -> io::Result<()> {
    file.read_exact_at(bytes, at).map_err(|error| {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            cut()
        } else {
            error
        }
    })
}

fn cut() -> io::Error {
    io::Error::other("the file was cut while it was sent")
}

fn rewritten() -> io::Error {
    io::Error::other("the file was rewritten while it was sent")
}
