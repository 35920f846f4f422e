//! Parts of lists: bounds, positions, ranges, and the form of records.

use serde_json::json;

use super::*;
use crate::daemon::metric;

/// At most five records are in one answer.
const FEW: &str = "[limits]\nlist_records = 5\n";

fn daemon() -> TestDaemon {
    let daemon = TestDaemon::start(&format!("{RESOURCES}{FEW}"));
    for n in 0..12 {
        let record =
            json!({"id": format!("b{n:02}"), "n": n % 3, "author": {"name": "x", "born": n}});
        make(&daemon, "/books", &record);
    }
    daemon
}

fn ids(list: &Response) -> Vec<String> {
    let list = list.json();
    let ids = list.as_array().unwrap().iter();
    ids.map(|record| record["id"].as_str().unwrap().to_owned())
        .collect()
}

/// The target of the link to the next part. It is absolute.
fn next(daemon: &TestDaemon, list: &Response) -> Option<String> {
    let links = list.header("link")?.split(", ");
    let mut next = links.filter_map(|link| link.strip_suffix("; rel=\"next\""));
    let address = next.next()?.trim_start_matches('<').trim_end_matches('>');
    let own = format!("http://{}", daemon.public());
    Some(address.strip_prefix(&own).unwrap().to_owned())
}

#[test]
fn no_record_is_lost_where_a_list_is_cut() {
    let daemon = daemon();
    let all: Vec<_> = (0..12).map(|n| format!("b{n:02}")).collect();
    for (query, wanted, sizes) in [
        ("", 0..12, &[5, 5, 2][..]),
        ("_start=0&_end=10", 0..10, &[5, 5]),
        ("_start=1&_limit=8", 1..9, &[5, 3]),
        ("_page=1&_limit=7", 0..12, &[5, 5, 2]),
        ("_page=2&_limit=7", 7..12, &[5]),
        ("_page=1&_limit=4", 0..12, &[4, 4, 4]),
        ("_limit=3&_after=", 0..12, &[3, 3, 3, 3]),
        ("_sort=author.born&_limit=100", 0..12, &[5, 5, 2]),
        ("range=[2,8]", 2..9, &[5, 2]),
        ("range=[2.0,8.0]", 2..9, &[5, 2]),
        ("n=0&n=1&n=2&_limit=5&_after=", 0..12, &[5, 5, 2]),
    ] {
        let (mut path, mut seen, mut lengths) = (format!("/books?{query}"), Vec::new(), Vec::new());
        loop {
            let list = daemon.get(&path).expect(200);
            let page = ids(&list);
            lengths.push(page.len());
            seen.extend(page);
            let Some(following) = next(&daemon, &list) else {
                break;
            };
            path = following;
        }
        assert_eq!(seen, all[wanted], "{query}");
        assert_eq!(lengths, sizes, "{query}");
    }
    let cut = metric(&daemon.metrics(), "perennial_http_lists_cut_total", "");
    assert!(cut > Some(8.0), "{cut:?}");
}

#[test]
fn a_list_is_counted_unless_it_is_read_by_positions() {
    let daemon = daemon();
    let head = |path: &str, name: &str| {
        let list = daemon.get(path).expect(200);
        list.header(name).map(str::to_owned)
    };
    for (query, total, range) in [
        ("range=[0,3]", Some("12"), Some("books 0-3/12")),
        ("range=[10,20]", Some("12"), Some("books 10-11/12")),
        ("range=[0,8]", Some("12"), Some("books 0-4/12")),
        ("range=[20,30]", Some("12"), Some("books */12")),
        ("range=[0,3]&n=1", Some("4"), Some("books 0-3/4")),
        ("_limit=2", Some("12"), None),
        ("_limit=2&_after=", None, None),
        ("_limit=2&_after=&n=1", None, None),
        ("_limit=2&_after=&n=1&_count=exact", Some("4"), None),
    ] {
        let path = format!("/books?{query}");
        assert_eq!(head(&path, "x-total-count").as_deref(), total, "{query}");
        assert_eq!(head(&path, "content-range").as_deref(), range, "{query}");
    }
    let ranged = ask(&daemon, "GET", "/books", &[("range", "books=0-1")], "").expect(200);
    assert_eq!(ids(&ranged).len(), 5);
    let other = head("/books?n=1&_limit=2&_after=", "link").unwrap();
    let position = other.split("_after=").nth(1).unwrap();
    let position = position.split('>').next().unwrap();
    daemon
        .get(&format!("/books?n=1&_after={position}"))
        .expect(200);
    let moved = daemon.get(&format!("/books?n=2&_after={position}"));
    assert!(moved.expect(400).text().contains("_after is no position"));
}

#[test]
fn a_proxy_that_speaks_tls_has_links_with_https() {
    let daemon = daemon();
    let secure = [("x-forwarded-proto", "https")];
    let list = ask(&daemon, "GET", "/books?_page=1", &secure, "").expect(200);
    let own = format!("<https://{}/books?_page=1>", daemon.public());
    assert!(list.header("link").unwrap().starts_with(&own));
}

#[test]
fn only_the_members_that_are_asked_for_are_sent() {
    let daemon = daemon();
    let list = daemon
        .get("/books?_fields=n,author.name&_limit=1")
        .expect(200);
    assert_eq!(list.text(), r#"[{"id":"b00","n":0,"author":{"name":"x"}}]"#);
    let one = daemon.get("/books/b07?_fields=author.born").expect(200);
    assert_eq!(one.text(), r#"{"id":"b07","author":{"born":7}}"#);
    make(
        &daemon,
        "/albums",
        &json!({"id": "a", "title": "Blue", "year": 1971}),
    );
    let list = daemon.get("/albums?_fields=id,title").expect(200);
    assert_eq!(list.text(), r#"[{"id":"a","title":"Blue"}]"#);
    let wrong = "titel is not a field of this resource; did you mean title?";
    for path in ["/albums?_fields=titel", "/albums/a?_fields=titel"] {
        assert_refused(&daemon, &[("GET", path, &[], "", INVALID_PARAMETER, wrong)]);
    }
}
