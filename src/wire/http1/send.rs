//! Sends an answer as fast as its client takes it.

// Decision: A large body is not copied.
// Decision: A last answer leaves with the end of its connection.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::body::{BoxBody, MessageBody};
use bytes::{Buf, Bytes};
use tokio::time::{Instant, sleep};

use super::super::buffered::{Held, UNCOUNTED_BYTES};
use super::super::counters::count;
use super::super::file_body::{BodyFile, DiskBody, PIECE_BYTES};
use super::super::open_end::{OpenEnd, OpenEnded};
use super::super::recorder::RequestRecord;
use super::super::socket::{Socket, Then};
use super::super::thread::Thread;
use super::super::transport::Transport;
use super::Http1;
use super::answer::{AnswerHead, BodyEnd, chunk_line};
use super::head::Framing;
use super::input::Input;
use crate::memory_file::MemoryFile;
use crate::num::{as_u64, as_usize};

/// A larger body in memory is sent from where it lies; a smaller one is copied behind the head, which is cheaper.
const COPIED_BYTES_MAX: usize = 16 * 1024;
/// The most bytes given to the system in one call, from memory.
const SEND_BYTES_MAX: usize = 1024 * 1024;
/// The same for a file, which is sent faster. After so many bytes other connections have their turn.
const SEND_FILE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The time until the next attempt if the kernel took nothing although the socket has room: it has no memory.
const NO_MEMORY_PAUSE: Duration = Duration::from_millis(10);

/// The part of a body that has not been sent.
enum Unsent {
    Bytes(Bytes),
    File { file: MemoryFile, sent: u64 },
}

impl Unsent {
    const NONE: Self = Self::Bytes(Bytes::new());

    fn is_empty(&self) -> bool {
        match self {
            Self::Bytes(bytes) => bytes.is_empty(),
            Self::File { file, sent } => *sent >= file.length(),
        }
    }

    fn advance(&mut self, by: usize) {
        match self {
            Self::Bytes(bytes) => bytes.advance(by),
            Self::File { sent, .. } => *sent += as_u64(by),
        }
    }

    /// Sends the beginning of `head` and of the rest behind it; not both may be empty.
    fn poll_send(
        &self,
        transport: &mut Transport,
        head: &[u8],
        then: Then,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::File { file, sent } if head.is_empty() => {
                // With a larger number the kernel would look for the end of the file.
                let left = as_usize(file.length().saturating_sub(*sent));
                let count = left.min(SEND_FILE_BYTES_MAX);
                transport.poll_send_file(cx, file, *sent, count)
            }
            Self::File { .. } => transport.poll_send(cx, &[IoSlice::new(head)], Then::GoOn),
            Self::Bytes(bytes) => {
                let piece = bytes.get(..SEND_BYTES_MAX).unwrap_or(bytes);
                let parts = [IoSlice::new(head), IoSlice::new(piece)];
                match (head.is_empty(), piece.is_empty()) {
                    (_, true) => transport.poll_send(cx, &[IoSlice::new(head)], then),
                    (true, false) => transport.poll_send(cx, &[IoSlice::new(piece)], then),
                    (false, false) => transport.poll_send(cx, &parts, then),
                }
            }
        }
    }
}

impl Http1 {
    /// Sends an answer, and notes in the record what is sent. False if it broke off.
    pub(super) async fn send(
        &mut self,
        response: HttpResponse<BoxBody>,
        framing: &Framing,
        last: bool,
        record: &RequestRecord,
    ) -> bool {
        let (mut response, body) = response.into_parts();
        let size = body.size();
        let end = BodyEnd::of(framing, response.status(), size);
        let mut out = self.thread.out.take();
        out.clear();
        self.thread.with_date(|date| {
            let head = AnswerHead {
                status: response.status(),
                headers: response.headers(),
                size,
                end,
                last,
                old: framing.old,
                date,
            };
            head.write(&mut out);
        });
        let file = response.extensions_mut().remove::<BodyFile>();
        // It counts the body until that is sent.
        let _held = response.extensions_mut().remove::<Held>();
        let open_end = response.extensions_mut().remove::<OpenEnd>();
        drop(response);
        // The end of the connection follows its last answer.
        let then = if last { Then::GoOn } else { Then::Wait };
        let result = match file {
            _ if matches!(end, BodyEnd::None | BodyEnd::Length(0)) => {
                self.write(&mut out, Unsent::NONE, then, None).await
            }
            Some(BodyFile::Memory(file)) => {
                let rest = Unsent::File { sent: 0, file };
                self.write(&mut out, rest, then, Some(record)).await
            }
            Some(BodyFile::Disk(disk)) => {
                let written = self.send_disk(&mut out, disk, end, record);
                Box::pin(written).await
            }
            None => match body.try_into_bytes() {
                Ok(bytes) => self.send_bytes(&mut out, bytes, then, record).await,
                Err(body) => {
                    let streamed = self.send_stream(&mut out, (body, open_end), end, record);
                    Box::pin(streamed).await
                }
            },
        };
        let whole = result.is_ok();
        match result {
            Ok(()) => record.end(),
            Err(error) => tracing::debug!(%error, "an answer broke off"),
        }
        if out.capacity() <= 4 * COPIED_BYTES_MAX {
            self.thread.out.set(out);
        }
        whole
    }

