//! The parameters of requests, from the tables of the queries. Pure.

use serde_json::{Map, Value, json};

use super::operation::{component, schema_ref};
use super::shapes::{self, RecordView, id_pattern};
use crate::record::{
    FeedQuery, FilterParameter, FilterTest, HISTORY_PARAMETERS, ListQuery, ParameterValue,
    QueryParameter, filter_parameters,
};
use crate::settings::{FieldType, ResourceSettings};

/// The parameters of the queries of one resource. Each is a component, to which operations refer.
pub(super) struct QueryParameters<'a> {
    /// The name of the resource.
    pub(super) name: &'a str,
    pub(super) settings: &'a ResourceSettings,
    /// The names of its relations for `_embed`, and for `_expand`.
    pub(super) relations: (Vec<String>, Vec<String>),
}

impl QueryParameters<'_> {
    /// References to the parameters of a list.
    pub(super) fn of_list(&self) -> Vec<Value> {
        self.references(ListQuery::parameters(), true)
    }

    /// The parameters of a change of all records that match.
    pub(super) fn of_change(&self) -> Vec<Value> {
        self.references(ListQuery::parameters_of_change(), true)
    }

    /// The parameters of a request for one record.
    pub(super) fn of_record(&self) -> Vec<Value> {
        let of_form = |parameter: &&QueryParameter| is_of_form(parameter.value);
        self.references(ListQuery::parameters().filter(of_form), false)
    }

    /// The parameters of the change feed; all but the filters are its own.
    pub(super) fn of_feed(&self) -> Vec<Value> {
        let mut parameters = self.own(FeedQuery::parameters());
        parameters.extend(
            self.filters()
                .iter()
                .map(|filter| self.reference(&filter.name)),
        );
        parameters
    }

    /// The parameters of the history of a record.
    pub(super) fn of_history(&self) -> Vec<Value> {
        self.own(HISTORY_PARAMETERS.iter())
    }

    /// The components.
    pub(super) fn components(&self) -> Map<String, Value> {
        let known = self.shown(ListQuery::parameters()).into_iter();
        let known = known.map(|(parameter, schema)| {
            let described = described(parameter, schema);
            (self.component(parameter.name), described)
        });
        let filters = self.filters().into_iter();
        let filters = filters.map(|filter| (self.component(&filter.name), filter_of(&filter)));
        known.chain(filters).collect()
    }

    fn component(&self, name: &str) -> String {
        let plain = |c: char| {
            if c.is_ascii_alphanumeric() || "._-".contains(c) {
                c
            } else {
                '-'
            }
        };
        format!(
            "{}.{}",
            self.name,
            name.chars().map(plain).collect::<String>()
        )
    }

    fn reference(&self, name: &str) -> Value {
        component("parameters", &self.component(name))
    }

    fn references<'b>(
        &self,
        parameters: impl Iterator<Item = &'b QueryParameter>,
        filtered: bool,
    ) -> Vec<Value> {
        let known = self.shown(parameters).into_iter();
        let known = known.map(|(parameter, _)| self.reference(parameter.name));
        let filters = if filtered { self.filters() } else { Vec::new() };
        let filters = filters.into_iter();
        let filters = filters.map(|filter| self.reference(&filter.name));
        known.chain(filters).collect()
    }

    fn own<'b>(&self, parameters: impl Iterator<Item = &'b QueryParameter>) -> Vec<Value> {
        let shown = self.shown(parameters).into_iter();
        shown
            .map(|(parameter, schema)| described(parameter, schema))
            .collect()
    }

    /// The parameters that have a meaning for this resource, with the schemas of their values. A field of the same name comes
    /// first.
    fn shown<'b>(
        &self,
        parameters: impl Iterator<Item = &'b QueryParameter>,
    ) -> Vec<(&'b QueryParameter, Value)> {
        let fields = self.settings.schema.paths();
        let shown = parameters.filter(|parameter| {
            parameter.name.starts_with('_') || !fields.iter().any(|field| field == parameter.name)
        });
        shown
            .filter_map(|parameter| Some((parameter, self.schema(parameter.value)?)))
            .collect()
    }

    fn filters(&self) -> Vec<FilterParameter<'_>> {
        filter_parameters(&self.settings.schema)
    }

    /// The names of fields, if all are declared.
    fn fields(&self) -> Option<Vec<String>> {
        let schema = &self.settings.schema;
        let id = "id".to_owned();
        (!schema.is_open()).then(|| [vec![id], schema.paths()].concat())
    }

    /// The schema of a name of a field, or of one after each of these signs.
    fn field_name(&self, signs: &[&str]) -> Value {
        let Some(names) = self.fields() else {
            return json!({ "type": "string" });
        };
        let names = names.iter();
        let names = names.flat_map(|name| signs.iter().map(move |sign| format!("{sign}{name}")));
        json!({ "enum": names.collect::<Vec<_>>() })
    }

    /// The schema of a value; `None` if there is none for this resource.
    fn schema(&self, value: ParameterValue) -> Option<Value> {
        Some(match value {
            ParameterValue::Number(least, most) => {
                let most = most.unwrap_or(usize::MAX);
                json!({ "type": "integer", "minimum": least, "maximum": most })
            }
            ParameterValue::Text => json!({ "type": "string" }),
            ParameterValue::Word(words) => json!({ "enum": words }),
            ParameterValue::Flag => json!({ "type": "boolean" }),
            ParameterValue::SortNames(most) => list(&self.field_name(&["-", ""]), most),
            ParameterValue::Directions(most) => list(&json!({ "enum": ["asc", "desc"] }), most),
            ParameterValue::FieldNames(most) => list(&self.field_name(&[""]), most),
            ParameterValue::Embedded => relations(&self.relations.0)?,
            ParameterValue::Expanded => relations(&self.relations.1)?,
            ParameterValue::ListPosition => {
                json!({ "type": "string", "pattern": "^[A-Za-z0-9_-]*$" })
            }
            ParameterValue::FeedPosition => {
                json!({ "type": "string", "pattern": "^[0-9]{1,18}(-[a-z0-9]+)?$" })
            }
            ParameterValue::Wait => {
                json!({ "type": "string", "pattern": "^([1-5]?[0-9]|60)s?$", "examples": ["30s"] })
            }
            ParameterValue::JsonSort(most) => {
                let pair = json!({
                    "type": "array",
                    "prefixItems": [self.field_name(&[""]), { "enum": ["ASC", "DESC"] }],
                    "minItems": 2,
                    "maxItems": 2,
                });
                json!({ "oneOf": [pair, { "type": "array", "items": pair, "minItems": 1, "maxItems": most }] })
            }
            ParameterValue::JsonRange => json!({
                "type": "array",
                "items": { "type": "integer", "minimum": 0, "maximum": usize::MAX },
                "minItems": 2,
                "maxItems": 2,
            }),
            ParameterValue::JsonFilter => self.json_filter(),
        })
    }

    fn json_filter(&self) -> Value {
        let filters = self.filters().into_iter();
        let either = |one: Value| json!({ "anyOf": [one, { "type": "array", "items": one }] });
        let filters = filters.map(|filter| (filter.name.clone(), either(json_operand(&filter))));
        let mut properties: Map<_, _> = filters.collect();
        let text = json!({ "type": ["string", "number", "boolean", "null"] });
        properties.entry("q").or_insert(either(text));
        let others = if self.settings.schema.is_open() {
            schema_ref("FilterValue")
        } else {
            json!(false)
        };
        let object = |properties: &Map<String, Value>| json!({ "type": "object", "properties": properties, "additionalProperties": others });
        // Groups have filters in turn.
        let groups = json!({ "type": "array", "items": object(&properties) });
        for name in ["or", "and"] {
            properties.entry(name).or_insert(groups.clone());
        }
        object(&properties)
    }
}

