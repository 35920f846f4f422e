//! `perennial explain`: what it tells is what the daemon does.

use std::fs;
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::client::{self, Client, Response};
use crate::daemon::{BINARY, TestDaemon};

const SETTINGS: &str = r#"
delete_matching = true
[resource.albums]
id = "sequence"
if_match = "required"
headers = { X-Albums = "yes" }
fields = { title = { type = "string", required = true }, year = { type = "integer" } }
[resource.pens]
index = ["colour"]
[resource.records]
fields = { album = { type = "ref", to = "albums" } }
"#;

/// Serves a page, a folder, a file that is not kept in memory, and a route below; with two books and an album.
fn daemon() -> TestDaemon {
    let daemon = TestDaemon::prepare(SETTINGS);
    let (site, other) = (daemon.folder().join("site"), daemon.folder().join("other"));
    fs::create_dir_all(site.join("docs")).unwrap();
    fs::create_dir(&other).unwrap();
    fs::write(site.join("docs/index.html"), "docs").unwrap();
    fs::write(site.join("a.css"), "a").unwrap();
    fs::write(site.join("big.bin"), vec![0; 2_000_000]).unwrap();
    let route = format!(
        "[route.\"/other\"]\nfiles = {{ root = '{}' }}\nheaders = {{ X-Other = \"yes\" }}\n\
         cache = {{ \"**\" = \"max-age=60\" }}\nmax_in_flight = 3\n[file_cache]\nmax_file = \"1 MiB\"\n",
        other.display()
    );
    fs::write(other.join("b.txt"), "b").unwrap();
    let text = fs::read_to_string(daemon.config()).unwrap();
    fs::write(daemon.config(), text + &route).unwrap();
    let mut daemon = daemon;
    daemon.spawn();
    daemon.wait_ready();
    for title in ["Dune", "Emma"] {
        daemon
            .post("/books", &json!({"id": title, "title": title}))
            .expect(201);
    }
    daemon
        .post("/albums", &json!({"title": "Blue"}))
        .expect(201);
    daemon
}

fn explain(words: &[&str]) -> Output {
    Command::new(BINARY)
        .arg("explain")
        .args(words)
        .output()
        .unwrap()
}

