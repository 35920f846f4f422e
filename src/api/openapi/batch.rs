//! The operation on several resources. Pure.

use serde_json::{Map, Value, json};

use super::super::batch::{BATCH, METHODS};
use super::super::identities::TakenCredentials;
use super::super::routes::encoded;
use super::API;
use super::operation::{Operation, path_item, schema_ref};
use super::problems::Arises;
use super::shapes::id_pattern;
use crate::settings::{Put, ResourceSettings, RuleSettings, Settings};

/// Adds its path and its schemas.
pub(super) fn add(
    settings: &Settings,
    paths: &mut Map<String, Value>,
    schemas: &mut Map<String, Value>,
) {
    let any = |is: fn(&RuleSettings) -> bool| {
        let mut resources = settings.resources.values();
        resources.any(|resource| is(&resource.rules))
    };
    let resources = settings.resources.values();
    let writers = resources.flat_map(|resource| resource.rules.access.write.only());
    let taken = TakenCredentials::of(writers);
    let counted = any(|rules| rules.rate.is_some()).then_some(Arises::Counted);
    let operation = |method: &str| {
        let operation = operation(method)?.fails(counted.as_slice());
        Some(if taken == TakenCredentials::default() {
            operation
        } else {
            operation.for_clients(taken, false)
        })
    };
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
            Arises::Matching,
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
    let resources = settings.resources.iter();
    let operations: Vec<_> = resources
        .flat_map(|(name, resource)| of_resource(name, resource, most))
        .collect();
    let body = |mode: Value, required: &[&str], operation: Value| {
        json!({
            "type": "object",
            "required": required,
            "additionalProperties": false,
            "properties": {
                "mode": mode,
                "ops": { "type": "array", "maxItems": most, "items": operation },
            },
        })
    };
    let text = json!({ "type": "string" });
    let count = json!({ "type": ["integer", "null"], "minimum": 0, "maximum": usize::MAX });
    let text_or_null = json!({ "type": ["string", "null"] });
    // Each is refused for itself, if it is not as in mode atomic.
    let any = operation_of(
        &[("method", text.clone()), ("path", text)],
        &[
            ("body", json!({})),
            ("if_match", text_or_null.clone()),
            ("if_none_match", text_or_null),
            ("max_affected", count),
        ],
    );
    let atomic = json!({ "const": "atomic", "default": "atomic" });
    let gather = json!({ "const": "gather" });
    json!({
        "anyOf": [
            body(atomic, &["ops"], json!({ "anyOf": operations })),
            body(gather, &["mode", "ops"], any),
        ],
    })
}

/// The schemas of the operations on a resource.
fn of_resource(name: &str, resource: &ResourceSettings, most: usize) -> Vec<Value> {
    // A path is read in any spelling; this is the one of documents.
    let url = encoded(&resource.path);
    let in_pattern = url.replace('.', "\\.");
    let address = |of: String| ("path", json!({ "type": "string", "pattern": of }));
    let method = |name: &str| ("method", json!({ "const": name }));
    let view = |view: &str| schema_ref(&format!("{name}.{view}"));
    let body = |schema: &Value| ("body", schema.clone());
    let whole = match resource.put {
        Put::Merge => view("patch"),
        Put::Replace => view("replacing"),
    };
    let patch = json!({ "anyOf": [view("patch"), schema_ref("JsonPatch")] });
    let change = |name, content: Option<&Value>| {
        let mut required = vec![
            method(name),
            address(format!("^{in_pattern}/{}$", id_pattern())),
        ];
        required.extend(content.map(body));
        let mut conditions = vec![("if_none_match", header(true))];
        if resource.if_match_required {
            required.push(("if_match", header(false)));
        } else {
            conditions.push(("if_match", header(true)));
        }
        operation_of(&required, &conditions)
    };
    let matching = |name, content: Option<&Value>| {
        let count = json!({ "type": "integer", "minimum": 0, "maximum": most });
        let mut required = vec![method(name), address(format!("^{in_pattern}\\?.+$"))];
        required.extend(content.map(body));
        required.push(("max_affected", count));
        operation_of(&required, &[])
    };
    let new = [
        method("POST"),
        ("path", json!({ "const": url })),
        body(&view("new")),
    ];
    let mut operations = vec![
        operation_of(&new, &[]),
        change("PUT", Some(&whole)),
        change("PATCH", Some(&patch)),
        change("DELETE", None),
    ];
    // Where each change needs the entity tag of its record, no other way leads to it.
    if !resource.if_match_required {
        operations.extend([matching("PATCH", Some(&patch)), matching("DELETE", None)]);
    }
    operations
}

/// The value of a header field that is sent in the body. Null is the same as none.
fn header(may_be_null: bool) -> Value {
    let kind = if may_be_null {
        json!(["string", "null"])
    } else {
        json!("string")
    };
    json!({ "type": kind, "pattern": "^[\\t -~]*$" })
}

fn operation_of(required: &[(&str, Value)], optional: &[(&str, Value)]) -> Value {
    let names: Vec<_> = required.iter().map(|(name, _)| *name).collect();
    let members = required.iter().chain(optional);
    let properties: Map<_, _> = members
        .map(|(name, schema)| ((*name).to_owned(), schema.clone()))
        .collect();
    json!({
        "type": "object",
        "required": names,
        "additionalProperties": false,
        "properties": properties,
    })
}
