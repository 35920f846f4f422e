//! `storage.archive`: all acknowledged changes are on a second disk within a second, and whatever that disk does, no write
//! waits for it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::TempDir;

use crate::client::{self, Client};
use crate::daemon::{BINARY, TestDaemon, metric};
use crate::file_faults::HungMount;

/// The time that a hundred writes take at most on a busy machine, one after the other: none of them waits for the archive.
const LIMIT: Duration = Duration::from_secs(10);

struct Archived {
    other: TempDir,
    daemon: TestDaemon,
}

impl Archived {
    /// Prepares a daemon with an archive in `archive`, a folder that exists.
    fn prepare() -> Self {
        let other = TempDir::new().unwrap();
        fs::create_dir(other.path().join("archive")).unwrap();
        let archive = other.path().join("archive");
        let more = format!("[storage]\narchive = '{}'\n", archive.display());
        let daemon = TestDaemon::prepare(&more);
        Self { other, daemon }
    }

    /// Makes each write wait for the archive, with these settings of `storage` besides.
    fn sync(&self, more: &str) {
        let config = fs::read_to_string(self.daemon.config()).unwrap();
        let storage = format!("[storage]\narchive_sync = \"always\"\n{more}");
        let config = config.replace("[storage]\n", &storage);
        fs::write(self.daemon.config(), config).unwrap();
    }

    fn archive(&self) -> PathBuf {
        self.other.path().join("archive")
    }

    fn write(&self, records: usize) -> BTreeSet<String> {
        let mut client = Client::connect(self.daemon.public()).unwrap();
        let made = (0..records).map(|n| {
            let record = json!({ "n": n, "filling": "x".repeat(500) });
            let made = client.post("/books", &record).unwrap().expect(201);
            made.location().unwrap().to_owned()
        });
        made.collect()
    }

    fn lag(&self) -> f64 {
        metric(&self.daemon.metrics(), "perennial_archive_lag_changes", "").unwrap()
    }

    fn caught_up(&self) {
        self.daemon
            .wait_until("the archive has all changes", |_| self.lag() == 0.0);
    }

    /// The changes of the archive, as `perennial journal` prints them.
    fn changes(&self) -> usize {
        let printed = Command::new(BINARY)
            .args(["journal"])
            .env("PERENNIAL__SERVER__DATA", self.archive())
            .current_dir(self.other.path())
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&printed.stderr).into_owned();
        assert!(printed.status.success(), "{told}");
        String::from_utf8_lossy(&printed.stdout).lines().count()
    }
}

#[test]
fn a_store_that_is_gone_starts_again_from_its_archive() {
    let mut archived = Archived::prepare();
    archived.daemon.restart();
    let mut written = archived.write(200);
    archived.caught_up();
    archived.daemon.kill9();
    archived.daemon.restart();
    written.extend(archived.write(200));
    let begun = Instant::now();
    archived.caught_up();
    assert!(begun.elapsed() < Duration::from_secs(1));
    archived.daemon.kill9();
    assert_eq!(archived.changes(), 400);
    let data = archived.other.path().join("restored");
    copy_all(&archived.archive(), &data);
    let mut restored = TestDaemon::prepare_on(&data, "");
    restored.restart();
    let mut client = Client::connect(restored.public()).unwrap();
    for path in &written {
        assert_eq!(client.get(path).unwrap().status, 200, "{path}");
    }
    // The other store may have gone on: what it gave for a change that this one lacks must not come again.
    let path = written.first().unwrap();
    let tag = |client: &mut Client| {
        let put = client.json("PUT", path, &json!({"n": "again"})).unwrap();
        put.expect(200).header("etag").unwrap().to_owned()
    };
    let here = tag(&mut client);
    archived.daemon.restart();
    let there = tag(&mut Client::connect(archived.daemon.public()).unwrap());
    assert_eq!(here.split('-').next(), there.split('-').next());
    assert_ne!(here, there);
    let since = there.trim_matches('"');
    let feed = format!("/books/_changes?_since={since}");
    let json = [("accept", "application/json")];
    client.send("GET", &feed, &json, None).unwrap().expect(410);
}

#[test]
fn an_archive_that_is_away_holds_nothing_up_and_catches_up() {
    let mut archived = Archived::prepare();
    let away = archived.other.path().join("away");
    fs::rename(archived.archive(), &away).unwrap();
    archived.daemon.restart();
    archived.write(100);
    archived.daemon.wait_for_log("mount its disk");
    assert!(archived.lag() >= 100.0);
    client::get(archived.daemon.admin(), "/readyz").expect(200);
    assert!(!archived.archive().exists());
    fs::rename(&away, archived.archive()).unwrap();
    archived.caught_up();
    // And while it is in use.
    fs::rename(archived.archive(), &away).unwrap();
    archived.write(100);
    archived
        .daemon
        .wait_for_log("exchanged while it was in use");
    fs::rename(&away, archived.archive()).unwrap();
    archived.caught_up();
    archived.daemon.wait_for_log("the archive is written again");
    archived.daemon.kill9();
    assert_eq!(archived.changes(), 200);
}

