//! Lists: filters, sorting, pages and their headers; and deleting by example.

use serde_json::{Value, json};

use super::*;

/// Creates these records.
#[track_caller]
fn make_all(daemon: &TestDaemon, path: &str, records: &[Value]) {
    for record in records {
        make(daemon, path, record);
    }
}

#[track_caller]
fn assert_ids(daemon: &TestDaemon, path: &str, cases: &[(&str, &[&str])]) {
    for (query, expected) in cases {
        let ids = listed(daemon, &format!("{path}?{query}"), "id");
        assert_eq!(ids, *expected, "{path}?{query}");
    }
}

#[test]
fn a_list_without_fields_is_filtered_by_the_values_of_its_records() {
    let daemon = TestDaemon::start(RESOURCES);
    make_all(
        &daemon,
        "/books",
        &[
            json!({"id": "a", "title": "Dune", "year": 1965, "author": {"name": "Herbert"}, "tags": ["sand", "spice"]}),
            json!({"id": "b", "title": "1984", "year": 1949.0, "author": {"name": "Orwell"}, "read": true}),
            json!({"id": "c", "title": "Le Guin & co", "year": "1965", "read": false, "tags": []}),
            json!({"id": "d", "title": null, "author": "Joyce"}),
        ],
    );
    assert_ids(
        &daemon,
        "/books",
        &[
            ("", &["a", "b", "c", "d"]),
            ("title=Dune", &["a"]),
            ("title=dune", &[]),
            ("title=1984", &["b"]),
            ("title=Le+Guin+%26%20co", &["c"]),
            ("title=null", &["d"]),
            ("title=Dune&title=1984", &["a", "b"]),
            ("year=1965", &["a", "c"]),
            ("year=1965&title=Dune", &["a"]),
            ("year=1949", &["b"]),
            ("author.name=Orwell&author.name=Herbert", &["a", "b"]),
            ("author=Joyce", &["d"]),
            ("tags=spice", &["a"]),
            ("read=true", &["b"]),
            ("read=false", &["c"]),
            ("nothing=x", &[]),
            ("_unknown=x", &["a", "b", "c", "d"]),
            ("_=1732540000000", &["a", "b", "c", "d"]),
            ("year_gte=1950", &["a", "c"]),
            ("year:lt=1950", &["b"]),
            ("title_like=E", &["a", "c"]),
            ("title:startsWith=le", &["c"]),
            ("title_ne=Dune", &["b", "c"]),
            ("id:in=d,b", &["b", "d"]),
            ("title:isnull=true", &["d"]),
            ("tags.0=sand", &["a"]),
            ("tags_like=PIC", &["a"]),
            ("id[]=a&id[]=b", &["a", "b"]),
            ("id[0]=a&id[1]=b", &["a", "b"]),
            ("q=orwell", &["b"]),
            ("q=1949", &["b"]),
            ("range=[1,2]&sort=[%22id%22,%22DESC%22]", &["c", "b"]),
            (
                "filter={%22or%22:[{%22author%22:%22Joyce%22},{%22author%22:{%22name_like%22:%22herb%22}}]}",
                &["a", "d"],
            ),
            ("id=c&id=a&id=zz&id=c", &["a", "c"]),
            ("id=c&id=a&title=Dune", &["a"]),
            ("id=", &[]),
            ("id=d&id=a&id=b&_sort=-id&_limit=2", &["d", "b"]),
            ("id=d&id=a&id=b&_start=1", &["b", "d"]),
        ],
    );
    let total = |query: &str| {
        let list = daemon.get(&format!("/books?{query}")).expect(200);
        list.header("x-total-count").unwrap().to_owned()
    };
    assert_eq!(total("year=1965&_limit=1"), "2");
    assert_eq!(total("id=a&id=b&id=zz&_limit=1"), "2");
    assert_eq!(total("_end=0"), "4");
}

