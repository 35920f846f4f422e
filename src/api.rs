//! Answers requests: finds the route, serves the files and resources it leads to, and reports their errors. It uses no sockets, and
//! no timer but the one that wakes change feeds (`feed/hub`).
//!
//! Order of reading:
//!
//! 1. `site`: the [`Responder`](crate::wire::Responder) of the public site, with one match arm for each kind of target.
//! 2. `routes`: `path` (how paths are compared), `table` (which route it belongs to; a new kind of target, such as a redirect,
//!    is a variant of [`Target`] here and a match arm in `site`), `rules` with `gate` (requests at a time), `access` (clients and
//!    their keys) and `cors` (pages of other sites).
//! 3. `files`, `resource` and `batch`: the answers; `operations` carries out several changes, all or none, and `kept_lists` has
//!    answers that may be given again.
//! 4. `conditional` and `answer`: `If-Match` and its like, and what answers have in common, for both.
//! 5. `refused`: the problem for each error of the rooms below; `nowhere`: that of a path where nothing is.
//! 6. `openapi`: what describes the API, made of the settings: the `OpenAPI` document, JSON Schemas, `TypeScript` types.
//! 7. `explain`: the same decisions for a request that is only asked about, in words.

mod accepted;
mod answer;
mod batch;
mod conditional;
mod explain;
mod feed;
mod files;
mod identities;
mod kept_lists;
mod nowhere;
mod openapi;
mod operations;
mod redirects;
mod refused;
mod resource;
mod respond;
mod routes;
mod site;

pub(crate) use explain::{AskedRequest, Explainer, Explanation};
pub(crate) use feed::Feeds;
pub(crate) use kept_lists::KeptLists;
pub(crate) use openapi::typescript;
#[cfg(test)]
pub(crate) use routes::{ResourceTarget, Target};
pub(crate) use routes::{Route, RouteTable, declared};
pub(crate) use site::Site;
