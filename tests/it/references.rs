//! Typed fields and references as a client sees them, and after `kill -9` under clients that delete what others refer to.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::client::{self, Client};
use crate::daemon::TestDaemon;

/// It begins with keys of the resource `books`, which each daemon has.
const SHOP: &str = r#"
id = "client"
[resource.books.fields]
title = { type = "string" }
released = { type = "date", default = "now" }
key = { type = "uuid", default = "uuid", read_only = true }
state = { type = "enum", values = ["draft", "listed"], default = "draft" }
created_at = { type = "datetime", generated = "created" }
updated_at = { type = "datetime", generated = "updated" }

[resource.reviews]
id = "sequence"
additional = true
[resource.reviews.fields]
book = { type = "ref", to = "books", required = true, on_delete = "cascade" }

[resource.sales]
id = "sequence"
[resource.sales.fields]
bookId = { type = "ref", to = "books" }

[resource.notes]
id = "sequence"
[resource.notes.fields]
book = { type = "ref", to = "books", on_delete = "set_null" }
parent = { type = "ref", to = "notes", on_delete = "set_null" }
"#;

fn ask(daemon: &TestDaemon, method: &str, path: &str, body: &Value) -> client::Response {
    let mut client = Client::connect(daemon.public()).unwrap();
    client.json(method, path, body).unwrap()
}

/// json-server answers there; here the list has an address of its own.
#[test]
fn a_nested_address_names_the_list_of_what_refers_to_the_record() {
    let daemon = TestDaemon::start(SHOP);
    daemon.post("/books", &json!({"id": "a.b"})).expect(201);
    daemon.post("/reviews", &json!({"book": "a.b"})).expect(201);
    for (path, lists) in [
        ("/books/a.b/reviews", "/reviews?book=a.b"),
        ("/books/a%2Eb/reviews/", "/reviews?book=a.b"),
        ("/books/other/sales", "/sales?bookId=other"),
        ("/notes/7/notes", "/notes?parent=7"),
    ] {
        for method in ["GET", "POST"] {
            let detail =
                format!("there is nothing here; the records that refer to that one are at {lists}");
            let problem = ask(&daemon, method, path, &json!({})).expect(404).json();
            assert_eq!(problem["detail"], detail, "{method} {path}");
        }
        let found = daemon.get(lists).expect(200).json();
        let found = found.as_array().map(Vec::len);
        assert_eq!(found, Some(usize::from(path.contains("reviews"))));
    }
    for path in ["/reviews/1/books", "/books/a/none"] {
        let problem = daemon.get(path).expect(404).json();
        let detail = problem["detail"].as_str().unwrap_or_default();
        assert!(!detail.contains("refer"), "{path}: {detail}");
    }
}

#[test]
fn the_server_gives_values_and_checks_those_of_clients() {
    let daemon = TestDaemon::start(SHOP);
    let made = daemon
        .post("/books", &json!({"id": "dune"}))
        .expect(201)
        .json();
    assert_eq!(made["state"], "draft");
    assert_eq!(made["released"].as_str().unwrap().len(), 10);
    assert_eq!(made["created_at"], made["updated_at"]);
    let with_meta = daemon.get("/books/dune?_meta=true").expect(200).json();
    assert_eq!(with_meta["_created"], made["created_at"]);
    let same = ask(&daemon, "PUT", "/books/dune", &made).expect(200).json();
    assert_eq!(same["key"], made["key"]);
    assert_eq!(same["created_at"], made["created_at"]);
    let patched = ask(&daemon, "PATCH", "/books/dune", &json!({"title": "Dune"}));
    let patched = patched.expect(200).json();
    assert_eq!(patched["key"], made["key"]);
    assert!(patched["updated_at"].as_str() >= made["updated_at"].as_str());
    let wrong = json!({"state": "sold", "released": "2026-02-30", "titel": 1, "title": 5});
    let problem = ask(&daemon, "PATCH", "/books/dune", &wrong)
        .expect(422)
        .json();
    let pointers = problem["violations"].as_array().unwrap().iter();
    let pointers: Vec<_> = pointers.map(|it| it["pointer"].as_str().unwrap()).collect();
    let mut sorted = pointers.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, ["/released", "/state", "/titel", "/title"]);
    assert_eq!(
        problem["errors"]["state"],
        "must be one of \"draft\", \"listed\""
    );
    let other = json!({"key": "0193b3a4-5c1e-7d2f-8a90-1b2c3d4e5f60"});
    let problem = ask(&daemon, "PATCH", "/books/dune", &other)
        .expect(422)
        .json();
    assert_eq!(problem["violations"][0]["code"], "read_only");
    let listed = daemon
        .get("/books?created_at_gte=2020-01-01T00:00:00Z&state=draft")
        .expect(200);
    assert_eq!(listed.json().as_array().unwrap().len(), 1);
}

