//! Queries as they are sent, against records as they are stored.

mod dialects;
mod operators;
mod parts;

use serde_json::json;

use super::sort::SORT_KEYS_MAX;
use super::*;
use crate::record::tests::fields::{field, text};
use crate::record::{Bounds, FieldType, IdScheme, ObjectFields, OnDelete, Reference};

fn typed() -> Schema {
    let integer = FieldType::Integer(Bounds::default());
    let number = FieldType::Number(Bounds::default());
    let tags = FieldType::Array {
        items: Some(Box::new(text())),
        length: Bounds::default(),
    };
    let author = FieldType::Object(Some(vec![field("name", text())].into()));
    Schema::from(vec![
        field("title", text()),
        field("year", integer),
        field("price", number),
        field("lent", FieldType::Boolean),
        field("seen", FieldType::DateTime),
        field("tags", tags),
        field("author", author),
        field("sold_gt", text()),
        field("meta", FieldType::Object(None)),
    ])
}

/// Fields of the types whose values are texts of a certain form, or ids.
fn formed() -> Schema {
    let reference = |ids| {
        FieldType::Ref(Reference {
            to: "books".to_owned(),
            ids,
            on_delete: OnDelete::Restrict,
        })
    };
    Schema::Fields(ObjectFields {
        list: vec![
            field("day", FieldType::Date),
            field("key", FieldType::Uuid),
            field(
                "state",
                FieldType::Enum(vec![json!("draft"), json!("done")]),
            ),
            field("size", FieldType::Enum(vec![json!(1), json!(10)])),
            field("book", reference(IdScheme::Sequence)),
            field("shelf", reference(IdScheme::Client)),
        ],
        additional: true,
    })
}

fn members(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        other @ (Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Array(_)) => panic!("{other}"),
    }
}

fn strict(query: &str, schema: &Schema) -> Result<ListQuery, QueryError> {
    ListQuery::parse(query, schema, Handling::Strict)
}

#[track_caller]
fn matches(schema: &Schema, query: &str, record: Value) -> bool {
    strict(query, schema).unwrap().matches(&members(record))
}

#[test]
fn a_part_of_the_list_is_chosen_by_start_and_end_by_limit_or_by_page() {
    let ids = (0..700).fold(String::new(), |query, id| format!("{query}id={id}&"));
    for (query, start, limit) in [
        ("", 0, 500),
        ("x=1&_start=20&_end=30", 20, 10),
        ("_end=9999999", 0, 9_999_999),
        ("_start=5&_end=5", 5, 0),
        ("_start=20&_limit=10", 20, 10),
        ("_limit=3", 0, 3),
        ("_page=3&_limit=10", 20, 10),
        ("_page=1", 0, 10),
        ("_page=2&_per_page=7", 7, 7),
        ("_page=2&_limit=9000", 9000, 9000),
        ("range=[5,5]", 5, 1),
        ("_after=", 0, 500),
        (ids.as_str(), 0, 700),
        ("_after=&_limit=7", 0, 7),
        ("_page=18446744073709551615", usize::MAX, 10),
    ] {
        let query = strict(query, &Schema::Any).unwrap();
        assert_eq!(query.slice(), Slice::new(start, limit), "{query:?}");
    }
    for wrong in [
        "_start=-1",
        "_start=",
        "_end=x",
        "_end=%2B5",
        "_start=2&_end=1",
        "_start=99999999999999999999",
        "_page=0",
        "_page=1&_start=0",
        "_page=1&_end=9",
        "_end=9&_limit=9",
        "_limit=1&_per_page=1",
        "_limit=1&_limit=1",
        "_after=&_start=1",
        "_after=&_page=1",
        "_after=&_end=1",
        "_after=00",
        "_after=x",
        "_count=all",
    ] {
        assert!(strict(wrong, &Schema::Any).is_err(), "{wrong}");
    }
}

#[test]
fn a_repeated_name_matches_either_value_and_different_names_must_all_match() {
    let schema = Schema::Any;
    let record =
        json!({"id": "7", "author": {"name": "Le Guin"}, "year": 1974, "tags": ["a", "b"]});
    for (query, hit) in [
        ("author.name=Le+Guin", true),
        ("author.name=Le%20Guin&year=1974", true),
        ("author.name=Le%20Guin&year=1975", false),
        ("id=6&id=7", true),
        ("id=6", false),
        ("year=1974", true),
        ("year=1974.0", false),
        ("year=01974", false),
        ("year=x", false),
        ("tags=b", true),
        ("tags=c", false),
        ("nothing=", false),
        ("author=x", false),
        ("_whatever=1", true),
    ] {
        assert_eq!(matches(&schema, query, record.clone()), hit, "{query}");
    }
    assert!(matches(
        &schema,
        "a=true&b=null&c=1",
        json!({"a": true, "b": null, "c": "1"})
    ));
}

#[test]
fn values_are_compared_by_the_declared_type() {
    let schema = typed();
    let record = json!({"title": "1984", "year": 1949, "price": 7, "lent": false, "tags": ["x"],
        "seen": "2026-11-24T16:00:00+01:00", "sold_gt": "y"});
    for (query, hit) in [
        ("title=1984", true),
        ("title=1984.0", false),
        ("year=1949", true),
        ("price=7.0", true),
        ("lent=false", true),
        ("seen=2026-11-24T15:00:00Z", true),
        ("tags=x", true),
        ("sold_gt=y", true),
        ("author.name=x", false),
    ] {
        assert_eq!(matches(&schema, query, record.clone()), hit, "{query}");
    }
}

