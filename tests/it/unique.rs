//! Values that no two records may have: what `check --data` and `import --dry-run` say of those that stand twice.

use std::fs;
use std::process::{Command, Output};

use serde_json::json;

use crate::client;
use crate::daemon::{BINARY, TestDaemon};

const BOOKS: &str = "[resource.shelf]\npath = \"/shelf\"\nid = \"client\"\n";

fn run(daemon: &TestDaemon, words: &[&str]) -> Output {
    let mut command = Command::new(BINARY);
    command.arg("--config").arg(daemon.config()).args(words);
    command.current_dir(daemon.folder()).output().unwrap()
}

#[track_caller]
fn expect(output: &Output, code: i32) -> String {
    let both = [output.stdout.as_slice(), &output.stderr].concat();
    let told = String::from_utf8(both).unwrap();
    assert_eq!(output.status.code(), Some(code), "{told}");
    told
}

#[test]
fn a_check_and_a_dry_run_tell_of_values_that_stand_twice() {
    let mut daemon = TestDaemon::start(BOOKS);
    for (id, isbn) in [("a", 1), ("b", 2), ("c", 1)] {
        let record = json!({ "id": id, "isbn": isbn });
        client::post(daemon.public(), "/shelf", &record).expect(201);
    }
    // The record with the first id was changed last.
    let json = [("content-type", "application/json")];
    let change = Some(&b"{\"title\":\"x\"}"[..]);
    client::send(daemon.public(), "PATCH", "/shelf/a", &json, change).expect(200);
    let config = fs::read_to_string(daemon.config()).unwrap();
    let unique = format!("{BOOKS}unique = [\"isbn\"]\n");
    fs::write(daemon.config(), config.replace(BOOKS, &unique)).unwrap();
    // A reload, a check and a start tell of the same record.
    let same = "unique = [isbn], but 1 record (c) have the same";
    let admin = daemon.admin().to_string();
    let told = expect(&run(&daemon, &["reload", "--admin", &admin]), 78);
    assert!(told.contains(same), "{told}");
    daemon.sigterm();
    daemon.wait_exit(std::time::Duration::from_secs(20));
    let told = expect(&run(&daemon, &["check", "--data"]), 0);
    assert!(told.contains(same), "{told}");

    daemon.restart();
    daemon.wait_for_log(same);
    daemon.wait_until("the index is complete", |daemon| {
        let refused = json!({ "id": "probe", "isbn": 2 });
        let answer = client::post(daemon.public(), "/shelf", &refused);
        if answer.status == 201 {
            let probe = "/shelf/probe";
            client::send(daemon.public(), "DELETE", probe, &[], None).expect(200);
        }
        answer.status == 409
    });
    let lines = [
        r#"{"id":"d","isbn":3}"#,
        r#"{"id":"e","isbn":2}"#,
        r#"{"id":"f","isbn":3.0}"#,
        r#"{"id":"g","isbn":null}"#,
        r#"{"id":"h","isbn":4}"#,
    ];
    fs::write(daemon.folder().join("more.ndjson"), lines.join("\n")).unwrap();
    let admin = daemon.admin().to_string();
    for dry_run in [true, false] {
        let mut words = vec!["import", "shelf", "more.ndjson", "--admin", &admin];
        words.extend(dry_run.then_some("--dry-run"));
        let told = expect(&run(&daemon, &words), 65);
        for line in ["more.ndjson:2: isbn: ", "more.ndjson:3: isbn: "] {
            assert!(told.contains(line), "dry run {dry_run}: {told}");
        }
        assert_eq!(told.matches("isbn: ").count(), 2, "{told}");
    }
}
