//! The past of a record: its times on request, its history over HTTP and on the command line, and the way back.

use serde_json::{Value, json};

use crate::client::{self, Client};
use crate::daemon::TestDaemon;

/// The numbers and kinds of the changes in an answer.
fn changes(history: &Value) -> Vec<(u64, &str)> {
    let changes = history["changes"].as_array().expect("changes").iter();
    changes
        .map(|change| {
            let kind = change["kind"].as_str().unwrap();
            (change["change"].as_u64().unwrap(), kind)
        })
        .collect()
}

#[test]
fn the_times_and_the_revision_of_a_record_are_members_on_request() {
    let daemon = TestDaemon::start("");
    let mut client = Client::connect(daemon.public()).unwrap();
    let made = client.post("/books", &json!({"id": "dune", "n": 1}));
    made.unwrap().expect(201);
    let first = client.get("/books/dune?_meta=true").unwrap().expect(200);
    let first = first.json();
    assert_eq!(first["_revision"], 1);
    assert_eq!(first["_created"], first["_changed"]);
    let time = first["_created"].as_str().expect("a time");
    assert!(time.ends_with('Z') && time.contains('T'), "{time}");
    // What a client got, it may send back.
    let put = client.json("PUT", "/books/dune", &first).unwrap();
    assert_eq!(put.expect(200).json(), json!({"id": "dune", "n": 1}));
    let second = client.get("/books?_meta=true").unwrap().expect(200).json();
    let second = &second[0];
    assert_eq!(
        (second["_revision"].as_u64(), &second["n"]),
        (Some(2), &json!(1))
    );
    assert_eq!(second["_created"], first["_created"]);
    assert!(second["_changed"].as_str() >= first["_changed"].as_str());
    for plain in ["/books/dune", "/books/dune?_meta=false"] {
        let plain = client.get(plain).unwrap().expect(200).json();
        assert_eq!(plain, json!({"id": "dune", "n": 1}));
    }
    for path in ["/books?_meta=yes", "/books/dune?_meta=yes"] {
        client.get(path).unwrap().expect_problem(400);
    }
}

#[test]
fn the_history_of_a_record_is_told_newest_first_and_page_by_page() {
    let daemon = TestDaemon::start("");
    let mut client = Client::connect(daemon.public()).unwrap();
    for id in ["dune", "dun", "une", "other"] {
        let made = client.post("/books", &json!({"id": id, "n": 0}));
        made.unwrap().expect(201);
    }
    for n in 1..=3 {
        let put = client.json("PUT", "/books/dune", &json!({ "n": n }));
        put.unwrap().expect(200);
    }
    let etag = client.get("/books/dune").unwrap();
    let etag = etag.header("etag").unwrap().to_owned();
    let mut send = |method: &str, path: &str| client.send(method, path, &[], None).unwrap();
    send("DELETE", "/books/dune").expect(200);
    let whole = send("GET", "/books/dune/_history").expect(200).json();
    let expected = [
        (8, "delete"),
        (7, "put"),
        (6, "put"),
        (5, "put"),
        (1, "put"),
    ];
    assert_eq!(changes(&whole), expected);
    assert_eq!(whole["changes"][1]["record"], json!({"id": "dune", "n": 3}));
    assert_eq!(whole["changes"][1]["etag"], etag);
    assert!(whole["changes"][0]["at"].as_str() >= whole["changes"][4]["at"].as_str());
    assert_eq!(
        (&whole["more"], &whole["journal_begins"], &whole["cut_off"]),
        (&json!(false), &json!(1), &Value::Null)
    );

    let mut path = "/books/dune/%5Fhistory?_limit=2".to_owned();
    let mut pages = Vec::new();
    loop {
        let page = send("GET", &path).expect(200);
        let json = page.json();
        pages.extend(changes(&json).into_iter().map(|(change, _)| change));
        let Some(link) = page.header("link") else {
            break;
        };
        let (next, rel) = link.split_once('>').unwrap();
        assert_eq!(rel, "; rel=\"next\"");
        path = next.trim_start_matches('<').to_owned();
        let before = format!("_before={}", pages.last().unwrap());
        assert!(path.ends_with(&before), "{path}");
    }
    assert_eq!(pages, [8, 7, 6, 5, 1]);

    send("GET", "/books/nothing/_history").expect_problem(404);
    send("GET", "/books/_history").expect_problem(404);
    send("GET", "/books/dune/_history?_limit=0").expect_problem(400);
    send("DELETE", "/books/dune/_history").expect_problem(405);
    assert!(
        send("HEAD", "/books/dune/_history")
            .expect(200)
            .body
            .is_empty()
    );
    let none = client::post(daemon.public(), "/books", &json!({"id": "_history"}));
    none.expect_problem(400);
}

#[test]
fn a_history_tells_what_a_snapshot_cut_off() {
    let daemon = TestDaemon::start("");
    let mut client = Client::connect(daemon.public()).unwrap();
    let made = client.post("/books", &json!({"id": "dune", "n": 0}));
    made.unwrap().expect(201);
    client
        .json("PUT", "/books/dune", &json!({"n": 1}))
        .unwrap()
        .expect(200);
    // A snapshot is made when the journal has grown by 64 MiB, and takes the place of what is before it.
    let filler = json!({"id": "filler", "x": "x".repeat(900_000)});
    client.post("/books", &filler).unwrap().expect(201);
    for _ in 0..80 {
        let put = client.json("PUT", "/books/filler", &filler).unwrap();
        put.expect(200);
    }
    daemon.wait_until("the journal is cut", |daemon| {
        let history = daemon.get("/books/dune/_history").expect(200).json();
        history["journal_begins"].as_u64() > Some(2)
    });
    let history = client
        .get("/books/dune/_history")
        .unwrap()
        .expect(200)
        .json();
    assert_eq!(
        changes(&history),
        [(2, "put")],
        "its last state before the cut"
    );
    assert!(
        history["cut_off"]
            .as_str()
            .unwrap()
            .contains("oldest snapshot")
    );
}
