//! A TLS session on a socket. While it waits for its client it holds no buffers, only what is left of a record.

// Decision: A TLS session borrows the buffers of its thread.

use std::io::{self, ErrorKind, IoSlice};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::ServerConfig;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus, WriteTraffic,
};

use super::super::buffered::Held;
use super::super::http1::let_others_run;
use super::super::socket::{LazySocket, Then};
use super::super::thread::Thread;
use crate::memory_file::MemoryFile;
use crate::num::as_u64;

/// The largest record that may arrive (RFC 5246 section 6.2.3): its head, and what it holds.
pub(super) const RECORD_BYTES_MAX: usize = 5 + 16 * 1024 + 2048;
/// The most bytes that are encrypted at a time, and that are read at a time.
pub(super) const PIECE_BYTES: usize = 64 * 1024;
/// The bytes that are encrypted at a time at first, and for a client that takes them more slowly than they come: with what is
/// added to them, they are fewer than those that are counted.
const PIECE_BYTES_MIN: usize = 16_000;
/// The most bytes of several parts that are put together before they are encrypted: a frame of HTTP/2 with its head.
const GATHERED_BYTES: usize = 20 * 1024;
/// The most bytes in one record.
const RECORD_BYTES: usize = 16 * 1024;
/// The bytes that encrypting adds at most to each 16 KiB: head, type, explicit nonce and tag.
const ADDED_BYTES: usize = 64;
/// A smaller room for what is read is not worth a call.
const READ_BYTES_MIN: usize = 4 * 1024;

/// A TLS session of this side on a socket.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each changes by itself, and all combinations have a meaning"
)]
pub(in super::super) struct TlsSocket {
    socket: LazySocket,
    session: UnbufferedServerConnection,
    /// Records that have arrived and were not decrypted: a part of one, mostly.
    arrived: Vec<u8>,
    /// Whether there may be whole ones among them.
    undecided: bool,
    /// Bytes that were decrypted and not taken.
    plain: Vec<u8>,
    /// Records that were not sent. Without any, it has no memory.
    out: Vec<u8>,
    /// The bytes that are encrypted at a time.
    piece: usize,
    /// Whether the client took less than it was given, the last time.
    blocked: bool,
    moved: bool,
    /// Whether the client has said that it sends nothing more, or has gone.
    ended: bool,
    /// Whether this side has said so.
    closed: bool,
    held: Held,
    thread: Rc<Thread>,
}

/// The task of one turn of a session, besides decrypting.
enum TurnTask<'a> {
    Nothing,
    Encrypt(&'a [u8]),
    Close,
}

impl TlsSocket {
    pub(super) fn new(
        socket: LazySocket,
        arrived: Vec<u8>,
        config: Arc<ServerConfig>,
        thread: &Rc<Thread>,
    ) -> Result<Self, rustls::Error> {
        Ok(Self {
            socket,
            session: UnbufferedServerConnection::new(config)?,
            arrived,
            undecided: false,
            plain: Vec::new(),
            out: Vec::new(),
            piece: PIECE_BYTES_MIN,
            blocked: false,
            moved: false,
            ended: false,
            closed: false,
            held: Held::new(&thread.counters),
            thread: Rc::clone(thread),
        })
    }

    /// The session, to see what was agreed.
    pub(super) fn session(&self) -> &UnbufferedServerConnection {
        &self.session
    }

    /// Reads more of the handshake. `None` if there would be more than `most` bytes of a message, and 0 bytes are the end.
    pub(super) fn poll_arrive(
        &mut self,
        cx: &mut Context<'_>,
        most: usize,
    ) -> Poll<io::Result<Option<usize>>> {
        let mut records = self.thread.tls.records();
        let room = most.saturating_sub(self.arrived.len()).min(records.len());
        if room == 0 {
            return Poll::Ready(Ok(None));
        }
        let room = records.get_mut(..room).unwrap_or_default();
        let read = ready!(self.socket.poll_recv(cx, room))?;
        let arrived = room.get(..read).unwrap_or_default();
        self.arrived.extend_from_slice(arrived);
        drop(records);
        self.hold();
        Poll::Ready(Ok(Some(read)))
    }

