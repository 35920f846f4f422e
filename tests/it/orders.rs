//! Orders to parts of the daemon: restart, stop and start, through the admin listener and the command line.

use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::{self, Client, Response};
use crate::daemon::{BINARY, TestDaemon, generation, node};
use crate::load::{Mix, Traffic};

#[track_caller]
fn order(daemon: &TestDaemon, part: &str, order: &str) -> Response {
    client::post(
        daemon.admin(),
        &format!("/supervisor/{part}/{order}"),
        &json!({}),
    )
}

fn perennial(daemon: &TestDaemon, words: &[&str]) -> Output {
    let admin = daemon.admin().to_string();
    let command = &mut Command::new(BINARY);
    command.args(words).args(["--admin", &admin]);
    command.output().unwrap()
}

#[test]
fn parts_are_restarted_under_load_and_no_request_fails() {
    let daemon = TestDaemon::start("");
    let traffic = Traffic::start(daemon.public(), Mix::small());
    let parts = [
        "writer",
        "handler-0",
        "file-cache",
        "listener-1",
        "storage",
        "request-handlers",
        "listeners",
        "handler-1",
    ];
    for part in parts {
        let before = generation(&daemon.tree(), part);
        let done = order(&daemon, part, "restart").expect(200).json();
        assert_eq!(done["state"], "running", "{done}");
        assert_eq!(done["generation"], before + 1, "{done}");
        let tree = daemon.tree();
        let exits = &node(&tree, part).unwrap()["exits"];
        assert_eq!(
            exits.as_array().unwrap().last().unwrap()["cause"],
            "ordered"
        );
        daemon.wait_for_log(&format!("an order was carried out part={part}"));
    }
    let seen = traffic.stop();
    assert_eq!(seen.failed, 0, "{:?}", seen.failures);
    assert_eq!(seen.closed, 0, "connections were kept");
    assert!(!seen.acked.is_empty(), "writers wrote");
    for (token, promise) in &seen.acked {
        let record = daemon.get(&format!("/books/{}", promise.id)).expect(200);
        assert_eq!(
            record.header("etag"),
            Some(promise.etag.as_str()),
            "{token}"
        );
    }
}

#[test]
fn a_handler_and_a_listener_are_stopped_and_started_under_load_and_no_request_fails() {
    let daemon = TestDaemon::start("");
    let mix = Mix {
        reconnecting: 4,
        ..Mix::small()
    };
    let traffic = Traffic::start(daemon.public(), mix);
    for part in ["handler-1", "listener-0", "handler-0", "listener-1"] {
        let done = order(&daemon, part, "stop").expect(200).json();
        assert_eq!(done["state"], "ended", "{done}");
        client::get(daemon.admin(), "/readyz").expect_problem(503);
        thread::sleep(Duration::from_millis(100));
        let done = order(&daemon, part, "start").expect(200).json();
        assert_eq!(done["state"], "running", "{done}");
        client::get(daemon.admin(), "/readyz").expect(200);
    }
    let seen = traffic.stop();
    assert_eq!(seen.failed, 0, "{:?}", seen.failures);
    assert!(!seen.acked.is_empty(), "writers wrote");
}

#[test]
fn a_stopped_writer_is_told_at_once_and_reads_go_on() {
    let daemon = TestDaemon::start("");
    let made = daemon
        .post("/books", &json!({"title": "first"}))
        .expect(201);
    let path = format!("/books/{}", made.json()["id"].as_str().unwrap());
    order(&daemon, "writer", "stop").expect(200);
    let begun = Instant::now();
    let refused = daemon.post("/books", &json!({"title": "second"}));
    assert_eq!(refused.expect_problem(503), "shutting_down");
    assert!(
        begun.elapsed() < Duration::from_secs(2),
        "{:?}",
        begun.elapsed()
    );
    daemon.get(&path).expect(200);
    let ready = client::get(daemon.admin(), "/readyz").expect(503).json();
    let detail = ready["detail"].as_str().unwrap();
    let wanted = "storage (writer is stopped by order: perennial start writer)";
    assert!(detail.contains(wanted), "{detail}");
    // Stopping it again, and starting it twice, change nothing.
    order(&daemon, "writer", "stop").expect(200);
    order(&daemon, "writer", "start").expect(200);
    let again = order(&daemon, "writer", "start").expect(200).json();
    assert_eq!(again["generation"], 2, "{again}");
    daemon
        .post("/books", &json!({"title": "second"}))
        .expect(201);
}

