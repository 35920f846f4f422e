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

pub use access_log::Access;
pub use body::read_body;
pub use connection::TimeLimits;
pub use counters::Counters;
pub use drain::Drain;
pub use edge::Edge;
pub use gate::{Gate, GateMetrics, WAITING_MAX};
pub use incoming::{Answer, Incoming, Response};
pub use io::Io;
pub use metrics::{HandlerMetrics, HttpMetrics};
pub use problem::{Code, Problem};
pub use request_id::RequestId;
pub use route_rules::{Pass, RouteRules};
pub use route_table::{Resolved, ResourceRoute, RouteTable, StaticRoute};
pub use service::{Parts, SILENCED, Service};
pub use stream::Stream;
