//! Keys of clients: made by the command, named by `access`, shown by requests.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use crate::access_log;
use crate::client::{self, Client, Response};
use crate::daemon::{BINARY, TestDaemon};

/// A key as `perennial key new` makes it: its secret, and what the settings need.
pub(crate) fn new_key(words: &[&str]) -> (String, String) {
    let mut command = Command::new(BINARY);
    let made = command.args(["key", "new"]).args(words).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    let told = String::from_utf8(made.stderr).unwrap();
    let secret = told.lines().find(|line| line.starts_with("prn_")).unwrap();
    (secret.to_owned(), String::from_utf8(made.stdout).unwrap())
}

/// The secrets of the keys, in the order in which the settings have them, and a daemon for these routes and resources.
fn start() -> (TestDaemon, [String; 3]) {
    let (all, of_all) = new_key(&["all"]);
    let (notes, of_notes) =
        new_key(&["notes", "--scope", "notes:write", "--expires", "2999-12-31"]);
    let (reader, of_reader) = new_key(&["reader", "--scope", "*:read"]);
    let mut daemon = TestDaemon::prepare(&format!(
        "{of_all}{of_notes}{of_reader}\n\
         [resource.notes]\naccess = {{ read = \"public\", write = [\"key:all\", \"key:notes\", \"key:reader\"] }}\n\
         [resource.secrets]\naccess = [\"key:all\", \"key:reader\"]\n\
         [resource.secrets.fields]\nnote = {{ type = \"ref\", to = \"notes\" }}\n\
         [route.\"/private\"]\nfiles = {{ root = 'SITE' }}\naccess = [\"key:reader\"]\n"
    ));
    let text = fs::read_to_string(daemon.config()).unwrap();
    let site = daemon.folder().join("site");
    fs::write(
        daemon.config(),
        text.replace("SITE", site.to_str().unwrap()),
    )
    .unwrap();
    daemon.spawn();
    daemon.wait_ready();
    (daemon, [all, notes, reader])
}

fn send(daemon: &TestDaemon, method: &str, path: &str, secret: &str, body: &str) -> Response {
    let shown = format!("Bearer {secret}");
    let mut headers = vec![("content-type", "application/json")];
    if !secret.is_empty() {
        headers.push(("authorization", &shown));
    }
    let body = (!body.is_empty()).then_some(body.as_bytes());
    client::send(daemon.public(), method, path, &headers, body)
}

#[test]
fn a_client_may_do_what_its_key_allows() {
    let (daemon, [all, notes, reader]) = start();
    for (method, path, none, by_all, by_notes, by_reader) in [
        ("GET", "/notes", 200, 200, 200, 200),
        ("POST", "/notes", 401, 201, 201, 403),
        ("DELETE", "/notes/none", 401, 404, 404, 403),
        ("GET", "/secrets", 401, 200, 403, 200),
        ("GET", "/secrets/none", 401, 404, 403, 404),
        ("GET", "/secrets/_changes?_wait=0s", 401, 200, 403, 200),
        ("GET", "/secrets/_schema", 401, 200, 403, 200),
        ("GET", "/secrets/none/_history", 401, 404, 403, 404),
        ("HEAD", "/secrets", 401, 200, 403, 200),
        ("OPTIONS", "/secrets", 204, 204, 204, 204),
        ("POST", "/secrets", 401, 201, 403, 403),
        ("GET", "/private/", 401, 403, 403, 200),
        ("GET", "/private/none", 401, 403, 403, 404),
        ("GET", "/private", 401, 403, 403, 307),
        // What is written for one route has no effect on another.
        ("GET", "/", 200, 200, 200, 200),
        ("POST", "/books", 201, 201, 201, 201),
    ] {
        let body = if method == "POST" { "{}" } else { "" };
        for (secret, status) in [
            ("", none),
            (&all, by_all),
            (&notes, by_notes),
            (&reader, by_reader),
        ] {
            // Twice, since what was answered once may be answered from memory.
            for _ in 0..2 {
                let answer = send(&daemon, method, path, secret, body);
                assert_eq!(
                    answer.status,
                    status,
                    "{method} {path} {secret}: {}",
                    answer.text()
                );
                let challenge = answer.header("www-authenticate");
                assert_eq!(challenge.is_some(), status == 401, "{method} {path}");
            }
        }
    }
    let wrong = send(&daemon, "GET", "/secrets", &all.to_uppercase(), "");
    let challenge = wrong.header("www-authenticate").unwrap().to_owned();
    assert!(
        challenge.ends_with("error=\"invalid_token\""),
        "{challenge}"
    );
    assert_eq!(wrong.expect_problem(401), "unauthorized");
    assert_eq!(
        send(&daemon, "GET", "/secrets", &notes, "").expect_problem(403),
        "not_permitted"
    );
    // The secret is in no log.
    assert!(!daemon.stderr().contains(&all), "{}", daemon.stderr());
}

