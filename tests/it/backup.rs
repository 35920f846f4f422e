//! `perennial backup` beside a daemon under load, and `perennial restore` to the moments that a backup has.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::client::{self, Client};
use crate::daemon::{BINARY, TestDaemon};
use crate::disk::{self, Disk};

const WRITERS: u64 = 3;
const MORE: &str = "[resource.counted]\npath = \"/counted\"\nid = \"sequence\"\n";

pub(crate) fn run(daemon: &TestDaemon, words: &[&str]) -> Output {
    let mut command = Command::new(BINARY);
    command.arg("--config").arg(daemon.config()).args(words);
    command.output().unwrap()
}

fn said(output: &Output) -> String {
    let both = [output.stdout.as_slice(), &output.stderr].concat();
    String::from_utf8(both).unwrap()
}

#[track_caller]
pub(crate) fn expect(output: &Output, code: i32) -> String {
    let told = said(output);
    assert_eq!(output.status.code(), Some(code), "{told}");
    told
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The number of a change in an entity tag.
fn change_of(tag: Option<&str>) -> u64 {
    let tag = tag.unwrap().trim_matches('"');
    tag.split('-').next().unwrap().parse().unwrap()
}

/// The records that were put, by the number of the change.
type Puts = BTreeMap<u64, (String, Value)>;

/// Makes, replaces and deletes records until it is told to stop.
fn write(host: std::net::SocketAddr, writer: u64, stop: &AtomicBool) -> Puts {
    let mut client = Client::connect(host).unwrap();
    let (mut puts, mut own) = (Puts::new(), Vec::<String>::new());
    let mut random = fastrand::Rng::with_seed(writer);
    let mut n = 0;
    while !stop.load(Ordering::Relaxed) {
        n += 1;
        let record =
            json!({ "writer": writer, "n": n, "filling": "x".repeat(random.usize(..300)) });
        let (answer, path) = match (random.u8(..6), own.len()) {
            (0, 1..) => {
                let path = own.swap_remove(random.usize(..own.len()));
                client.send("DELETE", &path, &[], None).unwrap().expect(200);
                continue;
            }
            (1 | 2, 1..) => {
                let path = own[random.usize(..own.len())].clone();
                (
                    client.json("PUT", &path, &record).unwrap().expect(200),
                    path,
                )
            }
            (kind, _) => {
                let collection = if kind == 3 { "/counted" } else { "/books" };
                let answer = client.post(collection, &record).unwrap().expect(201);
                let path = answer.location().unwrap().to_owned();
                own.push(path.clone());
                (answer, path)
            }
        };
        puts.insert(change_of(answer.header("etag")), (path, answer.json()));
    }
    puts
}

/// All that happened to a store.
struct History {
    puts: Puts,
    /// What `perennial journal` prints, from change 1 on.
    journal: Vec<Value>,
}

impl History {
    /// The records after a change, by their paths, with the changes that made them.
    fn after(&self, last: u64) -> BTreeMap<String, (u64, Value)> {
        let mut records = BTreeMap::new();
        for line in self.journal.iter().take(usize::try_from(last).unwrap()) {
            let change = line["change"].as_u64().unwrap();
            if line["kind"] == "put" {
                let (path, record) = self.puts[&change].clone();
                records.insert(path, (change, record));
            } else {
                let (resource, id) = (&line["resource"], &line["id"]);
                let path = format!("/{}/{}", resource.as_str().unwrap(), id.as_str().unwrap());
                records.remove(&path).unwrap();
            }
        }
        records
    }

    /// The number that the next record gets.
    fn next(&self, last: u64) -> u64 {
        let puts = self.puts.range(..=last);
        let number = |path: &String| path.strip_prefix("/counted/")?.parse::<u64>().ok();
        let given = puts.filter_map(|(_, (path, _))| number(path));
        given.max().unwrap_or(0) + 1
    }
}

fn journal(daemon: &TestDaemon) -> Vec<Value> {
    let printed = expect(&run(daemon, &["journal"]), 0);
    let lines = printed
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    lines.collect()
}

/// Starts a daemon on a restored folder, and compares all that it serves with the model.
fn compare(into: &Path, history: &History, last: u64) {
    let mut restored = TestDaemon::prepare_on(into, MORE);
    restored.restart();
    let model = history.after(last);
    let mut client = Client::connect(restored.public()).unwrap();
    for (path, (change, record)) in &model {
        let found = client.get(path).unwrap().expect(200);
        assert_eq!(found.json(), *record, "{path} after {last}");
        assert_eq!(
            change_of(found.header("etag")),
            *change,
            "{path} after {last}"
        );
    }
    for resource in ["/books", "/counted"] {
        let page = client
            .get(&format!("{resource}?_end=1"))
            .unwrap()
            .expect(200);
        let there = model
            .keys()
            .filter(|path| path.starts_with(resource))
            .count();
        assert_eq!(
            page.header("x-total-count"),
            Some(there.to_string().as_str())
        );
    }
    let made = client
        .post("/counted", &json!({ "n": 0 }))
        .unwrap()
        .expect(201);
    assert_eq!(change_of(made.header("etag")), last + 1);
    let next = format!("/counted/{}", history.next(last));
    assert_eq!(made.location(), Some(next.as_str()));
    // A backup of the restored store begins with the moment that was restored.
    let again = into.with_extension("backup");
    let words = ["backup", text(&again)];
    expect(&run(&restored, &words), 0);
    let second = into.with_extension("again");
    let words = ["restore", text(&again), "--into", text(&second)];
    let told = expect(&run(&restored, &words), 0);
    assert!(told.contains(&format!("change {}", last + 1)), "{told}");
    let before = (last - 1).to_string();
    let third = into.with_extension("before");
    let words = [
        "restore",
        text(&again),
        "--at",
        &before,
        "--into",
        text(&third),
    ];
    let told = said(&run(&restored, &words));
    assert!(
        told.contains(&format!("changes {last} to {}", last + 1)),
        "{told}"
    );
}

#[test]
fn a_backup_under_load_restores_each_moment_that_it_has() {
    let daemon = TestDaemon::start(MORE);
    let stop = Arc::new(AtomicBool::new(false));
    let writers = (0..WRITERS).map(|writer| {
        let (host, stop) = (daemon.public(), Arc::clone(&stop));
        thread::spawn(move || write(host, writer, &stop))
    });
    let writers: Vec<_> = writers.collect();
    let folder = TempDir::new().unwrap();
    let mut acknowledged = 0;
    for n in 0..5 {
        thread::sleep(Duration::from_millis(100));
        let target = folder.path().join(format!("{n}.backup"));
        let begun = client::post(daemon.public(), "/books", &json!({ "n": n })).expect(201);
        acknowledged = change_of(begun.header("etag"));
        expect(&run(&daemon, &["backup", text(&target)]), 0);
    }
    stop.store(true, Ordering::Relaxed);
    let mut puts = Puts::new();
    for writer in writers {
        puts.extend(writer.join().unwrap());
    }
    let journal = journal(&daemon);
    // The records of this thread are in no writer's list.
    let mut client = Client::connect(daemon.public()).unwrap();
    for line in &journal {
        let change = line["change"].as_u64().unwrap();
        if line["kind"] == "put" && !puts.contains_key(&change) {
            let path = format!("/books/{}", line["id"].as_str().unwrap());
            let found = client.get(&path).unwrap().expect(200);
            puts.insert(change, (path, found.json()));
        }
    }
    let history = History { puts, journal };
    let backup = folder.path().join("4.backup");
    let mut random = fastrand::Rng::with_seed(4);
    let restore = |n: u64, at: &str| {
        let into = folder.path().join(format!("into-{n}"));
        let words = ["restore", text(&backup), "--at", at, "--into", text(&into)];
        (run(&daemon, &words), into)
    };
    let whole = folder.path().join("whole");
    let words = ["restore", text(&backup), "--into", text(&whole)];
    let told = expect(&run(&daemon, &words), 0);
    let mut numbers = told
        .split("after change ")
        .nth(1)
        .unwrap()
        .split_whitespace();
    let last: u64 = numbers.next().unwrap().parse().unwrap();
    let written = u64::try_from(history.journal.len()).unwrap();
    assert!(
        (acknowledged..=written).contains(&last),
        "{acknowledged} {last} {written}"
    );
    compare(&whole, &history, last);
    for n in 0..50 {
        let at = random.u64(1..=last);
        // Every other moment is named by its time.
        let time = history.journal[usize::try_from(at - 1).unwrap()]["at_ms"]
            .as_u64()
            .unwrap();
        let same = |line: &&Value| line["at_ms"].as_u64().unwrap() <= time;
        let until = history.journal.iter().take_while(same).count();
        let (named, at) = if n % 2 == 0 {
            (at.to_string(), at)
        } else {
            let time = UNIX_EPOCH + Duration::from_millis(time);
            let until = u64::try_from(until).unwrap().min(last);
            (humantime::format_rfc3339_millis(time).to_string(), until)
        };
        let (output, into) = restore(n, &named);
        let told = expect(&output, 0);
        let end = if n % 2 == 0 { "\n" } else { ", of 20" };
        assert!(
            told.contains(&format!("after change {at}{end}")),
            "{named}: {told}"
        );
        let model = history.after(at);
        for resource in ["books", "counted"] {
            let there = model
                .keys()
                .filter(|path| path.starts_with(&format!("/{resource}/")))
                .count();
            let line = format!("{resource}: {there}\n");
            assert!(there == 0 || told.contains(&line), "{named}: {told}");
        }
        if n % 13 == 0 {
            compare(&into, &history, at);
        }
    }
    for outside in [(last + 1).to_string(), "2001-01-01T00:00:00Z".to_owned()] {
        let (output, into) = restore(99, &outside);
        let told = said(&output);
        assert!(!output.status.success(), "{told}");
        assert!(told.contains(&format!("changes 1 to {last}")), "{told}");
        assert!(!into.join("marks").exists());
    }
    // The folder of a daemon that runs, and one that has a store.
    for into in [daemon.folder().join("data"), whole] {
        let words = ["restore", text(&backup), "--into", text(&into)];
        let output = run(&daemon, &words);
        let told = said(&output);
        assert!(
            !output.status.success() && told.contains("move it away"),
            "{told}"
        );
    }
}

/// A stopped daemon with some thousand records, so that a backup takes a while.
fn filled() -> TestDaemon {
    let mut daemon = TestDaemon::start("");
    let host = daemon.public();
    let writers = (0..4).map(|_| {
        thread::spawn(move || {
            let mut client = Client::connect(host).unwrap();
            for n in 0..500 {
                let filling: String = std::iter::repeat_with(fastrand::alphanumeric)
                    .take(2_000)
                    .collect();
                let record = json!({ "n": n, "filling": filling });
                client.post("/books", &record).unwrap().expect(201);
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.join().unwrap();
    }
    daemon.sigterm();
    daemon.wait_exit(Duration::from_secs(20));
    daemon
}

/// Runs a command and kills it after a while. Returns whether it had ended.
fn kill_after(daemon: &TestDaemon, words: &[&str], after: Duration) -> bool {
    let mut command = Command::new(BINARY);
    command.arg("--config").arg(daemon.config()).args(words);
    let mut process = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    thread::sleep(after);
    let ended = process.try_wait().unwrap().is_some();
    process.kill().unwrap();
    process.wait().unwrap();
    ended
}

#[test]
fn a_backup_or_a_restore_that_was_killed_leaves_nothing_half() {
    let daemon = filled();
    let folder = TempDir::new().unwrap();
    let target = folder.path().join("a.backup");
    let words = ["backup", text(&target)];
    let mut killed = 0;
    for n in 0..12 {
        let ended = kill_after(&daemon, &words, Duration::from_millis(n * n * 4));
        killed += u32::from(!ended);
        if target.exists() {
            let into = folder.path().join(format!("of-{n}"));
            let words = ["restore", text(&target), "--into", text(&into)];
            expect(&run(&daemon, &words), 0);
            fs::remove_file(&target).unwrap();
        }
    }
    assert!(killed > 0);
    let told = expect(&run(&daemon, &words), 0);
    assert!(told.contains("2000 records"), "{told}");
    let told = said(&run(&daemon, &words));
    assert!(told.contains("exists"), "{told}");
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
    let left = left.into_iter().map(|entry| entry.unwrap().path());
    let files = left.filter(|path| path.is_file()).collect::<Vec<_>>();
    assert_eq!(
        files,
        std::slice::from_ref(&target),
        "an unfinished one is left"
    );

    let into = folder.path().join("into");
    let words = ["restore", text(&target), "--into", text(&into)];
    killed = 0;
    for n in 0..12 {
        let ended = kill_after(&daemon, &words, Duration::from_millis(n * n * 4));
        killed += u32::from(!ended);
        if into.join("marks").exists() {
            let mut restored = TestDaemon::prepare_on(&into, "");
            restored.restart_to_open();
            let list = restored.get("/books?_end=1").expect(200);
            assert_eq!(list.header("x-total-count"), Some("2000"), "after {n}");
            restored.kill9();
            fs::remove_dir_all(&into).unwrap();
        }
    }
    assert!(killed > 0);
    let told = expect(&run(&daemon, &words), 0);
    assert!(told.contains("2000 records"), "{told}");
    let mut restored = TestDaemon::prepare_on(&into, "");
    expect(&run(&restored, &["check", "--data"]), 0);
    restored.restart_to_open();
    let list = restored.get("/books?_end=1").expect(200);
    assert_eq!(list.header("x-total-count"), Some("2000"));
}

#[test]
fn a_damaged_backup_is_refused_and_a_stream_can_be_restored() {
    let daemon = TestDaemon::start("");
    for n in 0..50 {
        daemon.post("/books", &json!({ "n": n })).expect(201);
    }
    let folder = TempDir::new().unwrap();
    let stream = run(&daemon, &["backup", "-"]);
    assert_eq!(stream.status.code(), Some(0));
    let damaged = folder.path().join("damaged.backup");
    let into = folder.path().join("into");
    let words = ["restore", text(&damaged), "--into", text(&into)];
    let length = stream.stdout.len();
    for at in (0..length).step_by(length / 30).chain([length - 1]) {
        let mut bytes = stream.stdout.clone();
        bytes[at] ^= 1;
        fs::write(&damaged, bytes).unwrap();
        let told = expect(&run(&daemon, &words), 65);
        assert!(told.contains("backup"), "byte {at}: {told}");
        assert!(!into.join("marks").exists() && !into.join("snapshots").exists());
    }
    fs::write(&damaged, &stream.stdout).unwrap();
    let mut restore = Command::new(BINARY);
    restore.arg("--config").arg(daemon.config());
    restore.args(["restore", "-", "--into", text(&into)]);
    let output = restore
        .stdin(File::open(&damaged).unwrap())
        .output()
        .unwrap();
    let told = expect(&output, 0);
    assert!(told.contains("50 records"), "{told}");
}

#[test]
fn a_backup_that_cannot_be_written_is_an_error() {
    let daemon = TestDaemon::start("");
    daemon.post("/books", &json!({ "n": 1 })).expect(201);
    let mut backup = Command::new(BINARY);
    backup
        .arg("--config")
        .arg(daemon.config())
        .args(["backup", "-"]);
    let full = File::options().write(true).open("/dev/full").unwrap();
    let output = backup.stdout(full).output().unwrap();
    let told = said(&output);
    assert!(
        !output.status.success() && told.contains("No space left"),
        "{told}"
    );
    let missing = daemon.folder().join("missing/a.backup");
    let output = run(&daemon, &["backup", text(&missing)]);
    let told = said(&output);
    assert!(
        !output.status.success() && told.contains("No such file"),
        "{told}"
    );
}

#[test]
#[ignore = "needs root: .ci/run runs it"]
fn on_a_full_disk_a_backup_leaves_nothing() {
    if !disk::available() {
        return;
    }
    let daemon = filled();
    let folder = TempDir::new().unwrap();
    let disk = Disk::tmpfs(folder.path(), "1m");
    let target = disk.mount_point().join("a.backup");
    let output = run(&daemon, &["backup", text(&target)]);
    let told = said(&output);
    assert!(
        !output.status.success() && told.contains("No space left"),
        "{told}"
    );
    assert_eq!(fs::read_dir(disk.mount_point()).unwrap().count(), 0);
    let into = disk.data();
    let whole = folder.path().join("a.backup");
    expect(&run(&daemon, &["backup", text(&whole)]), 0);
    let output = run(&daemon, &["restore", text(&whole), "--into", text(&into)]);
    let told = said(&output);
    assert!(
        !output.status.success() && told.contains("No space left"),
        "{told}"
    );
    assert!(!into.join("marks").exists() && !into.join("restoring").exists());
}

#[test]
fn the_history_of_a_restored_folder_begins_after_its_snapshot() {
    let daemon = TestDaemon::start(MORE);
    daemon.post("/counted", &json!({"n": 1})).expect(201);
    daemon.post("/counted", &json!({"n": 2})).expect(201);
    let folder = TempDir::new().unwrap();
    let [backup, into] = ["a.backup", "into"].map(|name| folder.path().join(name));
    expect(&run(&daemon, &["backup", text(&backup)]), 0);
    let words = ["restore", text(&backup), "--into", text(&into)];
    expect(&run(&daemon, &words), 0);
    let restored = TestDaemon::prepare_on(&into, MORE);
    let told = expect(&run(&restored, &["history", "counted/1"]), 0);
    assert!(told.contains("{\"id\":1,\"n\":1}"), "{told}");
    assert!(told.contains("the journal begins with change 3:"), "{told}");
    // Whoever asks for changes that are not there hears it.
    for (from, code) in [("1", 1), ("2", 1), ("3", 0), ("4", 0)] {
        let output = run(&restored, &["journal", "--from", from]);
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{from}: {told}");
        assert_eq!(told.contains("begins with change 3:"), code == 1, "{told}");
    }
    let both = run(&restored, &["journal", "--from", "1", "--verify"]);
    assert_eq!(both.status.code(), Some(64));
}
