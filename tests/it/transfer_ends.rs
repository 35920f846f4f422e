//! The ends of an export and an import that are no plain new files: a file that exists, pipes, devices, and input without an end.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use serde_json::json;

use crate::daemon::{BINARY, TestDaemon};
use crate::transfer::{RESOURCES, expect, listed, read, write};

/// Runs a line of shell in the folder of the daemon, in which `$P` is the program and `$A` the option with its address. Returns
/// the exit code, and what it printed.
#[track_caller]
fn shell(daemon: &TestDaemon, line: &str) -> (Option<i32>, String) {
    let output = Command::new("sh")
        .args(["-c", line])
        .env("P", BINARY)
        .env("A", format!("--admin={}", daemon.admin()))
        .current_dir(daemon.folder())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let [out, err] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    (output.status.code(), out + &err)
}

#[test]
fn an_export_replaces_no_file_unless_it_is_told_to() {
    let daemon = TestDaemon::start(RESOURCES);
    daemon.post("/named", &json!({"id": "a"})).expect(201);
    expect(&daemon, &["export", "named", "n.ndjson"], 0);
    let first = read(&daemon, "n.ndjson");
    daemon.post("/named", &json!({"id": "b"})).expect(201);
    let (_, told) = expect(&daemon, &["export", "named", "n.ndjson"], 1);
    let refused =
        "perennial: n.ndjson exists; name a new file, or write --overwrite to replace it\n";
    assert_eq!(told, refused);
    assert_eq!(read(&daemon, "n.ndjson"), first);
    expect(&daemon, &["export", "named", "n.ndjson", "--overwrite"], 0);
    assert_eq!(read(&daemon, "n.ndjson").lines().count(), 2);
    assert!(!daemon.folder().join("n.ndjson.part").exists());
}

#[test]
fn an_export_into_a_pipe_or_a_descriptor_writes_into_it() {
    let daemon = TestDaemon::start(RESOURCES);
    daemon.post("/named", &json!({"id": "a"})).expect(201);
    let pipe = daemon.folder().join("pipe");
    assert!(
        Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    let reader = {
        let pipe = pipe.clone();
        thread::spawn(move || fs::read_to_string(pipe).unwrap())
    };
    let (code, told) = shell(&daemon, "$P export named pipe $A");
    assert_eq!(code, Some(0), "{told}");
    let text = reader.join().unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(
        !fs::metadata(&pipe).unwrap().is_file(),
        "the pipe was replaced"
    );
    for line in [
        "$P export named /dev/stdout $A > out",
        "$P export named /dev/fd/3 $A 3> out",
    ] {
        let (code, told) = shell(&daemon, line);
        assert_eq!(code, Some(0), "{line}: {told}");
        assert_eq!(read(&daemon, "out"), text, "{line}");
    }
}

#[test]
fn an_import_from_a_descriptor_keeps_no_state_beside_it() {
    let daemon = TestDaemon::start(RESOURCES);
    // The second line is refused, so that there would be something to be kept.
    write(&daemon, "n.ndjson", "{\"id\":\"a\"}\n[]\n");
    for (line, file) in [
        (
            "$P import named /dev/stdin --format ndjson $A < n.ndjson",
            "-",
        ),
        (
            "$P import named /dev/fd/5 --format ndjson --upsert $A 5< n.ndjson",
            "/dev/fd/5",
        ),
    ] {
        let (code, told) = shell(&daemon, line);
        assert_eq!(code, Some(65), "{line}: {told}");
        let summary = format!("{file}: 1 records imported, ");
        assert!(
            told.contains(&summary) && told.contains("1 refused"),
            "{line}: {told}"
        );
        assert!(!told.contains("same command again"), "{line}: {told}");
    }
    assert!(!Path::new("/dev/stdin.import").exists());
    assert_eq!(listed(&daemon, "/named").as_array().map(Vec::len), Some(1));
}

#[test]
fn input_without_an_end_that_has_no_records_ends_the_import() {
    let daemon = TestDaemon::start(RESOURCES);
    let told = "rows one after the other that are no records, up to line ";
    let (code, text) = shell(&daemon, "$P import books /dev/urandom --format ndjson $A");
    assert_eq!(code, Some(65), "{text}");
    assert!(
        text.contains(&format!("/dev/urandom has 1000 {told}")),
        "{text}"
    );
    let (code, text) = shell(
        &daemon,
        "{ echo a,b; echo 1,2; yes 1,2,3; } | $P import books - --format csv $A",
    );
    assert_eq!(code, Some(65), "{text}");
    assert!(text.contains(&format!("- has 1000 {told}1002: ")), "{text}");
    assert!(text.contains("-: 1 records imported, "), "{text}");
    // As many wrong rows that are not one after the other are reported, and the others go in.
    let mixed = "[]\n".repeat(999) + "{\"a\":1}\n";
    write(&daemon, "mixed.ndjson", mixed.repeat(2));
    let (told, _) = expect(&daemon, &["import", "counted", "mixed.ndjson"], 65);
    assert!(told.contains("2 records imported"), "{told}");
    assert!(told.ends_with("; 1998 refused\n"), "{told}");
}
