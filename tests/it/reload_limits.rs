//! A reload of what the rest of the daemon runs by: limits, the log, supervision, backups. Each is in force afterwards, and a
//! wrong value changes nothing.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::chaos::UNLIMITED_RESTARTS;
use crate::client::{self, Client};
use crate::daemon::{TestDaemon, generation, metric, node, restarts, running};
use crate::reload::{reload, rewrite};

/// Changes the settings to these, and has them put in force.
#[track_caller]
fn change(daemon: &TestDaemon, more: &str) -> Value {
    rewrite(daemon, more);
    reload(daemon, "").expect(200).json()
}

#[test]
fn an_import_has_the_limit_of_bodies_that_is_in_force() {
    let daemon = TestDaemon::start("[limits]\nbody = '2 KiB'");
    let import = |n: u32| {
        let record = json!({ "title": "x".repeat(3000) });
        let id = format!("01a210f2-6a46-7604-8000-00000000000{n}");
        let path = format!("/records/books?import={id}&first=0");
        client::post(daemon.admin(), &path, &record)
            .expect(200)
            .json()
    };
    let fault = "a record may have 2048 bytes (limits.body)";
    assert_eq!(
        import(1)["refused"],
        json!([{ "at": 0, "faults": [fault] }])
    );
    change(&daemon, "[limits]\nbody = '8 KiB'");
    assert_eq!(import(2)["created"], 1);
    let catalogue = client::get(daemon.admin(), "/records").json();
    assert_eq!(catalogue["record_bytes"], 8192);
}

/// Tries wrong settings: all are refused, and the generation stays.
#[track_caller]
fn refused(daemon: &TestDaemon, wrong: &[(&str, &str)]) {
    let number = |daemon: &TestDaemon| daemon.tree()["settings"]["generation"].clone();
    let before = number(daemon);
    for (more, key) in wrong {
        rewrite(daemon, more);
        let text = reload(daemon, "").expect(422).text();
        assert!(text.contains(key), "{text}");
    }
    assert_eq!(number(daemon), before);
}

#[test]
fn the_limits_of_the_store_follow_the_settings_while_records_are_written() {
    let daemon = TestDaemon::start("");
    let post = || {
        daemon
            .post("/books", &json!({ "title": "x".repeat(2000) }))
            .status
    };
    assert_eq!(post(), 201);
    change(&daemon, "[storage]\nreserve = '3 MiB'");
    let reserve = metric(&daemon.metrics(), "perennial_storage_reserve_bytes", "");
    assert_eq!(reserve, Some(f64::from(3 << 20)));
    change(
        &daemon,
        "[supervision.children.storage]\nqueue_bytes = '1 KiB'",
    );
    assert_eq!(post(), 503);
    change(
        &daemon,
        "[storage]\nflush_limit = '9s'\nlog_keep = 1000\non_refusal = 'exit'\narchive_backlog = '1 GiB'",
    );
    assert_eq!(post(), 201);
    refused(
        &daemon,
        &[
            ("[storage]\nreserve = 'much'", "storage.reserve"),
            ("[storage]\nlog_keep = 1", "storage.log_keep"),
            (
                "[supervision.children.storage]\nqueue = 0",
                "supervision.children.storage.queue",
            ),
        ],
    );
    assert_eq!(post(), 201);
}

#[test]
fn a_queue_that_becomes_shorter_loses_no_write() {
    let daemon = TestDaemon::start(UNLIMITED_RESTARTS);
    let writers: Vec<_> = (0..8)
        .map(|_| {
            let host = daemon.public();
            thread::spawn(move || {
                let (mut taken, mut client) = (0, Client::connect(host).unwrap());
                let until = Instant::now() + Duration::from_secs(2);
                while Instant::now() < until {
                    let status = client.post("/books", &json!({ "a": 1 })).unwrap().status;
                    assert!([201, 503].contains(&status), "{status}");
                    taken += usize::from(status == 201);
                }
                taken
            })
        })
        .collect();
    for queue in [1, 2, 4096, 1, 3, 500].into_iter().cycle().take(30) {
        let more = format!("{UNLIMITED_RESTARTS}\n[supervision.children.storage]\nqueue = {queue}");
        change(&daemon, &more);
        thread::sleep(Duration::from_millis(50));
    }
    let taken: usize = writers
        .into_iter()
        .map(|writer| writer.join().unwrap())
        .sum();
    let total = daemon.get("/books?_limit=1").expect(200);
    assert_eq!(
        total.header("x-total-count"),
        Some(taken.to_string().as_str())
    );
}

