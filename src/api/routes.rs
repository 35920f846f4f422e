//! Where a path leads, and the rules that hold there.

mod gate;
mod rules;
mod table;

pub(crate) use gate::GateMetrics;
pub(crate) use rules::RouteRules;
pub(crate) use table::{Resolved, ResourceRoute, RouteTable, StaticRoute};
