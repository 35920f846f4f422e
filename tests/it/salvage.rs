//! `perennial salvage`: what comes out of a store of which the journal and the view are damaged.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::{Command, Output};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::client::{self, Client};
use crate::daemon::{BINARY, TestDaemon};

fn salvage(from: &Path, into: &Path) -> Output {
    let mut command = Command::new(BINARY);
    command.arg("salvage").arg(from).arg("--into").arg(into);
    let site = from.parent().unwrap();
    command.current_dir(site);
    command.output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8([output.stdout.as_slice(), &output.stderr].concat()).unwrap()
}

/// Records that a daemon has, by their paths.
fn records(data: &Path) -> BTreeMap<String, Value> {
    let mut daemon = TestDaemon::prepare_on(data, "");
    daemon.restart();
    let admin = daemon.admin().to_string();
    let mut export = Command::new(BINARY);
    export.args(["export", "books", "--admin", &admin]);
    let text = export.output().unwrap().stdout;
    let record = |line| -> Value { serde_json::from_str(line).unwrap() };
    let records = std::str::from_utf8(&text).unwrap().lines().map(record);
    let named = records.map(|record| {
        let id = record["id"].as_str().unwrap();
        (format!("/books/{id}"), record)
    });
    named.collect()
}

/// A store of a daemon that was killed, and its records.
fn killed(folder: &Path, count: u32) -> BTreeMap<String, Value> {
    let data = folder.join("data");
    let mut daemon = TestDaemon::prepare_on(&data, "");
    daemon.restart();
    let mut client = Client::connect(daemon.public()).unwrap();
    let mut acked = BTreeMap::new();
    for n in 0..count {
        let record = json!({ "n": n, "filling": "x".repeat(700) });
        let made = client.post("/books", &record).unwrap().expect(201);
        acked.insert(made.location().unwrap().to_owned(), made.json());
    }
    // The view reaches the kernel within two seconds.
    thread::sleep(Duration::from_millis(2_500));
    daemon.kill9();
    acked
}

fn flip(file: &Path, at: u64) {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(file)
        .unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
}

#[test]
fn what_one_copy_has_comes_out_and_what_none_has_is_named() {
    let folder = TempDir::new().unwrap();
    let acked = killed(folder.path(), 600);
    let data = folder.path().join("data");
    let segment = data.join("journal/1.journal");
    let segment = if segment.exists() {
        segment
    } else {
        let first = fs::read_dir(data.join("journal")).unwrap();
        let mut files: Vec<_> = first.map(|entry| entry.unwrap().path()).collect();
        files.retain(|path| path.extension().is_some_and(|ending| ending == "journal"));
        files.sort_unstable();
        files.remove(0)
    };
    // Near the end of what was written, so that most changes are before it.
    let written = fs::read(&segment).unwrap();
    let end = written.iter().rposition(|byte| *byte != 0).unwrap();
    let filling = written[end / 2..]
        .windows(20)
        .position(|text| text == [b'x'; 20]);
    let place = u64::try_from(end / 2 + filling.unwrap()).unwrap();
    flip(&segment, place);

    // The view has everything.
    let with_view = folder.path().join("with-view");
    let output = salvage(&data, &with_view);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(said(&output).contains("not read: "), "{}", said(&output));
    assert_eq!(records(&with_view), acked);

    // Now it has not, and the daemon refuses the store.
    fs::remove_dir_all(data.join("view")).unwrap();
    let files_before = client_files(&data);
    let mut refused = TestDaemon::prepare_on(&data, "");
    refused.restart();
    refused.wait_until("the store is refused", |daemon| {
        client::get(daemon.admin(), "/readyz/storage")
            .text()
            .contains("perennial salvage")
    });
    let held = salvage(&data, &folder.path().join("held"));
    assert_eq!(held.status.code(), Some(75), "{}", said(&held));
    assert!(!folder.path().join("held").exists());
    refused.kill9();
    let without_view = folder.path().join("without-view");
    let output = salvage(&data, &without_view);
    let told = said(&output);
    assert_eq!(output.status.code(), Some(65), "{told}");
    let lost: Vec<_> = acked
        .keys()
        .filter(|path| told.contains(&path[1..]))
        .collect();
    assert_eq!(lost.len(), 1, "{told}");
    let mut left = acked.clone();
    left.remove(lost[0]);
    assert_eq!(records(&without_view), left);
    assert_eq!(
        client_files(&data),
        files_before,
        "what was read was changed"
    );

    // It never overwrites.
    let again = salvage(&data, &without_view);
    assert_eq!(again.status.code(), Some(1), "{}", said(&again));
}

/// The content of the journal and the snapshots.
fn client_files(data: &Path) -> BTreeMap<std::path::PathBuf, Vec<u8>> {
    let folders = ["journal", "snapshots"].map(|part| data.join(part));
    let entries = folders
        .iter()
        .filter_map(|folder| fs::read_dir(folder).ok());
    let paths = entries.flatten().map(|entry| entry.unwrap().path());
    paths
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect()
}

#[test]
fn one_that_is_killed_leaves_nothing_that_is_taken_for_a_store_and_is_begun_again() {
    let folder = TempDir::new().unwrap();
    let acked = killed(folder.path(), 300);
    let data = folder.path().join("data");
    let into = folder.path().join("into");
    let mut cut_off = 0;
    for round in 0..12_u64 {
        let mut command = Command::new(BINARY);
        command.arg("salvage").arg(&data).arg("--into").arg(&into);
        command.current_dir(folder.path());
        let mut child = command.spawn().unwrap();
        thread::sleep(Duration::from_millis(4 * round));
        child.kill().unwrap();
        if child.wait().unwrap().success() {
            fs::remove_dir_all(&into).unwrap();
            continue;
        }
        if into.join("marks").exists() {
            // It had ended its work; marks come last, so the store is whole.
            assert_eq!(records(&into), acked);
            fs::remove_dir_all(&into).unwrap();
            continue;
        }
        cut_off += 1;
    }
    assert!(cut_off > 3, "{cut_off}");
    let output = salvage(&data, &into);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(!into.join("restoring").exists());
    assert_eq!(records(&into), acked);
}
