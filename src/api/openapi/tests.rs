use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::Value;

use super::super::batch::METHODS as METHODS_OF_BATCH;
use super::super::resource::{
    METHODS_OF_CHANGES, METHODS_OF_HISTORY, METHODS_OF_LIST, METHODS_OF_RECORD, METHODS_OF_SCHEMA,
};
use super::*;
use crate::settings::{CheckedFolders, load};
use crate::wire::Code;

/// Several resources with fields of every type.
const SETTINGS: &str = r#"
[resource.authors]
id = "client"
[resource.authors.fields]
name = { type = "string", required = true, min_length = 1 }

[resource.books]
id = "sequence"
if_match = "required"
[resource.books.fields]
title = { type = "string", required = true, min_length = 1, max_length = 200 }
year = { type = "integer", min = 0, max = 3000 }
price = { type = "number", min = 0, default = 0 }
sold = { type = "boolean", required = true, default = false }
printed = { type = "date" }
read_at = { type = "datetime" }
token = { type = "uuid", read_only = true, default = "uuid" }
kind = { type = "enum", values = ["novel", "essay"] }
authorId = { type = "ref", to = "authors" }
tags = { type = "array", items = "string", max_length = 5 }
press = { type = "object", fields = { name = { type = "string", required = true }, "town-hall" = { type = "string" } } }
made_at = { type = "datetime", generated = "created" }

[auth.keys.ci]
hash = "sha256:b6a1f0bc1c5dc8e0a4d7e1c1d9b5c9a1f1a0f9d8c7b6a5948372615049382716"

[resource.movies]
access = { read = "public", write = ["key:ci"] }
rate = { requests = 100 }
path = "/api/films"
accept = ["text/plain"]
delete_matching = true

[resource.order-items]
put = "merge"
additional = true
[resource.order-items.fields]
count = { type = "integer" }
"#;

fn settings() -> Settings {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("perennial.toml");
    fs::write(&file, SETTINGS).unwrap();
    let loaded = load(Some(&file), &BTreeMap::new(), CheckedFolders::None);
    loaded.unwrap_or_else(|error| panic!("{error}")).settings
}

/// The text must be that of the file; `BLESS=1` writes it.
#[track_caller]
fn golden(name: &str, text: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/openapi");
    let file = folder.join(name);
    if std::env::var_os("BLESS").is_some() {
        fs::create_dir_all(&folder).unwrap();
        fs::write(&file, text).unwrap();
    }
    let expected = fs::read_to_string(&file).unwrap_or_default();
    assert_eq!(text, expected, "{}", file.display());
}

#[test]
fn the_schema_of_each_resource_is_as_in_its_file() {
    for (name, resource) in &settings().resources {
        let schema = shapes::of_resource(name, resource);
        let text = serde_json::to_string_pretty(&schema).unwrap();
        golden(&format!("{name}.schema.json"), &(text + "\n"));
    }
}

#[test]
fn the_types_are_as_in_their_file() {
    golden("types.ts", &typescript(&settings().resources));
}

#[test]
fn the_operations_are_as_in_their_file() {
    let document = openapi(&settings());
    let mut lines = String::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let Some(responses) = operation["responses"].as_object() else {
                continue;
            };
            let statuses: Vec<_> = responses.keys().map(String::as_str).collect();
            let id = operation["operationId"].as_str().unwrap();
            let statuses = statuses.join(" ");
            let line = format!("{method} {path} ({id}): {statuses}\n");
            lines.push_str(&line);
        }
    }
    golden("operations.txt", &lines);
}

#[test]
fn every_code_that_a_public_request_for_records_gets_is_an_answer_of_an_operation() {
    let document = openapi(&settings());
    let components = document["components"]["responses"].as_object().unwrap();
    let mut described = BTreeSet::new();
    for (status, response) in components {
        let schema = &response["content"]["application/problem+json"]["schema"];
        for code in schema["allOf"][1]["properties"]["code"]["enum"]
            .as_array()
            .unwrap()
        {
            described.insert((status.parse().unwrap(), code.as_str().unwrap().to_owned()));
        }
    }
    // These are answers to files, and on the admin listener.
    let others = [
        Code::InvalidPath,
        Code::Forbidden,
        Code::RangeNotSatisfiable,
        Code::NotReady,
        Code::NeedsRestart,
        Code::InvalidOrder,
        Code::InvalidSettings,
    ];
    let all = Code::ALL.iter().filter(|code| !others.contains(code));
    let all: BTreeSet<_> = all
        .map(|code| (code.status(), code.name().to_owned()))
        .collect();
    assert_eq!(described, all);
    // Each is named by an operation, but for those of methods and versions that the document does not have.
    let text = document["paths"].to_string();
    for code in Code::ALL.iter().filter(|code| !others.contains(code)) {
        let otherwise = [
            Code::MethodNotAllowed,
            Code::NotImplemented,
            Code::VersionNotSupported,
        ];
        let named = text.contains(&format!("`{}`", code.name()));
        assert_eq!(named, !otherwise.contains(code), "{}", code.name());
    }
}

