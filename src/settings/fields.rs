//! `resource.*.fields`: from what is written to the rules of a record, with every fault on the way.

use std::ops::Range;

use serde_json::{Map, Number, Value};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::walk::{Document, Findings};
use crate::record::{Field, FieldType, Pattern, nearest};

/// The types a field can have.
const TYPES: [&str; 7] = [
    "string", "integer", "number", "boolean", "datetime", "array", "object",
];
/// The keys of every field.
const COMMON: [&str; 3] = ["type", "required", "default"];
/// The most fields of one record or object.
const FIELDS_MAX: usize = 1000;

/// Reads a table of fields. What is faulty is left out, and told.
pub(super) fn read(
    findings: &mut Findings,
    document: &Document<'_>,
    path: &[String],
    table: &DeTable<'_>,
) -> Vec<Field> {
    let mut reader = Reader {
        findings,
        document,
        path: path.to_vec(),
    };
    reader.fields(table)
}

struct Reader<'a> {
    findings: &'a mut Findings,
    document: &'a Document<'a>,
    path: Vec<String>,
}

/// The members of one field, as they are taken one after the other.
struct Members<'a> {
    table: &'a DeTable<'a>,
    known: Vec<&'static str>,
}

impl<'a> Members<'a> {
    fn take(&mut self, name: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.known.push(name);
        self.table.get(name)
    }
}

