//! The operations of one resource. Pure.

use serde_json::{Value, json};

use super::super::identities::TakenCredentials;
use super::super::resource::{
    BodyOf, JSON_PATCH, METHODS_OF_CHANGES, METHODS_OF_HISTORY, METHODS_OF_LIST, METHODS_OF_RECORD,
    METHODS_OF_SCHEMA, NDJSON,
};
use super::super::routes::encoded;
use super::operation::{Operation, component, left_of, path_item, read_item, schema_ref};
use super::parameters::QueryParameters;
use super::problems::Arises;
use crate::settings::{AllowedClients, Put, ResourceSettings};

/// A resource, and what its operations depend on.
pub(super) struct DescribedResource<'a> {
    pub(super) name: &'a str,
    pub(super) settings: &'a ResourceSettings,
    pub(super) parameters: QueryParameters<'a>,
    /// The most records that one request may change.
    pub(super) records_max: usize,
}

const JSON: &str = "application/json";
const PREFER: &str = "Prefer";
pub(super) const CONDITIONS_OF_READ: [&str; 2] = ["If-None-Match", "If-Match"];
const OF_CHANGE: [&str; 2] = ["Idempotency-Key", PREFER];
/// The header fields of a change of all records that match.
const OF_MATCHING: [&str; 2] = ["Idempotency-Key", "Prefer-max-affected"];
/// The header fields of an answer with a record that was changed, and with one that was made.
const CHANGED: &[&str] = &["ETag", "Preference-Applied", "Idempotent-Replayed"];
const CREATED: &[&str] = &[
    "Location",
    "ETag",
    "Preference-Applied",
    "Idempotent-Replayed",
];
const MINIMAL: &str = "The same, with Prefer: return=minimal";
/// The problems of all operations that depend on records, and of those with bodies.
const OF_READ: [Arises; 4] = [
    Arises::Accept,
    Arises::Query,
    Arises::Conditional,
    Arises::Read,
];
const OF_BODY: [Arises; 2] = [Arises::Body, Arises::RecordBody];

impl Operation {
    /// A read of records that the client may have already.
    fn conditional_read(self) -> Self {
        self.headers(&CONDITIONS_OF_READ)
            .headers(&[PREFER])
            .not_modified()
            .fails(&OF_READ)
    }
}