    /// Sends the head in `out` and a body that is in memory.
    async fn send_bytes(
        &mut self,
        out: &mut Vec<u8>,
        body: Bytes,
        then: Then,
        record: &RequestRecord,
    ) -> io::Result<()> {
        if body.len() <= COPIED_BYTES_MAX {
            out.extend_from_slice(&body);
            let length = as_u64(body.len());
            self.write(out, Unsent::NONE, then, None).await?;
            record.sent(length);
            return Ok(());
        }
        self.write(out, Unsent::Bytes(body), then, Some(record))
            .await
    }

    /// Sends the head in `out` and a body that is made piece by piece.
    async fn send_stream(
        &mut self,
        out: &mut Vec<u8>,
        (body, open_end): (BoxBody, Option<OpenEnd>),
        end: BodyEnd,
        record: &RequestRecord,
    ) -> io::Result<()> {
        let mut body = pin!(body);
        let watch = |end| OpenEnded::new(end, Rc::clone(&self.thread.drain).watch());
        let mut open_end = open_end.map(watch);
        let mut left = match end {
            BodyEnd::Length(length) => Some(length),
            BodyEnd::None | BodyEnd::Chunks | BodyEnd::Close => None,
        };
        loop {
            let mut head_waits = !out.is_empty();
            let piece = loop {
                // The head goes out with the first piece, or before it if the piece has to be waited for.
                let next = poll_fn(|cx| {
                    loop {
                        match body.as_mut().poll_next(cx) {
                            Poll::Ready(piece) => {
                                return Poll::Ready(Ok::<_, io::Error>(Some(piece)));
                            }
                            Poll::Pending if head_waits => return Poll::Ready(Ok(None)),
                            Poll::Pending => {}
                        }
                        let Some(open_end) = &mut open_end else {
                            return Poll::Pending;
                        };
                        let left = self.poll_client_left(cx)?;
                        if !open_end.ends(left, cx) {
                            return Poll::Pending;
                        }
                    }
                });
                match next.await? {
                    Some(piece) => break piece,
                    None => self.write(out, Unsent::NONE, Then::Wait, None).await?,
                }
                head_waits = false;
            };
            let Some(piece) = piece else {
                break;
            };
            let piece = piece.map_err(|error| io::Error::other(error.to_string()))?;
            if let Some(left) = &mut left {
                let rest = left.checked_sub(as_u64(piece.len()));
                *left = rest.ok_or_else(|| io::Error::other("the body is longer than was told"))?;
            }
            if piece.is_empty() {
                continue;
            }
            let chunked = end == BodyEnd::Chunks;
            if chunked {
                out.extend_from_slice(chunk_line(piece.len()).as_bytes());
            }
            self.write(out, Unsent::Bytes(piece), Then::Wait, Some(record))
                .await?;
            if chunked {
                out.extend_from_slice(b"\r\n");
            }
            if left == Some(0) {
                return Ok(());
            }
        }
        if left.is_some_and(|left| left > 0) {
            return Err(io::Error::other("the body is shorter than was told"));
        }
        if end == BodyEnd::Chunks {
            out.extend_from_slice(b"0\r\n\r\n");
        }
        self.write(out, Unsent::NONE, Then::Wait, None).await
    }

    /// Whether the client has closed its side. What it sends before that waits, up to a bound.
    fn poll_client_left(&self, cx: &mut Context<'_>) -> io::Result<bool> {
        let mut input = self.input.borrow_mut();
        while input.poll_ahead(cx)? && !input.ended {}
        Ok(input.ended)
    }

    /// Sends the head in `out` and a body that other threads write into the socket.
    async fn send_disk(
        &mut self,
        out: &mut Vec<u8>,
        disk: Box<dyn DiskBody>,
        end: BodyEnd,
        record: &RequestRecord,
    ) -> io::Result<()> {
        self.write(out, Unsent::NONE, Then::GoOn, None).await?;
        let shared = self.input.borrow().transport.share();
        match shared {
            Some(socket) => self.hand_disk(&socket, disk, end, record).await,
            None => self.read_disk(disk, end, record).await,
        }
    }

