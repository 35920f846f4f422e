//! `TypeScript` types of the records of all resources, for `perennial types --ts`. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::record::META;
use crate::settings::{
    Field, FieldSource, FieldType, IdScheme, ObjectFields, ResourceSettings, Schema,
};

/// The types of each resource: `Books` as it is answered, `NewBooks` as it is sent, and `BooksPatch` for a merge patch.
pub(crate) fn typescript(resources: &BTreeMap<String, ResourceSettings>) -> String {
    let mut out = String::from(
        "// TypeScript types of the resources, printed by `perennial types --ts`. Print them again when the settings change.\n",
    );
    let mut taken = BTreeSet::new();
    let mut named = Vec::new();
    for (name, settings) in resources {
        let type_name = type_name(name, &mut taken);
        let text = Types(settings).text(name, &type_name);
        out.push_str(&text);
        named.push((name, type_name));
    }
    out.push_str(
        "\n/** The types of each resource, by its name. */\nexport interface Resources {\n",
    );
    for (name, of) in named {
        let name = member(name);
        let line = format!("  {name}: {{ record: {of}; create: New{of}; patch: {of}Patch }};\n");
        out.push_str(&line);
    }
    out + "}\n"
}

/// The name of a type: `order-items` becomes `OrderItems`. Of two that would have the same one, the second has a number.
pub(super) fn type_name(name: &str, taken: &mut BTreeSet<String>) -> String {
    let words = name.split(['-', '_']).map(|word| {
        let mut letters = word.chars();
        let first = letters.next().map(|first| first.to_ascii_uppercase());
        first.into_iter().chain(letters).collect::<String>()
    });
    let plain: String = words.collect();
    // The name of the type of all of them.
    taken.insert("Resources".to_owned());
    let numbered = (2..).map(|number: u32| format!("{plain}{number}"));
    let mut names = std::iter::once(plain.clone()).chain(numbered);
    let clashes = |name: &String| {
        let all = [name.clone(), format!("New{name}"), format!("{name}Patch")];
        all.iter().any(|name| taken.contains(name))
    };
    let free = names.find(|name| !clashes(name)).unwrap_or_default();
    for name in [free.clone(), format!("New{free}"), format!("{free}Patch")] {
        taken.insert(name);
    }
    free
}

/// The name of a member, in quotes where it is no identifier.
fn member(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '$';
    let begins = name.starts_with(|c: char| !c.is_ascii_digit());
    if begins && name.chars().all(plain) {
        name.to_owned()
    } else {
        Value::from(name).to_string()
    }
}

/// The side from which a record is seen.
#[derive(Clone, Copy, PartialEq, Eq)]
enum TypeSide {
    Answered,
    Sent,
    Patched,
}

struct Types<'a>(&'a ResourceSettings);

impl Types<'_> {
    fn text(&self, name: &str, type_name: &str) -> String {
        let mut out = String::new();
        for (told, declared, side) in [
            ("A record of", type_name.to_owned(), TypeSide::Answered),
            ("A new record of", format!("New{type_name}"), TypeSide::Sent),
            (
                "Changes of a record of",
                format!("{type_name}Patch"),
                TypeSide::Patched,
            ),
        ] {
            let path = &self.0.path;
            let body = self.record(side);
            let text = format!(
                "\n/** {told} {name}, at {path}. */\nexport interface {declared} {{\n{body}}}\n"
            );
            out.push_str(&text);
        }
        out
    }

    fn record(&self, side: TypeSide) -> String {
        let id = id(self.0.ids);
        let mut out = match side {
            TypeSide::Answered => format!("  id: {id};\n"),
            TypeSide::Sent if self.0.ids == IdScheme::Client => format!("  id: {id};\n"),
            TypeSide::Sent => format!("  id?: {id} | null;\n"),
            TypeSide::Patched => format!("  id?: {id};\n"),
        };
        match &*self.0.schema {
            Schema::Any => out.push_str("  [member: string]: unknown;\n"),
            Schema::Fields(fields) => fields_into(&mut out, fields, side, 1),
        }
        if side == TypeSide::Answered {
            let [created, changed, revision] = META;
            let text = format!(
                "  /** With `_meta=true`. */\n  {created}?: string;\n  {changed}?: string;\n  {revision}?: number;\n"
            );
            out.push_str(&text);
        }
        out
    }
}

fn id(ids: IdScheme) -> &'static str {
    if ids == IdScheme::Sequence {
        "number | string"
    } else {
        "string"
    }
}

fn fields_into(out: &mut String, fields: &ObjectFields, side: TypeSide, depth: usize) {
    let indent = "  ".repeat(depth);
    for field in &fields.list {
        let name = member(&field.name);
        let is_own = field.source != FieldSource::Client;
        if is_own && side != TypeSide::Answered {
            continue;
        }
        let optional = if may_be_missing(field, side) { "?" } else { "" };
        let of = type_of(&field.kind, side, depth);
        let is_removable = side == TypeSide::Patched && !field.required;
        let null = if is_removable || field.may_be_null() {
            " | null"
        } else {
            ""
        };
        let only_read = if is_own { "readonly " } else { "" };
        let line = format!("{indent}{only_read}{name}{optional}: {of}{null};\n");
        out.push_str(&line);
    }
    if fields.additional {
        out.push_str(&indent);
        out.push_str("[member: string]: unknown;\n");
    }
}

fn may_be_missing(field: &Field, side: TypeSide) -> bool {
    match side {
        TypeSide::Answered => !field.required,
        TypeSide::Sent => !field.required || field.default.is_some(),
        TypeSide::Patched => true,
    }
}

fn type_of(kind: &FieldType, side: TypeSide, depth: usize) -> String {
    match kind {
        FieldType::String { .. } | FieldType::DateTime | FieldType::Date | FieldType::Uuid => {
            "string".to_owned()
        }
        FieldType::Integer(_) | FieldType::Number(_) => "number".to_owned(),
        FieldType::Boolean => "boolean".to_owned(),
        FieldType::Enum(values) => {
            let values: Vec<_> = values.iter().map(Value::to_string).collect();
            values.join(" | ")
        }
        FieldType::Ref(reference) => id(reference.ids).to_owned(),
        FieldType::Array { items: None, .. } => "unknown[]".to_owned(),
        FieldType::Array {
            items: Some(items), ..
        } => {
            let side = if side == TypeSide::Patched {
                TypeSide::Sent
            } else {
                side
            };
            format!("Array<{}>", type_of(items, side, depth))
        }
        FieldType::Object(None) => "Record<string, unknown>".to_owned(),
        FieldType::Object(Some(fields)) => {
            let mut inner = String::from("{\n");
            fields_into(&mut inner, fields, side, depth.saturating_add(1));
            inner + &"  ".repeat(depth) + "}"
        }
    }
}