impl DescribedResource<'_> {
    pub(super) fn id(&self, of: &str) -> String {
        format!("{}.{of}", self.name)
    }

    fn operation(&self, of: &str, summary: impl Into<String>) -> Operation {
        Operation::new(self.id(of), self.name, summary)
    }

    /// The operation, whose client may have to show who it is.
    fn limited(&self, operation: Operation, method: &str) -> Operation {
        let rules = &self.settings.rules;
        let counted = rules.rate.is_some().then_some(Arises::Counted);
        let operation = operation.fails(counted.as_slice());
        let access = &rules.access;
        let clients = if method == "GET" {
            &access.read
        } else {
            &access.write
        };
        match clients {
            AllowedClients::Public => operation,
            AllowedClients::Only(clients) => {
                operation.for_clients(TakenCredentials::of(clients), true)
            }
        }
    }

    /// The record in an answer, whole or as its part.
    pub(super) fn shown(&self) -> Value {
        json!({ "anyOf": [schema_ref(self.name), schema_ref(&self.id("part"))] })
    }

    fn record(&self) -> Vec<(&'static str, Value)> {
        vec![(JSON, schema_ref(self.name))]
    }

    fn records(&self) -> Vec<(&'static str, Value)> {
        vec![(
            JSON,
            json!({ "type": "array", "items": schema_ref(self.name) }),
        )]
    }

    /// The media types of a body that are read as this schema.
    fn read_as<'b>(
        &'b self,
        body: BodyOf,
        schema: &'b Value,
    ) -> impl Iterator<Item = (String, Value)> + 'b {
        self.settings
            .media_types(body)
            .map(|of| (of.to_owned(), schema.clone()))
    }

    /// The name of the condition that a change of one record has.
    fn conditions_of_change(&self) -> &'static [&'static str] {
        if self.settings.if_match_required {
            &["If-Match-required", "If-None-Match"]
        } else {
            &["If-Match", "If-None-Match"]
        }
    }

    /// The paths of the resource with their operations.
    pub(super) fn paths(&self) -> [(String, Value); 5] {
        let url = encoded(&self.settings.path);
        let id = json!([component("parameters", "id")]);
        let below = |mut item: Value| {
            if let Some(item) = item.as_object_mut() {
                item.shift_insert(0, "parameters".to_owned(), id.clone());
            }
            item
        };
        [
            (
                url.clone(),
                path_item(
                    &left_of(METHODS_OF_LIST, self.settings),
                    self.name,
                    |method| Some(self.limited(self.on_all(method)?, method)),
                ),
            ),
            (
                format!("{url}/{{id}}"),
                below(path_item(
                    &left_of(METHODS_OF_RECORD, self.settings),
                    self.name,
                    |method| Some(self.limited(self.on_one(method)?, method)),
                )),
            ),
            (
                format!("{url}/{{id}}/_history"),
                below(read_item(METHODS_OF_HISTORY, self.name, || {
                    self.limited(self.history(), "GET")
                })),
            ),
            (
                format!("{url}/_changes"),
                read_item(METHODS_OF_CHANGES, self.name, || {
                    self.limited(self.changes(), "GET")
                }),
            ),
            (
                format!("{url}/_schema"),
                read_item(METHODS_OF_SCHEMA, self.name, || {
                    self.limited(self.schema(), "GET")
                }),
            ),
        ]
    }

    fn on_all(&self, method: &str) -> Option<Operation> {
        Some(match method {
            "GET" => self.list(),
            "POST" => self.create(),
            "PATCH" => self.patch_matching(),
            "DELETE" => self.delete_matching(),
            _ => return None,
        })
    }

    fn list(&self) -> Operation {
        self.operation("list", format!("A page of {}", self.name))
            .with(self.parameters.of_list())
            .answers(
                200,
                "The records",
                &[
                    "ETag",
                    "X-Total-Count",
                    "Link",
                    "Content-Range",
                    "Preference-Applied",
                    "Vary",
                    "Cache-Control",
                ],
                vec![(JSON, json!({ "type": "array", "items": self.shown() }))],
            )
            .conditional_read()
    }

    /// A change of all records that match. `told` is what its answer has.
    fn on_matching(&self, of: &str, summary: &str, told: &'static str) -> Operation {
        const HEADERS: &[&str] = &["X-Total-Count", "Preference-Applied", "Idempotent-Replayed"];
        let summary = if self.settings.if_match_required {
            "Is refused, since each change needs the ETag of its record: one at a time".to_owned()
        } else {
            format!("{summary} all {} that match, or none", self.name)
        };
        let operation = self
            .operation(of, summary)
            .with(self.parameters.of_change())
            .fails(&OF_READ)
            .fails(&[Arises::Change, Arises::Matching]);
        if self.settings.if_match_required {
            return operation;
        }
        operation
            .answers(200, told, HEADERS, self.records())
            .answers(204, MINIMAL, HEADERS, Vec::new())
    }

    fn patch_matching(&self) -> Operation {
        let patch = schema_ref(&self.id("patch"));
        self.on_matching("patch_matching", "Changes", "The records as they are now")
            .headers(&OF_MATCHING)
            .body(true, self.patch_bodies(&patch))
            .fails(&OF_BODY)
            .fails(&[Arises::PatchBody, Arises::Named])
    }

    fn delete_matching(&self) -> Operation {
        let told = "The records that were deleted";
        let delete = self.on_matching("delete_matching", "Deletes", told);
        if !self.settings.delete_matching {
            return delete.headers(&OF_MATCHING);
        }
        let example = json!({
            "type": "object",
            "minProperties": 1,
            "description": "An example: without a query, all records are deleted that are equal to it in these members",
        });
        let bodies: Vec<_> = self.read_as(BodyOf::Other, &example).collect();
        delete
            .headers(&OF_CHANGE)
            .body(false, bodies)
            .fails(&OF_BODY)
    }

    fn create(&self) -> Operation {
        let new = schema_ref(&self.id("new"));
        let all = json!({
            "anyOf": [new, { "type": "array", "items": new, "maxItems": self.records_max }],
        });
        let bodies = self.settings.media_types(BodyOf::Post).map(|of| {
            let schema = if of == NDJSON {
                json!({ "type": "string", "description": "A line of JSON for each record" })
            } else {
                all.clone()
            };
            (of.to_owned(), schema)
        });
        let bodies: Vec<_> = bodies.collect();
        let created = json!({ "anyOf": [schema_ref(self.name), { "type": "array", "items": schema_ref(self.name) }] });
        let mut create = self
            .operation("create", format!("Makes a record of {}, or several: all or none", self.name))
            .headers(&OF_CHANGE)
            .body(true, bodies)
            .answers(
                201,
                "The record, or the records, if several were sent. With Prefer: return=minimal, the body is empty",
                &["Location", "ETag", "X-Total-Count", "Preference-Applied", "Idempotent-Replayed"],
                vec![(JSON, created)],
            )
            .fails(&[
                Arises::Accept,
                Arises::Query,
                Arises::Body,
                Arises::RecordBody,
                Arises::Conditional,
                Arises::Change,
                Arises::Several,
                Arises::Read,
            ]);
        let link = |of: &str| {
            let id = "$response.body#/id";
            json!({ "operationId": self.id(of), "parameters": { "id": id } })
        };
        create.links = json!({
            "get": link("get"),
            "put": link("put"),
            "patch": link("patch"),
            "delete": link("delete"),
            "history": link("history"),
        });
        create
    }

    fn patch_bodies(&self, merge: &Value) -> Vec<(String, Value)> {
        let bodies = self.settings.media_types(BodyOf::Patch).map(|of| {
            let schema = if of == JSON_PATCH {
                schema_ref("JsonPatch")
            } else {
                merge.clone()
            };
            (of.to_owned(), schema)
        });
        bodies.collect()
    }

    fn on_one(&self, method: &str) -> Option<Operation> {
        Some(match method {
            "GET" => self.get(),
            "PUT" => self.put(),
            "PATCH" => self.patch(),
            "DELETE" => self.on_record("delete", "Deletes").answers(
                200,
                "The record that was deleted",
                &["Preference-Applied", "Idempotent-Replayed"],
                self.record(),
            ),
            _ => return None,
        })
    }

    fn get(&self) -> Operation {
        self.operation("get", format!("A record of {}", self.name))
            .with(self.parameters.of_record())
            .answers(
                200,
                "The record",
                &["ETag", "Cache-Control"],
                vec![(JSON, self.shown())],
            )
            .conditional_read()
            .fails(&[Arises::Named])
    }

    /// A change of one record.
    fn on_record(&self, of: &str, summary: &str) -> Operation {
        self.operation(of, format!("{summary} a record of {}", self.name))
            .headers(&OF_CHANGE)
            .headers(self.conditions_of_change())
            .answers(204, MINIMAL, CHANGED, Vec::new())
            .fails(&OF_READ)
            .fails(&[Arises::Named, Arises::Change])
    }

    fn put(&self) -> Operation {
        let view = if self.settings.put == Put::Merge {
            "patch"
        } else {
            "replacing"
        };
        let whole = schema_ref(&self.id(view));
        let bodies: Vec<_> = self.read_as(BodyOf::Other, &whole).collect();
        self.on_record("put", "Replaces")
            .body(true, bodies)
            .answers(200, "The record as it is now", CHANGED, self.record())
            .answers(
                201,
                "The record was made: with If-None-Match: *, or where the settings say so",
                CREATED,
                self.record(),
            )
            .fails(&OF_BODY)
    }

    fn patch(&self) -> Operation {
        let patch = schema_ref(&self.id("patch"));
        self.on_record("patch", "Changes")
            .body(true, self.patch_bodies(&patch))
            .answers(200, "The record as it is now", CHANGED, self.record())
            .fails(&OF_BODY)
            .fails(&[Arises::PatchBody])
    }

    fn history(&self) -> Operation {
        let told = format!("The changes of a record of {}, the newest first", self.name);
        self.operation("history", told)
            .with(self.parameters.of_history())
            .answers(
                200,
                "The changes",
                &["Link", "Cache-Control"],
                vec![(JSON, schema_ref(&self.id("history")))],
            )
            .fails(&[Arises::Accept, Arises::Query, Arises::Named, Arises::Read])
    }

    fn changes(&self) -> Operation {
        // Some programs read a schema as that of each event, and others as that of the whole text.
        let events = json!({
            "description": "Server-sent events: create, update, delete, and reset, after which the list is to be read again",
        });
        let told = format!(
            "The changes of {}, as they happen or page by page",
            self.name
        );
        self.operation("changes", told)
            .with(self.parameters.of_feed())
            .headers(&["Last-Event-ID", PREFER])
            .answers(
                200,
                "The changes",
                &["Cache-Control", "Vary", "X-Accel-Buffering"],
                vec![
                    ("text/event-stream", events),
                    (JSON, schema_ref(&self.id("changes"))),
                ],
            )
            .fails(&[Arises::Accept, Arises::Query, Arises::Read, Arises::Feed])
    }

    fn schema(&self) -> Operation {
        self.operation("schema", format!("The JSON Schema of {}", self.name))
            .headers(&CONDITIONS_OF_READ)
            .answers(
                200,
                "The JSON Schema (2020-12) of a record as it is answered; the members that the server gives are readOnly",
                &["ETag", "Cache-Control"],
                vec![("application/schema+json", json!({ "type": "object" }))],
            )
            .not_modified()
            .fails(&[Arises::Conditional])
    }
}
