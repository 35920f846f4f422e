//! HTTP/2, over TLS or with prior knowledge: one connection with a bounded number of streams, each a task of its own.
//!
//! actix-http's own loop limits neither the streams of a connection nor the time that a stream may stall, and it can't be
//! asked to end. So this loop replaces it, in front of the same service.

// Decision: HTTP/2 has its own connection loop.
// Decision: A client of HTTP/2 has a budget of frames.
// Decision: The rest of a body is read before its stream ends.
// Decision: No 100 is sent over HTTP/2.

mod answer;
mod answer_heads;
mod body_sender;
mod budget;
mod bursts;
mod frames;
mod held_heads;
mod io;
mod outgoing;
mod request;
mod rooms;
mod rules;
mod session;
mod streams;

use std::rc::Rc;

use h2::server::Builder;
use tokio::time::timeout;

use super::counters::count;
use super::hosts::Peer;
use super::http1::Http2Begun;
use super::thread::Thread;
use crate::num::as_u32;
use budget::FrameBudget;
pub(super) use bursts::UnansweredOfThread;
use io::Io;
use outgoing::OutgoingBytes;
use session::Session;
use streams::Streams;

/// The most open streams of one connection. The client is told this number, and waits.
pub(crate) const STREAMS_MAX: usize = 100;
/// The least and the most bytes of a body that a client may send before the server has read them. In between, a stream has
/// room for a body of `limits.body`.
const STREAM_WINDOW_BYTES: [u32; 2] = [64 * 1024, 1024 * 1024];
/// The least bytes of all bodies of a connection that may wait unread.
const CONNECTION_WINDOW_BYTES_MIN: u32 = 1024 * 1024;
/// This many unread streams can't block the rest.
const CONNECTION_WINDOW_STREAMS: u32 = 4;
/// The most bytes of an answer that wait in the library to be sent: two pieces, so that one is made while the other is sent.
const SEND_BUFFER_BYTES: usize = 128 * 1024;
/// Streams that the client may reset before they are accepted.
const TAKEN_BACK_MAX: usize = 20;
/// Ended streams that are remembered, because the client may not know yet that they have ended.
const REMEMBERED_MAX: usize = 10;
/// Streams of a connection that may be reset for a fault of the client.
const FAULTY_STREAMS_MAX: usize = 256;
/// The h2 crate refuses larger heads. `limits.headers`, which is smaller, is checked later and answered with a problem.
const HEAD_BYTES_MAX: u32 = 128 * 1024;

/// Serves one connection to its end.
pub(super) async fn serve(thread: Rc<Thread>, begun: Http2Begun, peer: Peer) {
    let Http2Begun {
        transport,
        early,
        wait,
    } = begun;
    count(&thread.counters.http2);
    let budget = Rc::new(FrameBudget::new());
    let limits = thread.limits();
    let streams = Streams::new(&thread.counters, limits.stall_timeout);
    let io = Io::new(&thread, transport, early, peer, &budget, &streams);
    let window = stream_window(limits.body_bytes);
    let of_connection = CONNECTION_WINDOW_STREAMS * window;
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(as_u32(STREAMS_MAX))
        .initial_window_size(window)
        .initial_connection_window_size(of_connection.max(CONNECTION_WINDOW_BYTES_MIN))
        .max_send_buffer_size(SEND_BUFFER_BYTES)
        .max_pending_accept_reset_streams(TAKEN_BACK_MAX)
        .max_concurrent_reset_streams(REMEMBERED_MAX)
        .max_local_error_reset_streams(Some(FAULTY_STREAMS_MAX))
        .max_header_list_size(HEAD_BYTES_MAX);
    // The client's preface has arrived, so this waits only until our first frame is written.
    let handshake = timeout(
        limits.header_timeout,
        builder.handshake::<_, OutgoingBytes>(io),
    );
    let connection = match handshake.await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return tracing::debug!(%error, "no HTTP/2 connection"),
        Err(_) => return count(&thread.counters.stalled),
    };
    let session = Session::new(thread, connection, streams, budget, peer, wait);
    session.run().await;
}

/// Bytes of a body that a client may send before the server has read them.
fn stream_window(body_bytes: usize) -> u32 {
    let [least, most] = STREAM_WINDOW_BYTES;
    as_u32(body_bytes).clamp(least, most)
}