#[test]
fn neither_a_batch_nor_a_relation_goes_around_access() {
    let (daemon, [all, notes, reader]) = start();
    let op = |path: &str| json!({ "method": "POST", "path": path, "body": {} });
    let batch = |mode: &str, paths: &[&str]| {
        let ops: Vec<_> = paths.iter().map(|path| op(path)).collect();
        json!({ "mode": mode, "ops": ops }).to_string()
    };
    for mode in ["atomic", "gather"] {
        for (paths, secret, status) in [
            (&["/books"][..], "", 200),
            (&["/books", "/notes"], "", 401),
            (&["/books", "/notes"], &notes, 200),
            (&["/notes", "/secrets"], &notes, 403),
            (&["/notes", "/secrets"], &reader, 403),
            (&["/notes", "/secrets", "/books"], &all, 200),
        ] {
            let answer = send(&daemon, "POST", "/_batch", secret, &batch(mode, paths));
            assert_eq!(
                answer.status,
                status,
                "{mode} {paths:?} {secret}: {}",
                answer.text()
            );
        }
    }
    // A key of the request's own does not give another client the answer that was kept.
    let body = batch("atomic", &["/secrets"]);
    let once = |secret: &str| {
        let shown = format!("Bearer {secret}");
        let headers = [
            ("content-type", "application/json"),
            ("idempotency-key", "k"),
            ("authorization", &shown),
        ];
        client::send(
            daemon.public(),
            "POST",
            "/_batch",
            &headers,
            Some(body.as_bytes()),
        )
    };
    once(&all).expect(200);
    once(&notes).expect_problem(403);
    once(&all).expect(200);
    // The secrets that refer to a note.
    let note = send(&daemon, "POST", "/notes", &all, "{}")
        .expect(201)
        .json();
    let note = note["id"].as_str().unwrap().to_owned();
    let secret = json!({ "note": note }).to_string();
    send(&daemon, "POST", "/secrets", &all, &secret).expect(201);
    for (path, secret, status) in [
        (format!("/notes/{note}?_embed=secrets"), "", 401),
        (format!("/notes/{note}?_embed=secrets"), notes.as_str(), 403),
        (format!("/notes/{note}?_embed=secrets"), &reader, 200),
        ("/notes?_embed=secrets".to_owned(), "", 401),
        ("/notes?_embed=secrets".to_owned(), &all, 200),
        ("/secrets?_expand=note".to_owned(), &reader, 200),
    ] {
        let answer = send(&daemon, "GET", &path, secret, "");
        assert_eq!(answer.status, status, "{path} {secret}: {}", answer.text());
        assert_eq!(
            answer.text().contains("\"secrets\":["),
            status == 200 && path.contains("_embed"),
            "{path}"
        );
    }
}

#[test]
fn a_reload_takes_a_key_away_at_once_and_ends_the_feeds_that_it_opened() {
    let (daemon, [all, ..]) = start();
    let feed = |secret: &str| {
        let mut client = Client::connect(daemon.public()).unwrap();
        let shown = format!("Bearer {secret}");
        let headers = [
            ("accept", "text/event-stream"),
            ("authorization", shown.as_str()),
        ];
        let head = client.begin("/secrets/_changes", &headers).unwrap();
        assert_eq!(head.status, 200);
        client
    };
    let mut open = feed(&all);
    let text = fs::read_to_string(daemon.config()).unwrap();
    let (_, other) = new_key(&["all"]);
    let hash = |text: &str| {
        text.lines()
            .find(|line| line.starts_with("hash"))
            .unwrap()
            .to_owned()
    };
    let written = text.replace(&hash(&text), &hash(&other));
    assert_ne!(written, text);
    fs::write(daemon.config(), written).unwrap();
    let mut reload = Command::new(BINARY);
    let reload = reload.args(["reload", "--admin", &daemon.admin().to_string()]);
    let told = reload.output().unwrap();
    assert!(told.status.success(), "{told:?}");
    let told = String::from_utf8(told.stdout).unwrap();
    assert!(
        told.contains("auth.keys: changed: auth.keys.all.hash"),
        "{told}"
    );
    send(&daemon, "GET", "/secrets", &all, "").expect_problem(401);
    while open.chunk().unwrap().is_some() {}
}

