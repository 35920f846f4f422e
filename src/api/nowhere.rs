//! The problem of a path where nothing is, with what was probably meant.

use std::collections::BTreeMap;

use super::routes::{RouteTable, encoded, segment};
use crate::settings::ResourceSettings;
use crate::wire::{Code, Problem};

/// The longest path that is looked at.
const PATH_BYTES_MAX: usize = 1024;

/// The problem of a path where nothing is: it names the list that was meant by a nested address, or the resource whose name is
/// the nearest.
pub(super) fn nothing_at(
    routes: &RouteTable,
    resources: &BTreeMap<String, ResourceSettings>,
    path: &str,
) -> Problem {
    let problem = Problem::new(Code::NotFound);
    let meant = match (nested(resources, path), routes.nearest_resource(path)) {
        (Some(lists), _) => format!("the records that refer to that one are at {lists}"),
        (None, Some(near)) => format!("did you mean {near}?"),
        (None, None) => return problem,
    };
    problem.detail(format!("there is nothing here; {meant}"))
}

/// The lists of the records that refer to the one whose address is above: json-server has them at addresses such as
/// `/authors/1/books`.
fn nested(resources: &BTreeMap<String, ResourceSettings>, path: &str) -> Option<String> {
    if path.len() > PATH_BYTES_MAX {
        return None;
    }
    let (record, name) = path.trim_end_matches('/').rsplit_once('/')?;
    let (above, id) = record.rsplit_once('/')?;
    let (to, own) = resources.iter().find(|(_, own)| own.path == above)?;
    let from = resources.get(name)?;
    let id = own.ids.parse(&segment(id)?).ok()?.to_string();
    let references = from.schema.references();
    let fields = references.filter(|(_, reference)| reference.to == *to);
    let lists =
        fields.map(|(field, _)| format!("{}?{}={}", from.path, encoded(field), encoded(&id)));
    let lists: Vec<_> = lists.collect();
    (!lists.is_empty()).then(|| lists.join(" or "))
}
