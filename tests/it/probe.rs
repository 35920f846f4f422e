//! `perennial probe`: times requests to a daemon and to what is none.

use std::net::TcpListener;
use std::process::{Command, Output};

use serde_json::Value;

use crate::daemon::{BINARY, TestDaemon};

fn probe(words: &[&str]) -> Output {
    Command::new(BINARY)
        .arg("probe")
        .args(words)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn requests_are_timed_together_and_each() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = TestDaemon::start(&format!(
        "[route.\"/slow\"]\nfiles = {{ root = '{}' }}\ndelay = '50ms'\n",
        folder.path().display()
    ));
    std::fs::write(folder.path().join("a.txt"), "slow").unwrap();
    let base = format!("http://{}", daemon.public());
    let page = format!("{base}/");

    let done = probe(&[&page, "-n", "40", "-c", "8", "--json"]);
    assert_eq!(done.status.code(), Some(0), "{}", text(&done.stderr));
    let told: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(told["statuses"]["200"], 40);
    assert_eq!(told["bytes"], 40 * "<h1>first</h1>".len());
    let times = ["min", "p50", "p90", "p99", "max"].map(|name| {
        let time = &told["milliseconds"][name];
        time.as_f64().unwrap()
    });
    assert!(times.is_sorted() && times[0] > 0.0, "{times:?}");

    // Ten at a time: more than two rounds of the delay, and fewer than twenty of it one after the other.
    let slow = format!("{base}/slow/a.txt");
    let done = probe(&[&slow, "-n", "20", "-c", "10", "--json"]);
    let told: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert!(told["seconds"].as_f64().unwrap() >= 0.1, "{told}");
    let begun_at_once = probe(&[&slow, "-n", "20", "-c", "20", "--each", "--json"]);
    let lines = text(&begun_at_once.stdout);
    let all: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(all.len(), 20);
    for each in &all {
        assert_eq!((&each["status"], &each["bytes"]), (&200.into(), &4.into()));
        assert!(each["took_ms"].as_f64().unwrap() >= 50.0, "{each}");
    }

    let done = probe(&[&format!("{base}/lost"), "-n", "3"]);
    assert_eq!(done.status.code(), Some(1));
    assert!(text(&done.stdout).contains("       3  404\n"));
    let done = probe(&[&format!("{base}/books"), "-n", "2", "-X", "PUT"]);
    assert!(
        text(&done.stdout).contains("       2  405\n"),
        "{}",
        text(&done.stdout)
    );
}

#[test]
fn what_does_not_answer_is_told_by_its_kind() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = format!("http://{}/", listener.local_addr().unwrap());
    let done = probe(&[&silent, "-n", "2", "--timeout", "200ms", "--json"]);
    assert_eq!(done.status.code(), Some(69));
    let told: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(told["failures"]["timed out"]["count"], 2, "{told}");
    assert_eq!(told["milliseconds"], Value::Null);
    drop(listener);
    let done = probe(&[&silent, "-n", "3"]);
    assert_eq!(done.status.code(), Some(69));
    let told = text(&done.stdout);
    assert!(
        told.contains("       3  not connected, such as: "),
        "{told}"
    );
    assert!(told.contains("refused"), "{told}");
    for words in [
        &["localhost:3000"][..],
        &["/books"],
        &["http://localhost:3000/", "-n", "0"],
        &["http://localhost:3000/", "-c", "many"],
        &["http://localhost:3000/", "--timeout", "soon"],
    ] {
        let done = probe(words);
        assert_eq!(done.status.code(), Some(64), "{words:?}");
    }
}
