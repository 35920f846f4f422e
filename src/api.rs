//! What is served: routes, the files and resources they lead to, and the errors of both. It knows no sockets and no timers.
//!
//! Order of reading:
//!
//! 1. `edge`: the [`Handler`](crate::wire::Handler) of the public site; each request takes one branch per target.
//! 2. `routes`: `path` (how a path is compared), `table` (which route it belongs to; a new kind of target, such as a redirect,
//!    is a variant of [`Target`] here and a branch in `edge`), `rules` and `gate` (headers, delay, requests at a time).
//! 3. `files` and `resource`: the answers.
//! 4. `conditional` and `answer`: `If-Match` and its like, and what answers have in common, for both.
//! 5. `refused`: which error of the rooms below becomes which problem.

mod answer;
mod conditional;
mod edge;
mod files;
mod refused;
mod resource;
mod routes;

pub(crate) use edge::Edge;
pub(crate) use routes::{GateMetrics, ResourceTarget, RouteRules, RouteTable, Target};
