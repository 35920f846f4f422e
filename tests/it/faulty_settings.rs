//! Commands beside a daemon whose settings file has got a fault since its start: what does not need all settings does its work,
//! and what does names the fault.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::json;

use crate::daemon::{BINARY, TestDaemon, toml};
use crate::reload::settings;

const FAULT: &str = "limits.body: 7 is not a size";

/// Commands that read no settings at all, and the one that clap adds.
const WITHOUT_SETTINGS: [&str; 5] = ["call", "key", "user", "probe", "help"];

fn run(config: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(BINARY);
    let output = command.arg("--config").arg(config).args(words).output();
    output.unwrap()
}

/// The names of all commands, as the help lists them.
fn commands() -> BTreeSet<String> {
    let help = Command::new(BINARY).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let (_, listed) = help.split_once("\nCommands:\n").unwrap();
    let names = listed.lines().take_while(|line| !line.is_empty());
    // Further lines of a description stand further right.
    let names = names.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    names
        .filter_map(|line| line.split_whitespace().next().map(str::to_owned))
        .collect()
}

/// A daemon whose file has this in place of what it began with, beside the address that it listens at.
fn with_file(more: &str) -> TestDaemon {
    let daemon = TestDaemon::start("");
    let admin = format!("admin = \"{}\"", daemon.admin());
    let text = toml(daemon.folder(), more).replace("admin = \"127.0.0.1:0\"", &admin);
    fs::write(daemon.config(), text).unwrap();
    daemon
}

#[test]
fn only_commands_that_need_all_settings_refuse_a_file_with_a_fault() {
    let daemon = with_file("[limits]\nbody = 7");
    let at = |name: &str| daemon.folder().join(name).display().to_string();
    let id = daemon.post("/books", &json!({"n": 1})).expect(201).json()["id"].clone();
    let record = format!("books/{}", id.as_str().unwrap());
    fs::write(at("rows.ndjson"), "{\"n\":2}\n").unwrap();
    let (rows, backup, restored, salvaged) = (at("rows.ndjson"), at("b"), at("r"), at("s"));
    let again = at("again");
    let place = at("place/");
    fs::create_dir(&place).unwrap();
    let all: [(&[&str], i32); 23] = [
        (&["status"], 0),
        (&["healthcheck"], 0),
        (&["restart", "file-cache"], 0),
        (&["stop", "handler-1"], 0),
        (&["start", "handler-1"], 0),
        (&["explain", "GET", "/books", "--running"], 0),
        (&["history", &record], 0),
        (&["revert", &record, "--to", "1"], 0),
        (&["export", "books"], 0),
        (&["import", "books", &rows], 0),
        (&["journal"], 0),
        (&["journal", "--verify"], 0),
        (&["backup", &backup], 0),
        (&["backup", "-"], 0),
        (&["restore", &backup, "--into", &restored], 0),
        (&["backup", &place], 0),
        (&["restore", &place, "--into", &again], 0),
        // The daemon uses the folder.
        (&["salvage", "--into", &salvaged], 75),
        // These need all of them.
        (&["check"], 78),
        (&["types", "--ts"], 78),
        (&["explain", "GET", "/books"], 78),
        (&["serve"], 78),
        (&["reload"], 78),
    ];
    for (words, exit) in all {
        let done = run(&daemon.config(), words);
        let told = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_eq!(done.status.code(), Some(exit), "{words:?}: {told}");
        assert_eq!(told.contains(FAULT), exit == 78, "{words:?}: {told}");
    }
    let tried = all.iter().map(|(words, _)| words[0]);
    let known: BTreeSet<_> = tried.chain(WITHOUT_SETTINGS).map(str::to_owned).collect();
    assert_eq!(commands(), known, "each command is in one of the lists");
    // The daemon has read the file itself, so it knows why it was refused.
    let error = settings(&daemon)["last_error"].clone();
    assert!(error.as_str().unwrap().contains(FAULT), "{error}");
}