/// Whether a parameter says how a record is shown.
fn is_of_form(value: ParameterValue) -> bool {
    matches!(
        value,
        ParameterValue::Flag
            | ParameterValue::FieldNames(_)
            | ParameterValue::Embedded
            | ParameterValue::Expanded
    )
}

fn described(parameter: &QueryParameter, schema: Value) -> Value {
    let QueryParameter { name, meaning, .. } = parameter;
    if matches!(
        parameter.value,
        ParameterValue::JsonSort(_) | ParameterValue::JsonRange | ParameterValue::JsonFilter
    ) {
        let content = json!({ "application/json": { "schema": schema } });
        return json!({ "name": name, "in": "query", "description": meaning, "content": content });
    }
    json!({
        "name": name, "in": "query", "description": meaning,
        "style": "form", "explode": false, "schema": schema,
    })
}

/// The parameter of a filter. Values that are equal to one of several are sent as repeated parameters.
fn filter_of(filter: &FilterParameter<'_>) -> Value {
    let one = operand(filter);
    let schema = if filter.test == FilterTest::Equal {
        json!({ "type": "array", "items": one })
    } else {
        one
    };
    json!({ "name": filter.name, "in": "query", "style": "form", "explode": true, "schema": schema })
}

/// The type that values are compared by, if there is one: that of the items, for an array.
fn compared<'a>(filter: &FilterParameter<'a>) -> Option<&'a FieldType> {
    let mut kind = filter.kind?;
    while let FieldType::Array { items, .. } = kind {
        kind = items.as_deref()?;
    }
    Some(kind)
}

