//! The edge: the only room, with `admin`, that knows status codes.

mod body;
mod conditional;
mod connection;
mod drain;
mod edge;
mod head_scan;
mod incoming;
mod io;
mod lazy_timer;
mod metrics;
mod problem;
mod resource;
mod route_table;
mod service;
mod static_file;
mod stream;
mod streamed_body;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod wire_tests;

pub use body::read_body;
pub use connection::{Counters, TimeLimits};
pub use drain::Drain;
pub use edge::Edge;
pub use incoming::{Answer, Incoming, Response};
pub use io::Io;
pub use metrics::{HandlerMetrics, HttpMetrics};
pub use problem::{Code, Problem};
pub use route_table::{Resolved, ResourceRoute, RouteTable, StaticRoute};
pub use service::{Parts, SILENCED, Service};
pub use stream::Stream;
