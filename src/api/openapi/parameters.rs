//! The parameters of requests, from the tables of the queries. Pure.

use serde_json::{Map, Value, json};

use super::shapes::{self, RecordView};
use crate::record::{
    FeedQuery, FilterParameter, HISTORY_PARAMETERS, ID_BYTES_MAX, ListQuery, ParameterValue,
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

    /// Those of a change of all that match.
    pub(super) fn of_change(&self) -> Vec<Value> {
        self.references(ListQuery::parameters_of_change(), true)
    }

    /// Those of a record.
    pub(super) fn of_record(&self) -> Vec<Value> {
        let of_form = |parameter: &&QueryParameter| is_of_form(parameter.value);
        self.references(ListQuery::parameters().filter(of_form), false)
    }

    /// Those of the feed, all of which but the filters are its own.
    pub(super) fn of_feed(&self) -> Vec<Value> {
        let mut parameters = self.own(FeedQuery::parameters());
        parameters.extend(
            self.filters()
                .iter()
                .map(|filter| self.reference(&filter.name)),
        );
        parameters
    }

    /// Those of the history of a record.
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
        json!({ "$ref": format!("#/components/parameters/{}", self.component(name)) })
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

    /// Names with commas.
    fn names(names: Option<Vec<String>>) -> Value {
        match names {
            Some(names) => json!({ "type": "array", "items": { "enum": names } }),
            None => {
                json!({ "type": "array", "items": { "type": "string", "pattern": "^[A-Za-z0-9]+$" } })
            }
        }
    }

    /// The schema of a value; `None` if there is none for this resource.
    fn schema(&self, value: ParameterValue) -> Option<Value> {
        Some(match value {
            ParameterValue::Number(least, most) => {
                let mut schema =
                    json!({ "type": "integer", "minimum": least, "maximum": u32::MAX });
                if let (Some(most), Some(schema)) = (most, schema.as_object_mut()) {
                    schema.insert("maximum".to_owned(), json!(most));
                }
                schema
            }
            ParameterValue::Text => json!({ "type": "string" }),
            ParameterValue::Word(words) => json!({ "enum": words }),
            ParameterValue::Flag => json!({ "type": "boolean" }),
            ParameterValue::SortNames => {
                let both = |name: String| [format!("-{name}"), name];
                Self::names(
                    self.fields()
                        .map(|names| names.into_iter().flat_map(both).collect()),
                )
            }
            ParameterValue::Directions => {
                json!({ "type": "array", "items": { "enum": ["asc", "desc"] } })
            }
            ParameterValue::FieldNames => Self::names(self.fields()),
            ParameterValue::Embedded if self.relations.0.is_empty() => return None,
            ParameterValue::Expanded if self.relations.1.is_empty() => return None,
            ParameterValue::Embedded => Self::names(Some(self.relations.0.clone())),
            ParameterValue::Expanded => Self::names(Some(self.relations.1.clone())),
            ParameterValue::ListPosition => {
                json!({ "type": "string", "pattern": "^[A-Za-z0-9_-]*$" })
            }
            ParameterValue::FeedPosition => {
                json!({ "type": "string", "pattern": "^[0-9]{1,18}(-[a-z0-9]+)?$" })
            }
            ParameterValue::Wait => {
                json!({ "type": "string", "pattern": "^([1-5]?[0-9]|60)s?$", "examples": ["30s"] })
            }
            ParameterValue::JsonSort => {
                let name = match self.fields() {
                    Some(names) => json!({ "enum": names }),
                    None => json!({ "type": "string" }),
                };
                let pair = json!({
                    "type": "array",
                    "prefixItems": [name, { "enum": ["ASC", "DESC"] }],
                    "minItems": 2,
                    "maxItems": 2,
                });
                json!({ "oneOf": [pair, { "type": "array", "items": pair, "minItems": 1 }] })
            }
            ParameterValue::JsonRange => json!({
                "type": "array",
                "items": { "type": "integer", "minimum": 0, "maximum": u32::MAX },
                "minItems": 2,
                "maxItems": 2,
            }),
            ParameterValue::JsonFilter => self.json_filter(),
        })
    }

    fn json_filter(&self) -> Value {
        let filters = self.filters().into_iter();
        let filters = filters.map(|filter| {
            let one = operand(&filter);
            let one = json!({ "anyOf": [one, { "type": "array", "items": one }] });
            (filter.name, one)
        });
        let mut properties: Map<_, _> = filters.collect();
        properties.entry("q").or_insert(json!({ "type": "string" }));
        let mut schema = json!({ "type": "object", "properties": properties });
        if let Some(schema) = schema.as_object_mut()
            && !self.settings.schema.is_open()
        {
            // Groups have filters in turn.
            let groups = json!({ "type": "array", "items": { "type": "object", "properties": properties, "additionalProperties": false } });
            if let Some(Value::Object(properties)) = schema.get_mut("properties") {
                for name in ["or", "and"] {
                    properties.entry(name).or_insert(groups.clone());
                }
            }
            schema.insert("additionalProperties".to_owned(), json!(false));
        }
        schema
    }
}

