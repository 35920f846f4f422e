//! What an operator sees: the end of the last run, a pause, the figures of the process, and commands with odd outputs.

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::daemon::{BINARY, TestDaemon, metric};

const LIMIT: Duration = Duration::from_secs(20);
const NOT_IN_ORDER: &str = "the last run did not stop in order";

#[test]
fn a_run_that_was_killed_is_told_by_the_next_start_and_one_that_stopped_is_not() {
    let mut daemon = TestDaemon::start("");
    let pid = fs::read_to_string(daemon.folder().join("data/running")).unwrap();
    let pid = pid.lines().next().unwrap().to_owned();
    daemon.kill9();
    daemon.restart();
    daemon.wait_for_log(NOT_IN_ORDER);
    assert!(daemon.stderr().contains(&format!("pid=\"{pid}\"")));
    daemon.sigterm();
    assert_eq!(daemon.wait_exit(LIMIT).code(), Some(0));
    daemon.restart();
    assert!(
        !daemon.stderr().contains(NOT_IN_ORDER),
        "{}",
        daemon.stderr()
    );
}

#[test]
fn a_second_daemon_on_a_data_folder_leaves_it_to_the_first() {
    let first = TestDaemon::start("");
    let data = first.folder().join("data");
    let running = || fs::read_to_string(data.join("running")).unwrap();
    let before = running();
    assert!(before.starts_with(&format!("{}\n", first.pid())));
    let mut second = TestDaemon::prepare_on(&data, "");
    second.restart();
    second.wait_for_log(&format!("in use by process {}", first.pid()));
    second.sigterm();
    assert_eq!(second.wait_exit(LIMIT).code(), Some(0));
    assert_eq!(running(), before);
    assert!(!second.stderr().contains(NOT_IN_ORDER));
    first.post("/books", &serde_json::json!({})).expect(201);
}

#[test]
fn a_pause_of_the_process_is_told() {
    let daemon = TestDaemon::start("");
    daemon.signal("-STOP");
    std::thread::sleep(Duration::from_secs(4));
    daemon.signal("-CONT");
    daemon.wait_for_log("the process or its machine was paused");
    daemon.get("/").expect(200);
}

#[test]
fn sigquit_stops_in_order() {
    let mut daemon = TestDaemon::start("");
    daemon.signal("-QUIT");
    assert_eq!(daemon.wait_exit(LIMIT).code(), Some(0));
    daemon.stderr_from("SIGQUIT: stopping");
}

#[test]
fn the_figures_of_the_process_are_exposed() {
    let daemon = TestDaemon::start("");
    let text = daemon.metrics();
    for name in [
        "process_cpu_seconds_total",
        "process_resident_memory_bytes",
        "process_open_fds",
        "process_max_fds",
        "process_start_time_seconds",
        "process_threads",
    ] {
        let value = metric(&text, name, "");
        assert!(value.is_some_and(|value| value >= 0.0), "{name}\n{text}");
    }
}

fn command(words: &[&str], stdout: Stdio) -> Output {
    let mut command = Command::new(BINARY);
    command.args(words).stdout(stdout).stderr(Stdio::piped());
    command.output().unwrap()
}

#[test]
fn a_full_stdout_makes_a_command_fail_and_not_panic() {
    let daemon = TestDaemon::start("");
    let (config, admin) = (daemon.config(), daemon.admin().to_string());
    let config = config.to_str().unwrap();
    for words in [
        &["check", config][..],
        &["status", "--admin", &admin],
        &["status", "--json", "--admin", &admin],
    ] {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let output = command(words, full.into());
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{words:?}: {stderr}");
        assert!(stderr.contains("cannot write to stdout"), "{stderr}");
    }
}