#[test]
fn a_typed_list_is_filtered_by_declared_types() {
    let daemon = TestDaemon::start(RESOURCES);
    make_all(
        &daemon,
        "/albums",
        &[
            json!({"id": "a", "title": "1984", "year": 1984, "price": 9.5, "released": "2026-11-24T16:00:00+01:00",
                "artist": {"name": "X", "born": 1}, "tags": ["x"]}),
            json!({"id": "b", "title": "x", "year": 1999, "price": 10, "on_sale": true, "released": "2026-11-24T16:00:00Z"}),
        ],
    );
    assert_ids(
        &daemon,
        "/albums",
        &[
            ("title=1984", &["a"]),
            ("title=1984.0", &[]),
            ("year=1984&year=1999", &["a", "b"]),
            ("price=10.0", &["b"]),
            ("on_sale=false", &["a"]),
            ("released=2026-11-24T15:00:00Z", &["a"]),
            ("artist.name=X", &["a"]),
            ("artist.born=1", &["a"]),
            ("tags=x", &["a"]),
            ("id=b&title=x", &["b"]),
            ("year_gte=1984&year_lt=1999", &["a"]),
            ("price:gt=9.75", &["b"]),
            ("released_lt=2026-11-24T15:30:00Z", &["a"]),
            ("artist.name_like=x", &["a"]),
            ("artist:isnull=true", &["b"]),
            ("_=1", &["a", "b"]),
            ("q=x", &["a", "b"]),
            ("q=1999", &[]),
            ("filter={%22year%22:[1984,1],%22q%22:%22198%22}", &["a"]),
            ("_sort=released", &["a", "b"]),
            ("_sort=-price", &["b", "a"]),
            ("_sort=on_sale,-title", &["a", "b"]),
        ],
    );
    let lenient = [("prefer", "handling=lenient")];
    let list = ask(&daemon, "GET", "/albums?titel=x&title=x", &lenient, "").expect(200);
    assert_eq!(list.header("preference-applied"), Some("handling=lenient"));
    assert_eq!(list.json().as_array().unwrap().len(), 1);
}

#[test]
fn a_wrong_query_is_refused_with_the_reason() {
    let daemon = TestDaemon::start(RESOURCES);
    let cases = [
        (
            "titel=x",
            "titel is not a field of this resource; did you mean title?",
        ),
        (
            "_strat=1",
            "_strat is not a field of this resource; did you mean _start?",
        ),
        ("zzzzzz=1", "zzzzzz is not a field of this resource"),
        (
            "artist.nam=x",
            "artist.nam is not a field of this resource; did you mean artist.name?",
        ),
        (
            "artist=x",
            "artist is an object; name one of its members, such as artist.name",
        ),
        ("year=x", "year must be a whole number, not \"x\""),
        ("year=1.5", "year must be a whole number, not \"1.5\""),
        ("price=NaN", "price must be a number, not \"NaN\""),
        ("on_sale=1", "on_sale must be true or false, not \"1\""),
        (
            "released=today",
            "released must be a date and time such as 2026-11-24T16:00:00Z, not \"today\"",
        ),
        (
            "_sort=titel",
            "titel is not a field of this resource; did you mean title?",
        ),
    ];
    for (query, detail) in cases {
        let path = format!("/albums?{query}");
        assert_refused(
            &daemon,
            &[("GET", &path, &[], "", INVALID_PARAMETER, detail)],
        );
    }
    let whole = |name: &str, least, sent: &str| {
        format!("{name} must be a whole number, {least} or more, not {sent:?}")
    };
    let order = "_order consists of asc and desc, one for each name in _sort at most";
    let position = "_after is no position in this list: it goes with the filters and the order of the list that gave it; begin again with an empty one";
    let encoding = "the query is not percent-encoded UTF-8";
    for (query, detail) in [
        ("_start=-1", whole("_start", 0, "-1").as_str()),
        ("_start=", &whole("_start", 0, "")),
        ("_end=x", &whole("_end", 0, "x")),
        ("_limit=1.0", &whole("_limit", 0, "1.0")),
        ("_page=0", &whole("_page", 1, "0")),
        (
            "_per_page=99999999999999999999",
            &whole("_per_page", 0, "99999999999999999999"),
        ),
        ("_start=2&_end=1", "_end must not be less than _start"),
        ("_limit=1&_limit=1", "_limit must be given once"),
        ("_page=1&_start=0", "_page and _start exclude each other"),
        ("_page=1&_end=9", "_page and _end exclude each other"),
        ("_end=9&_limit=9", "_end and _limit exclude each other"),
        (
            "_limit=1&_per_page=1",
            "_limit and _per_page exclude each other",
        ),
        ("_sort=a&_order=up", order),
        ("_sort=a&_order=asc,desc", order),
        ("_sort=a,b,c,d,e,f,g,h,i", "_sort has 8 names at most"),
        ("_after=00", position),
        ("range=[0,4]&_page=1", "range and _page exclude each other"),
        ("a=%zz", encoding),
        ("a=%ff", encoding),
        ("%4=1", encoding),
        (
            &"a=1&".repeat(1001),
            "the query has more than 1000 parameters",
        ),
    ] {
        let path = format!("/books?{query}");
        assert_refused(
            &daemon,
            &[("GET", &path, &[], "", INVALID_PARAMETER, detail)],
        );
    }
}

