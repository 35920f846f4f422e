//! The requests that each problem is an answer to: one row for each code, so that a code without a row does not compile. Pure.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::operation::answer_headers;
use crate::wire::Code;

/// The property of a request that a problem can be the answer to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arises {
    /// Each request.
    Always,
    /// A request with another method or in another version, of which the document has none.
    Otherwise,
    /// The answer can only be JSON.
    Accept,
    /// It has a query that is read.
    Query,
    /// It has a body.
    Body,
    /// Not every client may send it.
    Limited,
    /// Its client may send only so many in a time.
    Counted,
    /// Its body is a record, several, or a part of one.
    RecordBody,
    /// It may be a JSON Patch.
    PatchBody,
    /// It names a record.
    Named,
    /// It may depend on an entity tag.
    Conditional,
    /// It changes records.
    Change,
    /// It may change all records that match.
    Matching,
    /// It may change several, all or none.
    Several,
    /// It is a batch.
    Batch,
    /// It reads records.
    Read,
    /// It reads a change feed.
    Feed,
    /// No request for records: one for a file.
    Files,
    /// No public request: one to the admin listener.
    Admin,
}

/// The requests that a problem can be the answer to.
fn arises(code: Code) -> Arises {
    match code {
        Code::MalformedRequest
        | Code::HeadTimeout
        | Code::UriTooLong
        | Code::ExpectationFailed
        | Code::Misdirected
        | Code::ClientLeft
        | Code::HeadTooLarge
        | Code::Internal
        | Code::Unavailable
        | Code::Overloaded
        | Code::ShuttingDown
        | Code::Deadline => Arises::Always,
        Code::MethodNotAllowed | Code::NotImplemented | Code::VersionNotSupported => {
            Arises::Otherwise
        }
        Code::NotAcceptable => Arises::Accept,
        Code::Unauthorized | Code::NotPermitted => Arises::Limited,
        Code::TooManyRequests => Arises::Counted,
        Code::InvalidParameter => Arises::Query,
        Code::BodyTimeout | Code::BodyTooLarge | Code::UnsupportedMediaType | Code::InvalidJson => {
            Arises::Body
        }
        Code::NotAnObject
        | Code::InvalidId
        | Code::IdMismatch
        | Code::Validation
        | Code::InexactNumber => Arises::RecordBody,
        Code::InvalidPatch | Code::PatchTest | Code::PatchMisfit => Arises::PatchBody,
        Code::NotFound => Arises::Named,
        Code::PreconditionFailed => Arises::Conditional,
        Code::CrossSite
        | Code::NotAvailable
        | Code::InvalidKey
        | Code::KeyReused
        | Code::DuplicateId
        | Code::DuplicateValue
        | Code::Referenced
        | Code::PreconditionRequired
        | Code::OutcomeUnknown
        | Code::DiskFull => Arises::Change,
        Code::TooManyMatches => Arises::Matching,
        Code::Cancelled => Arises::Several,
        Code::InvalidBatch => Arises::Batch,
        Code::Damaged => Arises::Read,
        Code::HistoryGone => Arises::Feed,
        Code::InvalidPath | Code::Forbidden | Code::RangeNotSatisfiable | Code::NotReady => {
            Arises::Files
        }
        Code::NeedsRestart | Code::InvalidOrder | Code::InvalidSettings => Arises::Admin,
    }
}

/// The codes by status that are answers to requests with one of these properties.
fn codes(of: impl Fn(Arises) -> bool) -> BTreeMap<u16, Vec<Code>> {
    let mut codes = BTreeMap::<_, Vec<_>>::new();
    for code in Code::ALL.iter().filter(|code| of(arises(**code))) {
        codes.entry(code.status()).or_default().push(*code);
    }
    codes
}

/// All codes that the document has, by status.
pub(super) fn all() -> BTreeMap<u16, Vec<Code>> {
    codes(|arises| !matches!(arises, Arises::Files | Arises::Admin))
}

fn listed(codes: &[Code]) -> String {
    let listed = codes.iter();
    let listed = listed.map(|code| format!("`{}`: {}", code.name(), code.title()));
    listed.collect::<Vec<_>>().join("; ")
}

/// Adds the answers with problems to the answers of an operation with these properties.
pub(super) fn add_answers(responses: &mut Map<String, Value>, of: &[Arises], has_body: bool) {
    let codes = codes(|arises| arises == Arises::Always || of.contains(&arises));
    for (status, codes) in codes {
        let names: Vec<_> = codes
            .iter()
            .map(|code| format!("`{}`", code.name()))
            .collect();
        let description = names.join(", ");
        let response = if has_body {
            json!({ "$ref": format!("#/components/responses/{status}"), "description": description })
        } else {
            json!({ "description": description })
        };
        responses.insert(status.to_string(), response);
    }
}

/// The components for the answers: one for each status.
pub(super) fn responses() -> Map<String, Value> {
    let responses = all().into_iter().map(|(status, codes)| {
        let names: Vec<_> = codes.iter().map(|code| code.name()).collect();
        let own: &[&str] = match status {
            405 => &["Allow"],
            412 => &["ETag"],
            415 => &["Accept-Post", "Accept-Patch"],
            429 | 503 => &["Retry-After"],
            _ => &[],
        };
        let headers = answer_headers(&[&["X-Request-Id"], own].concat());
        let schema = json!({
            "allOf": [
                { "$ref": "#/components/schemas/Problem" },
                { "properties": { "status": { "const": status }, "code": { "enum": names } } },
            ],
        });
        let response = json!({
            "description": listed(&codes),
            "headers": headers,
            "content": {
                "application/problem+json": { "schema": schema },
                "text/html": { "schema": { "type": "string" } },
            },
        });
        (status.to_string(), response)
    });
    responses.collect()
}

/// The schema of a problem.
pub(super) fn schema() -> Value {
    let codes: Vec<_> = all().into_values().flatten().map(Code::name).collect();
    json!({
        "type": "object",
        "description": "A problem (RFC 9457)",
        "required": ["type", "title", "status", "code", "detail", "instance", "request_id", "message"],
        "properties": {
            "type": { "type": "string", "format": "uri-reference" },
            "title": { "type": "string", "description": "The meaning of the code" },
            "status": { "type": "integer" },
            "code": { "type": "string", "enum": codes, "description": "The code, for programs" },
            "detail": { "type": "string", "description": "What is wrong, for people" },
            "instance": { "type": "string", "description": "The path of the request" },
            "request_id": { "type": "string", "description": "The id by which the log knows the request" },
            "message": { "type": "string", "description": "The same as detail" },
            "errors": {
                "type": "object",
                "additionalProperties": { "type": "string" },
                "description": "For forms: what is wrong with each field",
            },
            "violations": { "type": "array", "items": { "$ref": "#/components/schemas/Violation" } },
            "fields": {
                "type": "array",
                "items": { "type": "string" },
                "description": "The fields whose values another record has",
            },
            "index": {
                "type": "array",
                "items": { "type": "array", "items": { "type": "string" } },
                "description": "The indexes that would serve the query, each by its fields",
            },
            "id": { "type": "string", "description": "The record that was refused, of several" },
            "results": {
                "type": "array",
                "items": { "$ref": "#/components/schemas/Result" },
                "description": "The result of each operation, or of each record, in their order",
            },
            "next": { "type": "string", "description": "The position from which a feed goes on" },
        },
    })
}