#[test]
fn a_wrong_filter_is_refused_with_the_reason() {
    let schema = typed();
    for (query, reason) in [
        (
            "titel=x",
            "titel is not a field of this resource; did you mean title?",
        ),
        (
            "_strat=1",
            "_strat is not a field of this resource; did you mean _start?",
        ),
        ("year=x", "year must be a whole number, not \"x\""),
        (
            "year=99999999999999999999",
            "year must be a whole number from -9223372036854775808 to 9223372036854775807, not \"99999999999999999999\"",
        ),
        ("price=NaN", "price must be a number, not \"NaN\""),
        ("lent=1", "lent must be true or false, not \"1\""),
        (
            "author=x",
            "author is an object; name one of its members, such as author.name",
        ),
        (
            "meta_like=x",
            "meta_like is an object; name one of its members, such as meta_like.MEMBER",
        ),
        (
            "author.nam=x",
            "author.nam is not a field of this resource; did you mean author.name?",
        ),
        (
            "yeer_gte=1960",
            "yeer_gte is not a field of this resource; did you mean year_gte?",
        ),
        (
            "year:gtte=1960",
            "year:gtte has no operator after its colon; there are eq, ne, gt, gte, lt, lte, in, contains, startsWith, endsWith and isnull; did you mean gte?",
        ),
        ("year_gte=x", "year_gte must be a whole number, not \"x\""),
        (
            "title:isnull=1",
            "title:isnull must be true or false, not \"1\"",
        ),
        (
            "title:isnull=true&title:isnull=false",
            "title:isnull must be given once",
        ),
    ] {
        let error = strict(query, &schema).unwrap_err();
        assert_eq!(error.to_string(), reason, "{query}");
    }
}

#[test]
fn a_wrong_query_is_refused_with_the_reason() {
    let schema = typed();
    for (query, reason) in [
        (
            "_sort=title&_order=up",
            "_order consists of asc and desc, one for each name in _sort at most",
        ),
        (
            "_sort=title&_order=asc,desc",
            "_order consists of asc and desc, one for each name in _sort at most",
        ),
        ("_sort=nothing", "nothing is not a field of this resource"),
        ("title=%zz", "the query is not percent-encoded UTF-8"),
        ("title=%ff", "the query is not percent-encoded UTF-8"),
        ("title=%4", "the query is not percent-encoded UTF-8"),
    ] {
        assert_eq!(
            strict(query, &schema).unwrap_err().to_string(),
            reason,
            "{query}"
        );
    }
}

#[test]
fn too_many_parameters_or_sort_keys_are_refused() {
    let many = "x=1&".repeat(PARAMETERS_MAX + 1);
    assert_eq!(strict(&many, &Schema::Any), Err(QueryError::TooMany));
    let keys = format!("_sort={}", "a,".repeat(SORT_KEYS_MAX + 1));
    assert_eq!(strict(&keys, &Schema::Any), Err(QueryError::SortKeys));
}

#[test]
fn ascending_ids_are_the_natural_order_and_nothing_is_sorted_beyond_an_id() {
    let sorted = |query: &str| {
        let query = strict(query, &Schema::Any).unwrap();
        let paths = query.order().iter().map(|by| by.path.join("."));
        paths.collect::<Vec<_>>().join(",")
    };
    for (query, keys) in [
        ("_sort=id&_order=ASC&_start=10025&_end=10050", ""),
        ("_sort=id,year", ""),
        ("_sort=year,id,title", "year"),
        ("_sort=-id,year", "id"),
        ("_sort=year,-id,title", "year,id"),
        (r#"sort=["id","ASC"]"#, ""),
    ] {
        assert_eq!(sorted(query), keys, "{query}");
    }
}

#[test]
fn unknown_names_are_ignored_for_a_lenient_client() {
    let query = ListQuery::parse("titel=x&_sort=nothing,title", &typed(), Handling::Lenient);
    let query = query.unwrap();
    assert!(query.matches(&Map::new()) && query.is_sorted());
}

#[test]
fn records_are_sorted_by_several_keys() {
    let sorted = |schema: &Schema, query: &str, records: &[Value]| {
        let query = strict(query, schema).unwrap();
        let mut keyed: Vec<_> = records
            .iter()
            .map(|record| {
                (
                    query.sort_key(&members(record.clone())),
                    record["n"].as_u64().unwrap(),
                )
            })
            .collect();
        keyed.sort_by(|(a, _), (b, _)| query.compare(a, b));
        keyed.into_iter().map(|(_, n)| n).collect::<Vec<_>>()
    };
    let records = [
        json!({"n": 0, "a": "x", "b": 2}),
        json!({"n": 1, "a": "x", "b": 10.5}),
        json!({"n": 2, "a": "w", "b": 1}),
        json!({"n": 3, "b": 10}),
        json!({"n": 4, "a": 7}),
    ];
    let any = Schema::Any;
    assert_eq!(sorted(&any, "_sort=a,b", &records), [4, 2, 0, 1, 3]);
    assert_eq!(sorted(&any, "_sort=a,-b", &records), [4, 2, 1, 0, 3]);
    assert_eq!(
        sorted(&any, "_sort=a,b&_order=DESC,asc", &records),
        [3, 0, 1, 2, 4]
    );
    assert_eq!(sorted(&any, "_sort=b", &records), [2, 0, 3, 1, 4]);
    let times = [
        json!({"n": 0, "seen": "2026-01-01T00:00:00-01:00"}),
        json!({"n": 1, "seen": "2026-01-01T00:30:00Z"}),
    ];
    assert_eq!(sorted(&typed(), "_sort=seen", &times), [1, 0]);
    assert_eq!(sorted(&any, "_sort=seen", &times), [0, 1]);
}
