//! Records that belong to the client that made them.

use std::process::Command;

use serde_json::{Value, json};

use crate::access::new_key;
use crate::client::{self, Response};
use crate::daemon::{BINARY, TestDaemon};

/// A daemon with notes that belong to who made them, and the secrets of two clients and of one that sees all.
fn start() -> (TestDaemon, [String; 3]) {
    let (ann, of_ann) = new_key(&["ann"]);
    let (bob, of_bob) = new_key(&["bob"]);
    let (admin, of_admin) = new_key(&["admin"]);
    let daemon = TestDaemon::start(&format!(
        "{of_ann}{of_bob}{of_admin}\n\
         [resource.notes]\naccess = [\"key:*\"]\nowner = \"by\"\nowner_except = [\"key:admin\"]\n\
         index = [\"by\"]\nid = \"client\"\nupsert = true\ndelete_matching = true\n\
         [resource.notes.fields]\nby = {{ type = \"string\" }}\ntext = {{ type = \"string\" }}\n\
         topic = {{ type = \"ref\", to = \"topics\" }}\n\
         [resource.topics]\naccess = \"public\"\nid = \"client\"\n\
         [resource.posts]\naccess = {{ read = \"public\", write = [\"key:*\"] }}\nowner = \"author\"\nid = \"client\"\n"
    ));
    (daemon, [ann, bob, admin])
}

fn send(daemon: &TestDaemon, secret: &str, method: &str, path: &str, body: &Value) -> Response {
    send_with(daemon, secret, method, path, body, &[])
}

fn send_with(
    daemon: &TestDaemon,
    secret: &str,
    method: &str,
    path: &str,
    body: &Value,
    more: &[(&str, &str)],
) -> Response {
    let shown = format!("Bearer {secret}");
    let mut headers = vec![
        ("content-type", "application/json"),
        ("authorization", &shown),
    ];
    headers.extend_from_slice(more);
    let body = body.to_string();
    let body = (body != "null").then_some(body.as_bytes());
    client::send(daemon.public(), method, path, &headers, body)
}