#[test]
fn references_are_kept_and_followed() {
    let daemon = TestDaemon::start(SHOP);
    for id in ["a", "b", "c"] {
        daemon
            .post("/books", &json!({"id": id, "title": id}))
            .expect(201);
    }
    let problem = daemon
        .post("/reviews", &json!({"book": "x", "stars": 5}))
        .expect(422)
        .json();
    let violation = &problem["violations"][0];
    assert_eq!(violation["pointer"], "/book");
    assert_eq!(violation["code"], "ref");
    assert_eq!(
        violation["detail"],
        "must be the id of a record of books, and x is none"
    );
    daemon.post("/reviews", &json!({"book": 7})).expect(422);
    for (path, body) in [
        ("/reviews", json!({"book": "a", "stars": 5})),
        ("/reviews", json!({"book": "a", "stars": 3})),
        ("/reviews", json!({"book": "b", "stars": 1})),
        ("/sales", json!({"bookId": "b"})),
        ("/notes", json!({"book": "a", "parent": 1.0})),
        ("/notes", json!({"book": null})),
    ] {
        daemon.post(path, &body).expect(201);
    }
    let list = daemon
        .get("/books?_sort=id&_embed=reviews&_embed=sales&_fields=title")
        .expect(200);
    let etag = list.header("etag").unwrap().to_owned();
    assert_eq!(
        list.json(),
        json!([
            {"id": "a", "title": "a", "reviews": [{"id": 1, "book": "a", "stars": 5}, {"id": 2, "book": "a", "stars": 3}], "sales": []},
            {"id": "b", "title": "b", "reviews": [{"id": 3, "book": "b", "stars": 1}], "sales": [{"id": 1, "bookId": "b"}]},
            {"id": "c", "title": "c", "reviews": [], "sales": []},
        ])
    );
    let one = daemon
        .get("/reviews/1?_expand=book&_fields=stars")
        .expect(200)
        .json();
    assert_eq!(one["book"]["title"], "a");
    assert_eq!(one["stars"], 5);
    let sale = daemon.get("/sales?_expand=book").expect(200).json();
    assert_eq!(sale[0]["bookId"], "b");
    assert_eq!(sale[0]["book"]["title"], "b");
    let note = daemon
        .get("/notes/2?_expand=book&_expand=parent")
        .expect(200)
        .json();
    assert_eq!(note, json!({"id": 2, "book": null}));
    let itself = daemon.get("/notes?parent=1&_expand=parent").expect(200);
    assert_eq!(itself.json()[0]["parent"]["id"], 1);
    for (path, detail) in [
        (
            "/books?_embed=review",
            "_embed=review is no relation of this resource; did you mean reviews?",
        ),
        (
            "/books?_embed=books",
            "_embed=books is no relation of this resource; known are notes, reviews, sales",
        ),
        (
            "/books/a?_expand=x",
            "_expand=x is no relation of this resource; no reference is declared for it",
        ),
        (
            "/reviews?_expand=boks",
            "_expand=boks is no relation of this resource; did you mean book?",
        ),
    ] {
        let problem = daemon.get(path).expect(400).json();
        assert_eq!(problem["detail"], detail);
    }
    let known = [("if-none-match", etag.as_str())];
    let path = "/books?_sort=id&_embed=reviews&_embed=sales&_fields=title";
    client::send(daemon.public(), "GET", path, &known, None).expect(304);
    ask(&daemon, "PATCH", "/reviews/1", &json!({"stars": 4})).expect(200);
    client::send(daemon.public(), "GET", path, &known, None).expect(200);

    let delete = |path: &str| client::send(daemon.public(), "DELETE", path, &[], None);
    let problem = delete("/books/b").expect(409).json();
    assert_eq!(problem["code"], "referenced");
    assert_eq!(
        problem["detail"],
        "the record 1 of sales refers to it by bookId; delete that record or change it first"
    );
    delete("/books/a").expect(200);
    daemon.get("/reviews/1").expect(404);
    daemon.get("/reviews/2").expect(404);
    let note = daemon.get("/notes/1").expect(200).json();
    assert_eq!(note, json!({"id": 1, "book": null, "parent": 1.0}));
    delete("/sales/1").expect(200);
    delete("/books/b").expect(200);
    assert_eq!(daemon.get("/reviews").expect(200).json(), json!([]));
    // 1001 records are more than one deletion may take along, and more than one answer may add.
    for _ in 0..=1000 {
        daemon.post("/reviews", &json!({"book": "c"})).expect(201);
    }
    delete("/books/c").expect(409);
    daemon.get("/books/c?_embed=reviews").expect(400);
    let first = daemon.get("/reviews?_limit=1").expect(200).json()[0]["id"].clone();
    delete(&format!("/reviews/{first}")).expect(200);
    daemon.get("/books/c?_embed=reviews").expect(200);
    delete("/books/c").expect(200);
    assert_eq!(daemon.get("/reviews").expect(200).json(), json!([]));
}