/// The explanation by the settings alone.
#[track_caller]
fn by_settings(daemon: &TestDaemon, method: &str, url: &str) -> Value {
    let config = daemon.config();
    let output = explain(&[method, url, "--json", "--config", config.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{method} {url}: {output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The explanation by the running daemon.
#[track_caller]
fn running(daemon: &TestDaemon, method: &str, url: &str) -> Value {
    let url = url
        .replace('%', "%25")
        .replace('&', "%26")
        .replace('+', "%2B");
    let path = format!("/explain?method={method}&url={url}");
    client::get(daemon.admin(), &path).expect(200).json()
}

fn facts<'a>(explanation: &'a Value, about: &str) -> Vec<&'a str> {
    let facts = explanation["facts"].as_array().unwrap().iter();
    let of = facts.filter(|fact| fact["about"] == about);
    of.map(|fact| fact["text"].as_str().unwrap()).collect()
}

/// Compares an explanation with the answer.
#[track_caller]
fn compare(told: &Value, answer: &Response) {
    let status = u64::from(answer.status);
    assert_eq!(
        told["status"].as_u64().unwrap_or(status),
        status,
        "{told:#}"
    );
    // Without a status, the fields are those of a record that is there.
    if told["status"].is_null() && status != 200 {
        return;
    }
    let headers = facts(told, "header");
    for header in &headers {
        let (name, value) = header.split_once(": ").unwrap();
        assert_eq!(answer.header(name), Some(value), "{told:#}");
    }
    // Without a status, only fields are told that do not depend on the record; the transport adds the others.
    if told["status"].is_null() {
        return;
    }
    let problem: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    if let Some(detail) = problem["detail"].as_str() {
        let answers = facts(told, "answer");
        assert!(
            answers.iter().any(|text| text.ends_with(detail)),
            "{detail}: {told:#}"
        );
    }
    let untold = [
        "connection",
        "content-length",
        "date",
        "link",
        "x-request-id",
        "x-total-count",
    ];
    for (name, _) in &answer.headers {
        let name = name.to_ascii_lowercase();
        let begins = |header: &&str| header.starts_with(&format!("{name}: "));
        let is_told = headers.iter().any(begins);
        let is_own = untold.contains(&name.as_str());
        assert!(is_told || is_own, "{name}: {told:#}");
    }
}

#[test]
fn an_explanation_is_what_the_daemon_answers() {
    let daemon = daemon();
    let paths = [
        "/",
        "/index.html",
        "/docs",
        "/docs/?x=1",
        "/a.css",
        "/big.bin",
        "/none",
        "/boks",
        "/boks/1",
        "/albums/1/records",
        "/.git",
        "/a%2fb",
        "/other/b.txt",
        "/other",
        "/%6fther/b.txt",
        "/docs/../a.css",
        "//",
        "/books",
        "/books/",
        "/books?_page=1&_limit=1",
        "/books?title=Dune",
        "/books?_sort=title",
        "/books?_limit=x",
        "/books/Dune",
        "/books/none",
        "/books/Dune?_meta=true",
        "/books/Dune?_fields=a",
        "/books/Dune/_history",
        "/books/Dune/x",
        "/albums",
        "/albums?yaer=3",
        "/albums/1",
        "/albums/x",
    ];
    let changes = ["POST", "PUT", "PATCH", "DELETE"];
    for path in paths {
        for method in ["GET", "HEAD", "OPTIONS", "TRACE", "FOO", "get"]
            .iter()
            .chain(&changes)
        {
            let mut all = vec![running(&daemon, method, path)];
            if ["GET", "POST"].contains(method) {
                all.push(by_settings(&daemon, method, path));
            }
            for told in all {
                // A change is only asked about.
                if told["status"].is_null() && changes.contains(method) {
                    assert_eq!(
                        facts(&told, "answered by"),
                        ["writer, after the journal has the change on the disk"]
                    );
                    continue;
                }
                compare(
                    &told,
                    &client::send(daemon.public(), method, path, &[], None),
                );
            }
        }
    }
    assert_eq!(daemon.get("/books").json().as_array().unwrap().len(), 2);
}

#[test]
fn the_route_the_runner_up_the_file_and_the_query_are_told() {
    let daemon = daemon();
    let told = running(&daemon, "GET", "/other/b.txt");
    let file = daemon.folder().join("other/b.txt");
    assert_eq!(told["route"], "/other");
    for (about, text) in [
        (
            "route",
            "/other: the longest prefix of the path, by whole segments",
        ),
        ("runner-up", "/: its path is shorter"),
        ("file", file.to_str().unwrap()),
        ("content", "1 bytes on the disk"),
        ("header", "x-other: yes"),
        ("header", "cache-control: max-age=60"),
        ("rule", "3 at a time; 0 wait, and more than 1024 get 503"),
    ] {
        assert!(facts(&told, about).contains(&text), "{text}: {told:#}");
    }
    daemon.get("/other/b.txt").expect(200);
    let told = running(&daemon, "GET", "/other/b.txt");
    let [content] = facts(&told, "content")[..] else {
        panic!("{told:#}")
    };
    assert!(
        content.starts_with("1 bytes in memory, compared with the file "),
        "{content}"
    );
    let told = running(&daemon, "GET", "/other/none.txt");
    let file = daemon.folder().join("other/none.txt");
    assert!(
        facts(&told, "file").contains(&file.to_str().unwrap()),
        "{told:#}"
    );
    let told = running(&daemon, "GET", "/albums?title=Blue&_sort=-year");
    for (about, text) in [
        ("runner-up", "/: a folder comes after a resource"),
        (
            "query",
            "records 1 to 500 of those whose title is \"Blue\", sorted by year descending, id",
        ),
        (
            "found by",
            "a scan: every record of the resource is read; index = [[\"title\", \"year\"]] could make that unnecessary",
        ),
        ("estimated cost", "about 0 keys of indexes and 1 records"),
        ("content", "1 records, 23 bytes"),
    ] {
        assert_eq!(facts(&told, about), [text], "{told:#}");
    }
    let [real] = facts(&told, "real cost")[..] else {
        panic!("{told:#}")
    };
    assert!(
        real.starts_with("1 records, in ") && real.ends_with(" us; 1 match"),
        "{real}"
    );
    let told = running(&daemon, "GET", "/books?_sort=title");
    let total = facts(&told, "header").contains(&"x-total-count: 2");
    assert!(total, "{told:#}");
    let told = running(&daemon, "GET", "http://evil.example/");
    assert!(facts(&told, "host")[0].starts_with("421 "), "{told:#}");
    assert_eq!(told["status"], 421);
    let mut client = Client::connect(daemon.public()).unwrap();
    client
        .write(b"GET / HTTP/1.1\r\nhost: evil.example\r\n\r\n")
        .unwrap();
    client.read_answer(false).unwrap().expect(421);
}

#[test]
fn the_estimated_and_the_real_cost_of_a_list_are_told() {
    let daemon = daemon();
    for (n, colour) in [(1, "red"), (2, "red"), (3, "blue"), (4, "red")] {
        daemon
            .post("/pens", &json!({"colour": colour, "n": n}))
            .expect(201);
    }
    for (path, estimated, real, matching) in [
        (
            "/pens?colour=red&n_gte=2",
            "about 3 keys of indexes and 3 records",
            "3 records, in ",
            " us; 2 match",
        ),
        (
            "/pens?colour=red&_sort=id",
            "about 4 keys of indexes and 4 records",
            "3 records, in ",
            " us; 3 match",
        ),
        (
            "/pens?_sort=colour&_limit=2",
            "about 2 keys of indexes and 2 records",
            "2 records, in ",
            " us; 4 match",
        ),
        (
            "/pens?n=2",
            "about 0 keys of indexes and 4 records",
            "4 records, in ",
            " us; 1 match",
        ),
    ] {
        let told = running(&daemon, "GET", path);
        assert_eq!(facts(&told, "estimated cost"), [estimated], "{told:#}");
        let [cost] = facts(&told, "real cost")[..] else {
            panic!("{told:#}")
        };
        assert!(
            cost.starts_with(real) && cost.ends_with(matching),
            "{path}: {cost}"
        );
        assert!(facts(&by_settings(&daemon, "GET", path), "real cost").is_empty());
    }
}

#[test]
fn a_writer_that_is_stopped_is_told() {
    let daemon = daemon();
    client::send(daemon.admin(), "POST", "/supervisor/writer/stop", &[], None).expect(200);
    let book = json!({"title": "Persuasion"});
    for (method, path) in [("POST", "/books"), ("DELETE", "/books/Dune")] {
        let told = running(&daemon, method, path);
        assert_eq!(told["status"], 503, "{told:#}");
        let body = (method == "POST").then(|| book.to_string());
        let headers = [("Content-Type", "application/json")];
        let body = body.as_ref().map(String::as_bytes);
        client::send(daemon.public(), method, path, &headers, body).expect(503);
    }
    compare(
        &running(&daemon, "GET", "/books/Dune"),
        &daemon.get("/books/Dune"),
    );
}

#[test]
fn a_request_that_can_not_be_asked_about_is_refused() {
    let daemon = TestDaemon::start("");
    let (config, admin) = (daemon.config(), daemon.admin().to_string());
    let config = config.to_str().unwrap();
    for (words, code, told) in [
        (
            &["GET", "books", "--config", config][..],
            64,
            "is not a URL",
        ),
        (&["G T", "/", "--config", config], 64, "is not a method"),
        (
            &["GET", "/", "--running", "--admin", "127.0.0.1:1"],
            69,
            "nothing answers",
        ),
        (&["GET", "/", "--running", "--admin", &admin], 0, ""),
        (
            &["GET", "/", "--config", "/no/such/file.toml"],
            78,
            "can't be read",
        ),
    ] {
        let output = explain(words);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{words:?}: {stderr}");
        assert!(stderr.contains(told), "{words:?}: {stderr}");
        assert_eq!(output.stdout.starts_with(b"route "), code == 0, "{words:?}");
    }
    let refused = client::get(daemon.admin(), "/explain?url=books");
    assert!(refused.expect(400).text().contains("is not a URL"));
}