fn ids(answer: &Response) -> Vec<String> {
    let records = answer.json();
    let records = records.as_array().unwrap().iter();
    records
        .map(|record| record["id"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn each_client_sees_and_changes_its_own_records_alone() {
    let (daemon, [ann, bob, admin]) = start();
    let none = Value::Null;
    for (secret, id) in [(&ann, "a1"), (&ann, "a2"), (&bob, "b1")] {
        let made_of = json!({ "id": id, "text": id });
        let made = send(&daemon, secret, "POST", "/notes", &made_of).expect(201);
        let by = made.json()["by"].clone();
        assert_eq!(by, if id == "b1" { "key:bob" } else { "key:ann" });
    }
    let list = |secret: &str, query: &str| {
        ids(&send(
            &daemon,
            secret,
            "GET",
            &format!("/notes{query}"),
            &Value::Null,
        )
        .expect(200))
    };
    for query in [
        "",
        "?by=key:ann&by=key:bob",
        "?filter={\"or\":[{\"by\":\"key:bob\"},{\"by\":\"key:ann\"}]}",
        "?_sort=-text&_limit=9",
        "?by_ne=x",
        "?q=1&_count=exact",
    ] {
        for secret in [&ann, &bob, &ann] {
            let seen = list(secret, query);
            let prefix = if secret == &ann { "a" } else { "b" };
            assert!(
                !seen.is_empty() && seen.iter().all(|id| id.starts_with(prefix)),
                "{query}: {seen:?}"
            );
        }
    }
    assert_eq!(list(&admin, "").len(), 3);
    let total = send(&daemon, &bob, "GET", "/notes?_start=0&_end=1", &none).expect(200);
    assert_eq!(total.header("x-total-count"), Some("1"));
    for (method, path, body, own, other) in [
        ("GET", "/notes/a1", none.clone(), 200, 404),
        ("GET", "/notes/a1?_meta=true", none.clone(), 200, 404),
        ("HEAD", "/notes/a1", none.clone(), 200, 404),
        ("GET", "/notes/a1/_history", none.clone(), 200, 404),
        ("PATCH", "/notes/a1", json!({ "text": "x" }), 200, 404),
        ("PUT", "/notes/a1", json!({ "text": "y" }), 200, 409),
        ("PATCH", "/notes/a1", json!({ "by": "key:bob" }), 422, 404),
        ("PUT", "/notes/a1", json!({ "by": "key:bob" }), 422, 409),
        (
            "POST",
            "/notes",
            json!({ "id": "new", "by": "key:other" }),
            422,
            422,
        ),
        (
            "POST",
            "/notes",
            json!([{ "id": "n1" }, { "id": "n2", "by": "key:x" }]),
            422,
            422,
        ),
        ("GET", "/notes/_changes?_wait=0s", none.clone(), 403, 403),
        ("DELETE", "/notes?by=key:bob", none.clone(), 400, 400),
    ] {
        let answer = send(&daemon, &bob, method, path, &body);
        assert_eq!(answer.status, other, "bob: {method} {path} {body}");
        let answer = send(&daemon, &ann, method, path, &body);
        assert_eq!(answer.status, own, "ann: {method} {path} {body}");
    }
    // Put without an owner stays with the one that it had.
    let kept = send(&daemon, &ann, "GET", "/notes/a1", &none).json();
    assert_eq!(
        (&kept["by"], &kept["text"]),
        (&json!("key:ann"), &json!("y"))
    );
    send(&daemon, &bob, "DELETE", "/notes/a1", &none).expect(404);
    send(&daemon, &admin, "GET", "/notes/_changes?_wait=0s", &none).expect(200);
    send(
        &daemon,
        &admin,
        "PATCH",
        "/notes/a2",
        &json!({ "by": "key:bob" }),
    )
    .expect(200);
    assert_eq!(list(&bob, ""), ["a2", "b1"]);
    assert_eq!(list(&ann, ""), ["a1"]);
}

#[test]
fn changes_of_many_batches_and_relations_keep_to_the_own_records() {
    let (daemon, [ann, bob, admin]) = start();
    let none = Value::Null;
    client::post(daemon.public(), "/topics", &json!({ "id": "t" })).expect(201);
    for (secret, id) in [(&ann, "a1"), (&ann, "a2"), (&bob, "b1")] {
        let made_of = json!({ "id": id, "text": "same", "topic": "t" });
        send(&daemon, secret, "POST", "/notes", &made_of).expect(201);
    }
    let most = [("prefer", "max-affected=9")];
    let patched = send_with(
        &daemon,
        &bob,
        "PATCH",
        "/notes?text=same",
        &json!({ "text": "b" }),
        &most,
    );
    assert_eq!(ids(&patched.expect(200)), ["b1"]);
    let path = "/notes?id=a1&id=b1&id=none";
    let deleted = send_with(&daemon, &bob, "DELETE", path, &none, &most).expect(200);
    assert_eq!(ids(&deleted), ["b1"]);
    send(
        &daemon,
        &bob,
        "DELETE",
        "/notes",
        &json!({ "by": "key:ann" }),
    )
    .expect(403);
    let deleted = send(
        &daemon,
        &bob,
        "DELETE",
        "/notes",
        &json!({ "text": "same" }),
    )
    .expect(200);
    assert!(ids(&deleted).is_empty());
    let batch = json!({ "mode": "gather", "ops": [
        { "method": "PATCH", "path": "/notes/a1", "body": { "text": "z" } },
        { "method": "DELETE", "path": "/notes/a2" },
        { "method": "POST", "path": "/notes", "body": { "id": "b2", "topic": "t" } },
    ]});
    let done = send(&daemon, &bob, "POST", "/_batch", &batch)
        .expect(200)
        .json();
    let statuses = done["results"].as_array().unwrap().iter();
    let statuses: Vec<_> = statuses.map(|result| result["status"].clone()).collect();
    assert_eq!(statuses, [404, 404, 201]);
    for (secret, embedded) in [(&ann, 2), (&bob, 1), (&admin, 3)] {
        let topic = send(&daemon, secret, "GET", "/topics/t?_embed=notes", &none).expect(200);
        assert_eq!(topic.json()["notes"].as_array().unwrap().len(), embedded);
    }
    // The answer to one client is no answer to another one that sends the same request under the same name.
    let named = [("idempotency-key", "\"k\"")];
    let made_of = json!({ "id": "c", "text": "first" });
    send_with(&daemon, &ann, "POST", "/notes", &made_of, &named).expect(201);
    send_with(&daemon, &ann, "POST", "/notes", &made_of, &named).expect(201);
    send_with(&daemon, &bob, "POST", "/notes", &made_of, &named).expect(422);
    for mode in ["atomic", "gather"] {
        let named = [("idempotency-key", mode)];
        let made_of = json!({ "id": mode, "text": "own" });
        let batch = json!({ "mode": mode, "ops": [{ "method": "POST", "path": "/notes", "body": made_of }] });
        let first = send_with(&daemon, &ann, "POST", "/_batch", &batch, &named);
        let other = send_with(&daemon, &bob, "POST", "/_batch", &batch, &named);
        let (first, other) = (first.text(), other.text());
        assert!(first.contains("key:ann"), "{first}");
        assert!(
            !other.contains("key:ann") && other.contains("key_reused"),
            "{other}"
        );
    }
}

#[test]
fn where_reading_is_public_all_is_read_and_only_the_own_is_changed() {
    let (daemon, [ann, bob, _]) = start();
    let none = Value::Null;
    send(&daemon, &ann, "POST", "/posts", &json!({ "id": "p" })).expect(201);
    assert_eq!(
        daemon.get("/posts/p").expect(200).json()["author"],
        "key:ann"
    );
    assert_eq!(ids(&daemon.get("/posts")), ["p"]);
    client::post(daemon.public(), "/posts", &json!({})).expect(401);
    send(&daemon, &bob, "PATCH", "/posts/p", &json!({ "a": 1 })).expect(404);
    send(&daemon, &bob, "DELETE", "/posts/p", &none).expect(404);
    send(&daemon, &ann, "DELETE", "/posts/p", &none).expect(200);
}

#[test]
fn the_history_and_the_journal_tell_who_changed_a_record() {
    let (mut daemon, [ann, _, admin]) = start();
    let none = Value::Null;
    send(&daemon, &ann, "POST", "/notes", &json!({ "id": "n" })).expect(201);
    send(
        &daemon,
        &admin,
        "PATCH",
        "/notes/n",
        &json!({ "text": "x" }),
    )
    .expect(200);
    client::post(daemon.public(), "/topics", &json!({ "id": "t" })).expect(201);
    let batch = json!({ "ops": [{ "method": "DELETE", "path": "/notes/n" }] });
    send(&daemon, &ann, "POST", "/_batch", &batch).expect(200);
    let told = |history: &Value| {
        let changes = history["changes"].as_array().unwrap().iter();
        changes
            .map(|change| change["by"].clone())
            .collect::<Vec<_>>()
    };
    let by = [json!("key:ann"), json!("key:admin"), json!("key:ann")];
    let history = send(&daemon, &admin, "GET", "/notes/n/_history", &none).expect(200);
    assert_eq!(told(&history.json()), by);
    let public = client::get(daemon.public(), "/topics/t/_history").json();
    assert_eq!(told(&public), [Value::Null]);
    // A kill, a recovery and the files alone tell the same.
    daemon.kill9();
    daemon.spawn();
    daemon.wait_ready();
    let history = send(&daemon, &admin, "GET", "/notes/n/_history", &none).expect(200);
    assert_eq!(told(&history.json()), by);
    daemon.kill9();
    let run = |words: &[&str]| {
        let mut command = Command::new(BINARY);
        let output = command
            .arg("--config")
            .arg(daemon.config())
            .args(words)
            .output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    };
    let history = run(&["history", "notes/n"]);
    assert!(
        history.contains("key:admin  {") && history.contains("key:ann  deleted"),
        "{history}"
    );
    let journal = run(&["journal"]);
    let with: Vec<_> = journal
        .lines()
        .filter(|line| line.contains("\"by\":\"key:"))
        .collect();
    assert_eq!((with.len(), journal.lines().count()), (3, 4), "{journal}");
}
