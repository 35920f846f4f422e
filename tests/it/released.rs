//! Data folders of each format that was ever released, in `tests/fixtures`: each is opened, served, written to, and whole.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;

use crate::client;
use crate::daemon::{BINARY, TestDaemon};
use crate::damage::flip_in_the_middle;

const TIMEOUT: Duration = Duration::from_secs(20);

/// The code and the text of a check of the data folder.
fn checked(daemon: &TestDaemon) -> (Option<i32>, String) {
    let mut check = Command::new(BINARY);
    check.arg("check").arg(daemon.config()).arg("--data");
    let checked = check.output().unwrap();
    let told = String::from_utf8(checked.stderr).unwrap();
    (checked.status.code(), told)
}

#[test]
fn a_store_of_each_released_format_is_taken_over_with_all_its_records() {
    for format in ["sled-only", "journal-and-view"] {
        let mut daemon = TestDaemon::prepare("[resource.albums]\nid = \"sequence\"");
        let data = daemon.folder().join("data");
        fs::create_dir(&data).unwrap();
        let packed = format!(
            "{}/tests/fixtures/{format}.tar.gz",
            env!("CARGO_MANIFEST_DIR")
        );
        let mut tar = Command::new("tar");
        let unpacked = tar.args(["-xzf", &packed, "-C"]).arg(&data).status();
        assert!(unpacked.unwrap().success(), "{packed}");
        let (code, told) = checked(&daemon);
        let is_old = format == "sled-only";
        // It can't be read now, and nothing is wrong with it.
        assert_eq!(code, Some(if is_old { 75 } else { 0 }), "{format}: {told}");
        let advice = "has a store of an older format: start the daemon";
        assert_eq!(told.contains(advice), is_old, "{format}: {told}");
        let folder = data.to_str().unwrap();
        for words in [
            &["backup", "a.backup"][..],
            &["restore", folder, "--into", "restored"],
            &["salvage", "--into", "salvaged"],
        ] {
            let mut command = Command::new(BINARY);
            command.arg("--config").arg(daemon.config()).args(words);
            let output = command.current_dir(daemon.folder()).output().unwrap();
            let told = String::from_utf8_lossy(&output.stderr);
            let advice = "has a store of an older format; start the daemon";
            assert_eq!(told.contains(advice), is_old, "{format}, {words:?}: {told}");
        }
        for albums in [3, 4] {
            daemon.restart();
            let emma = json!({"id": "emma", "title": "Emma", "year": 1815});
            let read = daemon.get("/books/emma").expect(200);
            // The number of its last change is part of the tag.
            let tag = read.header("etag").unwrap().to_owned();
            assert!(tag.starts_with("\"3"), "{format}: {tag}");
            assert_eq!(read.json(), emma, "{format}");
            let books = daemon.get("/books").expect(200);
            assert_eq!(books.header("x-total-count"), Some("3"), "{format}");
            daemon.get("/books/gone").expect(404);
            let long = daemon.get("/books/long").expect(200).json();
            assert_eq!(long["title"], "x".repeat(9000), "{format}");
            let listed = daemon.get("/albums").expect(200).json();
            assert_eq!(listed.as_array().unwrap().len(), albums, "{format}");
            let next = daemon.post("/albums", &json!({"title": "New"})).expect(201);
            assert_eq!(next.json()["id"], albums + 1, "{format}");
            daemon.sigterm();
            assert_eq!(daemon.wait_exit(TIMEOUT).code(), Some(0), "{format}");
            assert_eq!(checked(&daemon), (Some(0), String::new()), "{format}");
        }
    }
}

/// The last file of the journal.
fn newest_segment(data: &Path) -> PathBuf {
    let entries = fs::read_dir(data.join("journal")).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "journal"));
    paths.into_iter().max().unwrap()
}

/// Gives the first frame of a file of the journal the version that a newer release would write.
fn raise_version(segment: &Path) {
    let file = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(segment)
        .unwrap();
    let mut head = [0; 44];
    file.read_exact_at(&mut head, 64).unwrap();
    assert_eq!(&head[..4], b"PRNF");
    head[4] = 3;
    let sum = crc32c::crc32c(&head[..40]).to_be_bytes();
    head[40..].copy_from_slice(&sum);
    file.write_all_at(&head, 64).unwrap();
}

#[test]
fn a_newer_store_is_refused_with_both_versions_and_the_snapshot_to_go_back_to() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    let stop = |mut daemon: TestDaemon| {
        daemon.sigterm();
        assert_eq!(daemon.wait_exit(TIMEOUT).code(), Some(0));
    };
    let start = || {
        let mut daemon = TestDaemon::prepare_on(&data, "");
        daemon.restart();
        daemon
    };
    let daemon = start();
    for id in ["emma", "persuasion"] {
        daemon.post("/books", &json!({ "id": id })).expect(201);
    }
    stop(daemon);
    // A snapshot takes the place of a damaged journal.
    flip_in_the_middle(&newest_segment(&data));
    let daemon = start();
    daemon.wait_for_log("snapshot written");
    daemon
        .post("/books", &json!({ "id": "ulysses" }))
        .expect(201);
    stop(daemon);
    let segment = newest_segment(&data);
    raise_version(&segment);
    let written = fs::read(&segment).unwrap();
    let daemon = start();
    daemon.wait_for_log("has version 3, this program knows 2");
    let told = client::get(daemon.admin(), "/readyz/storage")
        .expect(503)
        .text();
    for part in [
        "has version 3, this program knows 2; run the newer release that wrote it",
        "or lose what was changed after change 2, which a snapshot has: perennial restore FOLDER --at 2 --into ANOTHER",
    ] {
        assert!(told.contains(part), "{told}");
    }
    daemon.get("/").expect(200);
    daemon.get("/books/emma").expect_problem(503);
    stop(daemon);
    assert!(
        fs::read(&segment).unwrap() == written,
        "it was written into"
    );
    let back = folder.path().join("back");
    let mut restore = Command::new(BINARY);
    restore
        .args(["restore", "--at", "2", "--into"])
        .arg(&back)
        .arg(&data);
    let restored = restore.output().unwrap();
    assert!(restored.status.success(), "{restored:?}");
    let mut daemon = TestDaemon::prepare_on(&back, "");
    daemon.restart();
    daemon.get("/books/persuasion").expect(200);
    daemon.get("/books/ulysses").expect(404);
}
