//! `resource.*.schema`: a JSON Schema file (2020-12) in place of `fields`. The keywords that are known have their meaning of that
//! standard; any other is a fault, and so is what the types of fields can't say.

use std::path::Path;

use serde_json::Value;
use serde_json::value::RawValue;

use super::fault::Lines;
use super::field_values::values_fault;
use super::fields::{FIELDS_MAX, name_fault};
use super::findings::Findings;
use super::json_members::{JsonMembers, SchemaPart};
use crate::record::{
    Bounds, DefaultValue, Field, FieldSource, FieldType, ObjectFields, Pattern, nearest,
};

/// The deepest nesting.
const DEPTH_MAX: usize = 16;
/// The keywords that say nothing about the values.
const ANNOTATIONS: [&str; 7] = [
    "$schema",
    "$id",
    "$comment",
    "title",
    "description",
    "examples",
    "deprecated",
];
/// The keywords that any schema may have beside those of its type.
const COMMON: [&str; 5] = ["type", "enum", "const", "default", "readOnly"];
const TYPES: [&str; 6] = ["string", "integer", "number", "boolean", "array", "object"];
const FORMATS: [&str; 3] = ["date", "date-time", "uuid"];

/// The type of a value, and whether it may be null.
struct ValueRules {
    kind: FieldType,
    nullable: bool,
}

/// A schema file while it is read.
struct SchemaFile<'a> {
    found: &'a mut Findings,
    text: &'a str,
    lines: Lines<'a>,
    /// The path of the setting that names the file.
    key: &'a [String],
    depth: usize,
}

/// Reads a schema file that the setting at `key` names. What is wrong with it is told.
pub(super) fn read(
    found: &mut Findings,
    key: &[String],
    file: &Path,
    text: &str,
) -> Option<ObjectFields> {
    let lines = Lines::new(file, text);
    let raw: &RawValue = match serde_json::from_str(text) {
        Ok(raw) => raw,
        Err(error) => {
            let starts = text
                .split_inclusive('\n')
                .take(error.line().saturating_sub(1));
            let at = starts.map(str::len).sum::<usize>() + error.column().saturating_sub(1);
            let reason = error.to_string();
            let reason = reason.split(" at line ").next().unwrap_or_default();
            found.fault(
                lines.location(at),
                key,
                format!("is not valid JSON: {reason}"),
            );
            return None;
        }
    };
    let mut file = SchemaFile {
        found,
        text,
        lines,
        key,
        depth: 0,
    };
    let part = file.part(raw)?;
    if text_of(part.get("type")).as_deref() != Some("object") {
        file.fault(raw, "the schema of a record must have \"type\": \"object\"");
        return None;
    }
    file.unknown(&part, &["properties", "required", "additionalProperties"]);
    for name in ["enum", "const", "default", "readOnly"] {
        if let Some(raw) = part.get(name) {
            file.fault(raw, format!("{name} is not for a whole record"));
        }
    }
    file.object(&part, true)
}

fn text_of(raw: Option<&RawValue>) -> Option<String> {
    serde_json::from_str(raw?.get()).ok()
}

impl<'a> SchemaFile<'a> {
    fn fault(&mut self, raw: &RawValue, problem: impl Into<String>) {
        let at = raw.get().as_ptr().addr();
        let at = at.saturating_sub(self.text.as_ptr().addr());
        let location = self.lines.location(at);
        self.found.fault(location, self.key, problem);
    }