#[test]
fn a_daemon_is_found_by_its_admin_address_alone() {
    let daemon = TestDaemon::start("");
    let admin = daemon.admin().to_string();
    let output = command(&["status", "--json", "--admin", &admin], Stdio::piped());
    assert!(output.status.success());
    let tree: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(tree["name"], "perennial");
    let port = daemon.admin().port();
    for told in [
        admin,
        format!("localhost:{port}"),
        format!("http://localhost:{port}/"),
    ] {
        let output = command(&["healthcheck", "--admin", &told], Stdio::piped());
        assert!(output.status.success(), "{told}: {output:?}");
    }
}

#[test]
fn a_unix_socket_of_the_admin_is_for_its_owner_and_serves_every_command() {
    let mut daemon = TestDaemon::prepare("");
    let path = daemon.folder().join("admin.sock");
    let address = format!("unix:{}", path.display());
    let variable = format!("PERENNIAL__SERVER__ADMIN={address}");
    daemon.run_under(&["env", &variable]);
    daemon.restart();
    let bits = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(bits & 0o777, 0o600);
    let title = json!({ "title": "by a socket" });
    let posted = daemon.post("/books", &title).expect(201).json();
    let record = format!("books/{}", posted["id"].as_str().unwrap());
    for (words, printed) in [
        (&["healthcheck"][..], ""),
        (&["status"], "writer"),
        (&["restart", "writer"], "writer is running (generation 2)"),
        (&["history", &record], "by a socket"),
        (&["export", "books"], "by a socket"),
    ] {
        let words = [words, &["--admin", &address]].concat();
        let output = command(&words, Stdio::piped());
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{words:?}: {output:?}");
        assert!(text.contains(printed), "{words:?}: {text}");
    }
    // Without --admin it is found by the settings.
    let by_settings = Command::new(BINARY)
        .env("PERENNIAL__SERVER__ADMIN", &address)
        .args(["healthcheck", "--config"])
        .arg(daemon.config())
        .status();
    assert!(by_settings.unwrap().success());
    daemon.sigterm();
    daemon.wait_exit(LIMIT);
    assert!(!path.exists(), "the file is removed at the stop");
    let output = command(&["status", "--admin", &address], Stdio::piped());
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(69));
    assert!(
        text.contains(&format!("nothing answers at {address};")),
        "{text}"
    );
}

#[test]
fn an_admin_address_that_is_none_is_a_usage_error_that_says_how_to_write_it() {
    for wrong in [
        "localhost",
        ":3001",
        "[::1]",
        "localhost:0",
        "localhost:http",
        "unix:",
        "3001",
        "",
    ] {
        for words in [
            ["healthcheck", "--admin", wrong],
            ["status", "--admin", wrong],
        ] {
            let output = command(&words, Stdio::piped());
            let told = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(64), "{words:?}: {told}");
            assert!(told.contains("such as localhost:3001"), "{words:?}: {told}");
        }
    }
    let output = command(
        &["status", "--admin", "no-such-host.invalid:3001"],
        Stdio::piped(),
    );
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(69), "{told}");
    assert!(told.contains("no-such-host.invalid:3001"), "{told}");
}

#[test]
fn all_addresses_that_cannot_be_bound_are_named_in_one_error() {
    let holders = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let [first, second, third] = holders
        .each_ref()
        .map(|socket| socket.local_addr().unwrap());
    let mut daemon = TestDaemon::prepare("[logging]\nformat = \"json\"");
    let listen = format!("PERENNIAL__SERVER__LISTEN={first},{third}");
    let admin = format!("PERENNIAL__SERVER__ADMIN={second}");
    daemon.run_under(&["env", &listen, &admin]);
    daemon.spawn();
    assert_eq!(daemon.wait_exit(LIMIT).code(), Some(69));
    let line = daemon.stderr_from("ERROR");
    let line: Value = serde_json::from_str(line.lines().next().unwrap()).unwrap();
    let message = line["message"].as_str().unwrap();
    for part in [
        format!("{first}; another program listens there"),
        format!("{second}; another program listens there"),
        format!("{third}; another program listens there"),
    ] {
        assert!(message.contains(&part), "{part}: {message}");
    }
    drop(holders);
}
