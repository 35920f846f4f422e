//! Routes: the target of a path, and the rules for its answers.

mod access;
mod cors;
mod declared;
mod gate;
mod metrics;
mod path;
mod rate;
mod rules;
mod table;

pub(crate) use cors::{CorsRule, is_asked_before};
pub(crate) use declared::declared;
pub(crate) use path::{encoded, segment};
pub(crate) use rules::RouteRules;
pub(crate) use table::{Matched, ResourceTarget, Route, RouteTable, Target, Unrouted};
