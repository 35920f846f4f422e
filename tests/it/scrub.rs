//! Damage that a command meets beside a running daemon: the daemon is asked to mend it at once.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::json;

use crate::client;
use crate::daemon::{BINARY, TestDaemon};

/// The file of the journal that is written into.
fn segment(daemon: &TestDaemon) -> PathBuf {
    let files = fs::read_dir(daemon.folder().join("data/journal")).unwrap();
    let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|ending| ending == "journal"));
    files.into_iter().max().unwrap()
}

fn run(daemon: &TestDaemon, words: &[&str]) -> Output {
    let mut command = Command::new(BINARY);
    command.arg("--config").arg(daemon.config()).args(words);
    let admin = daemon.admin().to_string();
    command.env("PERENNIAL__SERVER__ADMIN", admin);
    command.current_dir(daemon.folder()).output().unwrap()
}

#[test]
fn a_check_and_a_backup_that_meet_damage_have_the_running_daemon_mend_it() {
    for words in [&["check", "--data"][..], &["backup", "some.backup"]] {
        let daemon = TestDaemon::start("");
        for n in 0..20 {
            let record = json!({ "n": n });
            client::post(daemon.public(), "/books", &record).expect(201);
        }
        daemon.wait_for_log("everything that is stored was read");
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(segment(&daemon))
            .unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, 200).unwrap();
        file.write_all_at(&[byte[0] ^ 1], 200).unwrap();
        let output = run(&daemon, words);
        let told = [output.stdout.as_slice(), &output.stderr].concat();
        let told = String::from_utf8(told).unwrap();
        assert_eq!(output.status.code(), Some(65), "{told}");
        assert!(told.contains("was asked to read everything now"), "{told}");
        // At most 10 s after the reading before.
        daemon.wait_until("the damage is mended", |daemon| {
            let incidents = client::get(daemon.admin(), "/incidents").text();
            incidents.contains("damaged_journal")
        });
        daemon.wait_until("the store is whole", |daemon| {
            run(daemon, &["check", "--data"]).status.success()
        });
    }
}

#[test]
fn status_says_how_far_back_the_store_can_be_restored() {
    let daemon = TestDaemon::start("");
    let output = run(&daemon, &["status"]);
    let told = String::from_utf8(output.stdout).unwrap();
    let expected = "store: can be restored to any change from 1 on";
    assert!(told.contains(expected), "{told}");
    let refused = client::get(daemon.admin(), "/scrub");
    assert_eq!(refused.status, 405);
}