#[test]
fn a_list_is_sorted_by_several_members_and_then_by_id() {
    let daemon = TestDaemon::start(RESOURCES);
    make_all(
        &daemon,
        "/books",
        &[
            json!({"id": "c", "author": "X", "year": 2}),
            json!({"id": "b", "author": "X", "year": 10}),
            json!({"id": "a", "author": "X", "year": 10}),
            json!({"id": "e", "author": "W", "year": 1}),
            json!({"id": "d", "year": 10.5}),
        ],
    );
    assert_ids(
        &daemon,
        "/books",
        &[
            ("_sort=year", &["e", "c", "a", "b", "d"]),
            ("_sort=year&_order=DESC", &["d", "a", "b", "c", "e"]),
            ("_sort=author,year", &["e", "c", "a", "b", "d"]),
            (
                "_sort=author,year&_order=asc,Desc",
                &["e", "a", "b", "c", "d"],
            ),
            ("_sort=-author,-year", &["d", "a", "b", "c", "e"]),
            ("_sort=author,-id", &["e", "c", "b", "a", "d"]),
            ("_sort=year&_start=1&_end=3", &["c", "a"]),
            ("_sort=year&_page=2&_limit=2", &["a", "b"]),
            ("_sort=&_order=", &["a", "b", "c", "d", "e"]),
            ("author=X&_sort=-year&_limit=1", &["a"]),
        ],
    );
}

#[test]
fn a_page_of_a_list_has_the_total_count_and_links() {
    let daemon = TestDaemon::start(RESOURCES);
    for n in 0..25 {
        make(
            &daemon,
            "/books",
            &json!({"id": format!("b{n:02}"), "odd": n % 2 == 1}),
        );
    }
    let link = |to: &[(&str, &str)]| {
        let links: Vec<_> = to
            .iter()
            .map(|(rel, q)| format!("<http://{}/books?{q}>; rel=\"{rel}\"", daemon.public()))
            .collect();
        links.join(", ")
    };
    let near = [("first", "_page=1"), ("last", "_page=3")];
    let far = [
        ("first", "_page=1"),
        ("prev", "_page=3"),
        ("last", "_page=3"),
    ];
    let third = [
        ("first", "_page=1"),
        ("prev", "_page=2"),
        ("last", "_page=3"),
    ];
    let next = [near[0], ("next", "_page=2"), near[1]];
    let odd = [
        ("first", "odd=true&_limit=5&_page=1"),
        ("prev", "odd=true&_limit=5&_page=1"),
        ("next", "odd=true&_limit=5&_page=3"),
        ("last", "odd=true&_limit=5&_page=3"),
    ];
    let per_page = [
        ("first", "_per_page=30&_page=1"),
        ("last", "_per_page=30&_page=1"),
    ];
    for (query, first, count, total, links) in [
        ("", 0, 25, 25, None),
        ("_start=5&_end=12", 5, 7, 25, None),
        ("_start=20&_limit=10", 20, 5, 25, None),
        ("_start=25&_end=30", 25, 0, 25, None),
        ("_limit=0", 0, 0, 25, None),
        ("_end=99999", 0, 25, 25, None),
        ("_page=1", 0, 10, 25, Some(link(&next))),
        ("_page=3", 20, 5, 25, Some(link(&third))),
        ("_page=9", 90, 0, 25, Some(link(&far))),
        ("_per_page=30&_page=1", 0, 25, 25, Some(link(&per_page))),
        ("odd=true&_page=2&_limit=5", 11, 5, 12, Some(link(&odd))),
    ] {
        let list = daemon.get(&format!("/books?{query}")).expect(200);
        let records = list.json();
        let records = records.as_array().unwrap();
        assert_eq!(records.len(), count, "{query}");
        if let Some(record) = records.first() {
            assert_eq!(record["id"], format!("b{first:02}"), "{query}");
        }
        let header = |name| list.header(name).map(str::to_owned);
        assert_eq!(header("x-total-count"), Some(total.to_string()), "{query}");
        assert_eq!(header("link"), links, "{query}");
        assert_eq!(header("content-type").as_deref(), Some("application/json"));
        let etag = header("etag").unwrap();
        assert!(etag.starts_with("W/\"25-"), "{etag}");
        assert_eq!(header("cache-control").as_deref(), Some("no-cache"));
        assert_eq!(header("vary").as_deref(), Some("Prefer"));
    }
    assert_eq!(daemon.get("/books/").text(), daemon.get("/books").text());
}