impl Reader<'_> {
    fn fault(&mut self, at: Range<usize>, problem: impl AsRef<str>) {
        let location = self.document.location(at);
        self.findings.fault(location, &self.path, problem.as_ref());
    }

    fn below<T>(&mut self, name: &str, read: impl FnOnce(&mut Self) -> T) -> T {
        self.path.push(name.to_owned());
        let read = read(self);
        self.path.pop();
        read
    }

    fn fields(&mut self, table: &DeTable<'_>) -> Vec<Field> {
        let mut fields = Vec::new();
        for (name, value) in table {
            let text = name.get_ref().to_string();
            let field = self.below(&text, |reader| {
                reader.name(name.span(), &text);
                reader.field(name.span(), &text, value)
            });
            if fields.len() == FIELDS_MAX {
                self.fault(name.span(), format!("more than {FIELDS_MAX} fields"));
                break;
            }
            fields.extend(field);
        }
        fields
    }

    fn name(&mut self, at: Range<usize>, name: &str) {
        let problem = if name == "id" {
            "is no field: every record has one; write id = \"uuidv7\", \"sequence\" or \"client\" above"
        } else if name.is_empty() || name.starts_with(['_', '-']) {
            "a name must not be empty, nor begin with _ or -, which mean something in queries"
        } else if name.contains(['.', ',', ':']) {
            "a name must not contain a dot, a comma or a colon, which mean something in queries"
        } else {
            return;
        };
        self.fault(at, problem);
    }

    fn field(
        &mut self,
        at: Range<usize>,
        name: &str,
        value: &Spanned<DeValue<'_>>,
    ) -> Option<Field> {
        let table = self.table(value, "a table such as { type = \"string\" }")?;
        let mut members = Members {
            table,
            known: COMMON.to_vec(),
        };
        let kind = self.kind(&mut members, at)?;
        self.unknown(&members);
        let required = self.boolean(table, "required").unwrap_or(false);
        let default = table.get("default").and_then(|default| {
            let value = json(default.get_ref());
            self.below("default", |reader| {
                reader.default(default.span(), &kind, value)
            })
        });
        Some(Field {
            name: name.to_owned(),
            kind,
            required,
            default,
        })
    }

    /// A default is a value like any other: it must keep the field's rules.
    fn default(
        &mut self,
        at: Range<usize>,
        kind: &FieldType,
        value: Option<Value>,
    ) -> Option<Value> {
        let Some(value) = value else {
            self.fault(at, "is no JSON value; a date is written in quotes");
            return None;
        };
        let violations = kind.violations(&value);
        if !violations.is_empty() {
            for violation in violations {
                self.fault(at.clone(), violation.detail);
            }
            return None;
        }
        Some(value)
    }

    fn kind(&mut self, members: &mut Members<'_>, at: Range<usize>) -> Option<FieldType> {
        let Some(written) = members.table.get("type") else {
            self.fault(at, format!("has no type; write one of {}", quoted(&TYPES)));
            return None;
        };
        let DeValue::String(name) = written.get_ref() else {
            self.below("type", |reader| {
                reader.fault(written.span(), format!("must be one of {}", quoted(&TYPES)));
            });
            return None;
        };
        let kind = match name.as_ref() {
            "string" => FieldType::String {
                min_length: self.length(members, "min_length"),
                max_length: self.length(members, "max_length"),
                pattern: self.pattern(members),
            },
            "integer" => FieldType::Integer {
                min: self.integer(members, "min"),
                max: self.integer(members, "max"),
            },
            "number" => FieldType::Number {
                min: self.number(members, "min"),
                max: self.number(members, "max"),
            },
            "boolean" => FieldType::Boolean,
            "datetime" => FieldType::DateTime,
            "array" => FieldType::Array {
                items: self.items(members).map(Box::new),
                min_length: self.length(members, "min_length"),
                max_length: self.length(members, "max_length"),
            },
            "object" => FieldType::Object {
                fields: self.inner(members),
            },
            "ref" => return self.not_this_type(written, "\"ref\" is not available yet"),
            other => {
                let hint = nearest(other, TYPES).map(|near| format!("; did you mean {near:?}?"));
                let hint = hint.unwrap_or_default();
                return self.not_this_type(written, &format!("{other:?} is no type{hint}"));
            }
        };
        if let Some(problem) = contradiction(&kind) {
            self.fault(at, problem);
        }
        Some(kind)
    }

    fn not_this_type(
        &mut self,
        written: &Spanned<DeValue<'_>>,
        problem: &str,
    ) -> Option<FieldType> {
        self.below("type", |reader| {
            let problem = format!("{problem}; write one of {}", quoted(&TYPES));
            reader.fault(written.span(), problem);
        });
        None
    }

    /// Reports the members that were not read.
    fn unknown(&mut self, members: &Members<'_>) {
        for (name, value) in members.table {
            let text = name.get_ref().as_ref();
            if members.known.contains(&text) {
                continue;
            }
            let known = members.known.iter().copied();
            let problem = match nearest(text, known) {
                Some(near) => format!("unknown; did you mean {near}?"),
                None => format!("unknown here; known are {}", members.known.join(", ")),
            };
            let at = name.span().start..value.span().end;
            self.below(text, |reader| reader.fault(at, problem));
        }
    }

    fn table<'a>(
        &mut self,
        value: &'a Spanned<DeValue<'a>>,
        right: &str,
    ) -> Option<&'a DeTable<'a>> {
        if let DeValue::Table(table) = value.get_ref() {
            return Some(table);
        }
        self.fault(value.span(), format!("must be {right}"));
        None
    }

    fn boolean(&mut self, table: &DeTable<'_>, name: &str) -> Option<bool> {
        let value = table.get(name)?;
        if let DeValue::Boolean(yes) = value.get_ref() {
            return Some(*yes);
        }
        self.below(name, |reader| {
            reader.fault(value.span(), "must be true or false");
        });
        None
    }

    fn length(&mut self, members: &mut Members<'_>, name: &'static str) -> Option<usize> {
        let value = members.take(name)?;
        let length = match json(value.get_ref()) {
            Some(Value::Number(number)) => number.as_u64(),
            _ => None,
        };
        let length = length.and_then(|length| usize::try_from(length).ok());
        if length.is_none() {
            self.below(name, |reader| {
                reader.fault(value.span(), "must be a whole number, 0 or more");
            });
        }
        length
    }

    fn integer(&mut self, members: &mut Members<'_>, name: &'static str) -> Option<i64> {
        let value = members.take(name)?;
        let number = json(value.get_ref()).and_then(|value| value.as_i64());
        if number.is_none() {
            self.below(name, |reader| {
                reader.fault(value.span(), "must be a whole number");
            });
        }
        number
    }

    fn number(&mut self, members: &mut Members<'_>, name: &'static str) -> Option<f64> {
        let value = members.take(name)?;
        let number = json(value.get_ref()).and_then(|value| value.as_f64());
        if number.is_none() {
            self.below(name, |reader| {
                reader.fault(value.span(), "must be a number");
            });
        }
        number
    }

    fn pattern(&mut self, members: &mut Members<'_>) -> Option<Pattern> {
        let value = members.take("pattern")?;
        let problem = match value.get_ref() {
            DeValue::String(text) => match Pattern::new(text) {
                Ok(pattern) => return Some(pattern),
                Err(error) => format!("is no pattern: {}", error.to_string().replace('\n', "; ")),
            },
            DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_)
            | DeValue::Table(_) => {
                "must be a regular expression in quotes, such as '^[0-9]{13}$'".to_owned()
            }
        };
        self.below("pattern", |reader| reader.fault(value.span(), problem));
        None
    }

    fn items(&mut self, members: &mut Members<'_>) -> Option<FieldType> {
        let value = members.take("items")?;
        self.below("items", |reader| {
            // `items = "string"` is short for `items = { type = "string" }`.
            let short;
            let table = if let DeValue::String(_) = value.get_ref() {
                short = DeTable::from_iter([(
                    Spanned::new(value.span(), "type".into()),
                    value.clone(),
                )]);
                &short
            } else {
                reader.table(
                    value,
                    "a type such as \"string\", or a table such as { type = \"string\" }",
                )?
            };
            let mut members = Members {
                table,
                known: vec!["type"],
            };
            let kind = reader.kind(&mut members, value.span())?;
            reader.unknown(&members);
            Some(kind)
        })
    }

    fn inner(&mut self, members: &mut Members<'_>) -> Option<Vec<Field>> {
        let value = members.take("fields")?;
        self.below("fields", |reader| {
            let table = reader.table(value, "a table of fields")?;
            Some(reader.fields(table))
        })
    }
}

