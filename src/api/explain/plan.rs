//! A plan in words: how the records of a list are found, and which index would serve a query that none serves.

use crate::record::{ListQuery, RecordIndex};
use crate::storage::{IndexPart, IndexSet, Plan, PlanCost, QueryCost, Unserved};

/// The way in which the records of a list are found.
pub(super) fn told(plan: &Plan, query: &ListQuery, indexes: &[&RecordIndex]) -> String {
    let fields = |part: &IndexPart| {
        let index = indexes.get(part.index);
        index.map(|index| index.fields()).unwrap_or_default()
    };
    match plan {
        Plan::Page { slice, descending } => {
            let reverse = if *descending { "reverse " } else { "" };
            format!(
                "their place in the {reverse}order of ids: {} records at most are read",
                slice.limit()
            )
        }
        Plan::Pick(ids) => format!("id: {} records at most are read", ids.len()),
        Plan::Walk(part) => {
            let back = if part.descending {
                ", from its end"
            } else {
                ""
            };
            format!(
                "the index of {}{back}: {} records at most are read",
                fields(part),
                query.slice().limit()
            )
        }
        Plan::Gather(set) => named(set, &fields),
        Plan::Scan => {
            let scan = "a scan: every record of the resource is read";
            match Unserved::new(query, indexes).wanted {
                wanted if wanted.0.is_empty() => scan.to_owned(),
                wanted => format!("{scan}; {wanted} could make that unnecessary"),
            }
        }
    }
}

/// The estimated cost of a plan.
pub(super) fn estimate(cost: PlanCost) -> String {
    let PlanCost { keys, records } = cost;
    format!("about {keys} keys of indexes and {records} records")
}

/// The cost of finding a page.
pub(super) fn real(cost: &QueryCost) -> String {
    let looked = cost.page.looked;
    let matching = cost.page.total.map(|total| format!("; {total} match"));
    let took = cost.took.as_micros();
    format!(
        "{looked} records, in {took} us{}",
        matching.unwrap_or_default()
    )
}

/// The records of a set.
fn named(set: &IndexSet, fields: &dyn Fn(&IndexPart) -> String) -> String {
    match set {
        IndexSet::Part(part) => format!(
            "the index of {}: all records that it names are read",
            fields(part)
        ),
        IndexSet::Both(one, other) => format!(
            "the indexes of {} and {}: the records that both name are read",
            fields(one),
            fields(other)
        ),
        IndexSet::AnyOf(sets) => {
            let sets: Vec<_> = sets.iter().map(|set| named(set, fields)).collect();
            sets.join("; or ")
        }
    }
}
