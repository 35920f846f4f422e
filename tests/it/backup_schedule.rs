//! `[backup]`: backups by schedule. They are made, verified and thinned out; and whatever happens to their folder or in the middle
//! of one, records are served, no half backup is left, and the next one is made.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use serde_json::json;
use tempfile::TempDir;

use crate::client::{self, Client};
use crate::daemon::{TestDaemon, metric};

const FAILURES: &str = "perennial_backup_failures_total";
const VERIFIED: &str = "perennial_backup_verified_timestamp_seconds";
const SUCCESS: &str = "perennial_backup_last_success_timestamp_seconds";
const CHANGE: &str = "perennial_backup_change";

struct Scheduled {
    other: TempDir,
    daemon: TestDaemon,
}

impl Scheduled {
    /// A daemon that makes a backup each second in a folder that exists; it has not been started.
    fn prepare(more: &str) -> Self {
        let other = TempDir::new().unwrap();
        fs::create_dir(other.path().join("backups")).unwrap();
        let to = other.path().join("backups");
        let more = format!(
            "[backup]\nto = '{}'\nevery = \"1s\"\n{more}\n[chaos]\nenabled = true\n",
            to.display()
        );
        let daemon = TestDaemon::prepare(&more);
        Self { other, daemon }
    }

    fn folder(&self) -> PathBuf {
        self.other.path().join("backups")
    }

    fn metric(&self, name: &str) -> f64 {
        metric(&self.daemon.metrics(), name, "").unwrap()
    }

    /// Waits until a backup has this change, and was verified.
    #[track_caller]
    fn wait_verified(&self, change: f64) {
        self.daemon.wait_until("the backup is verified", |_| {
            self.metric(CHANGE) >= change && self.metric(VERIFIED) >= self.metric(SUCCESS)
        });
    }

    #[track_caller]
    fn wait_failed(&self, more_than: f64) {
        self.daemon
            .wait_until("a backup failed", |_| self.metric(FAILURES) > more_than);
    }

    fn write(&self, records: usize, bytes: usize) {
        let mut client = Client::connect(self.daemon.public()).unwrap();
        for n in 0..records {
            let filling: String = std::iter::repeat_with(fastrand::alphanumeric)
                .take(bytes)
                .collect();
            let record = json!({ "n": n, "filling": filling });
            client.post("/books", &record).unwrap().expect(201);
        }
    }

    /// The names of the files with this ending.
    fn files(&self, ending: &str) -> BTreeSet<String> {
        let entries = fs::read_dir(self.folder()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.ends_with(ending)).collect()
    }

    fn is_ready(&self) {
        client::get(self.daemon.admin(), "/readyz").expect(200);
    }
}

#[test]
fn backups_are_made_verified_and_thinned_out_also_after_a_restart() {
    let mut scheduled = Scheduled::prepare("keep = { last = 2 }");
    // None of these is a backup that this daemon made.
    let others = [
        "holiday.jpg",
        "perennial-00000000abcd-20200101T000000Z-1.backup",
        "perennial.backup",
    ];
    for name in others {
        fs::write(scheduled.folder().join(name), "mine").unwrap();
    }
    scheduled.daemon.restart();
    scheduled.write(50, 100);
    scheduled.wait_verified(50.0);
    let first = scheduled.metric(SUCCESS);
    scheduled.write(1, 100);
    scheduled.wait_verified(51.0);
    scheduled.daemon.wait_until("five more were made", |_| {
        scheduled.metric(SUCCESS) >= first + 5.0
    });
    scheduled.daemon.wait_for_log("backup written");
    assert!((2..=3).contains(&(scheduled.files(".backup").len() - 2)));
    for name in others {
        let kept = fs::read(scheduled.folder().join(name)).unwrap();
        assert_eq!(kept, b"mine", "{name}");
    }
    assert!(scheduled.metric(FAILURES) < 0.5);
    let scratch = scheduled.daemon.folder().join("data");
    scheduled.daemon.sigterm();
    let stopped = scheduled
        .daemon
        .wait_exit(std::time::Duration::from_secs(20));
    assert_eq!(stopped.code(), Some(0));
    let left = fs::read_dir(&scratch).unwrap();
    let left = left.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let left: Vec<_> = left.filter(|name| name.contains("drill")).collect();
    scheduled.daemon.restart();
    scheduled.daemon.wait_until("it knows the newest one", |_| {
        scheduled.metric(SUCCESS) >= first && scheduled.metric(VERIFIED) >= first
    });
    scheduled.write(1, 100);
    scheduled.wait_verified(52.0);
    assert!(left.len() <= 1, "{left:?}");
}

