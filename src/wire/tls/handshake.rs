//! The handshake of one connection.

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::BytesMut;
use rustls::HandshakeKind;
use tokio::time::{Instant, timeout};

use super::super::drain::DrainWatch;
use super::super::hosts::Peer;
use super::super::socket::{LazySocket, Then};
use super::super::thread::Thread;
use super::super::transport::Transport;
use super::super::wait::{ClientWait, CurrentWait};
use super::acceptor::TlsRules;
use super::failure::HandshakeFailure;
use super::half_open::HalfOpenPlace;
use super::socket::{RECORD_BYTES_MAX, TlsSocket};

/// The most bytes of a handshake that wait to become a whole message. (A chain of certificates of a client is larger than what a
/// browser says at first.)
const MESSAGE_BYTES_MAX: usize = 2 * RECORD_BYTES_MAX;
/// The first byte of a client that speaks TLS: a record of a handshake (RFC 8446 section 5.1).
const HANDSHAKE: u8 = 22;

/// A connection after its beginning.
pub(in super::super) enum OpenedConnection {
    /// Its handshake is complete.
    Session(Transport),
    /// Its client speaks HTTP, without TLS, and has sent this.
    ClearText(LazySocket, BytesMut),
}

/// The reasons to end a handshake before its time.
struct HandshakeWait<'a> {
    place: HalfOpenPlace<'a>,
    drain: DrainWatch,
}

impl HandshakeWait<'_> {
    /// Ready when it has to end.
    fn poll_end(&mut self, cx: &Context<'_>) -> Poll<HandshakeFailure> {
        if self.place.has_ended(cx) {
            Poll::Ready(HandshakeFailure::GaveWay)
        } else if self.drain.late(cx) {
            Poll::Ready(HandshakeFailure::Stopped)
        } else {
            Poll::Pending
        }
    }
}

/// Carries out the handshake of a connection. `None` if it fails, which is counted and logged here.
pub(in super::super) async fn open(
    thread: &Rc<Thread>,
    socket: LazySocket,
    peer: Peer,
    wait: &CurrentWait,
) -> Option<OpenedConnection> {
    let acceptor = &thread.tls.acceptor;
    let opened = match acceptor.rules() {
        Some(rules) => {
            wait.set(ClientWait::Handshake);
            let opened = timeout(rules.timeout, handshake(thread, socket, &rules)).await;
            wait.set(ClientWait::Other);
            opened.unwrap_or(Err(HandshakeFailure::Late))
        }
        None => Err(HandshakeFailure::Unready),
    };
    let failure = match &opened {
        Ok(OpenedConnection::Session(_)) => return opened.ok(),
        Ok(OpenedConnection::ClearText(..)) => HandshakeFailure::ClearText,
        Err(failure) => *failure,
    };
    let peer = peer.address;
    tracing::debug!(reason = %failure, ?peer, "a TLS handshake failed");
    if let Some(failed) = acceptor.counters.failed(failure, Instant::now()) {
        tracing::info!(failed, reason = %failure, ?peer, "TLS handshakes have failed, the last one for this reason; perennial_tls_handshakes_failed_total counts all by their reasons");
    }
    opened.ok()
}

async fn handshake(
    thread: &Rc<Thread>,
    mut socket: LazySocket,
    rules: &Arc<TlsRules>,
) -> Result<OpenedConnection, HandshakeFailure> {
    let mut wait = HandshakeWait {
        place: thread.tls.half_open.begin(),
        drain: Rc::clone(&thread.drain).watch(),
    };
    let first = poll_fn(|cx| poll_first(thread, &mut socket, &mut wait, cx)).await?;
    match first.first() {
        Some(&HANDSHAKE) => {}
        Some(letter) if letter.is_ascii_alphabetic() => {
            return Ok(OpenedConnection::ClearText(socket, first.as_slice().into()));
        }
        Some(_) => return Err(HandshakeFailure::NotTls),
        None => return Err(HandshakeFailure::Left),
    }
    let session = TlsSocket::new(socket, first, Arc::clone(&rules.config), thread);
    let mut session = Box::new(session.map_err(|error| HandshakeFailure::of(&error))?);
    poll_fn(|cx| poll_session(&mut session, &mut wait, cx)).await?;
    let resumed = session.session().handshake_kind() == Some(HandshakeKind::Resumed);
    thread.tls.acceptor.counters.completed(resumed);
    Ok(OpenedConnection::Session(Transport::Tls(session)))
}

/// Reads what the client sends first.
fn poll_first(
    thread: &Thread,
    socket: &mut LazySocket,
    wait: &mut HandshakeWait<'_>,
    cx: &mut Context<'_>,
) -> Poll<Result<Vec<u8>, HandshakeFailure>> {
    let mut records = thread.tls.records();
    let room = records.get_mut(..RECORD_BYTES_MAX).unwrap_or_default();
    match socket.poll_recv(cx, room) {
        Poll::Ready(Ok(read)) => Poll::Ready(Ok(room.get(..read).unwrap_or_default().to_vec())),
        Poll::Ready(Err(_)) => Poll::Ready(Err(HandshakeFailure::Left)),
        Poll::Pending => wait.poll_end(cx).map(Err),
    }
}

/// Goes on until the handshake is complete. What this side says last may leave with the first answer.
fn poll_session(
    session: &mut TlsSocket,
    wait: &mut HandshakeWait<'_>,
    cx: &mut Context<'_>,
) -> Poll<Result<(), HandshakeFailure>> {
    loop {
        if let Err(error) = session.advance() {
            session.tell_end();
            return Poll::Ready(Err(HandshakeFailure::of(&error)));
        }
        if !session.session().is_handshaking() {
            return Poll::Ready(Ok(()));
        }
        match session.poll_out(cx, Then::Wait) {
            Poll::Ready(Err(_)) => return Poll::Ready(Err(HandshakeFailure::Left)),
            // A client that takes nothing has to be late, or to leave.
            Poll::Ready(Ok(())) | Poll::Pending => {}
        }
        match session.poll_arrive(cx, MESSAGE_BYTES_MAX) {
            Poll::Ready(Ok(Some(0)) | Err(_)) => return Poll::Ready(Err(HandshakeFailure::Left)),
            Poll::Ready(Ok(Some(_))) => {}
            Poll::Ready(Ok(None)) => return Poll::Ready(Err(HandshakeFailure::TooLarge)),
            Poll::Pending => return wait.poll_end(cx).map(Err),
        }
    }
}
