//! A plan in words: how the records of a list are found, and which index would serve a query that none serves.

use crate::record::{ListQuery, RecordIndex};
use crate::storage::{IndexPart, Plan};

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
        Plan::Gather(part) => format!(
            "the index of {}: all records that it names are read",
            fields(part)
        ),
        Plan::Scan => {
            let wanted = query.wanted_index();
            let names: Vec<_> = wanted.iter().map(|name| format!("{name:?}")).collect();
            let scan = "a scan: every record of the resource is read";
            match names.as_slice() {
                [] => scan.to_owned(),
                [name] => format!("{scan}; index = [{name}] could make that unnecessary"),
                names => format!(
                    "{scan}; index = [[{}]] could make that unnecessary",
                    names.join(", ")
                ),
            }
        }
    }
}
