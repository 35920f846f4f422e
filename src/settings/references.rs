//! References between resources: each leads to a resource that is declared. Cycles are allowed.

use super::fault::Location;
use super::findings::Findings;
use super::rules::may_lack;
use crate::record::{FieldType, IdScheme, Schema, nearest};

/// A reference as it is written.
#[derive(Debug)]
pub(super) struct WrittenReference {
    /// The path of the key `to`.
    pub(super) key: Vec<String>,
    pub(super) to: String,
    pub(super) location: Location,
}

/// Finds references to resources that are not declared.
pub(super) fn check(found: &mut Findings) {
    let names = found.named("resource");
    for WrittenReference { key, to, location } in std::mem::take(&mut found.references) {
        if names.contains(&to) || may_lack(found, &["resource", &to]) {
            continue;
        }
        let near = nearest(&to, names.iter().map(String::as_str));
        let near = near.map_or_else(String::new, |near| format!("; did you mean {near}?"));
        let problem = format!("there is no [resource.{to}] that it could refer to{near}");
        found.fault(location, &key, problem);
    }
}

/// The schema with the kinds of the ids that its references have, which `ids` knows by the names of the resources.
pub(super) fn resolved(schema: &Schema, ids: impl Fn(&str) -> IdScheme) -> Schema {
    let mut schema = schema.clone();
    if let Schema::Fields(fields) = &mut schema {
        for field in &mut fields.list {
            if let FieldType::Ref(reference) = &mut field.kind {
                reference.ids = ids(&reference.to);
            }
        }
    }
    schema
}
