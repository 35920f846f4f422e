//! The transport of HTTP: connections, their timers and limits, heads, bodies, HTTP/2, the drain, errors as problem+json,
//! the access log and the metrics of requests. What a request means is decided by a [`Handler`], which knows no sockets.
//!
//! Order of reading:
//!
//! 1. `incoming`: the trait [`Handler`], which is all that the rooms above implement.
//! 2. `exchange`: one request from its head to its answer: resolve, `quick`, `admit`, `slow`.
//! 3. `serve`: where connections begin; one actix-web `App` behind `http1` and `http2`.
//! 4. `http1`: the phases of a connection, and below it `head`, `decoder` and `answer`, which read and write messages and
//!    are pure. `fault` is the table of what is refused.
//! 5. `socket`, `link`, `thread`, `recorder`: what connections stand on, share with the service, share with each other, and
//!    write down.
//! 6. `body`, `problem`, `accept`, `hosts`: the body of a request, errors, what a client accepts, who may ask.

mod accept;
mod access_log;
mod body;
mod counters;
mod drain;
mod exchange;
mod file_body;
mod hosts;
mod http1;
mod http2;
mod incoming;
mod lazy_timer;
mod link;
mod metrics;
mod pass;
mod problem;
mod recorder;
mod request_id;
mod serve;
mod socket;
#[cfg(test)]
mod tests;
mod thread;

pub(crate) use accept::{takes_html, wish};
pub(crate) use access_log::Access;
pub(crate) use body::read_body;
pub(crate) use counters::ConnectionCounters;
pub(crate) use drain::Drain;
pub(crate) use exchange::Parts;
pub(crate) use file_body::{DiskBody, content_body, content_response, disk_response};
pub(crate) use hosts::{Hosts, Peer};
pub(crate) use incoming::{Handler, Incoming, Response};
pub(crate) use metrics::{HandlerMetrics, HttpMetrics};
pub(crate) use pass::Pass;
pub(crate) use problem::{Code, Problem};
pub(crate) use serve::{SILENCED, Service};
pub(crate) use socket::Socket;
