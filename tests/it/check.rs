//! Exit codes of the command line.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::json;

use crate::daemon::{BINARY, TestDaemon};

fn run<I: AsRef<OsStr>>(words: &[I]) -> Output {
    Command::new(BINARY).args(words).output().unwrap()
}

#[test]
fn check_accepts_the_config_option_before_and_after_the_command() {
    let daemon = TestDaemon::prepare("");
    let file = daemon.config();
    let file = file.to_str().unwrap();
    for words in [
        &["--config", file, "check"][..],
        &["check", "--config", file],
        &["check", file],
    ] {
        let output = run(words);
        assert_eq!(output.status.code(), Some(0), "{words:?}: {output:?}");
        let told = String::from_utf8(output.stdout).unwrap();
        assert_eq!(told, format!("{file}: ok, 1 route, 1 resource\n"));
    }
}

#[test]
fn two_settings_files_on_the_command_line_are_a_usage_error() {
    let daemon = TestDaemon::prepare("");
    let file = daemon.config();
    let file = file.to_str().unwrap();
    for words in [
        &["--config", file, "check", file][..],
        &["check", "--config", file, file],
        &["check", file, "--config", file],
    ] {
        let output = run(words);
        assert_eq!(output.status.code(), Some(64), "{words:?}: {output:?}");
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(told.contains("name one settings file"), "{told}");
    }
}

/// The settings of a running daemon, with its admin address, so that its file can be used to ask it.
fn settings_of(daemon: &TestDaemon) -> String {
    let text = fs::read_to_string(daemon.config()).unwrap();
    let admin = format!("admin = \"{}\"", daemon.admin());
    text.replace("admin = \"127.0.0.1:0\"", &admin)
}

/// `/dev/full` refuses each write, as a full disk does.
#[test]
fn an_answer_that_cannot_be_written_is_an_error_and_no_panic() {
    let daemon = TestDaemon::start("");
    let file = daemon.folder().join("running.toml");
    fs::write(&file, settings_of(&daemon)).unwrap();
    let file = file.to_str().unwrap();
    let full = || {
        let full = fs::OpenOptions::new().write(true).open("/dev/full");
        full.unwrap()
    };
    for (words, code) in [
        (&["check", file][..], 1),
        (&["status", "--config", file], 1),
        (&["--help"], 1),
        (&["check", "--help"], 1),
        (&["--version"], 1),
        (&["healthcheck", "--config", file], 0),
    ] {
        let output = Command::new(BINARY).args(words).stdout(full()).output();
        let output = output.unwrap();
        assert_eq!(output.status.code(), Some(code), "{words:?}: {output:?}");
        let told = String::from_utf8(output.stderr).unwrap();
        let unwritten = told.contains("cannot write to stdout");
        assert_eq!(unwritten, code == 1, "{words:?}: {told}");
    }
    for words in [
        &["check", "/no/such/file.toml"][..],
        &["no-such-command"],
        &["status", "--config", "/no/such/file.toml"],
    ] {
        let status = Command::new(BINARY).args(words).stderr(full()).status();
        let code = status.unwrap().code();
        assert!(matches!(code, Some(64 | 78)), "{words:?}: {code:?}");
    }
}

#[test]
fn a_folder_that_is_not_there_stops_check_and_start_but_not_a_health_check() {
    let daemon = TestDaemon::start("");
    let file = daemon.folder().join("other.toml");
    let name = file.to_str().unwrap();
    for root in ["gone", "site/index.html"] {
        let gone = daemon.folder().join(root);
        let root = gone.to_str().unwrap();
        let route = format!("[route.\"/x\"]\nfiles = {{ root = '{root}' }}\n");
        fs::write(&file, settings_of(&daemon) + &route).unwrap();
        for command in ["check", "serve"] {
            let output = run(&[command, "--config", name]);
            assert_eq!(output.status.code(), Some(78), "{command}: {output:?}");
            let told = String::from_utf8(output.stderr).unwrap();
            assert!(told.contains("route.\"/x\".files.root: "), "{told}");
            assert!(told.contains(root), "{told}");
        }
        let output = run(&["healthcheck", "--config", name]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
    }
}

#[test]
fn a_route_whose_folder_holds_the_records_or_the_logs_stops_check_and_start() {
    let daemon = TestDaemon::prepare("");
    let folder = daemon.folder();
    let text = fs::read_to_string(daemon.config()).unwrap();
    let site = folder.join("site");
    let site = site.display();
    std::os::unix::fs::symlink(folder, folder.join("link")).unwrap();
    fs::create_dir(folder.join("data")).unwrap();
    fs::create_dir(folder.join("data.old")).unwrap();
    let logs = format!("[logging.file]\ndir = '{site}/new/logs'\n");
    let beside = format!("[logging.file]\ndir = '{site}-logs'\n");
    for (root, more, held) in [
        (".", "", Some("holds the records")),
        ("link", "", Some("holds the records")),
        ("site/..", "", Some("holds the records")),
        ("data", "", Some("holds the records")),
        ("site", &*logs, Some("holds the logs")),
        ("site", &*beside, None),
        ("data.old", "", None),
    ] {
        let root = folder.join(root).display().to_string();
        let text = format!("{text}[route.\"/x\"]\nfiles = {{ root = '{root}' }}\n{more}");
        fs::write(folder.join("held.toml"), text).unwrap();
        let file = folder.join("held.toml");
        let output = run(&["check", file.to_str().unwrap()]);
        let told = String::from_utf8(output.stderr).unwrap();
        let code = if held.is_some() { 78 } else { 0 };
        assert_eq!(output.status.code(), Some(code), "{root}: {told}");
        assert!(told.contains(held.unwrap_or_default()), "{root}: {told}");
    }
}

#[test]
fn a_setting_in_the_environment_that_is_not_utf8_is_refused_and_not_ignored() {
    let daemon = TestDaemon::prepare("");
    let file = daemon.config();
    for variable in [
        &b"PERENNIAL__SERVER__DATA"[..],
        b"PERENNIAL__SERVER__LISTEN",
        b"PERENNIAL__LIMITS__BODY",
        b"PERENNIAL__SERVER__\xffDATA",
    ] {
        let mut command = Command::new(BINARY);
        command.arg("check").arg(&file);
        command.env(OsStr::from_bytes(variable), OsStr::from_bytes(b"a\xff"));
        let output = command.output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(78), "{variable:?}: {told}");
        assert!(told.contains("$PERENNIAL__"), "{told}");
    }
    let other = Command::new(BINARY)
        .arg("check")
        .arg(&file)
        .env("OTHER", OsStr::from_bytes(b"\xff"))
        .status();
    assert_eq!(other.unwrap().code(), Some(0));
}