#[test]
fn a_daemon_that_cannot_be_found_by_its_settings_is_said_not_to_have_been_asked() {
    let daemon = with_file("");
    let whole = fs::read_to_string(daemon.config()).unwrap();
    // What was written before the fault is known.
    fs::write(daemon.config(), format!("{whole}\n[limits\n")).unwrap();
    let refused = run(&daemon.config(), &["reload"]);
    assert_eq!(refused.status.code(), Some(78));
    assert_eq!(settings(&daemon)["last_outcome"], "refused");
    let told = run(&daemon.config(), &["status"]);
    assert_eq!(told.status.code(), Some(0));
    // The address is written behind a fault, or nowhere.
    let hidden = whole.replace("[server]", "[server");
    fs::write(daemon.config(), hidden).unwrap();
    let refused = run(&daemon.config(), &["reload"]);
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(78), "{told}");
    assert!(told.contains("no daemon was asked: server.admin"), "{told}");
    // It is another address than the daemon has: it says so, and where to look.
    let other = whole.replace(&daemon.admin().to_string(), "127.0.0.1:1");
    fs::write(daemon.config(), other).unwrap();
    let refused = run(&daemon.config(), &["reload"]);
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(69), "{told}");
    assert!(told.contains("write --admin with the one before"), "{told}");
    let admin = daemon.admin().to_string();
    fs::write(daemon.config(), whole).unwrap();
    let asked = run(&daemon.config(), &["reload", "--admin", &admin]);
    assert!(asked.status.success());
}

#[test]
fn commands_without_a_daemon_need_only_the_settings_that_they_use() {
    let mut daemon = with_file("");
    let whole = fs::read_to_string(daemon.config()).unwrap();
    let id = daemon.post("/books", &json!({"n": 1})).expect(201).json()["id"].clone();
    let record = format!("books/{}", id.as_str().unwrap());
    daemon.kill9();
    let place = daemon.folder().join("place").display().to_string();
    fs::create_dir(&place).unwrap();
    let (history, backup) = (["history", &*record], ["backup", &*place]);
    for (fault, words, exit) in [
        ("[limits]\nbody = 7", &history[..], 0),
        ("[backup]\nevery = 7", &history, 0),
        ("[resource.other]\nid = 7\nfields = 7", &history, 0),
        ("[route.\"/x\"]\nfiles.root = 7", &backup, 0),
        ("[storage]\ncache = 7", &backup, 0),
        ("[resource.books.fields]\na = 7", &backup, 0),
        ("[resource.books.fields]\na = 7", &history, 0),
        // Of these nobody knows what was meant.
        ("[backup]\nevery = 7", &backup, 78),
        ("[storage]\nreserve = 'x'", &backup, 78),
        ("[limits", &backup, 78),
        ("include = ['nowhere.toml']", &backup, 78),
    ] {
        let (first, more) = if fault.starts_with("include") {
            (fault, "")
        } else {
            ("", fault)
        };
        fs::write(daemon.config(), format!("{first}\n{whole}\n{more}\n")).unwrap();
        let done = run(&daemon.config(), words);
        let told = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_eq!(done.status.code(), Some(exit), "{fault} {words:?}: {told}");
    }
    let other = whole.replace("path = \"/books\"", "path = \"/books\"\nid = 7");
    fs::write(daemon.config(), other).unwrap();
    let done = run(&daemon.config(), &history);
    assert_eq!(done.status.code(), Some(78), "{done:?}");
    assert!(String::from_utf8_lossy(&done.stderr).contains("resource.books.id"));
}

/// A command in another folder than the settings would tell of the defaults as if they were meant.
#[test]
fn a_command_that_finds_no_settings_file_says_that_the_defaults_count() {
    const HINT: &str = "no settings file: there is no config/perennial.toml in this folder and no /etc/perennial/perennial.toml, so the built-in defaults count; --config FILE names another one\n";
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("own.toml");
    fs::write(&file, "").unwrap();
    let run = |words: &[&str], more: &[&str]| {
        let mut command = Command::new(BINARY);
        command.args(words).args(more).current_dir(folder.path());
        // Nobody can listen there, so that the daemon ends at once.
        command.env("PERENNIAL__SERVER__LISTEN", "192.0.2.1:1");
        command.env_remove("PERENNIAL_CONFIG");
        String::from_utf8(command.output().unwrap().stderr).unwrap()
    };
    for words in [
        &["check"][..],
        &["explain", "GET", "/"],
        &["types", "--ts"],
        &["serve"],
    ] {
        let told = run(words, &[]);
        assert_eq!(told.matches(HINT).count(), 1, "{words:?}: {told}");
        let told = run(words, &["--config", file.to_str().unwrap()]);
        assert!(!told.contains("no settings file"), "{words:?}: {told}");
    }
}