    /// Sends a body on a disk piece by piece, as it has to be encrypted. The next one is read when the client has taken the one
    /// before.
    async fn read_disk(
        &mut self,
        mut disk: Box<dyn DiskBody>,
        end: BodyEnd,
        record: &RequestRecord,
    ) -> io::Result<()> {
        let mut none = Vec::new();
        let mut held = Held::new(&self.thread.counters);
        loop {
            let most = if held.set(PIECE_BYTES) {
                PIECE_BYTES
            } else {
                UNCOUNTED_BYTES
            };
            let Some((piece, rest)) = disk.read(most).await? else {
                return ended(end, record);
            };
            disk = rest;
            let piece = Unsent::Bytes(piece);
            self.write(&mut none, piece, Then::Wait, Some(record))
                .await?;
        }
    }

    /// Has other threads write a body on a disk into the socket.
    async fn hand_disk(
        &mut self,
        socket: &Arc<Socket>,
        mut disk: Box<dyn DiskBody>,
        end: BodyEnd,
        record: &RequestRecord,
    ) -> io::Result<()> {
        loop {
            poll_fn(|cx| self.poll_room(cx)).await?;
            match disk.send(Arc::clone(socket)).await {
                Ok(Some((bytes, rest))) => {
                    disk = rest;
                    if bytes == 0 {
                        sleep(NO_MEMORY_PAUSE).await;
                    } else {
                        self.blocked_since = None;
                        record.sent(as_u64(bytes));
                    }
                }
                Err(error) => {
                    // A thread that waits for the disk still has the socket.
                    self.input.borrow_mut().transport.end();
                    return Err(error);
                }
                Ok(None) => return ended(end, record),
            }
        }
    }

    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut input = self.input.borrow_mut();
        match input.transport.poll_room(cx) {
            Poll::Pending => stalled(&mut input, &mut self.blocked_since, &self.thread, cx),
            room @ Poll::Ready(_) => room,
        }
    }

    /// Writes `head`, which is emptied, and then `body`, whose written bytes are recorded.
    async fn write(
        &mut self,
        head: &mut Vec<u8>,
        mut body: Unsent,
        then: Then,
        record: Option<&RequestRecord>,
    ) -> io::Result<()> {
        let mut written = 0;
        poll_fn(|cx| self.poll_write(cx, head, &mut written, &mut body, then, record)).await?;
        head.clear();
        Ok(())
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        head: &[u8],
        written: &mut usize,
        body: &mut Unsent,
        then: Then,
        record: Option<&RequestRecord>,
    ) -> Poll<io::Result<()>> {
        let mut input = self.input.borrow_mut();
        let input = &mut *input;
        let mut given = 0;
        loop {
            let head = head.get(*written..).unwrap_or_default();
            let result = if head.is_empty() && body.is_empty() {
                match input.transport.poll_flush(cx) {
                    Poll::Ready(flushed) => return Poll::Ready(flushed),
                    Poll::Pending => Poll::Pending,
                }
            } else {
                body.poll_send(&mut input.transport, head, then, cx)?
            };
            match result {
                Poll::Ready(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(bytes) => {
                    self.blocked_since = None;
                    let of_head = bytes.min(head.len());
                    *written += of_head;
                    body.advance(bytes - of_head);
                    if let Some(record) = record {
                        record.sent(as_u64(bytes - of_head));
                    }
                    given += bytes;
                    if given >= SEND_FILE_BYTES_MAX && !body.is_empty() {
                        // Other connections have their turn.
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                }
                Poll::Pending => return stalled(input, &mut self.blocked_since, &self.thread, cx),
            }
        }
    }
}

/// The end of a body on a disk; an error if it came too early.
fn ended(end: BodyEnd, record: &RequestRecord) -> io::Result<()> {
    if end == BodyEnd::Length(record.bytes()) {
        return Ok(());
    }
    Err(io::Error::other("the body is shorter than was told"))
}

/// An error if the client has taken nothing for too long; otherwise the task is woken when that is so.
fn stalled(
    input: &mut Input,
    since: &mut Option<Instant>,
    thread: &Thread,
    cx: &mut Context<'_>,
) -> Poll<io::Result<()>> {
    if input.transport.moved() {
        *since = None;
    }
    if !input.timer.exceeded(since, input.stall, cx) {
        return Poll::Pending;
    }
    count(&thread.counters.stalled);
    Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
}
