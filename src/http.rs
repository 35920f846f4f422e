//! The edge: the only room, with `admin`, that knows status codes.

mod conditional;
mod connection;
mod edge;
mod io;
mod list;
mod metrics;
mod problem;
mod resource;
mod route_table;
mod service;
mod static_file;
#[cfg(test)]
mod tests;

pub use connection::{Counters, TimeLimits};
pub use edge::Edge;
pub use io::{Io, Stream};
pub use metrics::{HandlerMetrics, HttpMetrics};
pub use problem::{Code, Problem};
pub use resource::read_body;
pub use route_table::{Resolved, ResourceRoute, RouteTable, StaticRoute};
pub use service::{Answer, Drain, Incoming, Parts, Response, SILENCED, Service};
