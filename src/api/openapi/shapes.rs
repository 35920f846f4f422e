//! The JSON Schema (2020-12) of the records of a resource. Pure.

use serde_json::{Map, Value, json};

use crate::record::{Bounds, CHOSEN_NUMBER_MAX, DefaultValue, ID_BYTES_MAX, ID_NUMBER_MAX, META};
use crate::settings::{
    Field, FieldSource, FieldType, IdScheme, ObjectFields, ResourceSettings, Schema,
};

/// The side from which a record is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RecordView {
    /// An answer has the whole record.
    Stored,
    /// An answer has only some of its members, maybe with records beside them that it is related to.
    Part,
    /// A request makes the record.
    New,
    /// A request replaces it: its path has the id.
    Replacing,
    /// A request changes it: what is null is removed.
    Patch,
}

/// The characters of an id that is a text, as a pattern.
pub(super) fn id_pattern() -> String {
    format!(
        "[A-Za-z0-9~-][A-Za-z0-9._~-]{{0,{}}}",
        ID_BYTES_MAX.saturating_sub(1)
    )
}

/// The schema of an id that is given.
pub(super) fn id(ids: IdScheme) -> Map<String, Value> {
    let pattern = format!("^{}$", id_pattern());
    members(if ids == IdScheme::Sequence {
        json!({ "type": ["integer", "string"], "minimum": 0, "maximum": ID_NUMBER_MAX, "pattern": pattern })
    } else {
        json!({ "type": "string", "pattern": pattern })
    })
}

/// The schema of the `id` member.
fn id_member(ids: IdScheme, view: RecordView) -> Map<String, Value> {
    let mut schema = id(ids);
    if view == RecordView::New && ids == IdScheme::Sequence {
        schema.insert("maximum".to_owned(), json!(CHOSEN_NUMBER_MAX));
    }
    if view == RecordView::New && ids != IdScheme::Client {
        schema.insert(
            "pattern".to_owned(),
            json!(format!("^({})?$", id_pattern())),
        );
        schema.insert(
            "description".to_owned(),
            json!("Null and the empty text are no id: the server gives one"),
        );
        may_be_null(&mut schema);
    }
    schema
}

/// The schema of a record.
pub(super) fn record(settings: &ResourceSettings, view: RecordView) -> Map<String, Value> {
    let any = ObjectFields {
        list: Vec::new(),
        additional: true,
    };
    let fields = match &*settings.schema {
        Schema::Any => &any,
        Schema::Fields(fields) => fields,
    };
    let mut schema = object(fields, view);
    let mut properties = Map::new();
    properties.insert("id".to_owned(), id_member(settings.ids, view).into());
    if let Some(Value::Object(fields)) = schema.remove("properties") {
        properties.extend(fields);
    }
    let owner = settings.owner.as_ref();
    if let Some(Value::Object(owner)) = owner.and_then(|owner| properties.get_mut(owner)) {
        owner.insert("readOnly".to_owned(), json!(true));
    }
    if view != RecordView::Patch {
        let [created, changed, revision] = META;
        let moment = || json!({ "type": "string", "format": "date-time", "readOnly": true });
        let number = json!({ "type": "integer", "minimum": 0, "readOnly": true });
        for (name, of) in [(created, moment()), (changed, moment()), (revision, number)] {
            properties.entry(name).or_insert(of);
        }
    }
    schema.insert("properties".to_owned(), properties.into());
    let needs_id = match view {
        RecordView::Stored | RecordView::Part => true,
        RecordView::New => settings.ids == IdScheme::Client,
        RecordView::Replacing | RecordView::Patch => false,
    };
    if needs_id {
        let mut required = vec![json!("id")];
        if let Some(Value::Array(fields)) = schema.remove("required") {
            required.extend(fields);
        }
        schema.insert("required".to_owned(), required.into());
    }
    schema
}

/// The schema of an object with these members.
fn object(fields: &ObjectFields, view: RecordView) -> Map<String, Value> {
    let mut schema = members(json!({ "type": "object" }));
    let properties = fields.list.iter();
    let properties = properties.map(|of| (of.name.clone(), field(of, view).into()));
    let properties: Map<_, _> = properties.collect();
    if !properties.is_empty() {
        schema.insert("properties".to_owned(), properties.into());
    }
    let required = fields
        .list
        .iter()
        .filter(|field| must_be_there(field, view));
    let required: Vec<_> = required.map(|field| json!(field.name)).collect();
    if !required.is_empty() {
        schema.insert("required".to_owned(), required.into());
    }
    if !fields.additional && view != RecordView::Part {
        schema.insert("additionalProperties".to_owned(), json!(false));
    }
    schema
}