    /// Goes on with the handshake by what has arrived. What this side has to say is in `out` then, also after an error.
    pub(super) fn advance(&mut self) -> Result<(), rustls::Error> {
        let mut records = std::mem::take(&mut self.arrived);
        let turned = self.turn(&mut records, &mut [], TurnTask::Nothing);
        let (used, _) = turned?;
        self.keep(records.get(used..).unwrap_or_default());
        Ok(())
    }

    /// Tells the client why there is no session.
    pub(super) fn tell_end(&mut self) {
        self.closed = true;
        self.socket.try_send(&self.out);
        self.socket.end();
    }

    /// Reads what has arrived, decrypted; 0 bytes are the end.
    pub(in super::super) fn poll_recv(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            let taken = self.take_plain(buffer);
            if taken > 0 || buffer.is_empty() || self.ended {
                return Poll::Ready(Ok(taken));
            }
            let thread = Rc::clone(&self.thread);
            let mut scratch = thread.tls.records();
            let (kept, mut read) = (self.arrived.len(), 0);
            if !std::mem::take(&mut self.undecided) {
                let wanted = buffer.len().max(READ_BYTES_MIN) + ADDED_BYTES;
                let end = (kept + wanted).min(scratch.len());
                let room = scratch.get_mut(kept..end).unwrap_or_default();
                if room.is_empty() {
                    return Poll::Ready(Err(ErrorKind::InvalidData.into()));
                }
                let Poll::Ready(arrived) = self.socket.poll_recv(cx, room) else {
                    // What waited to leave with an answer leaves now. If there is no room, the answer takes it along.
                    let _sent_or_full = self.poll_out(cx, Then::Wait)?;
                    return Poll::Pending;
                };
                read = arrived?;
                if read == 0 {
                    self.ended = true;
                    continue;
                }
            }
            let records = scratch.get_mut(..kept + read).unwrap_or_default();
            let (head, _) = records.split_at_mut(kept);
            head.copy_from_slice(&self.arrived);
            self.arrived.clear();
            let turned = self.turn(records, buffer, TurnTask::Nothing);
            let (used, taken) = match turned {
                Ok(turned) => turned,
                Err(error) => return Poll::Ready(Err(self.broken(cx, error))),
            };
            self.keep(records.get(used..).unwrap_or_default());
            if taken > 0 {
                return Poll::Ready(Ok(taken));
            }
            if used > 0 && !self.ended {
                // Records with nothing in them could come without an end.
                ready!(let_others_run(cx));
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
    }

    /// Writes the beginning of `parts`, encrypted.
    pub(in super::super) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
        then: Then,
    ) -> Poll<io::Result<usize>> {
        if self.blocked {
            ready!(self.poll_out(cx, then))?;
        }
        let mut parts = parts.iter().filter(|part| !part.is_empty());
        let Some(first) = parts.next() else {
            return Poll::Ready(Ok(0));
        };
        let room = self.held.counters.room().max(PIECE_BYTES_MIN);
        let most = self.piece.min(room);
        let sent = match parts.next() {
            None => {
                let piece = first.get(..most).unwrap_or(first);
                self.encrypt(piece).map(|()| piece.len())
            }
            Some(second) => {
                let mut gathered = self.thread.tls.gathered.take();
                gathered.clear();
                for part in [first, second].into_iter().chain(parts) {
                    let room = GATHERED_BYTES.min(most).saturating_sub(gathered.len());
                    gathered.extend_from_slice(part.get(..room).unwrap_or(part));
                }
                let encrypted = self.encrypt(&gathered).map(|()| gathered.len());
                self.thread.tls.gathered.set(gathered);
                encrypted
            }
        };
        let sent = sent?;
        if self.poll_out(cx, then)?.is_ready() {
            self.piece = (self.piece * 2).min(PIECE_BYTES);
        } else {
            self.piece = PIECE_BYTES_MIN;
        }
        Poll::Ready(Ok(sent))
    }

    /// Writes bytes of a file, encrypted.
    pub(in super::super) fn poll_send_file(
        &mut self,
        cx: &mut Context<'_>,
        file: &MemoryFile,
        offset: u64,
        count: usize,
    ) -> Poll<io::Result<usize>> {
        if self.blocked {
            ready!(self.poll_out(cx, Then::GoOn))?;
        }
        let end = offset + as_u64(count.min(PIECE_BYTES));
        let piece = file.read(offset..end)?;
        self.poll_send(cx, &[IoSlice::new(&piece)], Then::Wait)
    }

