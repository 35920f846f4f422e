//! The edge: the only room, with `admin`, that knows status codes.

mod access_log;
mod body;
mod conditional;
mod connection;
mod counters;
mod drain;
mod edge;
mod gate;
mod head_scan;
mod http2;
mod incoming;
mod io;
mod lazy_timer;
mod metrics;
mod owed_body;
mod preface;
mod problem;
mod request_id;
mod resource;
mod route_rules;
mod route_table;
mod service;
mod static_file;
mod stream;
mod streamed_body;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod wire_tests;

pub(crate) use access_log::Access;
pub(crate) use body::read_body;
pub(crate) use connection::TimeLimits;
pub(crate) use counters::Counters;
pub(crate) use drain::Drain;
pub(crate) use edge::Edge;
pub(crate) use gate::GateMetrics;
pub(crate) use incoming::{Answer, Incoming, Response};
pub(crate) use metrics::{HandlerMetrics, HttpMetrics};
pub(crate) use problem::{Code, Problem};
pub(crate) use route_rules::RouteRules;
pub(crate) use route_table::RouteTable;
pub(crate) use service::{Parts, SILENCED, Service};
pub(crate) use stream::Stream;
