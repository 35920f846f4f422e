//! A JSON Schema file in place of fields: what it says is what records have to keep.

use super::*;
use crate::record::JsonObject;

const BOOK: &str = r#"{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "title": "A book",
  "type": "object",
  "required": ["id", "title"],
  "additionalProperties": false,
  "properties": {
    "id": {"type": "string", "format": "uuid"},
    "title": {"type": "string", "minLength": 1, "maxLength": 5},
    "isbn": {"type": ["string", "null"], "pattern": "^\\d{3}$"},
    "year": {"type": "integer", "minimum": 0, "exclusiveMaximum": 3000},
    "price": {"type": "number", "minimum": 0.5},
    "released": {"type": "string", "format": "date"},
    "state": {"enum": ["draft", "listed", null], "default": "draft"},
    "kind": {"const": 1},
    "tags": {"type": "array", "items": {"type": "string"}, "maxItems": 2},
    "author": {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]},
    "token": {"type": "string", "readOnly": true, "default": "t"}
  }
}"#;

#[test]
fn records_have_to_keep_what_the_file_says() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.toml");
    fs::write(folder.path().join("book.json"), BOOK).unwrap();
    fs::write(&file, "[resource.books]\nschema = \"book.json\"\n").unwrap();
    let settings = load(Some(&file), &BTreeMap::new()).unwrap();
    let schema = &settings.resources["books"].schema;
    for (record, pointer) in [
        (r#"{"title":"x"}"#, None),
        (r#"{"title":"x","isbn":null,"state":null}"#, None),
        (r#"{"title":"x","author":{"name":"y","born":5}}"#, None),
        (r#"{"title":"x","kind":1.0,"year":2999,"price":1}"#, None),
        (r"{}", Some("/title")),
        (r#"{"title":null}"#, Some("/title")),
        (r#"{"title":"123456"}"#, Some("/title")),
        (r#"{"title":"x","year":null}"#, Some("/year")),
        (r#"{"title":"x","year":3000}"#, Some("/year")),
        (r#"{"title":"x","isbn":"12"}"#, Some("/isbn")),
        (
            "{\"title\":\"x\",\"isbn\":\"\u{661}\u{662}\u{663}\"}",
            Some("/isbn"),
        ),
        (r#"{"title":"x","price":0.25}"#, Some("/price")),
        (r#"{"title":"x","released":"2026"}"#, Some("/released")),
        (r#"{"title":"x","state":"sold"}"#, Some("/state")),
        (r#"{"title":"x","kind":2}"#, Some("/kind")),
        (r#"{"title":"x","tags":["a",1]}"#, Some("/tags/1")),
        (r#"{"title":"x","author":{}}"#, Some("/author/name")),
        (r#"{"title":"x","other":1}"#, Some("/other")),
    ] {
        let object = JsonObject::parse(record.as_bytes()).unwrap();
        let found = schema.check_stored(object).err().unwrap_or_default();
        let found: Vec<_> = found.iter().map(|it| it.pointer.as_str()).collect();
        assert_eq!(found, pointer.into_iter().collect::<Vec<_>>(), "{record}");
    }
    assert!(schema.has_own(), "the token is the server's");
    let before = check(Some(&file), &BTreeMap::new()).unwrap().values;
    let changed = BOOK.replace("3000", "2000");
    fs::write(folder.path().join("book.json"), changed).unwrap();
    let after = check(Some(&file), &BTreeMap::new()).unwrap().values;
    assert_ne!(before, after, "a reload finds that the file was changed");
}