#[test]
fn an_archive_that_can_not_be_written_holds_nothing_up_and_catches_up() {
    let mut archived = Archived::prepare();
    // Whoever waits for the other end of a pipe waits for ever.
    let pipe = archived.archive().join("journal/000000000001.journal");
    fs::create_dir(archived.archive().join("journal")).unwrap();
    assert!(
        Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    archived.daemon.restart();
    archived.write(100);
    let lags = |daemon: &TestDaemon| {
        let seconds = metric(&daemon.metrics(), "perennial_archive_lag_seconds", "");
        seconds.unwrap() > 0.5
    };
    archived.daemon.wait_until("it lags", lags);
    assert!(archived.lag() >= 100.0);
    client::get(archived.daemon.admin(), "/readyz").expect(200);
    let moved = archived.other.path().join("pipe");
    fs::rename(&pipe, &moved).unwrap();
    archived.caught_up();
    archived.daemon.kill9();
    assert_eq!(archived.changes(), 100);
}

#[test]
fn an_archive_whose_disk_hangs_holds_nothing_up_and_catches_up() {
    let mut archived = Archived::prepare();
    let lags = |daemon: &TestDaemon| {
        let seconds = metric(&daemon.metrics(), "perennial_archive_lag_seconds", "");
        seconds.unwrap() > 0.5
    };
    // It hangs from the start on, and later while it is in use.
    for round in 1..=2 {
        let Some(hung) = HungMount::over(&archived.archive()) else {
            return;
        };
        if round == 1 {
            archived.daemon.restart();
        }
        let begun = Instant::now();
        archived.write(100);
        assert!(begun.elapsed() < LIMIT, "{:?}", begun.elapsed());
        archived.daemon.wait_until("it lags", lags);
        assert!(archived.lag() >= 100.0);
        client::get(archived.daemon.admin(), "/readyz").expect(200);
        drop(hung);
        archived.caught_up();
    }
    archived.daemon.kill9();
    assert_eq!(archived.changes(), 200);
}

#[test]
fn with_archive_sync_an_archive_whose_disk_hangs_is_told_of_and_writes_are_refused_at_once() {
    let mut archived = Archived::prepare();
    archived.sync("flush_limit = \"1s\"\n");
    archived.daemon.restart();
    archived.write(1);
    let Some(hung) = HungMount::over(&archived.archive()) else {
        return;
    };
    let record = json!({ "n": 0 });
    let post = |daemon: &TestDaemon| client::post(daemon.public(), "/books", &record);
    let unknown = post(&archived.daemon).expect(503);
    assert!(
        unknown.text().contains("outcome_unknown"),
        "{}",
        unknown.text()
    );
    let begun = Instant::now();
    let refused = post(&archived.daemon).expect(503);
    assert!(
        refused.text().contains("archive_sync"),
        "{}",
        refused.text()
    );
    assert!(
        begun.elapsed() < Duration::from_secs(1),
        "{:?}",
        begun.elapsed()
    );
    let ready = client::get(archived.daemon.admin(), "/readyz/storage").expect(503);
    assert!(ready.text().contains("archive_sync"), "{}", ready.text());
    archived.daemon.wait_for_log("look at its disk");
    drop(hung);
    archived
        .daemon
        .wait_until("writes are taken again", |daemon| {
            post(daemon).status == 201
        });
    archived.daemon.wait_for_log("the archive is written again");
    // One that was answered with an unknown outcome may be there, too.
    assert!(archived.changes() >= 3);
}

fn copy_all(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").args([from, to]).status();
    assert!(copied.unwrap().success());
}

#[test]
fn with_archive_sync_a_write_is_answered_when_the_archive_has_it() {
    let mut archived = Archived::prepare();
    archived.sync("");
    archived.daemon.restart();
    for n in 1..=5 {
        archived.write(20);
        // Without a wait: all of it is there.
        assert_eq!(archived.changes(), 20 * n);
    }
    let record = json!({ "n": 0 });
    let public = archived.daemon.public();
    let keyed = || {
        let body = record.to_string();
        let key = [
            ("idempotency-key", "k"),
            ("content-type", "application/json"),
        ];
        client::send(public, "POST", "/books", &key, Some(body.as_bytes()))
    };
    keyed().expect(201);
    let away = archived.other.path().join("away");
    fs::rename(archived.archive(), &away).unwrap();
    let first = client::post(archived.daemon.public(), "/books", &record);
    assert_eq!(first.status, 503, "{}", first.text());
    let refused = client::post(archived.daemon.public(), "/books", &record);
    assert!(
        refused.text().contains("archive_sync"),
        "{}",
        refused.text()
    );
    refused.expect(503);
    // An answer that was kept is not given either: the archive may lack what it tells of.
    let again = keyed();
    assert!(again.text().contains("archive_sync"), "{}", again.text());
    again.expect(503);
    client::get(archived.daemon.public(), "/books").expect(200);
    let ready = client::get(archived.daemon.admin(), "/readyz/storage");
    assert!(ready.text().contains("archive_sync"), "{}", ready.text());
    ready.expect(503);
    fs::rename(&away, archived.archive()).unwrap();
    archived
        .daemon
        .wait_until("writes are taken again", |daemon| {
            client::post(daemon.public(), "/books", &record).status == 201
        });
    assert!(keyed().expect(201).header("idempotent-replayed").is_some());
    // The one whose outcome was not known was done; the one with a key and its answer are two.
    assert_eq!(archived.changes(), 104);
}
