//! The second dialect, and groups.

use serde_json::json;

use super::*;

#[test]
fn the_second_dialect_says_what_the_first_does() {
    let schema = typed();
    let meaning = |query: &str| {
        let query = strict(query, &schema).unwrap();
        let (conditions, order) = (query.conditions.clone(), query.order().to_vec());
        (conditions, order, query.slice())
    };
    for (second, first) in [
        ("range=[0,24]", "_start=0&_end=25"),
        ("range=[24,24]", "_start=24&_limit=1&_end=25"),
        (r#"sort=["year","DESC"]"#, "_sort=-year"),
        (r#"sort=["year","desc","title"]"#, "_sort=-year,title"),
        (
            r#"sort=[["year","DESC"],["author.name","ASC"]]"#,
            "_sort=-year,author.name",
        ),
        ("filter={}", ""),
        (r#"filter={"id":[1,2]}"#, "id=1&id=2"),
        (r#"filter={"id":[1,"2"],"q":"x"}"#, "id=1&id=2&q=x"),
        (
            r#"filter={"year_gte":1960,"title_like":"dune"}"#,
            "year_gte=1960&title_like=dune",
        ),
        (r#"filter={"author":{"name":"Joyce"}}"#, "author.name=Joyce"),
        (
            r#"filter={"author.name:startsWith":"Jo"}"#,
            "author.name:startsWith=Jo",
        ),
        (r#"filter={"year":null}"#, "year:isnull=true"),
        (r#"filter={"year_ne":null}"#, "year:isnull=false"),
        (
            r#"filter={"lent":false,"price":1e3}"#,
            "lent=false&price=1000",
        ),
        (
            r#"filter={"and":[{"year":1},{"title":"x"}]}"#,
            "year=1&title=x",
        ),
    ] {
        let first = first.replace("&_limit=1", "");
        assert_eq!(meaning(second), meaning(&first), "{second}");
    }
}

#[test]
fn one_group_of_several_must_hold() {
    let record = json!({"title": "Dune", "year": 1965, "tags": ["a", "b"]});
    for (filter, hit) in [
        (r#"{"or":[{"year":1965},{"title":"x"}]}"#, true),
        (r#"{"or":[{"year":1966},{"title":"Dune"}]}"#, true),
        (r#"{"or":[{"year":1966},{"title":"x"}]}"#, false),
        (
            r#"{"or":[{"year":1965,"title":"x"},{"year_lt":1960}]}"#,
            false,
        ),
        (r#"{"or":[]}"#, false),
        (r#"{"or":[{}]}"#, true),
        (r#"{"title":"x","or":[{"year":1965}]}"#, false),
        (r#"{"and":[{"tags":"a"},{"tags":"b"}]}"#, true),
        (r#"{"and":[{"tags":"a"},{"tags":"c"}]}"#, false),
        (
            r#"{"or":[{"or":[{"year":1}]},{"and":[{"year":1965}]}]}"#,
            true,
        ),
        (r#"{"id":[]}"#, false),
        (r#"{"q":[]}"#, true),
        (r#"{"or":[{"q":"none of it"},{"year":1965}]}"#, true),
        (r#"{"and":[{"q":"none of it"}]}"#, false),
        (r#"{"year":[null,1965]}"#, true),
        (r#"{"year":[null,1966]}"#, false),
    ] {
        let query = format!("filter={filter}");
        for schema in [&typed(), &Schema::Any] {
            assert_eq!(matches(schema, &query, record.clone()), hit, "{filter}");
        }
    }
    let missing = r#"filter={"year":[null,1966]}"#;
    assert!(matches(&Schema::Any, missing, json!({})));
    // A group without conditions selects every record, which a change of all that match refuses.
    let all = r#"filter={"or":[{"year":1},{}]}"#;
    let all = ListQuery::of_change(all, &Schema::Any, Handling::Strict);
    assert!(all.unwrap().selects_all());
}

#[test]
fn an_object_stands_only_where_a_value_may_have_members() {
    let Schema::Fields(mut fields) = typed() else {
        panic!("fields are declared")
    };
    fields.additional = true;
    let open = Schema::Fields(fields);
    let is_taken = |filter: &str, schema: &Schema| {
        let [top, group] = [filter.to_owned(), format!(r#"{{"or":[{filter}]}}"#)];
        let taken = [top, group].map(|filter| strict(&format!("filter={filter}"), schema).is_ok());
        assert_eq!(taken[0], taken[1], "{filter} is the same in a group");
        taken[0]
    };
    for object in ["{}", r#"{"x":1}"#] {
        for name in ["id", "id:eq", "q", "or", "and"] {
            for schema in [&Schema::Any, &open, &typed()] {
                assert!(
                    !is_taken(&format!(r#"{{"{name}":{object}}}"#), schema),
                    "{name}"
                );
            }
        }
        for name in [
            "title",
            "title_like",
            "price",
            "seen_gte",
            "tags",
            "author_ne",
        ] {
            for schema in [&open, &typed()] {
                assert!(
                    !is_taken(&format!(r#"{{"{name}":{object}}}"#), schema),
                    "{name}"
                );
            }
        }
        assert!(is_taken(&format!(r#"{{"any":{object}}}"#), &Schema::Any));
        assert!(is_taken(&format!(r#"{{"meta":{object}}}"#), &typed()));
    }
    assert!(is_taken(r#"{"author":{"name":"x"}}"#, &typed()));
    assert!(!is_taken(r#"{"other":{}}"#, &typed()));
    let refused = strict(r#"filter={"or":[{"id":{"x":1}}]}"#, &Schema::Any).map(|_| ());
    assert_eq!(
        refused.unwrap_err().to_string(),
        "id must be a value or an array of values, not \"{\\\"x\\\":1}\""
    );
    for value in ["1", "null", r#"{"year":1}"#, "[1]"] {
        let refused = strict(&format!(r#"filter={{"or":{value}}}"#), &Schema::Any).map(|_| ());
        let told = refused.unwrap_err().to_string();
        assert!(told.starts_with("or must be an array of filters"), "{told}");
    }
}

#[test]
fn what_is_no_json_of_that_form_is_a_field_or_an_error() {
    let declared = Schema::from(vec![field("sort", text()), field("filter", text())]);
    let record = json!({"sort": "x", "filter": "y"});
    assert!(matches(&declared, "sort=x&filter=y", record.clone()));
    assert!(matches(&Schema::Any, "sort=x&filter=y", record));
    for (query, reason) in [
        (
            "range=[5,4]",
            "range must be an array of the first and the last record such as [0,24], not \"[5,4]\"",
        ),
        (
            "range=[-1,4]",
            "range must be an array of the first and the last record such as [0,24], not \"[-1,4]\"",
        ),
        (
            "range=[0,4]&_start=1",
            "range and _start exclude each other",
        ),
        ("range=[0,4]&range=[0,4]", "range must be given once"),
        (
            "sort=[\"year\",\"up\"]",
            "sort must be an array such as [\"year\",\"DESC\"], not \"[\\\"year\\\",\\\"up\\\"]\"",
        ),
        (
            "sort=[\"year\"]&_sort=year",
            "_sort and sort exclude each other",
        ),
        (
            "filter=[1]",
            "filter must be an object such as {\"year\":1965}, not \"[1]\"",
        ),
        (
            "filter={\"a\"",
            "filter is not valid JSON: EOF while parsing an object at line 1 column 4",
        ),
        (
            "filter={\"year\":[[1]]}",
            "year must be a value or an array of values, not \"[1]\"",
        ),
        (
            "filter={\"or\":[1]}",
            "or must be an array of filters such as [{\"year\":1965},{\"title_like\":\"dune\"}], not \"1\"",
        ),
        (
            "filter={\"year\":\"x\"}",
            "year must be a whole number, not \"x\"",
        ),
        (
            "filter={\"yeer\":1}",
            "yeer is not a field of this resource; did you mean year?",
        ),
        (
            "filter={\"year_gte\":null}",
            "year_gte must be a value; for null and what is missing there is :isnull=true, not \"null\"",
        ),
        (
            "filter=x",
            "filter must be an object such as {\"year\":1965}, not \"x\"",
        ),
    ] {
        let error = strict(query, &typed()).map(|_| ());
        assert_eq!(error.unwrap_err().to_string(), reason, "{query}");
    }
}