#[test]
fn a_stop_waits_as_long_as_the_drain_of_the_settings_in_force() {
    let mut daemon = TestDaemon::prepare("");
    let site = daemon.site("").display().to_string();
    let route = format!("[route.\"/slow\"]\nfiles = {{ root = '{site}' }}\ndelay = '30s'");
    rewrite(&daemon, &route);
    daemon.restart();
    let text = fs::read_to_string(daemon.config()).unwrap();
    let text = text.replace("[server]", "[server]\ndrain = '300ms'");
    fs::write(daemon.config(), text).unwrap();
    reload(&daemon, "").expect(200);
    let host = daemon.public();
    let waiting = thread::spawn(move || Client::connect(host).unwrap().get("/slow/"));
    daemon.wait_until("the request has come", |daemon| {
        daemon
            .metrics()
            .contains("perennial_http_requests_in_flight 1")
    });
    let begun = Instant::now();
    daemon.sigterm();
    assert!(daemon.wait_exit(Duration::from_secs(15)).success());
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "{:?}",
        begun.elapsed()
    );
    assert!(waiting.join().unwrap().is_err(), "it was cut off");
}

#[test]
fn restarts_follow_the_limits_of_the_settings_in_force() {
    let mut daemon = TestDaemon::start("[chaos]\nenabled = true");
    let kill = json!({ "child": "file-cache" });
    daemon.chaos(&kill);
    daemon.wait_until("a restart", |daemon| {
        restarts(&daemon.tree(), "file-cache") == 1
    });
    refused(
        &daemon,
        &[
            (
                "[supervision]\nstrategy = 'one_for_none'",
                "supervision.strategy",
            ),
            (
                "[supervision]\nmax_restarts = { count = -1 }",
                "supervision.max_restarts.count",
            ),
            (
                "[supervision.backoff]\nfactor = 0.5",
                "supervision.backoff.factor",
            ),
        ],
    );
    // Both children of the root's start order behind it are restarted, too.
    change(
        &daemon,
        "[chaos]\nenabled = true\n[supervision]\nstrategy = 'rest_for_one'",
    );
    assert_eq!(daemon.get("/").status, 200);
    daemon.chaos(&kill);
    daemon.wait_until("restarts of the rest", |daemon| {
        let tree = daemon.tree();
        let handlers = generation(&tree, "request-handlers");
        restarts(&tree, "file-cache") == 2 && handlers == 2 && running(&tree)
    });
    change(
        &daemon,
        "[chaos]\nenabled = true\n[supervision]\nmax_restarts.count = 0",
    );
    daemon.chaos(&kill);
    let status = daemon.wait_exit(Duration::from_secs(20));
    assert_eq!(status.code(), Some(70), "no restart is allowed any more");
}

#[test]
fn fault_points_are_switched_on_and_off_and_disarmed() {
    let daemon = TestDaemon::start("");
    let order = json!({ "point": "writer.message", "hits": 1000 });
    let arm = |daemon: &TestDaemon| client::post(daemon.admin(), "/chaos", &order).status;
    assert_eq!(arm(&daemon), 404);
    change(&daemon, "[chaos]\nenabled = true");
    assert_eq!(arm(&daemon), 204);
    change(&daemon, "[chaos]\nenabled = false");
    assert_eq!(arm(&daemon), 404);
    assert_eq!(daemon.post("/books", &json!({})).status, 201);
    change(&daemon, "[chaos]\nenabled = true");
    let points = client::get(daemon.admin(), "/chaos").json();
    assert_eq!(points["points"]["writer.message"], 0);
    assert_eq!(
        points["points"]["perennial.event"], 0,
        "points of supervisors are known"
    );
    assert_eq!(daemon.post("/books", &json!({})).status, 201);
    refused(&daemon, &[("[chaos]\nenabled = 'yes'", "chaos.enabled")]);
}

