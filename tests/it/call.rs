//! `perennial call`: requests of a file, each for itself or as a group.

use std::fs;
use std::process::Output;

use serde_json::Value;

use crate::daemon::{BINARY, TestDaemon};

fn call(daemon: &TestDaemon, file: &str, words: &[&str]) -> Output {
    let path = daemon.folder().join("calls");
    fs::write(&path, file).unwrap();
    let base = format!("http://{}", daemon.public());
    let mut command = std::process::Command::new(BINARY);
    command
        .arg("call")
        .arg(path)
        .args(["--base", &base])
        .args(words);
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

const SIX: &str = r#"
[[request]]
name = "page"
url = "/"
[[request]]
name = "new book"
url = "/books"
body = { title = "Dune" }
expect = 201
[[request]]
name = "books"
url = "/books"
[[request]]
name = "lost"
url = "/lost"
[[request]]
name = "wrong"
url = "/books"
body = "no JSON"
[[request]]
name = "slow"
url = "/slow/"
"#;

#[test]
fn each_ends_for_itself_or_the_first_failure_cancels_the_rest() {
    let daemon = TestDaemon::prepare("");
    let slow = format!(
        "\n[route.\"/slow\"]\nfiles = {{ root = '{}' }}\ndelay = \"2s\"\n",
        daemon.folder().join("site").display()
    );
    let settings = fs::read_to_string(daemon.config()).unwrap();
    fs::write(daemon.config(), settings + &slow).unwrap();
    let mut daemon = daemon;
    daemon.restart();
    let gathered = call(&daemon, SIX, &["--json"]);
    assert_eq!(
        gathered.status.code(),
        Some(1),
        "{}",
        text(&gathered.stderr)
    );
    let told: Value = serde_json::from_slice(&gathered.stdout).unwrap();
    let of = |name: &str| {
        let results = told["results"].as_array().unwrap();
        results
            .iter()
            .find(|result| result["name"] == name)
            .unwrap()
    };
    for (name, status) in [
        ("page", 200),
        ("new book", 201),
        ("books", 200),
        ("slow", 200),
    ] {
        assert_eq!(of(name)["status"], status, "{told}");
        assert_eq!(of(name)["failed"], Value::Null, "{told}");
    }
    assert_eq!(of("new book")["body"]["title"], "Dune");
    assert!(
        of("lost")["failed"].as_str().unwrap().starts_with("404"),
        "{told}"
    );
    assert!(
        of("wrong")["failed"].as_str().unwrap().starts_with("415"),
        "{told}"
    );
    let group = call(&daemon, SIX, &["--mode", "group"]);
    assert_eq!(group.status.code(), Some(1));
    let table = text(&group.stdout);
    assert!(table.contains("slow      cancelled"), "{table}");
    assert!(table.contains("failed"), "{table}");
    let good = "[[request]]\nurl = \"/books\"\n[[request]]\nurl = \"/\"\n";
    let done = call(&daemon, good, &["--mode", "group"]);
    assert_eq!(done.status.code(), Some(0), "{}", text(&done.stdout));
    assert!(text(&done.stdout).contains("2 good, 0 failed, 0 cancelled"));
    let wrong = call(&daemon, "[[request]]\nurl = \"/\"\nbdy = 1\n", &[]);
    assert_eq!(wrong.status.code(), Some(78));
    assert!(
        text(&wrong.stderr).contains("`bdy` means nothing here"),
        "{}",
        text(&wrong.stderr)
    );
}
