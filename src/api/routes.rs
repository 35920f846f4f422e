//! Routes: the target of a path, and the rules for its answers.

mod gate;
mod path;
mod rules;
mod table;

pub(crate) use path::segment;
pub(crate) use rules::RouteRules;
pub(crate) use table::{Matched, ResourceTarget, RouteTable, Target, Unrouted};