#[test]
fn clients_of_stopped_listeners_wait_until_they_are_started() {
    let daemon = TestDaemon::start("");
    order(&daemon, "listeners", "stop").expect(200);
    let public = daemon.public();
    let waits = thread::spawn(move || client::get(public, "/").expect(200));
    thread::sleep(Duration::from_millis(200));
    assert!(!waits.is_finished());
    order(&daemon, "listeners", "start").expect(200);
    waits.join().unwrap();
}

#[test]
fn kept_connections_of_other_handlers_outlive_a_stopped_one() {
    let daemon = TestDaemon::start("");
    // While handler-1 is stopped, all connections are those of handler-0.
    order(&daemon, "handler-1", "stop").expect(200);
    let connect = |_| Client::connect(daemon.public()).unwrap();
    let mut clients: Vec<_> = (0..8).map(connect).collect();
    for client in &mut clients {
        client.get("/").unwrap().expect(200);
    }
    order(&daemon, "handler-1", "start").expect(200);
    order(&daemon, "handler-1", "stop").expect(200);
    for client in &mut clients {
        let answer = client.get("/").unwrap().expect(200);
        assert!(answer.keep_alive, "its handler was not stopped");
    }
    order(&daemon, "handler-1", "start").expect(200);
    order(&daemon, "handler-0", "stop").expect(200);
    for client in &mut clients {
        assert!(client.get("/").is_err(), "its handler was stopped");
    }
}

#[test]
fn what_answers_orders_takes_none_and_an_unknown_part_is_told_the_names() {
    let daemon = TestDaemon::start("");
    for part in ["perennial", "admin", "admin-handler", "admin-listener"] {
        for word in ["restart", "stop", "start"] {
            let code = order(&daemon, part, word).expect_problem(422);
            assert_eq!(code, "invalid_order");
        }
    }
    let unknown = order(&daemon, "wrter", "restart").expect(404).json();
    let parts: Vec<_> = unknown["parts"].as_array().unwrap().clone();
    assert!(parts.contains(&Value::from("writer")), "{unknown}");
    assert!(!parts.contains(&Value::from("admin")), "{unknown}");
    order(&daemon, "writer", "explode").expect_problem(404);
    client::get(daemon.admin(), "/supervisor/writer/stop").expect_problem(405);
}

#[test]
fn the_command_line_gives_orders_and_prints_what_came_of_them() {
    let daemon = TestDaemon::start("");
    let done = perennial(&daemon, &["restart", "file-cache"]);
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success(), "{done:?}");
    assert!(
        text.starts_with("file-cache is running (generation 2), after "),
        "{text}"
    );
    let done = perennial(&daemon, &["stop", "file-cache"]);
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(
        text.starts_with("file-cache is ended (generation 2), after "),
        "{text}"
    );
    let status = perennial(&daemon, &["status"]);
    let text = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(
        text.contains("stopped by order, restarted after 0.000s"),
        "{text}"
    );
    assert!(
        text.contains("stopped by order, not restarted for it"),
        "{text}"
    );
    assert!(
        perennial(&daemon, &["start", "file-cache"])
            .status
            .success()
    );
    let wrong = perennial(&daemon, &["restart", "admin"]);
    assert_eq!(wrong.status.code(), Some(1));
    let wrong = perennial(&daemon, &["restart", "nothing"]);
    let text = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(
        text.contains("there is no part named nothing; there are storage, "),
        "{text}"
    );
    let nobody = Command::new(BINARY)
        .args(["restart", "writer", "--admin", "127.0.0.1:1"])
        .output();
    assert_eq!(nobody.unwrap().status.code(), Some(69));
}