#[test]
fn every_path_and_method_that_the_router_knows_is_described() {
    let settings = settings();
    let document = openapi(&settings);
    let mut expected = BTreeMap::new();
    for resource in settings.resources.values() {
        for (below, methods) in [
            ("", METHODS_OF_LIST),
            ("/{id}", METHODS_OF_RECORD),
            ("/{id}/_history", METHODS_OF_HISTORY),
            ("/_changes", METHODS_OF_CHANGES),
            ("/_schema", METHODS_OF_SCHEMA),
        ] {
            expected.insert(format!("{}{below}", resource.path), methods);
        }
    }
    expected.insert("/_batch".to_owned(), METHODS_OF_BATCH);
    expected.insert(OPENAPI.to_owned(), METHODS_OF_DOCUMENT);
    expected.insert(DOCS.to_owned(), METHODS_OF_DOCUMENT);
    let paths = document["paths"].as_object().unwrap();
    let described: BTreeSet<_> = paths.keys().collect();
    assert_eq!(described, expected.keys().collect());
    for (path, methods) in expected {
        let mut expected: Vec<_> = methods.split(", ").map(str::to_ascii_lowercase).collect();
        let item = paths[&path].as_object().unwrap();
        let mut described: Vec<_> = item
            .keys()
            .filter(|key| *key != "parameters")
            .cloned()
            .collect();
        expected.sort();
        described.sort();
        assert_eq!(described, expected, "{path}");
    }
}

/// All objects in a value, whose references must lead somewhere.
fn references<'a>(value: &'a Value, into: &mut BTreeSet<&'a str>) {
    match value {
        Value::Object(members) => {
            if let Some(Value::String(reference)) = members.get("$ref") {
                into.insert(reference);
            }
            members.values().for_each(|value| references(value, into));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, into)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn each_reference_leads_to_a_component_and_each_operation_has_an_id_of_its_own() {
    let document = openapi(&settings());
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    for reference in found {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
    let mut ids = BTreeSet::new();
    for item in document["paths"].as_object().unwrap().values() {
        for operation in item.as_object().unwrap().values() {
            if let Some(id) = operation["operationId"].as_str() {
                assert!(ids.insert(id), "{id}");
            }
        }
    }
    assert!(ids.len() > 50);
}

#[test]
fn a_schema_that_was_written_is_read_as_the_same_fields() {
    let text = r#"
[resource.books.fields]
title = { type = "string", required = true, min_length = 1, pattern = '^\S' }
year = { type = "integer", min = 0, max = 3000 }
price = { type = "number", min = 0.5, default = 1 }
sold = { type = "boolean", required = true }
printed = { type = "date" }
read_at = { type = "datetime" }
kind = { type = "enum", values = ["novel", "essay"] }
tags = { type = "array", items = "string", max_length = 5 }
press = { type = "object", fields = { name = { type = "string", required = true } } }
"#;
    let folder = tempfile::tempdir().unwrap();
    let read = |text: &str| {
        let file = folder.path().join("perennial.toml");
        fs::write(&file, text).unwrap();
        let loaded = load(Some(&file), &BTreeMap::new(), CheckedFolders::None);
        let settings = loaded.unwrap_or_else(|error| panic!("{error}")).settings;
        settings.resources["books"].clone()
    };
    let declared = read(text);
    let written = shapes::of_resource("books", &declared);
    // A file is about what the client gives values.
    let mut own = written.clone();
    for meta in crate::record::META {
        own["properties"]
            .as_object_mut()
            .unwrap()
            .shift_remove(meta);
    }
    fs::write(folder.path().join("books.json"), own.to_string()).unwrap();
    let again = read("[resource.books]\nschema = \"books.json\"\n");
    assert_eq!(shapes::of_resource("books", &again), written);
}

#[test]
fn names_of_types_differ_and_are_identifiers() {
    let mut taken = BTreeSet::new();
    let names = [
        "order-items",
        "order_items",
        "books",
        "new-books",
        "resources",
    ];
    let names = names.map(|name| typescript::type_name(name, &mut taken));
    assert_eq!(
        names,
        [
            "OrderItems",
            "OrderItems2",
            "Books",
            "NewBooks2",
            "Resources2"
        ]
    );
}

#[test]
fn the_page_asks_no_other_host_and_loads_nothing() {
    let page = include_str!("docs.html");
    for foreign in [
        "http:", "https:", "//cdn", "src=", "<link", "@import", "url(", "import(",
    ] {
        assert!(!page.contains(foreign), "{foreign}");
    }
}