#[test]
fn a_hundred_records_are_listed_by_their_ids() {
    let daemon = TestDaemon::start(RESOURCES);
    for n in 0..100 {
        make(
            &daemon,
            "/books",
            &json!({"id": format!("b{n:02}"), "n": n}),
        );
    }
    let query: Vec<_> = (0..100).rev().map(|n| format!("id=b{n:02}")).collect();
    let numbers = listed(&daemon, &format!("/books?{}", query.join("&")), "n");
    assert_eq!(numbers, (0..100).map(Value::from).collect::<Vec<_>>());
}

#[test]
fn delete_by_example_deletes_and_returns_the_matching_records() {
    let daemon = TestDaemon::start(RESOURCES);
    make_all(
        &daemon,
        "/pens",
        &[
            json!({"id": "a", "title": "1984", "n": 1}),
            json!({"id": "b", "title": "1984", "n": 2}),
            json!({"id": "c", "title": 1984}),
            json!({"id": "d", "at": {"x": 1, "y": 2}}),
        ],
    );
    let delete = |body| ask(&daemon, "DELETE", "/pens", &[TEXT], body);
    let none = delete("{\"title\":\"Dune\"}").expect(200);
    assert_eq!(none.text(), "[]");
    assert_eq!(delete("{\"at\":{\"x\":1}}").expect(200).text(), "[]");
    let gone = delete("{\"title\":\"1984\",\"n\":2}").expect(200);
    assert_eq!(gone.json(), json!([{"id": "b", "title": "1984", "n": 2}]));
    assert_eq!(delete("{\"id\":\"d\"}").expect(200).json()[0]["id"], "d");
    let minimal = ask(
        &daemon,
        "DELETE",
        "/pens",
        &[JSON, MINIMAL],
        "{\"title\":1984}",
    );
    assert!(minimal.expect(204).body.is_empty());
    assert_eq!(listed(&daemon, "/pens", "id"), ["a"]);
    let all = "the example must have at least one member: an empty one would delete everything";
    let nothing = "send an example: what is equal to it in all its members is deleted; or filters and Prefer: max-affected=N";
    assert_refused(
        &daemon,
        &[
            ("DELETE", "/pens", &[JSON], "{}", INVALID_PARAMETER, all),
            ("DELETE", "/pens", &[TEXT], "", INVALID_PARAMETER, nothing),
            ("DELETE", "/pens", &[], "", INVALID_PARAMETER, nothing),
        ],
    );
    for n in 0..1001 {
        make(&daemon, "/pens", &json!({"many": n > 0, "all": 1}));
    }
    let many = "more than 1000 records match, so none was changed; say more precisely which, or allow more";
    let example = "{\"all\":1}";
    assert_refused(
        &daemon,
        &[("DELETE", "/pens", &[JSON], example, TOO_MANY_MATCHES, many)],
    );
    let gone = delete("{\"many\":true}").expect(200);
    assert_eq!(gone.json().as_array().unwrap().len(), 1000);
    assert_eq!(daemon.get("/pens").header("x-total-count"), Some("2"));
}