#[test]
fn the_description_says_where_a_key_is_needed() {
    let (daemon, [.., reader]) = start();
    let document = daemon.get("/_openapi.json").json();
    let security = |path: &str, method: &str| document["paths"][path][method]["security"].clone();
    let needed = json!([{ "key": [] }]);
    for (path, method, expected) in [
        ("/notes", "get", json!(null)),
        ("/notes", "post", needed.clone()),
        ("/notes/{id}", "patch", needed.clone()),
        ("/secrets", "get", needed.clone()),
        ("/secrets", "head", needed.clone()),
        ("/secrets", "options", json!(null)),
        ("/secrets/_changes", "get", needed),
        ("/_batch", "post", json!([{}, { "key": [] }])),
        ("/books", "post", json!(null)),
    ] {
        assert_eq!(security(path, method), expected, "{method} {path}");
    }
    assert_eq!(
        document["components"]["securitySchemes"]["key"]["scheme"],
        "bearer"
    );
    let explained = |words: &[&str]| {
        let mut command = Command::new(BINARY);
        let told = command
            .arg("explain")
            .args(words)
            .arg("--config")
            .arg(daemon.config())
            .output();
        String::from_utf8(told.unwrap().stdout).unwrap()
    };
    let told = explained(&["GET", "/notes"]);
    assert!(told.contains("reading is public: everybody who can connect; writing is clients that show the key all or notes or reader"), "{told}");
    assert!(!told.contains(&reader));
}

#[test]
fn a_key_is_made_only_of_what_the_settings_take() {
    let told = |words: &[&str]| {
        let made = Command::new(BINARY)
            .args(["key", "new"])
            .args(words)
            .output()
            .unwrap();
        (made.status.code(), String::from_utf8(made.stderr).unwrap())
    };
    for words in [
        &["Upper"][..],
        &["ci", "--scope", "books"],
        &["ci", "--scope", "books:delete"],
        &["ci", "--expires", "tomorrow"],
        &["ci", "--expires", "2027-02-30"],
    ] {
        let (code, text) = told(words);
        assert_eq!(code, Some(64), "{words:?}: {text}");
        assert!(!text.contains("prn_"), "{text}");
    }
    let (first, second) = (new_key(&["ci"]), new_key(&["ci"]));
    assert_ne!(first, second);
    assert_eq!(first.0.len(), 4 + 64);
}

#[test]
fn the_access_log_names_the_client_where_it_has_to_be_known() {
    let (secret, settings) = new_key(&["ci", "--scope", "notes:write"]);
    let (mut daemon, logs) = access_log::start(&format!(
        "[logging]\naccess = true\n{settings}\n\
         [resource.notes]\naccess = {{ read = \"public\", write = [\"key:ci\"] }}\n\
         [resource.secrets]\naccess = [\"key:ci\"]\n"
    ));
    let batch = r#"{"mode":"gather","ops":[{"method":"POST","path":"/notes","body":{}}]}"#;
    let asked = [
        ("POST", "/notes", "{}", &*secret, 201, json!("key:ci")),
        ("GET", "/secrets", "", &secret, 403, json!("key:ci")),
        ("POST", "/_batch", batch, &secret, 200, json!("key:ci")),
        ("GET", "/notes", "", &secret, 200, json!(null)),
        ("POST", "/notes", "{}", "", 401, json!(null)),
        ("POST", "/notes", "{}", "prn_wrong", 401, json!(null)),
    ];
    for (method, path, body, secret, status, _) in &asked {
        send(&daemon, method, path, secret, body).expect(*status);
    }
    access_log::stop(&mut daemon);
    let lines = access_log::lines(&logs);
    // Each of the handlers writes its own lines together.
    for (method, path, _, _, status, key) in asked {
        let is_of_it = |line: &&Value| {
            line["method"] == method && line["path"] == path && line["status"] == status
        };
        let found: Vec<_> = lines
            .iter()
            .filter(is_of_it)
            .map(|line| &line["user"])
            .collect();
        assert!(
            !found.is_empty() && found.iter().all(|found| **found == key),
            "{method} {path}: {lines:#?}"
        );
    }
}
