//! The transport of HTTP: connections, their timers and limits, heads, bodies, HTTP/2, the drain, errors as problem+json,
//! the access log and the metrics of requests. What a request means is decided by a [`Handler`], which knows no sockets.

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
pub(crate) use connection::TimeLimits;
pub(crate) use connection::drain::Drain;
pub(crate) use counters::Counters;
pub(crate) use exchange::Parts;
pub(crate) use hosts::{Hosts, Peer};
pub(crate) use incoming::{Handler, Incoming, Response};
pub(crate) use metrics::{HandlerMetrics, HttpMetrics};
pub(crate) use pass::Pass;
pub(crate) use problem::{Code, Problem};
pub(crate) use serve::{SILENCED, Service};
pub(crate) use stream::Stream;