/// Whether values are told from each other, and not by their order or a part of them.
fn is_equality(filter: &FilterParameter<'_>) -> bool {
    matches!(filter.test, FilterTest::Equal | FilterTest::NotEqual)
}

/// The schema of a value that a field is compared with: it may be one that no record has.
fn operand(filter: &FilterParameter<'_>) -> Value {
    let text = || json!({ "type": "string" });
    let Some(kind) = compared(filter) else {
        return text();
    };
    match kind {
        FieldType::Enum(values) if is_equality(filter) => json!({ "enum": values }),
        FieldType::String { .. } => text(),
        FieldType::Enum(values) if values.iter().all(Value::is_string) => text(),
        FieldType::Integer(_) if filter.test != FilterTest::Bound => {
            json!({ "type": "integer", "minimum": i64::MIN, "maximum": i64::MAX })
        }
        FieldType::Integer(_) | FieldType::Number(_) | FieldType::Enum(_) => {
            json!({ "type": "number", "minimum": f64::MIN, "maximum": f64::MAX })
        }
        FieldType::Uuid => {
            let pattern = "^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$";
            json!({ "type": "string", "pattern": pattern })
        }
        FieldType::Ref(_) => json!({ "type": "string", "pattern": format!("^{}$", id_pattern()) }),
        FieldType::Boolean
        | FieldType::DateTime
        | FieldType::Date
        | FieldType::Array { .. }
        | FieldType::Object(_) => Value::Object(shapes::value(kind, RecordView::New)),
    }
}

/// The schema of the operand of a filter in JSON, where a text may stand for a number, and a number for a text.
fn json_operand(filter: &FilterParameter<'_>) -> Value {
    if let (true, Some(FieldType::Enum(values))) = (is_equality(filter), compared(filter)) {
        return listed_operand(values);
    }
    let of = operand(filter);
    let number = |pattern| json!({ "type": "string", "pattern": pattern });
    let kind = compared(filter);
    let is_written_otherwise = !matches!(
        kind,
        Some(FieldType::Date | FieldType::DateTime | FieldType::Uuid)
    );
    let other = is_written_otherwise.then(|| match of.get("type").and_then(Value::as_str) {
        Some("integer") => number("^-?(0|[1-9][0-9]{0,17})$"),
        Some("number") => number("^-?(0|[1-9][0-9]*)([.][0-9]+)?([Ee][+-]?[0-9]{1,2})?$"),
        Some("boolean") => json!({ "enum": ["true", "false"] }),
        // A larger number is written with a plus, which no id has.
        Some(_) | None if matches!(kind, Some(FieldType::Ref(_))) => {
            json!({ "type": ["number", "boolean"], "exclusiveMinimum": -1e21, "exclusiveMaximum": 1e21 })
        }
        Some(_) | None => json!({ "type": ["number", "boolean"] }),
    });
    let mut either: Vec<_> = [of].into_iter().chain(other).collect();
    if is_equality(filter) {
        either.push(json!({ "type": "null" }));
    }
    json!({ "anyOf": either })
}

/// One of these values or null in JSON. A number may be a text, and a text that reads as a number or a boolean may be that.
fn listed_operand(values: &[Value]) -> Value {
    let is_bare = |read: &Value| read.is_number() || read.is_boolean();
    let spelt_otherwise = |value: &Value| {
        let Some(text) = value.as_str() else {
            return Some(Value::from(value.to_string()));
        };
        let read: Option<Value> = serde_json::from_str(text).ok();
        let written = read.as_ref().map(Value::to_string);
        read.filter(|read| is_bare(read) && written.as_deref() == Some(text))
    };
    let others = values.iter().filter_map(spelt_otherwise);
    let all = values.iter().cloned().chain(others).chain([Value::Null]);
    json!({ "enum": all.collect::<Vec<_>>() })
}

/// The schema of a list with at most `most` items.
fn list(one: &Value, most: usize) -> Value {
    json!({ "type": "array", "items": one, "maxItems": most })
}

/// Names of relations with commas, if there are some.
fn relations(names: &[String]) -> Option<Value> {
    (!names.is_empty()).then(|| json!({ "type": "array", "items": { "enum": names } }))
}
