//! Settings that were changed between two runs, over the records that the first one stored.

use std::fs;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::client::{self, Client};
use crate::daemon::{BINARY, TestDaemon, toml};

const TIMEOUT: Duration = Duration::from_secs(20);

/// Stops the daemon, and starts it with other settings on the same data.
fn run_again(daemon: &mut TestDaemon, more: &str) {
    daemon.sigterm();
    assert_eq!(daemon.wait_exit(TIMEOUT).code(), Some(0));
    write_settings(daemon, more);
    daemon.restart();
}

fn write_settings(daemon: &TestDaemon, more: &str) {
    fs::write(daemon.config(), toml(daemon.folder(), more)).unwrap();
}

/// The output of `perennial check --data`.
#[track_caller]
fn check_data(daemon: &TestDaemon, code: i32) -> String {
    let mut check = Command::new(BINARY);
    check.arg("check").arg(daemon.config()).arg("--data");
    let output = check.output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{told}");
    told
}

#[test]
fn a_kind_of_ids_that_would_hide_records_is_refused_and_the_site_is_served() {
    let mut daemon = TestDaemon::start("id = \"sequence\"");
    for n in 1..=4 {
        daemon.post("/books", &json!({ "n": n })).expect(201);
    }
    run_again(&mut daemon, "");
    let told = check_data(&daemon, 65);
    assert!(told.contains("4 records (1, 2, 3, ..)"), "{told}");
    client::get(daemon.public(), "/").expect(200);
    daemon.get("/books").expect_problem(503);
    daemon
        .post("/books", &json!({"id": "1"}))
        .expect_problem(503);
    let told = client::get(daemon.admin(), "/readyz/storage").expect(503);
    for part in [
        "[resource.books]",
        "uuidv7",
        "4 records (1, 2, 3, ..)",
        "write id = ",
        "sequence",
    ] {
        assert!(told.text().contains(part), "{part}: {}", told.text());
    }

    daemon.sigterm();
    daemon.wait_exit(TIMEOUT);
    write_settings(&daemon, "[storage]\non_refusal = \"exit\"");
    daemon.spawn();
    assert_eq!(daemon.wait_exit(TIMEOUT).code(), Some(65));

    // What was refused is as it was, and goes on where it ended.
    write_settings(&daemon, "id = \"sequence\"");
    daemon.restart();
    let list = daemon.get("/books").expect(200);
    assert_eq!(list.header("x-total-count"), Some("4"));
    assert_eq!(daemon.get("/books/1").expect(200).json()["n"], 1);
    let next = daemon.post("/books", &json!({})).expect(201).json();
    assert_eq!(next["id"], 5);
}

#[test]
fn kinds_of_ids_that_read_the_same_ids_can_be_changed() {
    let mut daemon = TestDaemon::start("");
    let made = daemon.post("/books", &json!({"id": "dune"})).expect(201);
    let id = made.json()["id"].clone();
    let given = daemon.post("/books", &json!({})).expect(201).json()["id"].clone();
    for kind in ["client", "sequence", "uuidv7"] {
        run_again(&mut daemon, &format!("id = \"{kind}\""));
        for id in [&id, &given] {
            let path = format!("/books/{}", id.as_str().unwrap());
            daemon.get(&path).expect(200);
        }
    }
    // A text that reads as a number is out of reach where ids are counted.
    daemon.post("/books", &json!({"id": "7"})).expect(201);
    run_again(&mut daemon, "id = \"sequence\"");
    let told = client::get(daemon.admin(), "/readyz/storage").expect(503);
    assert!(told.text().contains("1 record (7)"), "{}", told.text());
}

#[test]
fn a_resource_that_is_not_declared_any_more_is_told_and_comes_back_under_its_name() {
    let mut daemon = TestDaemon::start("[resource.pens]\npath = \"/pens\"");
    daemon.post("/books", &json!({})).expect(201);
    let made = daemon.post("/pens", &json!({"ink": "blue"})).expect(201);
    let pen = made.json();
    run_again(&mut daemon, "[resource.pencils]\npath = \"/pencils\"");
    daemon.wait_for_log("the resource pens is not in the settings, and the store has 1 record");
    let told = daemon.stderr();
    assert!(told.contains("Was it renamed to pencils?"), "{told}");
    client::get(daemon.admin(), "/readyz").expect(200);
    let told = check_data(&daemon, 0);
    assert!(told.contains("Was it renamed to pencils?"), "{told}");
    assert_eq!(daemon.get("/pencils").expect(200).json(), json!([]));
    // As the line says.
    run_again(&mut daemon, "[resource.pens]\npath = \"/pencils\"");
    assert_eq!(daemon.get("/pencils").expect(200).json(), json!([pen]));
    assert!(!daemon.stderr().contains("not in the settings"));
}

#[test]
fn old_records_that_break_new_rules_are_told_and_a_patch_answers_for_what_it_changes() {
    let mut daemon = TestDaemon::start("");
    let made = daemon.post("/books", &json!({"title": "Dune", "year": "old"}));
    let path = format!("/books/{}", made.expect(201).json()["id"].as_str().unwrap());
    let fields = "[resource.books.fields]\ntitle = { type = \"string\", required = true }\n\
                  year = { type = \"integer\", max = 2000 }\nisbn = { type = \"string\", required = true }\n";
    run_again(&mut daemon, fields);
    daemon.wait_for_log("the fields of [resource.books] do not fit 1 record (");
    let told = check_data(&daemon, 0);
    assert!(told.contains("year must be a whole number"), "{told}");
    let told = daemon.stderr();
    for part in [
        "year must be a whole number: 1 record (",
        "isbn must be there: 1 record (",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let mut client = Client::connect(daemon.public()).unwrap();
    let mut merge = |body: Value| client.json("PATCH", &path, &body).unwrap();
    let patched = merge(json!({"title": "Dune 2"})).expect(200).json();
    assert_eq!(
        (&patched["title"], &patched["year"]),
        (&json!("Dune 2"), &json!("old"))
    );
    for worse in [
        json!({"year": "older"}),
        json!({"year": 2001}),
        json!({"title": null}),
        json!({"titel": "x"}),
        json!({"isbn": 5}),
    ] {
        merge(worse).expect_problem(422);
    }
    merge(json!({"year": 1965})).expect(200);
    let mut client = Client::connect(daemon.public()).unwrap();
    let mut put = |body: Value| client.json("PUT", &path, &body).unwrap();
    put(json!({"title": "Dune"})).expect_problem(422);
    put(json!({"title": "Dune", "isbn": "9"})).expect(200);
}