#[test]
fn a_folder_that_is_away_is_told_and_backups_go_on_when_it_is_back() {
    let mut scheduled = Scheduled::prepare("");
    let away = scheduled.other.path().join("away");
    fs::rename(scheduled.folder(), &away).unwrap();
    scheduled.daemon.restart();
    scheduled.wait_failed(0.0);
    scheduled.daemon.wait_for_log("mount its disk");
    assert!(!scheduled.folder().exists());
    scheduled.write(10, 100);
    scheduled.is_ready();
    fs::rename(&away, scheduled.folder()).unwrap();
    scheduled.wait_verified(10.0);
    // And a file in its place.
    fs::rename(scheduled.folder(), &away).unwrap();
    fs::write(scheduled.folder(), "").unwrap();
    scheduled.wait_failed(scheduled.metric(FAILURES));
    scheduled.is_ready();
    fs::remove_file(scheduled.folder()).unwrap();
    fs::rename(&away, scheduled.folder()).unwrap();
    scheduled.write(1, 100);
    scheduled.wait_verified(11.0);
}

#[test]
fn a_panic_in_the_middle_leaves_no_half_backup_and_no_other_part_notices() {
    let mut scheduled = Scheduled::prepare("");
    scheduled.daemon.restart();
    scheduled.write(20, 100);
    scheduled.wait_verified(20.0);
    for (round, point) in ["backup.in_the_middle", "backup.before_run"]
        .iter()
        .enumerate()
    {
        let failures = scheduled.metric(FAILURES);
        scheduled.daemon.chaos(&json!({ "point": point }));
        if round == 0 {
            scheduled.wait_failed(failures);
        } else {
            let restarted = |daemon: &TestDaemon| {
                let restarts = "perennial_child_restarts_total";
                metric(&daemon.metrics(), restarts, "child=\"backup\"").unwrap() >= 1.0
            };
            scheduled.daemon.wait_until("it was restarted", restarted);
        }
        scheduled.write(1, 100);
        scheduled.is_ready();
        scheduled.wait_verified(21.0 + if round == 0 { 0.0 } else { 1.0 });
    }
    let writer = metric(
        &scheduled.daemon.metrics(),
        "perennial_child_restarts_total",
        "child=\"writer\"",
    );
    assert!(writer.unwrap() < 0.5);
}

#[test]
fn a_kill_in_the_middle_leaves_no_half_backup() {
    let mut scheduled = Scheduled::prepare("drill = \"never\"\nkeep = { last = 1000 }");
    scheduled.daemon.restart();
    scheduled.write(400, 20_000);
    scheduled
        .daemon
        .wait_until("a backup is being written", |daemon| {
            let told = client::get(daemon.admin(), "/readyz/storage").text();
            !scheduled.files(".unfinished").is_empty() && told.contains("writing a backup")
        });
    scheduled.daemon.kill9();
    let left = scheduled.files(".unfinished");
    let whole = scheduled.files(".backup");
    scheduled.daemon.restart();
    scheduled.write(1, 100);
    scheduled
        .daemon
        .wait_until("a backup has all records", |_| {
            scheduled.metric(CHANGE) >= 401.0
        });
    assert_eq!(left.len(), 1, "it was killed in the middle");
    assert!(scheduled.files(".unfinished").is_disjoint(&left));
    let made = scheduled.files(".backup");
    assert!(whole.is_subset(&made), "{whole:?} {made:?}");
}