/// All records of a resource.
fn all(daemon: &TestDaemon, path: &str) -> Vec<Value> {
    let list = daemon
        .get(&format!("{path}?_limit=10000"))
        .expect(200)
        .json();
    list.as_array().unwrap().clone()
}

#[test]
fn no_reference_leads_nowhere_after_a_kill() {
    const BOOKS: u64 = 6;
    let mut daemon = TestDaemon::start(SHOP);
    let (mut deleted, mut refused) = (0, 0);
    for round in 0..4 {
        let stop = Arc::new(AtomicBool::new(false));
        let counts = Arc::new([const { AtomicU64::new(0) }; 3]);
        let host = daemon.public();
        let work = |number: u64| {
            let (stop, counts) = (Arc::clone(&stop), Arc::clone(&counts));
            thread::spawn(move || {
                let mut random = fastrand::Rng::with_seed(round * 100 + number);
                let Ok(mut client) = Client::connect(host) else {
                    return;
                };
                while !stop.load(Ordering::Relaxed) {
                    let book = format!("b{}", random.u64(..BOOKS));
                    let body = json!({"book": book});
                    let answer = match random.u8(..10) {
                        0..=2 => client.post("/books", &json!({"id": book})),
                        3..=4 => client.send("DELETE", &format!("/books/{book}"), &[], None),
                        5..=6 => client.post("/reviews", &body),
                        7 => client.post("/sales", &json!({"bookId": book})),
                        8 => client.send(
                            "DELETE",
                            &format!("/sales/{}", random.u64(1..40)),
                            &[],
                            None,
                        ),
                        _ => client.post("/notes", &body),
                    };
                    let Ok(answer) = answer else { return };
                    let known = [200, 201, 404, 409, 422];
                    assert!(known.contains(&answer.status), "{}", answer.text());
                    counts[0].fetch_add(1, Ordering::Relaxed);
                    if answer.status == 409 && answer.json()["code"] == "referenced" {
                        counts[1].fetch_add(1, Ordering::Relaxed);
                    }
                    if answer.status == 422 {
                        counts[2].fetch_add(1, Ordering::Relaxed);
                    }
                }
            })
        };
        let workers: Vec<_> = (0..6).map(work).collect();
        daemon.wait_until("some writes", |_| counts[0].load(Ordering::Relaxed) > 300);
        daemon.kill9();
        stop.store(true, Ordering::Relaxed);
        for worker in workers {
            worker.join().unwrap();
        }
        refused += counts[1].load(Ordering::Relaxed);
        deleted += counts[2].load(Ordering::Relaxed);
        daemon.spawn();
        daemon.wait_ready();
        let books = all(&daemon, "/books");
        let books: BTreeSet<_> = books.iter().map(|book| book["id"].to_string()).collect();
        for (path, field) in [
            ("/reviews", "book"),
            ("/sales", "bookId"),
            ("/notes", "book"),
        ] {
            for record in all(&daemon, path) {
                let to = &record[field];
                let leads = books.contains(&to.to_string()) || path == "/notes" && to.is_null();
                assert!(leads, "{path} {record}");
            }
        }
    }
    assert!(refused > 0 && deleted > 0, "{refused} {deleted}");
    daemon.post("/books", &json!({"id": "a"})).expect(201);
    daemon.post("/reviews", &json!({"book": "a"})).expect(201);
    let first = daemon
        .get("/books?_embed=reviews&_limit=1")
        .expect(200)
        .json();
    assert_eq!(first[0]["reviews"][0]["book"], "a");
    daemon.sigterm();
    assert!(daemon.wait_exit(Duration::from_secs(20)).success());
}