#[test]
fn a_reloader_that_dies_leaves_the_old_settings_or_the_new_ones_and_no_mixture() {
    for (point, dies, new) in [
        ("reload.loaded", 1, true),
        ("reload.loaded", 2, false),
        ("reload.built", 2, false),
        ("reload.replaced", 1, true),
        ("reload.finishing", 1, true),
        ("reload.finishing", 2, true),
    ] {
        let daemon = TestDaemon::start(UNLIMITED_RESTARTS);
        daemon.chaos(&json!({ "point": point, "hits": dies }));
        let more =
            "[supervision.children.storage]\nqueue_bytes = '1 KiB'\n[limits]\nbody = '3 KiB'";
        rewrite(&daemon, &format!("{UNLIMITED_RESTARTS}{more}"));
        reload(&daemon, "");
        daemon.wait_until("the reloader is there again", |daemon| {
            let tree = daemon.tree();
            running(&tree) && restarts(&tree, "reloader") >= dies
        });
        let generation = daemon.tree()["settings"]["generation"].clone();
        assert_eq!(generation, if new { 2 } else { 1 }, "{point} {dies}");
        let post = |bytes: usize| {
            daemon
                .post("/books", &json!({ "a": "x".repeat(bytes) }))
                .status
        };
        let (small, large) = (post(2000), post(4000));
        let expected = if new { (503, 413) } else { (201, 201) };
        assert_eq!((small, large), expected, "{point} {dies}");
    }
}

/// Settings with backups in this folder of the daemon's, one each second, and more.
fn backups(daemon: &TestDaemon, folder: &str, more: &str) -> String {
    let folder = daemon.folder().join(folder);
    fs::create_dir_all(&folder).unwrap();
    let to = folder.display();
    format!("{UNLIMITED_RESTARTS}\n[backup]\nto = '{to}'\nevery = '1s'\n{more}")
}

/// The finished backups in this folder of the daemon's.
fn kept(daemon: &TestDaemon, folder: &str) -> Vec<String> {
    let files = fs::read_dir(daemon.folder().join(folder)).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    names
        .filter(|name| !name.ends_with(".verified") && !name.ends_with(".unfinished"))
        .collect()
}

#[test]
fn the_schedule_of_backups_is_added_replaced_and_removed() {
    let daemon = TestDaemon::start(UNLIMITED_RESTARTS);
    daemon.post("/books", &json!({ "a": 1 })).expect(201);
    assert!(node(&daemon.tree(), "backup").is_none());
    assert!(!daemon.metrics().contains("perennial_backup"));
    let done = change(&daemon, &backups(&daemon, "one", ""));
    assert_eq!(done["changes"][0]["change"], "replaced");
    daemon.wait_until("a backup", |daemon| !kept(daemon, "one").is_empty());
    let wrong = backups(&daemon, "one", "drill = 'sometimes'");
    refused(&daemon, &[(&wrong, "backup.drill")]);
    // The reloader dies between the end of the old schedule and the beginning of the new one.
    daemon.chaos(&json!({ "point": "backup.replacing", "hits": 2 }));
    change(&daemon, &backups(&daemon, "two", "drill = 'never'"));
    let before = kept(&daemon, "one").len();
    daemon.wait_until("a backup elsewhere", |daemon| {
        !kept(daemon, "two").is_empty()
    });
    assert_eq!(
        kept(&daemon, "one").len(),
        before,
        "nobody writes here any more"
    );
    assert!(daemon.metrics().contains("perennial_backup_kept 1"));
    assert_eq!(restarts(&daemon.tree(), "writer"), 0);
    change(&daemon, UNLIMITED_RESTARTS);
    assert!(node(&daemon.tree(), "backup").is_none());
    daemon.post("/books", &json!({ "a": 1 })).expect(201);
}

#[test]
fn a_backup_that_is_written_while_the_schedule_changes_is_finished_and_the_next_one_follows() {
    let daemon = TestDaemon::start(UNLIMITED_RESTARTS);
    for n in 0..20 {
        let record = json!({ "n": n, "a": "x".repeat(900_000) });
        daemon.post("/books", &record).expect(201);
    }
    change(&daemon, &backups(&daemon, "one", ""));
    let begun =
        |daemon: &TestDaemon| fs::read_dir(daemon.folder().join("one")).unwrap().count() > 0;
    daemon.wait_until("a backup that has begun", begun);
    change(&daemon, &backups(&daemon, "two", ""));
    daemon.wait_until("both are there", |daemon| {
        kept(daemon, "one").len() == 1 && !kept(daemon, "two").is_empty()
    });
}
