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
fn an_archive_that_hangs_holds_nothing_up_and_catches_up() {
    let mut archived = Archived::prepare();
    // Whoever opens a pipe waits for the other end.
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
    drop(fs::OpenOptions::new().write(true).open(&moved).unwrap());
    archived.caught_up();
    archived.daemon.kill9();
    assert_eq!(archived.changes(), 100);
}

fn copy_all(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").args([from, to]).status();
    assert!(copied.unwrap().success());
}

#[test]
fn with_archive_sync_a_write_is_answered_when_the_archive_has_it() {
    let mut archived = Archived::prepare();
    let config = fs::read_to_string(archived.daemon.config()).unwrap();
    let config = config.replace("[storage]\n", "[storage]\narchive_sync = \"always\"\n");
    fs::write(archived.daemon.config(), config).unwrap();
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
