//! What is served: routes, the files and resources they lead to, and the errors of both. It knows no sockets and no timers.

mod conditional;
mod edge;
mod files;
mod refused;
mod resource;
mod routes;

pub(crate) use edge::Edge;
pub(crate) use routes::{GateMetrics, ResourceTarget, RouteRules, RouteTable, Target};
