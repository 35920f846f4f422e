//! Random queries and bodies: none panics, and parsing an accepted one again gives the same result. `FUZZ_CASES` and
//! `FUZZ_SEED` set how many there are and which.

use serde_json::{Value, json};

use super::fields::{bounds, field};
use super::random_input::RandomInput;
use crate::record::{
    DefaultValue, Field, FieldType, Handling, IdScheme, JsonObject, ListQuery, NewValues, Record,
    RecordId, RecordShape, Revision, Schema, Selection,
};

fn schema() -> Schema {
    let text = || FieldType::String {
        length: bounds(Some(1), Some(20)),
        pattern: None,
    };
    let integer = || FieldType::Integer(bounds(Some(0), Some(3000)));
    let price = FieldType::Number(bounds(Some(0.5), None));
    let tags = FieldType::Array {
        items: Some(Box::new(text())),
        length: bounds(None, Some(2)),
    };
    let artist = FieldType::Object(Some(
        vec![field("name", text()), field("born", integer())].into(),
    ));
    Schema::from(vec![
        Field {
            required: true,
            ..field("title", text())
        },
        field("year", integer()),
        field("price", price),
        field("on_sale", FieldType::Boolean),
        field("released", FieldType::DateTime),
        Field {
            default: Some(DefaultValue::Fixed(json!([]))),
            ..field("tags", tags)
        },
        field("artist", artist),
        field("day", FieldType::Date),
        Field {
            default: Some(DefaultValue::Uuid),
            ..field("key", FieldType::Uuid)
        },
        field(
            "state",
            FieldType::Enum(vec![json!("draft"), json!("done")]),
        ),
    ])
}

/// A few records to select from.
fn records() -> Vec<Record> {
    let mut random = RandomInput::new(7);
    let ids = ["0", "1", "10", "2", "99999999999999999999", "Dune", "true"];
    let record = |id: &str| {
        let id = RecordId::parse(id).unwrap();
        let object = Value::Object(random.object()).to_string();
        let json = JsonObject::parse(object.as_bytes());
        Record {
            json: json.unwrap_or_default().text(&id),
            id,
            revision: Revision(1),
            created_ms: 0,
            changed_ms: 0,
        }
    };
    ids.map(record).to_vec()
}

/// The page of a query, how many records match if that is counted, and whether there are more.
fn select(query: &ListQuery, records: &[Record]) -> (Vec<Record>, Option<u64>, bool) {
    let mut selection = Selection::new(query.clone());
    for record in records {
        if !selection.visit(record.clone()) {
            break;
        }
    }
    let selected = selection.finish().unwrap();
    (selected.records, selected.total, selected.more)
}

/// Checks what must hold for every query that is accepted.
fn check_query(text: &str, schema: &Schema, handling: Handling, records: &[Record]) {
    let Ok(query) = ListQuery::parse(text, schema, handling) else {
        return;
    };
    let (page, total, more) = select(&query, records);
    assert!(page.len() <= query.slice().limit(), "{text}");
    assert!(total.is_none_or(|total| total <= 7), "{text}");
    assert!(!query.told().is_empty());
    for (rel, link) in query.links(&page, total, more).unwrap() {
        let linked = ListQuery::parse(&link, schema, handling);
        assert!(linked.is_ok(), "{text}: {rel} is {link}");
    }
    if let Some(ids) = query.ids(IdScheme::Uuid) {
        let mut named = records.to_vec();
        named.retain(|record| ids.contains(&record.id));
        let (picked, _, _) = select(&query, &named);
        assert_eq!(picked, page, "{text}");
    }
    if let Ok(shape) = RecordShape::parse(text, schema, handling) {
        for record in &page {
            assert!(JsonObject::parse(&shape.text(record)).is_ok(), "{text}");
        }
    }
    check_links(text, schema, handling, records);
}

/// Checks that the links of a list that is cut after each record lead to every record once, in the order of the list.
fn check_links(text: &str, schema: &Schema, handling: Handling, records: &[Record]) {
    let parse = |text: &str| ListQuery::parse(text, schema, handling).unwrap();
    let (whole, _, _) = select(&parse(text), records);
    let mut seen = Vec::new();
    let mut next = Some(text.to_owned());
    while let Some(sent) = next.take() {
        let query = parse(&sent).at_most(1);
        let (page, total, more) = select(&query, records);
        let links = query.links(&page, total, more).unwrap();
        seen.extend(page);
        assert!(seen.len() <= records.len(), "{text}");
        next = links
            .into_iter()
            .find_map(|(rel, to)| (rel == "next").then_some(to));
    }
    assert!(seen.starts_with(&whole), "{text}");
    let mut ids: Vec<_> = seen.iter().map(|record| &record.id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), seen.len(), "{text}");
}

/// Checks what must hold for every body that is accepted.
fn check_body(body: &[u8], schema: &Schema, other: &mut JsonObject) {
    let parsed = JsonObject::parse(body);
    let reference = serde_json::from_slice::<Value>(body);
    let Ok(mut object) = parsed else { return };
    let shown = String::from_utf8_lossy(body).into_owned();
    let members = Value::Object(object.members().clone());
    assert_eq!(reference.ok(), Some(members), "{shown}");
    let id = RecordId::parse("x").unwrap();
    let again = |object: &JsonObject| JsonObject::parse(&object.text(&id)).unwrap();
    object.remove_id();
    let mut back = again(&object);
    back.remove_id();
    assert_eq!(back, object, "{shown}");
    assert!(object.is_like(&back));
    if schema.check(&mut object, &NewValues::default()).is_ok() {
        let filled = object.clone();
        assert_eq!(
            schema.check(&mut object, &NewValues::default()),
            Ok(()),
            "{shown}"
        );
        assert_eq!(object, filled, "{shown}");
    }
    let mut merged = other.clone();
    merged.merge(&object);
    let once = merged.clone();
    merged.merge(&object);
    assert_eq!(merged, once, "{shown}");
    *other = object;
}

/// A number from an environment variable.
fn number(variable: &str, default: u64) -> u64 {
    let given = std::env::var(variable).ok();
    given.map_or(default, |text| text.parse().unwrap())
}

#[test]
fn random_queries_and_bodies_give_the_same_result_twice() {
    let mut random = RandomInput::new(number("FUZZ_SEED", 1));
    let (any, typed, records) = (Schema::Any, schema(), records());
    let mut other = JsonObject::default();
    for case in 0..number("FUZZ_CASES", 20_000) {
        let schema = if case % 4 < 2 { &any } else { &typed };
        if case % 2 == 0 {
            let handling = if random.one_in(4) {
                Handling::Lenient
            } else {
                Handling::Strict
            };
            check_query(&random.query(), schema, handling, &records);
        } else {
            check_body(&random.body(), schema, &mut other);
        }
    }
}
