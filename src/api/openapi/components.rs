//! The parts of the document that do not depend on a resource. Pure.

use serde_json::{Map, Value, json};

use super::operation::schema_ref;
use super::problems;
use super::shapes::{self, id_pattern};

fn entries(of: Value) -> Map<String, Value> {
    shapes::members(of)
}

/// The schemas that all resources share.
pub(super) fn schemas() -> Map<String, Value> {
    let pointer = json!({ "type": "string", "pattern": "^(/([^~/]|~[01])*)*$", "description": "A JSON pointer (RFC 6901)" });
    let scalar = json!({ "type": ["string", "number", "boolean", "null"] });
    let operation = |names: Value, with: &[(&str, Value)]| {
        let mut properties = Map::new();
        properties.insert("op".to_owned(), json!({ "enum": names }));
        properties.insert("path".to_owned(), pointer.clone());
        for (name, of) in with {
            properties.insert((*name).to_owned(), of.clone());
        }
        let required: Vec<_> = properties.keys().cloned().collect();
        json!({ "type": "object", "properties": properties, "required": required })
    };
    entries(json!({
        "Problem": problems::schema(),
        "Violation": {
            "type": "object",
            "required": ["pointer", "code", "detail"],
            "properties": {
                "pointer": { "type": "string", "description": "The value, as a JSON pointer (RFC 6901)" },
                "code": { "type": "string", "description": "The rule, named like the key of the settings" },
                "detail": { "type": "string" },
            },
        },
        "Result": {
            "type": "object",
            "required": ["status", "headers", "body"],
            "properties": {
                "status": { "type": "integer" },
                "headers": { "type": "object", "additionalProperties": { "type": "string" } },
                "body": { "description": "The record, the records, or a problem" },
            },
        },
        "FilterValue": {
            "description": "A value, several of which one must be equal, or an object on the way to others",
            "anyOf": [
                scalar,
                { "type": "array", "items": scalar },
                { "type": "object", "additionalProperties": schema_ref("FilterValue") },
            ],
        },
        "JsonPatch": {
            "type": "array",
            "description": "Operations (RFC 6902); increment adds a number to the one that is there",
            "items": {
                "oneOf": [
                    operation(json!(["add", "replace", "test"]), &[("value", json!({}))]),
                    operation(json!(["increment"]), &[("value", json!({ "type": "number" }))]),
                    operation(json!(["move", "copy"]), &[("from", pointer.clone())]),
                    operation(json!(["remove"]), &[]),
                ],
            },
        },
        "BatchResults": {
            "type": "object",
            "required": ["results"],
            "properties": {
                "results": { "type": "array", "items": schema_ref("Result") },
                "change": { "type": "integer", "description": "The number of the last change, in mode atomic" },
            },
        },
    }))
}

fn header(name: &str, required: bool, description: &str, schema: &Value) -> Value {
    json!({ "name": name, "in": "header", "required": required, "description": description, "schema": schema })
}

/// The parameters that all resources share.
pub(super) fn parameters(records_max: usize) -> Map<String, Value> {
    let tags = json!({ "type": "string", "description": "Entity tags with commas between them, or *; what is no entity tag matches nothing" });
    let text = json!({ "type": "string" });
    // All numbers of so many digits are allowed.
    let digits = records_max.to_string().len().saturating_sub(1).max(1);
    let affected = format!("^([a-z-]+=[a-z0-9-]+, *)*max-affected=[0-9]{{1,{digits}}}$");
    entries(json!({
        "id": {
            "name": "id",
            "in": "path",
            "required": true,
            "description": "The id of the record",
            "schema": { "type": "string", "pattern": format!("^{}$", id_pattern()) },
        },
        "If-Match": header("If-Match", false, "Only if the record has one of these entity tags, else 412", &tags),
        "If-Match-required": header("If-Match", true, "The entity tag of the state that is to be changed; without it, 428", &tags),
        "If-None-Match": header("If-None-Match", false, "A read: only if it has none of these entity tags, else 304. A change: only if the record has none of them; * if there is no record", &tags),
        "Idempotency-Key": header("Idempotency-Key", false, "A name of the request: sent again with it, it is not carried out again, and its first answer is given again", &json!({ "type": "string", "pattern": "^(\"[!#-~]{1,255}\"|[!#-~]{1,255})$" })),
        "Prefer": header("Prefer", false, "A change: return=minimal for an answer without a body, tx=rollback to try it out. A read: handling=lenient to ignore unknown parameters", &text),
        "Prefer-max-affected": header("Prefer", true, "max-affected=N: how many records may be changed; if more match, none is. Further preferences, such as tx=rollback, may come before it", &json!({ "type": "string", "pattern": affected })),
        "Last-Event-ID": header("Last-Event-ID", false, "The position of the last event that was received; it counts more than _since", &text),
    }))
}

/// The header fields of answers.
pub(super) fn headers() -> Map<String, Value> {
    let text = || json!({ "type": "string" });
    let of =
        |description: &str, schema: Value| json!({ "description": description, "schema": schema });
    let tag = json!({ "type": "string", "pattern": "^(W/)?\"[!#-~]*\"$" });
    let count = json!({ "type": "integer", "minimum": 0 });
    entries(json!({
        "ETag": of("The entity tag", tag),
        "Location": of("The URL of the new record", json!({ "type": "string", "format": "uri-reference" })),
        "Link": of("Other parts of the list (RFC 8288): first, prev, next, last", text()),
        "X-Total-Count": of("The number of all records that match", count),
        "Content-Range": of("The records of the answer to a range, such as books 0-24/319", text()),
        "Preference-Applied": of("The preference of the request that the answer follows", text()),
        "Idempotent-Replayed": of("true: the answer is one of before", json!({ "const": "true" })),
        "Retry-After": of("In how many seconds to try again", json!({ "type": "integer", "minimum": 1 })),
        "X-Request-Id": of("The id by which the log knows the request", text()),
        "Allow": of("The methods that are allowed", text()),
        "Accept-Post": of("The media types of a body", text()),
        "Accept-Patch": of("The media types of a patch", text()),
        "Vary": of("The header fields of the request that the answer depends on", text()),
        "Cache-Control": of("How long the answer may be used again", text()),
        "X-Accel-Buffering": of("no: proxies pass each event on at once", json!({ "const": "no" })),
    }))
}
