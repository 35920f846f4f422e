//! The way of a connection's bytes: the socket itself, or a TLS session on it. It is chosen once for a connection, and costs a
//! connection without TLS one comparison for each call.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::task::{Context, Poll};

use super::socket::{LazySocket, Socket, Then};
use super::tls::TlsSocket;
use crate::memory_file::MemoryFile;

/// A connection on the thread that serves it.
pub(super) enum Transport {
    Plain(LazySocket),
    Tls(Box<TlsSocket>),
}

impl Transport {
    /// Reads what has arrived; 0 bytes are the end. `Pending` wakes the task when more can be read.
    pub(super) fn poll_recv(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(socket) => socket.poll_recv(cx, buffer),
            Self::Tls(session) => session.poll_recv(cx, buffer),
        }
    }

    /// Writes the beginning of `parts`. `Pending` wakes the task when more can be written. What a TLS session has taken may wait
    /// in it until `poll_flush` is ready.
    pub(super) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
        then: Then,
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(socket) => socket.poll_send(cx, parts, then),
            Self::Tls(session) => session.poll_send(cx, parts, then),
        }
    }

    /// Writes `count` bytes of a file, or fewer, from `offset` on; without TLS nothing is copied.
    pub(super) fn poll_send_file(
        &mut self,
        cx: &mut Context<'_>,
        file: &MemoryFile,
        offset: u64,
        count: usize,
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(socket) => socket.poll_send_file(cx, file, file.offset(offset), count),
            Self::Tls(session) => session.poll_send_file(cx, file, offset, count),
        }
    }

    /// Ready when all that was taken has left.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(_) => Poll::Ready(Ok(())),
            Self::Tls(session) => session.poll_flush(cx),
        }
    }

    /// Whether something that was taken has not left.
    pub(super) fn has_unsent(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(session) => session.has_unsent(),
        }
    }

    /// Whether bytes have left since this was asked for the last time, although `Pending` was returned.
    pub(super) fn moved(&mut self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(session) => session.moved(),
        }
    }

    /// The socket, for a thread that writes into it; `None` if what is written there has to be encrypted.
    pub(super) fn share(&self) -> Option<Arc<Socket>> {
        match self {
            Self::Plain(socket) => Some(socket.share()),
            Self::Tls(_) => None,
        }
    }

    /// Waits until there is room for what such a thread writes, or until a write would fail.
    pub(super) fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(socket) => socket.poll_room(cx),
            Self::Tls(session) => session.poll_flush(cx),
        }
    }

    /// Tells the client that nothing more will be written.
    pub(super) fn end(&mut self) {
        match self {
            Self::Plain(socket) => socket.end(),
            Self::Tls(session) => session.end(),
        }
    }
}