    fn part(&mut self, raw: &'a RawValue) -> Option<SchemaPart<'a>> {
        let Ok(JsonMembers(members)) = serde_json::from_str(raw.get()) else {
            self.fault(raw, "a schema must be a JSON object");
            return None;
        };
        for (index, (name, again)) in members.iter().enumerate() {
            if members.iter().take(index).any(|(known, _)| known == name) {
                self.fault(again, format!("{name} is written twice"));
            }
        }
        Some(SchemaPart { raw, members })
    }

    /// Reports the keywords that are not known here.
    fn unknown(&mut self, part: &SchemaPart<'a>, known: &[&str]) {
        for (name, raw) in &part.members {
            let all = || known.iter().chain(&COMMON).copied();
            if all().chain(ANNOTATIONS).any(|known| known == name) {
                continue;
            }
            let problem = if let Some(near) = nearest(name, all()) {
                format!("{name} is not supported; did you mean {near}?")
            } else {
                let known: Vec<_> = all().collect();
                let known = known.join(", ");
                format!("{name} is not supported here; known are {known}")
            };
            self.fault(raw, problem);
        }
    }

    /// A keyword whose value `read` understands; `right` says what it must be.
    fn keyword<T>(
        &mut self,
        part: &SchemaPart<'a>,
        name: &str,
        right: &str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Option<T> {
        let raw = part.get(name)?;
        let value: Value = serde_json::from_str(raw.get()).unwrap_or_default();
        let found = read(&value);
        if found.is_none() {
            self.fault(raw, format!("{name} must be {right}"));
        }
        found
    }

    fn object(&mut self, part: &SchemaPart<'a>, is_own: bool) -> Option<ObjectFields> {
        let additional = self.keyword(
            part,
            "additionalProperties",
            "true or false",
            Value::as_bool,
        );
        let names = |value: &Value| {
            let names = value.as_array()?.iter();
            names.map(|name| name.as_str().map(str::to_owned)).collect()
        };
        let required: Vec<String> = self
            .keyword(part, "required", "a list of names", names)
            .unwrap_or_default();
        let properties = match part.get("properties") {
            Some(raw) => self.part(raw)?.members,
            None => Vec::new(),
        };
        if properties.len() > FIELDS_MAX {
            self.fault(part.raw, format!("more than {FIELDS_MAX} fields"));
            return None;
        }
        let mut list = Vec::new();
        for (name, raw) in &properties {
            // The settings say what ids are.
            if is_own && name == "id" {
                continue;
            }
            if let Some(problem) = name_fault(name) {
                self.fault(raw, format!("{name:?}: {problem}"));
            }
            let field = self.field(name, raw, required.contains(name), is_own);
            list.extend(field);
        }
        for name in &required {
            let declared = properties.iter().any(|(known, _)| known == name);
            if !(declared || is_own && name == "id") {
                let at = part.get("required").unwrap_or(part.raw);
                self.fault(
                    at,
                    format!("{name} is required and not among the properties"),
                );
            }
        }
        Some(ObjectFields {
            list,
            additional: additional.unwrap_or(true),
        })
    }

    fn field(
        &mut self,
        name: &str,
        raw: &'a RawValue,
        required: bool,
        is_own: bool,
    ) -> Option<Field> {
        let part = self.part(raw)?;
        let rules = self.rules(&part)?;
        let read_only = self.keyword(&part, "readOnly", "true or false", Value::as_bool);
        let read_only = read_only.unwrap_or(false);
        let default = self.default(&part, &rules);
        if read_only && !is_own {
            self.fault(raw, "readOnly is for members of the record itself only");
        }
        if read_only && required && part.get("default").is_none() {
            self.fault(
                raw,
                "nobody could give it a value: readOnly and required need a default",
            );
        }
        Some(Field {
            required,
            nullable: Some(rules.nullable),
            default,
            source: if read_only {
                FieldSource::ReadOnly
            } else {
                FieldSource::Client
            },
            ..Field::new(name, rules.kind)
        })
    }

    fn default(&mut self, part: &SchemaPart<'a>, rules: &ValueRules) -> Option<DefaultValue> {
        let raw = part.get("default")?;
        let value: Value = serde_json::from_str(raw.get()).unwrap_or_default();
        if value.is_null() && rules.nullable {
            return Some(DefaultValue::Fixed(value));
        }
        let violations = rules.kind.violations(&value);
        for violation in &violations {
            self.fault(raw, format!("default {}", violation.detail));
        }
        violations.is_empty().then_some(DefaultValue::Fixed(value))
    }

    /// Reads what a schema says of a value.
    fn rules(&mut self, part: &SchemaPart<'a>) -> Option<ValueRules> {
        self.depth += 1;
        let rules = if self.depth > DEPTH_MAX {
            self.fault(part.raw, format!("nested deeper than {DEPTH_MAX} levels"));
            None
        } else {
            self.rules_within(part)
        };
        self.depth -= 1;
        rules
    }

    fn rules_within(&mut self, part: &SchemaPart<'a>) -> Option<ValueRules> {
        let words = |value: &Value| match value {
            Value::String(word) => Some(vec![word.clone()]),
            Value::Array(words) => {
                let words = words.iter();
                words.map(|word| word.as_str().map(str::to_owned)).collect()
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => None,
        };
        let right = "one of \"string\", \"integer\", \"number\", \"boolean\", \"array\", \"object\", or a list of one of them and \"null\"";
        let written = self.keyword(part, "type", right, words);
        let mut types = written.clone().unwrap_or_default();
        let nullable = types.iter().any(|word| word == "null");
        types.retain(|word| word != "null");
        if part.get("enum").is_some() || part.get("const").is_some() {
            return self.listed(part, &types, written.is_none() || nullable);
        }
        let [kind] = types.as_slice() else {
            match (part.get("type"), written) {
                (None, _) => self.fault(part.raw, format!("has no type; type must be {right}")),
                (Some(at), Some(_)) => self.fault(at, format!("type must be {right}")),
                // It was told.
                (Some(_), None) => {}
            }
            return None;
        };
        let kind = match kind.as_str() {
            "string" => self.string(part)?,
            "integer" => self.integer(part),
            "number" => {
                self.unknown(part, &["minimum", "maximum"]);
                let [min, max] = ["minimum", "maximum"]
                    .map(|name| self.keyword(part, name, "a number", Value::as_f64));
                FieldType::Number(Bounds { min, max })
            }
            "boolean" => {
                self.unknown(part, &[]);
                FieldType::Boolean
            }
            "array" => {
                self.unknown(part, &["items", "minItems", "maxItems"]);
                let items = match part.get("items") {
                    Some(raw) => {
                        let items = self.part(raw)?;
                        let rules = self.rules(&items)?;
                        if rules.nullable {
                            self.fault(raw, "items that may be null are not supported");
                        }
                        Some(Box::new(rules.kind))
                    }
                    None => None,
                };
                let length = self.lengths(part, ["minItems", "maxItems"]);
                FieldType::Array { items, length }
            }
            "object" => {
                self.unknown(part, &["properties", "required", "additionalProperties"]);
                FieldType::Object(Some(self.object(part, false)?))
            }
            other => {
                let near = nearest(other, TYPES);
                let near = near.map_or_else(String::new, |near| format!("; did you mean {near}?"));
                let at = part.get("type").unwrap_or(part.raw);
                self.fault(at, format!("{other:?} is no type{near}"));
                return None;
            }
        };
        Some(ValueRules { kind, nullable })
    }

    /// Reads `enum` or `const`, whose values say what type they have.
    fn listed(
        &mut self,
        part: &SchemaPart<'a>,
        types: &[String],
        may_be_null: bool,
    ) -> Option<ValueRules> {
        self.unknown(part, &[]);
        let list = |value: &Value| value.as_array().cloned();
        let (name, values) = if part.get("const").is_some() {
            let value = self.keyword(part, "const", "a text or a number", |it| Some(it.clone()));
            ("const", vec![value?])
        } else {
            ("enum", self.keyword(part, "enum", "a list", list)?)
        };
        let has_null = values.iter().any(Value::is_null);
        let values: Vec<_> = values.into_iter().filter(|it| !it.is_null()).collect();
        let fits = |value: &Value| {
            types.is_empty()
                || types.iter().any(|kind| match kind.as_str() {
                    "string" => value.is_string(),
                    "number" => value.is_number(),
                    "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
                    _ => false,
                })
        };
        let at = part.get(name).unwrap_or(part.raw);
        if let Some(problem) = values_fault(&values) {
            self.fault(at, format!("{name} {problem}"));
            return None;
        }
        if !values.iter().all(fits) {
            self.fault(at, format!("{name} has a value of another type"));
            return None;
        }
        Some(ValueRules {
            kind: FieldType::Enum(values),
            nullable: has_null && may_be_null,
        })
    }

    fn string(&mut self, part: &SchemaPart<'a>) -> Option<FieldType> {
        if let Some(raw) = part.get("format") {
            self.unknown(part, &["format"]);
            return match text_of(Some(raw)).as_deref() {
                Some("date") => Some(FieldType::Date),
                Some("date-time") => Some(FieldType::DateTime),
                Some("uuid") => Some(FieldType::Uuid),
                _ => {
                    let known = FORMATS.map(|known| format!("{known:?}")).join(", ");
                    self.fault(raw, format!("format is not supported; known are {known}"));
                    None
                }
            };
        }
        self.unknown(part, &["format", "minLength", "maxLength", "pattern"]);
        let length = self.lengths(part, ["minLength", "maxLength"]);
        let pattern = match part.get("pattern") {
            None => None,
            Some(raw) => match text_of(Some(raw)).map(|text| Pattern::new(&text)) {
                Some(Ok(pattern)) => Some(pattern),
                Some(Err(error)) => {
                    let reason = error.to_string().replace('\n', "; ");
                    self.fault(raw, format!("pattern can't be used: {reason}"));
                    None
                }
                None => {
                    self.fault(raw, "pattern must be a text");
                    None
                }
            },
        };
        Some(FieldType::String { length, pattern })
    }

    fn integer(&mut self, part: &SchemaPart<'a>) -> FieldType {
        let names = ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"];
        self.unknown(part, &names);
        let right = "a whole number of 64 bits";
        let [min, max, above, below] =
            names.map(|name| self.keyword(part, name, right, Value::as_i64));
        let above = above.map(|above| above.saturating_add(1));
        let below = below.map(|below| below.saturating_sub(1));
        let bounds = Bounds {
            min: min.max(above),
            max: match (max, below) {
                (Some(max), Some(below)) => Some(max.min(below)),
                (max, below) => max.or(below),
            },
        };
        self.order(part, bounds)
            .map_or(FieldType::Integer(Bounds::default()), FieldType::Integer)
    }

    fn lengths(&mut self, part: &SchemaPart<'a>, names: [&str; 2]) -> Bounds<usize> {
        let length = |value: &Value| value.as_u64()?.try_into().ok();
        let right = "a whole number, 0 or more";
        let [min, max] = names.map(|name| self.keyword(part, name, right, length));
        self.order(part, Bounds { min, max }).unwrap_or_default()
    }

    /// The bounds, if they leave a value.
    fn order<T: PartialOrd + Copy>(
        &mut self,
        part: &SchemaPart<'a>,
        bounds: Bounds<T>,
    ) -> Option<Bounds<T>> {
        if let (Some(min), Some(max)) = (bounds.min, bounds.max)
            && min > max
        {
            self.fault(
                part.raw,
                "no value is left: the least is greater than the greatest",
            );
            return None;
        }
        Some(bounds)
    }
}