#[test]
fn wrong_settings_exit_with_78() {
    let daemon = TestDaemon::prepare("");
    let file = daemon.folder().join("wrong.toml");
    let name = file.to_str().unwrap();
    for text in [
        "[server\n",
        "[server]\nno_such_key = 1\n",
        "[server]\nlisten = 3\n",
        "[no_such_table]\n",
    ] {
        fs::write(&file, text).unwrap();
        for words in [["--config", name, "check"], ["--config", name, "serve"]] {
            let output = run(&words);
            assert_eq!(output.status.code(), Some(78), "{text:?}: {output:?}");
            assert!(!output.stderr.is_empty(), "{text:?}: nothing on stderr");
        }
    }
    let missing = ["check", "--config", "/no/such/file.toml"];
    assert_eq!(run(&missing).status.code(), Some(78));
}

#[test]
fn a_wrong_command_line_exits_with_64() {
    for words in [&["no-such-command"][..], &["check", "--no-such-option"]] {
        let output = run(words);
        assert_eq!(output.status.code(), Some(64), "{words:?}: {output:?}");
    }
    assert_eq!(run(&["--help"]).status.code(), Some(0));
}

#[test]
fn a_daemon_that_does_not_answer_is_told_apart_from_one_that_is_not_there() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    for (words, code) in [(["healthcheck", "--admin"], 1), (["status", "--admin"], 69)] {
        let output = run(&[&words[..], &[&address]].concat());
        assert_eq!(output.status.code(), Some(code), "{words:?}");
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(told.contains("did not answer in time"), "{told}");
        assert!(!told.contains("os error"), "{told}");
    }
    drop(silent);
    let told = String::from_utf8(run(&["healthcheck", "--admin", &address]).stderr).unwrap();
    assert!(told.contains("nothing answers at"), "{told}");
}

#[test]
fn the_data_folder_is_read_whole_whether_a_daemon_uses_it_or_not() {
    let mut daemon = TestDaemon::start("");
    for n in 0..30 {
        daemon.post("/books", &json!({ "n": n })).expect(201);
    }
    let file = daemon.config();
    let file = file.to_str().unwrap().to_owned();
    let check = |code| {
        let data = run(&["check", "--data", &file]);
        let alias = run(&["--config", &file, "journal", "--verify"]);
        for output in [&data, &alias] {
            assert_eq!(output.status.code(), Some(code), "{output:?}");
        }
        String::from_utf8([data.stdout, data.stderr].concat()).unwrap()
    };
    let told = check(0);
    assert!(
        told.contains("whole, up to change 30: the journal"),
        "{told}"
    );
    assert!(
        told.contains("the view was not compared: process"),
        "{told}"
    );
    daemon.sigterm();
    daemon.wait_exit(Duration::from_secs(20));
    let view = daemon.folder().join("data/view");
    let before = fs::read(view.join("db")).unwrap();
    let told = check(0);
    assert!(told.contains("and the view with 30 records"), "{told}");
    assert_eq!(
        fs::read(view.join("db")).unwrap(),
        before,
        "nothing is written"
    );
    let segment = daemon.folder().join("data/journal/000000000001.journal");
    let whole = fs::read(&segment).unwrap();
    let mut damaged = whole.clone();
    damaged[700] ^= 1;
    fs::write(&segment, damaged).unwrap();
    let told = check(65);
    assert!(told.contains("000000000001.journal"), "{told}");
    assert!(told.contains("another copy has all"), "{told}");
    // The view has all, but it can't be copied to be read: that is not known then.
    let output = Command::new(BINARY)
        .args(["check", "--data", &file])
        .env("TMPDIR", "/nowhere")
        .output()
        .unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(75), "{told}");
    assert!(told.contains("the view was not compared"), "{told}");
    assert!(
        told.contains("TMPDIR") && !told.contains("salvage"),
        "{told}"
    );
    fs::remove_file(&segment).unwrap();
    fs::create_dir(&segment).unwrap();
    let told = check(65);
    assert!(told.contains("it is no regular file"), "{told}");
    assert!(told.contains("another copy has all"), "{told}");
    fs::remove_dir(&segment).unwrap();
    fs::write(&segment, whole).unwrap();
    check(0);
}
