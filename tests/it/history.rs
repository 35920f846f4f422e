//! The past of a record: its times on request, its history over HTTP and on the command line, and the way back.

use std::process::{Command, Output};
use std::time::Duration;

use serde_json::{Value, json};

use crate::client::{self, Client};
use crate::daemon::{BINARY, TestDaemon};

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
        // Absolute, as those of lists are.
        let host = format!("<http://{}", daemon.public());
        path = next.strip_prefix(&host).unwrap().to_owned();
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
    for _ in 0..70 {
        let put = client.json("PUT", "/books/filler", &filler).unwrap();
        put.expect(200);
    }
    let filler = filler.to_string();
    let head = [("content-type", "application/json")];
    daemon.wait_until("the journal is cut", |daemon| {
        let body = Some(filler.as_bytes());
        client::send(daemon.public(), "PUT", "/books/filler", &head, body).expect(200);
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

/// Runs a command with the settings of the daemon, and asks the daemon if it runs.
fn perennial(daemon: &TestDaemon, runs: bool, args: &[&str]) -> Output {
    let mut command = Command::new(BINARY);
    command.arg("--config").arg(daemon.config()).args(args);
    if runs {
        command.args(["--admin", &daemon.admin().to_string()]);
    }
    command.output().unwrap()
}

#[track_caller]
fn told(output: &Output, code: i32) -> String {
    let [out, error] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    let all = format!("{out}{error}");
    assert_eq!(output.status.code(), Some(code), "{all}");
    all
}

#[test]
fn the_command_line_tells_the_history_with_and_without_a_daemon_and_leads_back() {
    let mut daemon = TestDaemon::start(
        "id = \"sequence\"\n[resource.books.fields]\nn = { type = \"integer\", max = 9 }",
    );
    daemon.post("/books", &json!({"n": 1})).expect(201);
    let mut client = Client::connect(daemon.public()).unwrap();
    let put = client.json("PUT", "/books/1", &json!({"n": 2})).unwrap();
    put.expect(200);
    let history = told(&perennial(&daemon, true, &["history", "books/1"]), 0);
    let lines: Vec<_> = history.lines().collect();
    assert_eq!(lines.len(), 2, "{history}");
    assert!(
        lines[0].starts_with("2  ") && lines[0].ends_with(r#"{"id":1,"n":2}"#),
        "{history}"
    );
    assert!(
        lines[1].starts_with("1  ") && lines[1].ends_with(r#"{"id":1,"n":1}"#),
        "{history}"
    );

    let revert = ["revert", "books/1", "--to"];
    let to = |change| [&revert[..], &[change]].concat();
    told(&perennial(&daemon, true, &to("1")), 0);
    assert_eq!(
        daemon.get("/books/1").expect(200).json(),
        json!({"id": 1, "n": 1})
    );
    client::send(daemon.public(), "DELETE", "/books/1", &[], None).expect(200);
    let refused = told(&perennial(&daemon, true, &to("4")), 1);
    assert!(refused.contains("deleted the record"), "{refused}");
    told(&perennial(&daemon, true, &to("2")), 0);
    assert_eq!(
        daemon.get("/books/1").expect(200).json(),
        json!({"id": 1, "n": 2})
    );
    assert_eq!(
        daemon.post("/books", &json!({})).expect(201).json()["id"],
        2
    );
    let refused = told(&perennial(&daemon, true, &to("6")), 1);
    assert!(
        refused.contains("change 6 of this record is not known"),
        "{refused}"
    );

    daemon.sigterm();
    daemon.wait_exit(Duration::from_secs(20));
    let output = perennial(
        &daemon,
        false,
        &["history", "books/1", "--json", "--limit", "3"],
    );
    let history: Value = serde_json::from_str(&told(&output, 0)).unwrap();
    assert_eq!(changes(&history), [(5, "put"), (4, "delete"), (3, "put")]);
    assert_eq!(history["more"], true);
    let none = told(&perennial(&daemon, false, &["history", "books/77"]), 1);
    assert!(none.contains("no change of books/77 is known"), "{none}");
    told(&perennial(&daemon, false, &["history", "books"]), 64);
}

/// A content from before a field was declared gets it as a PUT does; and a change that is meant for another revision is refused.
#[test]
fn a_revert_gives_the_time_of_the_creation_and_keeps_conditions() {
    let mut daemon = TestDaemon::start("");
    daemon
        .post("/books", &json!({"id": "a", "n": 1}))
        .expect(201);
    daemon.sigterm();
    daemon.wait_exit(Duration::from_secs(20));
    let fields = "[resource.books.fields]\nn = { type = \"integer\" }\nmade = { type = \"datetime\", generated = \"created\" }";
    let text = crate::daemon::toml(daemon.folder(), fields);
    std::fs::write(daemon.config(), text).unwrap();
    daemon.restart();
    let created = daemon.get("/books/a?_meta=true").expect(200).json()["_created"].clone();
    told(
        &perennial(&daemon, true, &["revert", "books/a", "--to", "1"]),
        0,
    );
    let back = daemon.get("/books/a?_meta=true").expect(200).json();
    assert_eq!((&back["made"], &back["_created"]), (&created, &created));
    let revert = |tag: &str| {
        let head = [("if-match", tag), ("perennial-admin", "1")];
        client::send(daemon.admin(), "POST", "/history/books/a?to=1", &head, None)
    };
    revert("\"1-other\"").expect(412);
    let etag = daemon.get("/books/a").expect(200);
    let etag = etag.header("etag").unwrap();
    revert(etag).expect(200);
    revert(etag).expect(412);
}

#[test]
fn a_revert_keeps_the_rules_of_today() {
    let mut daemon = TestDaemon::start("");
    for n in [json!("x"), json!(3)] {
        let mut client = Client::connect(daemon.public()).unwrap();
        let put = ("if-none-match", "*");
        let body = json!({ "n": n }).to_string();
        let head = [("content-type", "application/json"), put];
        let head = if n == 3 { &head[..1] } else { &head[..] };
        let put = client.send("PUT", "/books/a", head, Some(body.as_bytes()));
        assert!([200, 201].contains(&put.unwrap().status));
    }
    daemon.sigterm();
    daemon.wait_exit(Duration::from_secs(20));
    let fields = "[resource.books.fields]\nn = { type = \"integer\" }";
    let text = crate::daemon::toml(daemon.folder(), fields);
    std::fs::write(daemon.config(), text).unwrap();
    daemon.restart();
    let refused = told(
        &perennial(&daemon, true, &["revert", "books/a", "--to", "1"]),
        1,
    );
    assert!(refused.contains("n must be a whole number"), "{refused}");
    assert_eq!(daemon.get("/books/a").expect(200).json()["n"], 3);
}