    /// Ready when all that was encrypted has left.
    pub(in super::super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_out(cx, Then::Wait)
    }

    pub(in super::super) fn has_unsent(&self) -> bool {
        !self.out.is_empty()
    }

    pub(in super::super) fn moved(&mut self) -> bool {
        std::mem::take(&mut self.moved)
    }

    /// Tells the client that nothing more will be written, if the socket takes that at once.
    pub(in super::super) fn end(&mut self) {
        self.say_closed();
        self.socket.end();
    }

    fn say_closed(&mut self) {
        if std::mem::replace(&mut self.closed, true) || self.session.is_handshaking() {
            return;
        }
        let mut records = std::mem::take(&mut self.arrived);
        if self.turn(&mut records, &mut [], TurnTask::Close).is_ok() {
            self.socket.try_send(&self.out);
        }
        self.thread.tls.give_back(std::mem::take(&mut self.out));
    }

    /// Tells the client why the session ends, if the socket takes that at once.
    fn broken(&mut self, cx: &mut Context<'_>, error: rustls::Error) -> io::Error {
        self.closed = true;
        // Nothing follows it.
        let _told_or_not = self.poll_out(cx, Then::Wait);
        io::Error::new(ErrorKind::InvalidData, error)
    }

    fn take_plain(&mut self, buffer: &mut [u8]) -> usize {
        let taken = self.plain.len().min(buffer.len());
        let now = self.plain.get(..taken).unwrap_or_default();
        if let Some((buffer, _)) = buffer.split_at_mut_checked(taken) {
            buffer.copy_from_slice(now);
        }
        self.plain.drain(..taken);
        if self.plain.is_empty() {
            self.plain = Vec::new();
        }
        taken
    }

    /// Keeps records that were not decrypted.
    fn keep(&mut self, left: &[u8]) {
        self.arrived = left.to_vec();
        self.undecided = !self.plain.is_empty() && !left.is_empty();
        self.hold();
    }

    /// Counts what is held. What is over the bound is counted, too: each session is bounded by itself, and no new request begins.
    fn hold(&mut self) {
        let bytes = self.arrived.len() + self.plain.len() + self.out.len();
        if !self.held.set(bytes) {
            self.held.set_past_bound(bytes);
        }
    }

    fn encrypt(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut records = std::mem::take(&mut self.arrived);
        let turned = self.turn(&mut records, &mut [], TurnTask::Encrypt(bytes));
        let (used, _) = turned.map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
        records.drain(..used.min(records.len()));
        self.arrived = records;
        Ok(())
    }

    /// Sends what is in `out`.
    pub(super) fn poll_out(&mut self, cx: &mut Context<'_>, then: Then) -> Poll<io::Result<()>> {
        let mut from = 0;
        let sent = loop {
            let rest = self.out.get(from..).unwrap_or_default();
            if rest.is_empty() {
                break Poll::Ready(Ok(()));
            }
            match self.socket.poll_send(cx, &[IoSlice::new(rest)], then) {
                Poll::Ready(Ok(sent)) => from += sent,
                Poll::Ready(Err(error)) => break Poll::Ready(Err(error)),
                Poll::Pending => break Poll::Pending,
            }
        };
        self.moved |= from > 0;
        self.blocked = sent.is_pending();
        if self.blocked {
            // The buffer of the thread is not kept while the client is waited for.
            if from > 0 || self.out.capacity() > PIECE_BYTES {
                let rest = self.out.get(from..).unwrap_or_default().to_vec();
                let sent = std::mem::replace(&mut self.out, rest);
                self.thread.tls.give_back(sent);
            }
        } else {
            self.thread.tls.give_back(std::mem::take(&mut self.out));
        }
        self.hold();
        sent
    }

