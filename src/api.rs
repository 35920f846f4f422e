//! What is served: routes, the files and resources they lead to, and the errors of both. It knows no sockets and no timers.
//!
//! Order of reading:
//!
//! 1. `site`: the [`Responder`](crate::wire::Responder) of the public site, with one match arm for each kind of target.
//! 2. `routes`: `path` (how paths are compared), `table` (which route it belongs to; a new kind of target, such as a redirect,
//!    is a variant of [`Target`] here and a match arm in `site`), `rules` and `gate` (headers, delay, requests at a time).
//! 3. `files` and `resource`: the answers.
//! 4. `conditional` and `answer`: `If-Match` and its like, and what answers have in common, for both.
//! 5. `refused`: the problem for each error of the rooms below.

mod answer;
mod conditional;
mod files;
mod refused;
mod resource;
mod routes;
mod site;

pub(crate) use routes::{ResourceTarget, RouteRules, RouteTable, Target};
pub(crate) use site::Site;
