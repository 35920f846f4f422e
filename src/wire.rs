//! The transport of HTTP: connections, their timers and limits, heads, bodies, HTTP/2, the drain, errors as problem+json,
//! the access log and the metrics of requests. What a request means is decided by a [`Handler`], which knows no sockets.
//!
//! Order of reading:
//!
//! 1. `incoming`: the trait [`Handler`], which is all that the rooms above implement.
//! 2. `exchange`: one request from its head to its answer: resolve, `quick`, `admit`, `slow`, metrics, access log.
//! 3. `serve`: where connections begin; actix-http for HTTP/1, `http2` for HTTP/2, one actix-web `App` behind both.
//! 4. `connection`: the phases of a connection, and below it `io` (timers and limits around every read and write), `drain`
//!    and the bodies of answers. Another engine for HTTP/1 would replace this folder and `serve`, and nothing else.
//! 5. `body`, `problem`, `accept`, `hosts`: the body of a request, errors, what a client accepts, who may ask.

mod accept;
mod access_log;
mod body;
mod connection;
mod counters;
mod exchange;
mod hosts;
mod http2;
mod incoming;
mod metrics;
mod pass;
mod problem;
mod request_id;
mod serve;
mod stream;
#[cfg(test)]
mod tests;

pub(crate) use accept::{takes_html, wish};
pub(crate) use access_log::Access;
pub(crate) use body::read_body;
pub(crate) use connection::drain::Drain;
pub(crate) use counters::ConnectionCounters;
pub(crate) use exchange::Parts;
pub(crate) use hosts::{Hosts, Peer};
pub(crate) use incoming::{Handler, Incoming, Response};
pub(crate) use metrics::{HandlerMetrics, HttpMetrics};
pub(crate) use pass::Pass;
pub(crate) use problem::{Code, Problem};
pub(crate) use serve::{SILENCED, Service};
#[cfg(test)]
pub(crate) use stream::Stream;
pub(crate) use stream::{Socket, Transport};