/// Whether a parameter says how a record is shown.
fn is_of_form(value: ParameterValue) -> bool {
    match value {
        ParameterValue::Flag
        | ParameterValue::FieldNames
        | ParameterValue::Embedded
        | ParameterValue::Expanded => true,
        ParameterValue::Number(..)
        | ParameterValue::Text
        | ParameterValue::Word(_)
        | ParameterValue::SortNames
        | ParameterValue::Directions
        | ParameterValue::ListPosition
        | ParameterValue::FeedPosition
        | ParameterValue::Wait
        | ParameterValue::JsonSort
        | ParameterValue::JsonRange
        | ParameterValue::JsonFilter => false,
    }
}

fn described(parameter: &QueryParameter, schema: Value) -> Value {
    let QueryParameter { name, meaning, .. } = parameter;
    match parameter.value {
        ParameterValue::JsonSort | ParameterValue::JsonRange | ParameterValue::JsonFilter => {
            let content = json!({ "application/json": { "schema": schema } });
            json!({ "name": name, "in": "query", "description": meaning, "content": content })
        }
        ParameterValue::Number(..)
        | ParameterValue::Text
        | ParameterValue::Word(_)
        | ParameterValue::Flag
        | ParameterValue::SortNames
        | ParameterValue::Directions
        | ParameterValue::FieldNames
        | ParameterValue::Embedded
        | ParameterValue::Expanded
        | ParameterValue::ListPosition
        | ParameterValue::FeedPosition
        | ParameterValue::Wait => json!({
            "name": name, "in": "query", "description": meaning,
            "style": "form", "explode": false, "schema": schema,
        }),
    }
}

/// The parameter of a filter. Values that are equal to one of several are sent as repeated parameters.
fn filter_of(filter: &FilterParameter<'_>) -> Value {
    let one = operand(filter);
    let schema = if filter.is_equality {
        json!({ "type": "array", "items": one })
    } else {
        one
    };
    json!({ "name": filter.name, "in": "query", "style": "form", "explode": true, "schema": schema })
}

/// The schema of a value that a field is compared with: it may be one that no record has.
fn operand(filter: &FilterParameter<'_>) -> Value {
    let Some(mut kind) = filter.kind else {
        return json!({ "type": "string", "minLength": 1, "maxLength": ID_BYTES_MAX });
    };
    while let FieldType::Array { items, .. } = kind {
        match items {
            Some(items) => kind = items,
            None => return json!({ "type": "string" }),
        }
    }
    match kind {
        FieldType::String { .. } => json!({ "type": "string" }),
        FieldType::Enum(values) if values.iter().all(Value::is_string) => {
            json!({ "type": "string" })
        }
        FieldType::Integer(_) | FieldType::Number(_) | FieldType::Enum(_) => {
            json!({ "type": "number", "minimum": i64::MIN, "maximum": i64::MAX })
        }
        FieldType::Boolean
        | FieldType::DateTime
        | FieldType::Date
        | FieldType::Uuid
        | FieldType::Ref(_)
        | FieldType::Array { .. }
        | FieldType::Object(_) => Value::Object(shapes::value(kind, RecordView::New)),
    }
}
