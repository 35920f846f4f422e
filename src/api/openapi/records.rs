//! The schemas of one resource. Pure.

use serde_json::{Value, json};

use super::operation::schema_ref;
use super::operations::DescribedResource;
use super::shapes;

impl DescribedResource<'_> {
    /// The schemas of the resource, by the name of the component.
    pub(super) fn schemas(&self) -> Vec<(String, Value)> {
        use shapes::RecordView::{New, Part, Patch, Replacing, Stored};
        let of = |view| Value::Object(shapes::record(self.settings, view));
        let change = |members: Value, required: &[&str]| json!({ "type": "object", "required": required, "properties": members });
        let moment = json!({ "type": "string", "format": "date-time" });
        let number = json!({ "type": "integer", "minimum": 0 });
        let event = change(
            json!({
                "event": { "enum": ["create", "update", "delete"] },
                "at": moment,
                "id": shapes::id(self.settings.ids),
                "revision": number,
                "record": { "anyOf": [self.shown(), { "type": "null" }] },
            }),
            &["event", "at", "id"],
        );
        let past = change(
            json!({
                "change": number,
                "kind": { "enum": ["put", "delete"] },
                "at": moment,
                "by": { "type": "string", "description": "The client that changed it, if it had to show who it is" },
                "etag": { "type": "string" },
                "record": schema_ref(&self.id("part")),
            }),
            &["change", "kind", "at"],
        );
        vec![
            (self.name.to_owned(), of(Stored)),
            (self.id("part"), of(Part)),
            (self.id("new"), of(New)),
            (self.id("replacing"), of(Replacing)),
            (self.id("patch"), of(Patch)),
            (
                self.id("changes"),
                change(
                    json!({ "changes": { "type": "array", "items": event }, "more": { "type": "boolean" }, "next": { "type": "string" } }),
                    &["changes", "more", "next"],
                ),
            ),
            (
                self.id("history"),
                change(
                    json!({
                        "changes": { "type": "array", "items": past },
                        "more": { "type": "boolean" },
                        "journal_begins": number,
                        "cut_off": { "type": ["string", "null"] },
                    }),
                    &["changes", "more", "journal_begins"],
                ),
            ),
        ]
    }
}