    /// Goes on with the session by `records`: decrypts into `buffer`, and into `plain` what has no room there, until that has
    /// something; encrypts what is to be sent into `out`. Returns how many bytes of both were used.
    fn turn(
        &mut self,
        records: &mut [u8],
        buffer: &mut [u8],
        task: TurnTask<'_>,
    ) -> Result<(usize, usize), rustls::Error> {
        if self.out.capacity() == 0 {
            self.out = self.thread.tls.sealed();
        }
        let (mut used, mut taken) = (0, 0);
        loop {
            let left = records.get_mut(used..).unwrap_or_default();
            let UnbufferedStatus { mut discard, state } = self.session.process_tls_records(left);
            let mut more = true;
            match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record?;
                        discard += record.discard;
                        let room = buffer.get_mut(taken..).unwrap_or_default();
                        let now = record.payload.len().min(room.len());
                        let (bytes, rest) = record.payload.split_at(now);
                        if let Some((room, _)) = room.split_at_mut_checked(now) {
                            room.copy_from_slice(bytes);
                        }
                        taken += now;
                        self.plain.extend_from_slice(rest);
                    }
                    // What is not wanted yet waits encrypted.
                    more = matches!(task, TurnTask::Encrypt(_) | TurnTask::Close)
                        || self.plain.is_empty();
                }
                Ok(ConnectionState::EncodeTlsData(data)) => encode(data, &mut self.out),
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::WriteTraffic(traffic)) => {
                    write(traffic, &task, &mut self.out)?;
                    more = false;
                }
                Ok(ConnectionState::PeerClosed) => self.ended = true,
                // No early data is accepted.
                Ok(_) => more = false,
                Err(error) => {
                    // What the client is told about it, behind what it was told before.
                    loop {
                        let left = records.get_mut(used + discard..).unwrap_or_default();
                        let told = self.session.process_tls_records(left);
                        let Ok(ConnectionState::EncodeTlsData(data)) = told.state else {
                            break;
                        };
                        encode(data, &mut self.out);
                    }
                    return Err(error);
                }
            }
            used += discard;
            if !more {
                if self.out.is_empty() {
                    self.thread.tls.give_back(std::mem::take(&mut self.out));
                }
                return Ok((used, taken));
            }
        }
    }
}

/// A client that still listens learns that the session ends in order.
impl Drop for TlsSocket {
    fn drop(&mut self) {
        self.say_closed();
    }
}

/// Adds a record of the handshake, or an alert, to what is sent.
fn encode<D>(mut data: EncodeTlsData<'_, D>, out: &mut Vec<u8>) {
    add(out, 0, |room| match data.encode(room) {
        Ok(bytes) => Ok(bytes),
        Err(EncodeError::InsufficientSize(size)) => Err(size.required_size),
        Err(EncodeError::AlreadyEncoded) => Ok(0),
    });
}

/// Adds what this side has to say to what is sent.
fn write<D>(
    mut traffic: WriteTraffic<'_, D>,
    task: &TurnTask<'_>,
    out: &mut Vec<u8>,
) -> Result<(), rustls::Error> {
    let mut exhausted = false;
    let mut added = |written| match written {
        Ok(bytes) => Ok(bytes),
        Err(EncryptError::InsufficientSize(size)) => Err(size.required_size),
        Err(EncryptError::EncryptExhausted) => {
            exhausted = true;
            Ok(0)
        }
    };
    match task {
        TurnTask::Nothing => {}
        TurnTask::Encrypt(bytes) => {
            let records = bytes.len().div_ceil(RECORD_BYTES);
            let room = bytes.len() + records * ADDED_BYTES;
            add(out, room, |room| added(traffic.encrypt(bytes, room)));
        }
        TurnTask::Close => add(out, 0, |room| added(traffic.queue_close_notify(room))),
    }
    if exhausted {
        return Err(rustls::Error::EncryptError);
    }
    Ok(())
}

/// Adds what `write` writes, to which it says how many bytes it needs if it has too little room.
fn add(out: &mut Vec<u8>, room: usize, mut write: impl FnMut(&mut [u8]) -> Result<usize, usize>) {
    let from = out.len();
    let mut room = room;
    loop {
        out.resize(from + room, 0);
        match write(out.get_mut(from..).unwrap_or_default()) {
            Ok(written) => return out.truncate(from + written),
            Err(needed) => room = needed,
        }
    }
}
