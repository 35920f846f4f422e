//! `/chaos`: orders to panic, for tests and drills. It exists only where `chaos.enabled` is set.

use std::num::NonZeroU32;

use serde::Deserialize;
use serde_json::{Value, json};

use super::operations::Operations;
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

/// What can be ordered: every fault point with the panics it still has to give, and every child.
pub(super) fn known(operations: &Operations) -> Value {
    json!({ "points": operations.points(), "children": operations.children() })
}

/// Carries out an order.
pub(super) fn obey(operations: &Operations, body: &[u8]) -> Result<(), Problem> {
    let invalid = |detail: String| Problem::new(Code::InvalidOrder).detail(detail);
    let order = serde_json::from_slice(body).map_err(|error| {
        let code = if error.is_data() {
            Code::InvalidOrder
        } else {
            Code::InvalidJson
        };
        Problem::new(code).detail(format!("{error}; {USAGE}"))
    })?;
    let unknown = |what: &str, name: &str, member: &'static str, names: Vec<String>| {
        let detail = format!(
            "there is no {what} named {name}; there are {}",
            names.join(", ")
        );
        invalid(detail).extension(member, json!(names))
    };
    match order {
        ChaosOrder {
            point: Some(point),
            child: None,
            hits,
        } => {
            if operations.arm(&point, hits.map_or(1, NonZeroU32::get)) {
                return Ok(());
            }
            let points = operations.points().into_keys().collect();
            Err(unknown("fault point", &point, "points", points))
        }
        ChaosOrder {
            point: None,
            child: Some(child),
            hits: None,
        } => {
            if operations.kill(&child) {
                return Ok(());
            }
            Err(unknown("child", &child, "children", operations.children()))
        }
        ChaosOrder { .. } => Err(invalid(USAGE.to_owned())),
    }
}