/// Two rules that no value can keep.
fn contradiction(kind: &FieldType) -> Option<&'static str> {
    let crossed = match kind {
        FieldType::String {
            min_length,
            max_length,
            ..
        }
        | FieldType::Array {
            min_length,
            max_length,
            ..
        } => min_length
            .zip(*max_length)
            .is_some_and(|(min, max)| min > max),
        FieldType::Integer { min, max } => min.zip(*max).is_some_and(|(min, max)| min > max),
        FieldType::Number { min, max } => min.zip(*max).is_some_and(|(min, max)| min > max),
        FieldType::Boolean | FieldType::DateTime | FieldType::Object { .. } => false,
    };
    crossed.then_some("no value is left: the least is greater than the greatest")
}

fn quoted(names: &[&str]) -> String {
    let names: Vec<_> = names.iter().map(|name| format!("{name:?}")).collect();
    names.join(", ")
}

/// A TOML value as JSON; `None` if it has no counterpart.
fn json(value: &DeValue<'_>) -> Option<Value> {
    Some(match value {
        DeValue::String(text) => Value::from(text.as_ref()),
        DeValue::Integer(digits) => {
            Value::from(i64::from_str_radix(digits.as_str(), digits.radix()).ok()?)
        }
        DeValue::Float(digits) => Value::Number(Number::from_f64(digits.as_str().parse().ok()?)?),
        DeValue::Boolean(yes) => Value::Bool(*yes),
        DeValue::Datetime(_) => return None,
        DeValue::Array(items) => {
            let items = items.iter().map(|item| json(item.get_ref()));
            Value::Array(items.collect::<Option<_>>()?)
        }
        DeValue::Table(members) => {
            let members = members
                .iter()
                .map(|(name, value)| Some((name.get_ref().to_string(), json(value.get_ref())?)));
            Value::Object(members.collect::<Option<Map<_, _>>>()?)
        }
    })
}
