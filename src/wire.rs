//! The transport of HTTP: connections, their timers and limits, heads, bodies, HTTP/2, the drain, errors as problem+json,
//! the access log and the metrics of requests. What a request means is decided by a [`Responder`], which knows no sockets.
//!
//! Order of reading:
//!
//! 1. `incoming`: [`Incoming`] and the trait [`Responder`], all that the rooms above receive and implement.
//! 2. `exchange`: one request from its head to its answer: resolve, `quick`, `admit`, `slow`. `admit` gives a `Pass` (in
//!    `incoming`), the permission to go on. `edition` is everything that a reload of the settings replaces.
//! 3. `serve`: where connections begin; one actix-web `App` behind `http1` and `http2`.
//! 4. `http1`: the phases of a connection, and below it `head`, `decoder` and `answer`, which read and write messages and
//!    are pure. `fault` is the table of what is refused.
//! 5. `http2`: a connection with many streams, and below it `budget`, against floods of frames.
//! 6. `socket`, `transport`, `tls`: the socket of a connection, and the TLS session on it if there is one. `lazy_timer`, `drain`,
//!    `wait`: its timer, its end when the daemon stops, and what it waits for, as others see it.
//! 7. `link`, `thread`: the state that a request shares with its connection, and that the connections of a thread share.
//! 8. `problem`: every error as problem+json. `body`, `file_body`, `parts_body`, `accept`, `hosts`, `request_id`: bodies of requests and of
//!    answers, what a client accepts, which names the server answers to, ids.
//! 9. `recorder`, which writes to `metrics` and `access_log`, with `line_text`, which is kept of a head for that; `route_patterns` numbers the routes for both; `counters` counts connections and the limits that they reach.
//! 10. `buffered`: the bound on what all clients together make the server hold.

mod accept;
mod access_log;
mod body;
mod buffered;
mod client_address;
mod counters;
mod drain;
mod edition;
mod exchange;
mod file_body;
mod hosts;
mod http1;
mod http2;
mod https;
mod identity;
mod incoming;
mod lazy_timer;
mod line_text;
mod link;
mod metrics;
mod network;
mod open_end;
mod own;
mod parts_body;
mod pooled_request;
mod problem;
mod proxy_header;
mod recorder;
mod request_id;
mod route_patterns;
mod serve;
mod socket;
#[cfg(test)]
mod tests;
mod thread;
mod tls;
mod transport;
mod wait;

pub(crate) use accept::{takes_html, weight, wish};
pub(crate) use access_log::Access;
pub(crate) use body::{read_body, read_body_by};
pub(crate) use client_address::ProxyRules;
pub(crate) use counters::{ConnectionCounters, count};
pub(crate) use drain::Drain;
pub(crate) use edition::{Edition, Editions, RequestRules};
pub(crate) use exchange::{Parts, must_know, options};
pub(crate) use file_body::{DiskBody, DiskStep, content_body, content_response, disk_response};
pub(crate) use hosts::{Hosts, Peer, host as host_of};
pub(crate) use https::HttpsRules;
pub(crate) use identity::{Identity, ShownBy};
pub(crate) use incoming::{Answered, Incoming, Pass, Responder, Response};
pub(crate) use link::RateLeft;
pub(crate) use metrics::{HandlerCounters, HandlerMetrics, HttpMetrics};
pub(crate) use network::Network;
pub(crate) use open_end::OpenEnd;
pub(crate) use parts_body::{DiskPart, DiskParts, content_parts};
pub(crate) use problem::{Code, Problem, escape_html};
pub(crate) use route_patterns::RoutePatterns;
pub(crate) use serve::{SILENCED, Service};
pub(crate) use socket::{Socket, register};
pub(crate) use tls::{Speaks, TlsAcceptor};
pub(crate) use wait::{ClientWait, CurrentWait};
