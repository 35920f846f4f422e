//! A daemon that can't start: it prints every cause on stderr, stops what had started, and exits with the documented code.

use std::fs;
use std::process::Command;
use std::time::Duration;

use serde_json::json;

use crate::client;
use crate::daemon::{BINARY, TestDaemon};

const TIMEOUT: Duration = Duration::from_secs(20);

#[test]
fn handlers_that_cannot_start_are_all_named_and_the_exit_code_is_70() {
    let mut daemon = TestDaemon::prepare("");
    let text = fs::read_to_string(daemon.config()).unwrap();
    let text = text.replace("handlers = 2", "handlers = 40");
    fs::write(daemon.config(), text).unwrap();
    // An arbiter needs five descriptors: 90 are enough for the store and some handlers, but not for all 40.
    daemon.run_under(&["sh", "-c", "ulimit -n 90; exec \"$@\"", "sh"]);
    daemon.spawn();
    assert_eq!(daemon.wait_exit(TIMEOUT).code(), Some(70));
    let stderr = daemon.stderr_from("ERROR could not start:");
    let causes: Vec<_> = stderr.lines().skip(1).collect();
    assert!(causes.len() > 1, "{stderr}");
    for cause in &causes {
        assert!(cause.starts_with("  request-handlers/handler-"), "{cause}");
        assert!(cause.contains("Too many open files"), "{cause}");
    }
    assert!(causes.last().unwrap().contains("handler-39"), "{stderr}");
    assert!(
        !daemon.stderr().contains(" ready"),
        "the daemon was never ready"
    );
}

#[test]
fn a_data_folder_that_cannot_be_used_stops_no_page_and_is_tried_again() {
    let mut daemon = TestDaemon::prepare("");
    let data = daemon.folder().join("data");
    fs::write(&data, "a file").unwrap();
    let mut check = Command::new(BINARY);
    let output = check.arg("check").arg(daemon.config()).output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(78), "{told}");
    assert!(told.contains("server.data: "), "{told}");
    daemon.restart();
    client::get(daemon.public(), "/").expect(200);
    let refused = client::get(daemon.public(), "/books").expect(503);
    assert!(refused.header("retry-after").is_some());
    let ready = client::get(daemon.admin(), "/readyz/storage").expect(503);
    assert!(ready.text().contains("can't be used"), "{}", ready.text());
    fs::remove_file(&data).unwrap();
    daemon.wait_until("the store is open", |daemon| {
        client::get(daemon.admin(), "/readyz/storage").status == 200
    });
    client::get(daemon.public(), "/books").expect(200);
    daemon.kill9();
    let told = daemon.stderr_from(" ERROR ");
    assert_eq!(told.matches("can't be used").count(), 1, "{told}");
}

#[test]
fn a_data_folder_in_use_ends_the_process_with_75_only_where_that_is_asked_for() {
    let mut first = TestDaemon::start("");
    first.post("/books", &json!({ "n": 1 })).expect(201);
    let data = first.folder().join("data");
    let told = format!("in use by process {}", first.pid());
    let mut second = TestDaemon::prepare_on(&data, "[storage]\non_refusal = \"exit\"\n");
    second.spawn();
    assert_eq!(second.wait_exit(TIMEOUT).code(), Some(75));
    let ended = second.stderr_from(" ERROR ");
    assert!(ended.contains(&told), "{ended}");
    let mut third = TestDaemon::prepare_on(&data, "");
    third.restart();
    client::get(third.public(), "/").expect(200);
    let ready = client::get(third.admin(), "/readyz/storage").expect(503);
    assert!(ready.text().contains(&told), "{}", ready.text());
    first.get("/books").expect(200);
    first.sigterm();
    first.wait_exit(TIMEOUT);
    third.wait_until("the store is open", |third| {
        client::get(third.public(), "/books").status == 200
    });
    assert_eq!(third.get("/books").header("x-total-count"), Some("1"));
}

/// A store whose last change is in no copy: what was made of it, and the arguments that ask for the daemon's end.
fn lose_the_last_change(daemon: &mut TestDaemon) {
    for n in 0..20 {
        daemon.post("/books", &json!({ "n": n })).expect(201);
    }
    daemon.sigterm();
    daemon.wait_exit(TIMEOUT);
    let data = daemon.folder().join("data");
    fs::remove_dir_all(data.join("view")).unwrap();
    let segment = data.join("journal/000000000001.journal");
    let mut content = fs::read(&segment).unwrap();
    let last = content.iter().rposition(|byte| *byte != 0).unwrap();
    content[last] ^= 1;
    fs::write(&segment, content).unwrap();
}

#[test]
fn changes_that_no_copy_has_are_named_and_end_the_process_only_where_that_is_asked_for() {
    for (more, exits) in [("", false), ("[storage]\non_refusal = \"exit\"\n", true)] {
        let mut daemon = TestDaemon::start(more);
        let verify = |daemon: &TestDaemon| {
            let mut verify = Command::new(BINARY);
            verify.arg("--config").arg(daemon.config());
            let output = verify.args(["journal", "--verify"]).output().unwrap();
            let told = [output.stdout, output.stderr].concat();
            (output.status.code(), String::from_utf8(told).unwrap())
        };
        let (code, told) = verify(&daemon);
        assert_eq!(code, Some(0), "{told}");
        lose_the_last_change(&mut daemon);
        let (code, told) = verify(&daemon);
        assert_eq!(code, Some(65), "{told}");
        assert!(told.contains("ends at change 19, but change 20"), "{told}");
        daemon.spawn();
        if exits {
            assert_eq!(daemon.wait_exit(TIMEOUT).code(), Some(65));
        } else {
            daemon.wait_ready();
            client::get(daemon.public(), "/").expect(200);
            client::get(daemon.public(), "/books").expect_problem(503);
            let ready = client::get(daemon.admin(), "/readyz/storage").expect(503);
            assert!(
                ready.text().contains("the changes 20 to 20"),
                "{}",
                ready.text()
            );
            daemon.kill9();
        }
        let told = daemon.stderr_from(" ERROR ");
        assert!(
            told.contains("the changes 20 to 20 were acknowledged"),
            "{told}"
        );
    }
}
