//! Random records and queries for them.

use proptest::prelude::*;
use serde_json::{Value, json};

/// The fields of the records that are tried.
const FIELDS: [&str; 6] = ["a", "b", "tags", "at", "o.p", "u"];

fn texts() -> impl Strategy<Value = String> {
    let long = |end: &str| format!("{}{end}", "x".repeat(256));
    let few = vec![
        String::new(),
        "x".to_owned(),
        "y".to_owned(),
        "1".to_owned(),
        "1.0".to_owned(),
        "true".to_owned(),
        "null".to_owned(),
        "2026-11-24T16:00:00Z".to_owned(),
        "2026-11-24T17:00:00+01:00".to_owned(),
        "2025-01-01T00:00:00.5Z".to_owned(),
        "9007199254740993".to_owned(),
        "1e16".to_owned(),
        long(""),
        long("a"),
        long("b"),
        long("\u{0}"),
    ];
    prop::sample::select(few)
}

fn values() -> impl Strategy<Value = Value> {
    let number = prop::sample::select(vec![
        json!(0),
        json!(-0.0),
        json!(1),
        json!(1.0),
        json!(1.5),
        json!(-3),
        json!(9_007_199_254_740_992_i64),
        json!(9_007_199_254_740_993_i64),
        json!(1e16),
        json!(u64::MAX),
    ]);
    let plain = prop_oneof![
        4 => number,
        4 => texts().prop_map(Value::from),
        1 => any::<bool>().prop_map(Value::from),
        1 => Just(Value::Null),
        1 => Just(json!({"x": 1})),
    ];
    let array = prop::collection::vec(plain.clone(), 0..4).prop_map(Value::from);
    prop_oneof![12 => plain, 1 => array]
}

/// The records of a resource.
pub(super) fn records() -> impl Strategy<Value = Vec<Value>> {
    let arrays = prop::collection::vec(texts().prop_map(Value::from), 0..4);
    let tags = prop_oneof![3 => arrays.prop_map(Value::from), 1 => values()];
    let members = (
        prop::option::of(values()),
        prop::option::of(values()),
        prop::option::of(tags),
        prop::option::of(values()),
        prop::option::of(values()),
    );
    let record = members.prop_map(|(a, b, tags, at, p)| {
        let mut record = serde_json::Map::new();
        let members = [("a", a), ("b", b), ("tags", tags), ("at", at)];
        for (name, value) in members {
            record.extend(value.map(|value| (name.to_owned(), value)));
        }
        record.extend(p.map(|p| ("o".to_owned(), json!({"p": p}))));
        Value::Object(record)
    });
    let record = record.boxed();
    prop_oneof![
        4 => prop::collection::vec(record.clone(), 0..60),
        1 => prop::collection::vec(record, 300..500),
    ]
}

/// A filter by values of which each record has another one.
fn own_values() -> impl Strategy<Value = (String, String)> {
    let number = 0..60;
    prop_oneof![
        (
            number.clone(),
            prop::sample::select(vec!["", "_gte", "_lt"])
        )
            .prop_map(|(n, operator)| (format!("u{operator}"), format!("u{n}"))),
        (number, prop::sample::select(vec!["", "", "_ne"]))
            .prop_map(|(n, operator)| (format!("id{operator}"), format!("r{n:06}"))),
        texts().prop_map(|text| ("q".to_owned(), text)),
    ]
}

/// The part of the records that is asked for.
fn parts() -> impl Strategy<Value = String> {
    let limits = prop_oneof![Just(0_usize), 0_usize..30, Just(500)];
    let (start, page) = (0_usize..40, 1_usize..4);
    prop_oneof![
        5 => (start.clone(), limits.clone()).prop_map(|(start, limit)| format!("_start={start}&_limit={limit}")),
        1 => (start, limits.clone()).prop_map(|(start, many)| format!("_start={start}&_end={}", start + many)),
        1 => (page, 1_usize..20).prop_map(|(page, limit)| format!("_page={page}&_limit={limit}")),
        1 => limits.prop_map(|limit| format!("_limit={limit}")),
        1 => (0_usize..9, 0_usize..9).prop_map(|(first, more)| format!("range=[{first},{}]", first + more)),
        2 => (1_usize..20).prop_map(|limit| format!("_after=&_limit={limit}")),
        1 => (1_usize..20).prop_map(|limit| format!("_after=&_limit={limit}&_count=exact")),
    ]
}

/// A query: filters, an order and a part.
pub(super) fn queries() -> impl Strategy<Value = String> {
    let field = || prop::sample::select(FIELDS.to_vec());
    let operators = vec![
        "", "", "", "_gte", "_lt", "_gt", "_lte", "_ne", "_like", ":isnull",
    ];
    let filter = (field(), prop::sample::select(operators), texts());
    let filter = filter.prop_map(|(field, operator, value)| {
        let value = if operator == ":isnull" {
            (value.len() % 2 == 0).to_string()
        } else {
            value
        };
        (format!("{field}{operator}"), value)
    });
    let filter = prop_oneof![9 => filter, 1 => own_values()];
    let filters = prop::collection::vec(filter, 0..4);
    let equal = prop::sample::select(vec!["", "_gte", "_lt", ":isnull"]);
    let equal = (field(), equal, texts()).prop_map(|(field, operator, value)| {
        let value = if operator == ":isnull" {
            "true"
        } else {
            &value
        };
        (format!("{field}{operator}"), Value::from(value))
    });
    let group = prop::collection::vec(equal, 1..3);
    let groups = prop::collection::vec(group, 1..4).boxed();
    let inner = prop::option::weighted(0.3, groups.clone());
    let groups = prop::option::weighted(0.4, (groups, inner));
    let sorted = prop_oneof![9 => field(), 1 => Just("id")];
    let sort = prop::collection::vec((sorted, any::<bool>()), 0..3);
    let same = prop::option::of(any::<bool>());
    let all = (filters, groups, sort, same, parts());
    let all = all.prop_map(|(filters, groups, sort, same, part)| {
        let mut query = part;
        let mut add = |name: &str, value: &str| {
            let value =
                percent_encoding::utf8_percent_encode(value, percent_encoding::NON_ALPHANUMERIC);
            query.extend(["&", name, "=", &value.to_string()]);
        };
        for (name, value) in filters {
            add(&name, &value);
        }
        if let Some((groups, inner)) = groups {
            let any = |groups: Vec<Vec<(String, Value)>>| {
                let groups = groups.into_iter();
                groups.map(|group| Value::Object(group.into_iter().collect()))
            };
            let mut all: Vec<_> = any(groups).collect();
            all.extend(inner.map(|inner| json!({"or": any(inner).collect::<Vec<_>>()})));
            add("filter", &json!({"or": all}).to_string());
        }
        let keys = sort.iter().map(|(field, descending)| {
            let descending = same.unwrap_or(*descending);
            format!("{}{field}", if descending { "-" } else { "" })
        });
        let keys: Vec<_> = keys.collect();
        if !keys.is_empty() {
            query.extend(["&_sort=", &keys.join(",")]);
        }
        query
    });
    // One value of the first field of an index, and a range of the second in its order: by chance they seldom come together.
    let numbers = || prop::sample::select(vec!["-3", "0", "1"]);
    let range = (numbers(), numbers(), any::<bool>()).prop_map(|(one, from, descending)| {
        let sign = if descending { "-" } else { "" };
        format!("_limit=20&a={one}&b_gte={from}&_sort={sign}b")
    });
    prop_oneof![30 => all, 1 => range]
}