fn must_be_there(field: &Field, view: RecordView) -> bool {
    match view {
        RecordView::Stored => field.required,
        RecordView::New | RecordView::Replacing => {
            field.required && field.source == FieldSource::Client && field.default.is_none()
        }
        RecordView::Part | RecordView::Patch => false,
    }
}

fn field(field: &Field, view: RecordView) -> Map<String, Value> {
    let mut schema = value(&field.kind, view);
    let is_removable = view == RecordView::Patch && !field.required;
    if is_removable || field.may_be_null() {
        may_be_null(&mut schema);
    }
    if let Some(DefaultValue::Fixed(value)) = &field.default {
        schema.insert("default".to_owned(), value.clone());
    }
    if field.source != FieldSource::Client {
        schema.insert("readOnly".to_owned(), json!(true));
    }
    schema
}

/// Lets a value be null, too.
fn may_be_null(schema: &mut Map<String, Value>) {
    match schema.get_mut("type") {
        Some(Value::Array(types)) => types.push(json!("null")),
        Some(of) => *of = json!([of.take(), "null"]),
        None => {}
    }
    if let Some(Value::Array(values)) = schema.get_mut("enum") {
        values.push(Value::Null);
    }
}

/// The schema of a value of this type.
pub(super) fn value(kind: &FieldType, view: RecordView) -> Map<String, Value> {
    match kind {
        FieldType::String { length, pattern } => {
            let mut schema = bounded("string", ["minLength", "maxLength"], *length);
            if let Some(pattern) = pattern {
                schema.insert("pattern".to_owned(), json!(pattern.as_str()));
            }
            schema
        }
        FieldType::Integer(bounds) => {
            let bounds = Bounds {
                min: bounds.min.or(Some(i64::MIN)),
                max: bounds.max.or(Some(i64::MAX)),
            };
            bounded("integer", ["minimum", "maximum"], bounds)
        }
        FieldType::Number(bounds) => bounded("number", ["minimum", "maximum"], *bounds),
        FieldType::Boolean => members(json!({ "type": "boolean" })),
        FieldType::DateTime => members(json!({ "type": "string", "format": "date-time" })),
        FieldType::Date => members(json!({ "type": "string", "format": "date" })),
        FieldType::Uuid => {
            let pattern = "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$";
            members(json!({ "type": "string", "format": "uuid", "pattern": pattern }))
        }
        FieldType::Enum(values) => {
            let is_text = values.iter().all(Value::is_string);
            let of = if is_text { "string" } else { "number" };
            members(json!({ "type": of, "enum": values }))
        }
        FieldType::Ref(reference) => {
            let description = format!("The id of a record of {}", reference.to);
            if view == RecordView::Part {
                // In its place may be the record.
                return members(json!({ "description": description + ", or the record" }));
            }
            let mut schema = id(reference.ids);
            schema.insert("description".to_owned(), json!(description));
            schema
        }
        FieldType::Array { items, length } => {
            // Items without one of the members that are shown are left out.
            let length = Some(*length).filter(|_| view != RecordView::Part);
            let names = ["minItems", "maxItems"];
            let mut schema = bounded("array", names, length.unwrap_or_default());
            if let Some(items) = items {
                let view = if view == RecordView::Patch {
                    RecordView::New
                } else {
                    view
                };
                schema.insert("items".to_owned(), value(items, view).into());
            }
            schema
        }
        FieldType::Object(Some(fields)) => object(fields, view),
        FieldType::Object(None) => members(json!({ "type": "object" })),
    }
}

/// The schema of a type with bounds of these names.
fn bounded<T: Into<Value>>(of: &str, names: [&str; 2], bounds: Bounds<T>) -> Map<String, Value> {
    let mut schema = members(json!({ "type": of }));
    for (name, bound) in names.into_iter().zip([bounds.min, bounds.max]) {
        if let Some(bound) = bound {
            schema.insert(name.to_owned(), bound.into());
        }
    }
    schema
}

/// The members of a value that is an object.
pub(super) fn members(value: Value) -> Map<String, Value> {
    if let Value::Object(members) = value {
        members
    } else {
        Map::new()
    }
}

/// The schema of the records of a resource, as `/NAME/_schema` has it.
pub(super) fn of_resource(name: &str, settings: &ResourceSettings) -> Value {
    let mut schema = members(json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": name,
    }));
    schema.extend(record(settings, RecordView::Stored));
    schema.into()
}
