//! `/chaos`: orders to panic, for tests and drills. It exists only where `chaos.enabled` is set.

use std::num::NonZeroU32;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Admin, Running};
use crate::misread::in_plain_words;
use crate::supervision::NodeView;
use crate::wire::{Code, Problem};

const USAGE: &str = "write {\"point\": \"NAME\", \"hits\": N} to make the next N passes of a fault point panic, \
    or {\"child\": \"NAME\"} to make a child panic; GET /chaos lists the names";

/// The body of a POST.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ChaosOrder {
    point: Option<String>,
    child: Option<String>,
    hits: Option<NonZeroU32>,
}

/// The valid orders: every fault point, with the number of panics still armed, and every child.
pub(super) fn known(admin: &Admin) -> Value {
    json!({ "points": admin.faults.points(), "children": children(admin) })
}

/// Carries out an order.
pub(super) fn obey(admin: &Admin, body: &[u8]) -> Result<(), Problem> {
    let invalid = |detail: String| Problem::new(Code::InvalidOrder).detail(detail);
    let order: ChaosOrder = serde_json::from_slice(body).map_err(|error| {
        let code = if error.is_data() {
            Code::InvalidOrder
        } else {
            Code::InvalidJson
        };
        Problem::new(code).detail(format!("{}; {USAGE}", in_plain_words(&error.to_string())))
    })?;
    let unknown = |what: &str, name: &str, member: &'static str, names: Vec<String>| {
        let detail = format!(
            "there is no {what} named {name}; there are {}",
            names.join(", ")
        );
        invalid(detail).extension(member, json!(names))
    };
    match (order.point, order.child, order.hits) {
        (Some(point), None, hits) => {
            if admin.faults.arm(&point, hits.map_or(1, NonZeroU32::get)) {
                return Ok(());
            }
            let points = admin.faults.points().into_keys().collect();
            Err(unknown("fault point", &point, "points", points))
        }
        (None, Some(child), None) => {
            if kill(admin, &child) {
                return Ok(());
            }
            Err(unknown("child", &child, "children", children(admin)))
        }
        _ => Err(invalid(USAGE.to_owned())),
    }
}

/// The children that are no supervisors.
fn children(admin: &Admin) -> Vec<String> {
    let root = admin.view();
    let nodes = root.iter().flat_map(NodeView::walk);
    let leaves = nodes.filter(|node| node.slot.is_some());
    leaves.map(|leaf| leaf.name.clone()).collect()
}

/// Makes a child panic on its own thread, between two messages. False if there is no such child.
fn kill(admin: &Admin, child: &str) -> bool {
    let Some(Running { tree, .. }) = admin.running.get() else {
        return false;
    };
    admin.faults.arm(&format!("{child}.idle"), 1) && tree.probe(child)
}
