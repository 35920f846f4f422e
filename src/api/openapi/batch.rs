//! The operation on several resources. Pure.

use serde_json::{Map, Value, json};

use super::super::batch::{BATCH, METHODS};
use super::super::routes::encoded;
use super::API;
use super::components::TAGS;
use super::operation::{Operation, path_item, schema_ref};
use super::problems::Arises;
use super::shapes::id_pattern;
use crate::settings::{Put, Settings};

/// Adds its path and its schemas.
pub(super) fn add(
    settings: &Settings,
    paths: &mut Map<String, Value>,
    schemas: &mut Map<String, Value>,
) {
    paths.insert(BATCH.to_owned(), path_item(METHODS, API, operation));
    schemas.insert("Batch".to_owned(), schema(settings));
}

fn operation(method: &str) -> Option<Operation> {
    (method == "POST").then(|| {
        Operation::new(
            "batch".to_owned(),
            API,
            "Several changes of several resources: all or none (atomic), or each for itself (gather)",
        )
        .headers(&["Idempotency-Key", "Prefer"])
        .body(true, [("application/json".to_owned(), schema_ref("Batch"))])
        .answers(
            200,
            "The result of each operation, in their order",
            &["Preference-Applied", "Idempotent-Replayed"],
            vec![("application/json", schema_ref("BatchResults"))],
        )
        .fails(&[
            Arises::Body,
            Arises::Batch,
            Arises::Change,
            Arises::Several,
            // In mode atomic, the status is that of the first operation that was refused.
            Arises::Query,
            Arises::Named,
            Arises::RecordBody,
            Arises::PatchBody,
            Arises::Conditional,
            Arises::Read,
        ])
    })
}

/// The schema of the body.
fn schema(settings: &Settings) -> Value {
    let most = settings.limits.batch.get();
    let mut operations = Vec::new();
    for (name, resource) in &settings.resources {
        // A path is read in any spelling; this is the one of documents.
        let url = encoded(&resource.path);
        let in_pattern = url.replace('.', "\\.");
        let one =
            json!({ "type": "string", "pattern": format!("^{in_pattern}/{}$", id_pattern()) });
        let matching = json!({ "type": "string", "pattern": format!("^{in_pattern}\\?.+$") });
        let new = schema_ref(&format!("{name}.new"));
        let patch = schema_ref(&format!("{name}.patch"));
        let merged = if resource.put == Put::Merge {
            &patch
        } else {
            &new
        };
        let patches = json!({ "anyOf": [patch, schema_ref("JsonPatch")] });
        let conditions = ["if_match", "if_none_match"];
        operations.extend([
            operation_of("POST", &json!({ "const": url }), Some(&new), &[], &[]),
            operation_of("PUT", &one, Some(merged), &conditions, &[]),
            operation_of("PATCH", &one, Some(&patches), &conditions, &[]),
            operation_of("DELETE", &one, None, &conditions, &[]),
            operation_of("PATCH", &matching, Some(&patches), &[], &["max_affected"]),
            operation_of("DELETE", &matching, None, &[], &["max_affected"]),
        ]);
    }
    json!({
        "type": "object",
        "required": ["ops"],
        "additionalProperties": false,
        "properties": {
            "mode": { "enum": ["atomic", "gather"], "default": "atomic" },
            "ops": { "type": "array", "maxItems": most, "items": { "anyOf": operations } },
        },
    })
}

fn operation_of(
    method: &str,
    path: &Value,
    body: Option<&Value>,
    conditions: &[&str],
    counts: &[&str],
) -> Value {
    let mut properties = Map::new();
    properties.insert("method".to_owned(), json!({ "const": method }));
    properties.insert("path".to_owned(), path.clone());
    if let Some(body) = body {
        properties.insert("body".to_owned(), body.clone());
    }
    let mut required: Vec<_> = properties.keys().cloned().collect();
    for name in counts {
        required.push((*name).to_owned());
        properties.insert(
            (*name).to_owned(),
            json!({ "type": "integer", "minimum": 0 }),
        );
    }
    for name in conditions {
        let tags = json!({ "type": "string", "pattern": TAGS });
        properties.insert((*name).to_owned(), tags);
    }
    json!({
        "type": "object",
        "required": required,
        "additionalProperties": false,
        "properties": properties,
    })
}
