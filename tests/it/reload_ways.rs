//! The ways to a reload: files that are watched, commands with other files and with wrong ones, and children that die.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::client::{self, Client};
use crate::daemon::{BINARY, TestDaemon, toml};

/// Settings whose files are watched, with the body limit of the generation.
fn watched(daemon: &TestDaemon, watch: bool, kib: u64) -> String {
    let more = format!("[limits]\nbody = \"{kib} KiB\"");
    let text = toml(daemon.folder(), &more);
    text.replace("handlers = 2", &format!("handlers = 2\nwatch = {watch}"))
}

fn settings(daemon: &TestDaemon) -> Value {
    client::get(daemon.admin(), "/supervisor").json()["settings"].clone()
}

#[track_caller]
fn wait_generation(daemon: &TestDaemon, generation: u64) {
    let reached = |daemon: &TestDaemon| settings(daemon)["generation"] == generation;
    daemon.wait_until(&format!("generation {generation}"), reached);
}

/// How often the log has a line with this text.
fn count(daemon: &TestDaemon, text: &str) -> usize {
    daemon.stderr().matches(text).count()
}

const WATCHED: &str = "the files of the settings are watched";

/// As an editor saves: the new file gets the name of the old one.
fn save(file: &Path, text: &str) {
    let other = file.with_extension("new");
    fs::write(&other, text).unwrap();
    fs::rename(other, file).unwrap();
}

#[test]
fn what_is_saved_is_applied_and_a_wrong_file_changes_nothing() {
    let mut daemon = TestDaemon::prepare("");
    fs::write(daemon.config(), watched(&daemon, true, 10)).unwrap();
    daemon.restart();
    daemon.wait_for_log(WATCHED);
    save(&daemon.config(), &watched(&daemon, true, 11));
    wait_generation(&daemon, 2);
    // In place, many times at once.
    for kib in 12..=30 {
        fs::write(daemon.config(), watched(&daemon, true, kib)).unwrap();
    }
    daemon.wait_for_log("to \"30 KiB\"");
    // One more, or a few if this machine is slow.
    let now = settings(&daemon)["generation"].as_u64().unwrap();
    save(&daemon.config(), "[server]\nwatch = 7");
    daemon.wait_for_log("reload: the settings are refused, nothing has changed");
    assert_eq!(settings(&daemon)["generation"], now);
    assert_eq!(settings(&daemon)["last_outcome"], "refused");
    // Away for longer than it takes to be noticed, and back.
    fs::remove_file(daemon.config()).unwrap();
    daemon.wait_for_log("can't be read");
    save(&daemon.config(), &watched(&daemon, true, 31));
    wait_generation(&daemon, now + 1);
    // Switched off: what is saved waits for an order.
    save(&daemon.config(), &watched(&daemon, false, 32));
    wait_generation(&daemon, now + 2);
    daemon.wait_for_log("are watched no longer");
    save(&daemon.config(), &watched(&daemon, true, 33));
    thread::sleep(Duration::from_secs(1));
    assert_eq!(settings(&daemon)["generation"], now + 2);
    // Switched on by that order.
    client::post(daemon.admin(), "/reload", &Value::Null).expect(200);
    daemon.wait_until("a second watch", |daemon| count(daemon, WATCHED) >= 3);
    save(&daemon.config(), &watched(&daemon, true, 34));
    wait_generation(&daemon, now + 4);
}

#[test]
fn a_link_that_is_swapped_is_a_change() {
    let mut daemon = TestDaemon::prepare("");
    let folder = daemon.folder().to_owned();
    let text = |kib: u64| watched(&daemon, true, kib);
    let texts = [10, 20, 30].map(text);
    // As Kubernetes mounts a ConfigMap.
    let publish = |name: &str, text: &str| {
        fs::create_dir(folder.join(name)).unwrap();
        fs::write(folder.join(name).join("perennial.toml"), text).unwrap();
        symlink(name, folder.join("..next")).unwrap();
        fs::rename(folder.join("..next"), folder.join("..data")).unwrap();
    };
    publish("..1", &texts[0]);
    fs::remove_file(daemon.config()).unwrap();
    symlink("..data/perennial.toml", daemon.config()).unwrap();
    daemon.restart();
    daemon.wait_for_log(WATCHED);
    publish("..2", &texts[1]);
    wait_generation(&daemon, 2);
    fs::remove_dir_all(folder.join("..1")).unwrap();
    publish("..3", &texts[2]);
    wait_generation(&daemon, 3);
    daemon.wait_for_log("limits.body from \"20 KiB\" to \"30 KiB\"");
}

#[test]
fn an_included_file_that_comes_is_applied() {
    let mut daemon = TestDaemon::prepare("");
    let text = format!(
        "include = [\"conf.d/*.toml\"]\n{}",
        watched(&daemon, true, 10)
    );
    fs::write(daemon.config(), text).unwrap();
    daemon.restart();
    daemon.wait_for_log(WATCHED);
    let folder = daemon.folder().join("conf.d");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("a.toml"), "server.hosts = [\"a.example\"]").unwrap();
    wait_generation(&daemon, 2);
    save(&folder.join("a.toml"), "server.hosts = [\"b.example\"]");
    wait_generation(&daemon, 3);
    fs::remove_dir_all(&folder).unwrap();
    wait_generation(&daemon, 4);
}

fn perennial(daemon: &TestDaemon, file: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(BINARY);
    command.arg("--config").arg(file).args(words);
    let admin = daemon.admin().to_string();
    command.args(["--admin", &admin]).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_owned()).unwrap()
}

#[test]
fn another_file_than_that_of_the_daemon_is_refused() {
    let daemon = TestDaemon::start("");
    let other = daemon.folder().join("other.toml");
    fs::write(&other, toml(daemon.folder(), "")).unwrap();
    for words in [&["reload"][..], &["reload", "--dry-run"]] {
        let refused = perennial(&daemon, &other, words);
        assert_eq!(refused.status.code(), Some(78));
        let (told, other, own) = (text(&refused.stderr), other.display(), daemon.config());
        let expected = format!(
            "the daemon runs with {}, and not with {other}",
            own.display()
        );
        assert!(told.contains(&expected), "{told}");
    }
    assert_eq!(settings(&daemon)["last_outcome"], "started");
    // The same file by another name.
    let link = daemon.folder().join("link.toml");
    symlink(daemon.config(), &link).unwrap();
    let reloaded = perennial(&daemon, &link, &["reload"]);
    assert!(reloaded.status.success(), "{}", text(&reloaded.stderr));
    assert_eq!(settings(&daemon)["last_outcome"], "unchanged");
}

#[test]
fn a_daemon_is_asked_although_the_file_has_faults_and_is_told_of_them() {
    let daemon = TestDaemon::start("");
    let admin = format!("admin = \"{}\"", daemon.admin());
    let whole = toml(daemon.folder(), "[limits]\nbody = 7");
    let faulty = whole.replace("admin = \"127.0.0.1:0\"", &admin);
    fs::write(daemon.config(), &faulty).unwrap();
    let run = |words: &[&str]| {
        let mut command = Command::new(BINARY);
        command.arg("--config").arg(daemon.config()).args(words);
        command.output().unwrap()
    };
    for words in [&["status"][..], &["healthcheck"], &["restart", "writer"]] {
        let asked = run(words);
        assert!(asked.status.success(), "{words:?}: {}", text(&asked.stderr));
    }
    let refused = run(&["reload"]);
    assert_eq!(refused.status.code(), Some(78));
    let told = text(&refused.stderr);
    assert!(told.contains("limits.body: 7 is not a size"), "{told}");
    let error = settings(&daemon)["last_error"].clone();
    assert!(error.as_str().unwrap().contains("limits.body"), "{error}");
    let metrics = daemon.metrics();
    assert!(metrics.contains("perennial_config_last_reload_successful 0.0"));
    let told = text(&run(&["status"]).stdout);
    assert!(told.contains("\nsettings: generation 1 of "), "{told}");
    assert!(told.contains(": refused: the settings are wrong"), "{told}");
    let page = client::get(daemon.admin(), "/").expect(200).text();
    assert!(page.contains(": refused: the settings are wrong"), "{page}");
    // No TOML, and no address that could be read.
    fs::write(daemon.config(), "[server\n").unwrap();
    let told = run(&["status"]);
    assert_eq!(told.status.code(), Some(78));
    assert!(text(&told.stderr).contains("write --admin ADDRESS"));
}

#[test]
fn check_prints_what_a_reload_would_change() {
    let daemon = TestDaemon::start("");
    let check = |more: &str| {
        fs::write(daemon.config(), toml(daemon.folder(), more)).unwrap();
        let checked = perennial(&daemon, &daemon.config(), &["check", "--against-running"]);
        (
            checked.status.code(),
            text(&checked.stdout),
            text(&checked.stderr),
        )
    };
    let (code, told, _) = check("");
    assert_eq!(code, Some(0));
    assert!(
        told.ends_with("nothing to change: generation 1 is in force\n"),
        "{told}"
    );
    let (code, told, _) = check("[limits]\nbody = \"2 MiB\"");
    assert_eq!(code, Some(0));
    assert!(
        told.contains("limits.body from \"1 MiB\" to \"2 MiB\""),
        "{told}"
    );
    assert!(
        told.ends_with("not applied: generation 1 stays in force\n"),
        "{told}"
    );
    let (code, _, told) = check("[storage]\ncache = \"2 MiB\"");
    assert_eq!(code, Some(78));
    assert!(told.contains("storage.cache"), "{told}");
    let (code, _, told) = check("[limits]\nbody = 7");
    assert_eq!(code, Some(78));
    assert!(told.contains("limits.body"), "{told}");
}

#[test]
fn a_reload_that_dies_tells_what_was_applied_and_ends_no_daemon() {
    let daemon = TestDaemon::start("[chaos]\nenabled = true");
    let chaos = "[chaos]\nenabled = true\n[limits]";
    let before = settings(&daemon)["last_success"].clone();
    for (n, point) in ["reload.loaded", "reload.built", "reload.replaced"]
        .iter()
        .enumerate()
    {
        daemon.chaos(&json!({ "point": point }));
        let text = toml(
            daemon.folder(),
            &format!("{chaos}\nbody = \"{} KiB\"", n + 10),
        );
        fs::write(daemon.config(), text).unwrap();
        let answer = client::post(daemon.admin(), "/reload", &Value::Null);
        let reloaded = answer.expect(200).json();
        assert_eq!(
            reloaded["changes"][0]["node"], "limits",
            "{point}: {reloaded}"
        );
        assert_eq!(reloaded["generation"], n + 2, "{point}: {reloaded}");
        assert_eq!(reloaded["applied"], true, "{point}: {reloaded}");
    }
    assert_eq!(settings(&daemon)["last_outcome"], "applied");
    // What was read and had not changed is a success, too.
    thread::sleep(Duration::from_millis(1_100));
    client::post(daemon.admin(), "/reload", &Value::Null).expect(200);
    assert_ne!(settings(&daemon)["last_success"], before);
    // Far more panics than a supervisor allows.
    for _ in 0..6 {
        daemon.chaos(&json!({ "point": "reload.loaded", "hits": 2 }));
        client::post(daemon.admin(), "/reload", &Value::Null).expect(500);
    }
    daemon.wait_until("a refusal", |daemon| outcome(daemon) == "refused");
    client::post(daemon.admin(), "/reload", &Value::Null).expect(200);
    assert_eq!(outcome(&daemon), "unchanged");
    daemon.get("/").expect(200);
}

fn outcome(daemon: &TestDaemon) -> Value {
    settings(daemon)["last_outcome"].clone()
}

const CHAOS: &str = "[chaos]\nenabled = true\n[limits]";
const SUCCESSFUL: &str = "perennial_config_last_reload_successful";

#[test]
fn an_order_that_is_given_up_is_a_refusal_that_everybody_sees() {
    let mut daemon = TestDaemon::prepare("");
    let text = |kib: u64| {
        let text = toml(daemon.folder(), &format!("{CHAOS}\nbody = \"{kib} KiB\""));
        text.replace("handlers = 2", "handlers = 2\nwatch = true")
    };
    let [first, second, third] = [10, 11, 12].map(text);
    fs::write(daemon.config(), first).unwrap();
    daemon.restart();
    daemon.wait_for_log(WATCHED);
    // By a watch and by a signal: nobody waits for the outcome.
    for (n, (way, text)) in [("watch", Some(&second)), ("signal", None)]
        .iter()
        .enumerate()
    {
        daemon.chaos(&json!({ "point": "reload.loaded", "hits": 2 }));
        match text {
            Some(text) => save(&daemon.config(), text),
            None => daemon.sighup(),
        }
        let told = "reload: nothing has changed, because the part of the daemon that reloads died";
        daemon.wait_until(way, |daemon| count(daemon, told) == n + 1);
        assert_eq!(outcome(&daemon), "refused", "{way}");
        assert_eq!(settings(&daemon)["generation"], 1, "{way}");
        let error = settings(&daemon)["last_error"].clone();
        assert!(error.as_str().unwrap().contains("died"), "{way}: {error}");
        assert!(daemon.metrics().contains(&format!("{SUCCESSFUL} 0.0")));
        client::get(daemon.admin(), "/readyz").expect(200);
    }
    save(&daemon.config(), &third);
    wait_generation(&daemon, 2);
    daemon.wait_until("the outcome", |daemon| outcome(daemon) == "applied");
    assert!(daemon.metrics().contains(&format!("{SUCCESSFUL} 1.0")));
}

#[test]
fn an_order_that_the_next_incarnation_finishes_is_noted_as_applied() {
    let daemon = TestDaemon::start("[chaos]\nenabled = true");
    let success = settings(&daemon)["last_success"].clone();
    // Times are told in seconds.
    daemon.wait_until("another second", |_| {
        let now = humantime::format_rfc3339_seconds(SystemTime::now());
        success != now.to_string()
    });
    let text = toml(daemon.folder(), &format!("{CHAOS}\nbody = '11 KiB'"));
    fs::write(daemon.config(), text).unwrap();
    // It dies before the step that decides, and again after that.
    for point in ["reload.built", "reload.adopted"] {
        daemon.chaos(&json!({ "point": point }));
    }
    let answer = client::post(daemon.admin(), "/reload", &Value::Null).expect(503);
    let told = answer.json()["detail"].as_str().unwrap().to_owned();
    assert!(
        told.contains("may or may not have been carried out"),
        "{told}"
    );
    assert!(!told.contains("generation"), "{told}");
    daemon.wait_until("the outcome", |daemon| outcome(daemon) == "applied");
    let noted = settings(&daemon);
    assert_eq!(noted["generation"], 2);
    assert_eq!(noted["last_error"], Value::Null);
    assert_ne!(noted["last_success"], success);
    assert_eq!(noted["last_reload"], noted["last_success"]);
    assert!(daemon.metrics().contains(&format!("{SUCCESSFUL} 1.0")));
    assert_eq!(
        count(&daemon, "the settings are read again and in force"),
        1
    );
    assert_eq!(count(&daemon, "to \"11 KiB\""), 1);
}

#[test]
fn a_new_route_that_fails_when_the_daemon_asks_it_is_refused_by_its_name() {
    let chaos = "[chaos]\nenabled = true";
    let daemon = TestDaemon::start(chaos);
    let site = daemon.site("").display().to_string();
    let route = format!("{chaos}\n[route.\"/a b\"]\nfiles = {{ root = '{site}' }}\ndelay = '9s'");
    fs::write(daemon.config(), toml(daemon.folder(), &route)).unwrap();
    daemon.chaos(&json!({ "point": "file-cache.message", "hits": 2 }));
    let refused = client::post(daemon.admin(), "/reload", &Value::Null);
    let told = refused.clone().expect(422).json();
    let told = told["reasons"][0].as_str().unwrap().to_owned();
    let expected = "route /a b: a GET of /a%20b/ by the daemon itself was answered 500";
    assert!(told.starts_with(expected), "{told}");
    assert_eq!(settings(&daemon)["generation"], 1);
    daemon.get("/a%20b/").expect(404);
    // It is asked in no queue and without its delay, and it is neither counted nor logged.
    client::post(daemon.admin(), "/reload", &Value::Null).expect(200);
    assert_eq!(settings(&daemon)["generation"], 2);
    let metrics = daemon.metrics();
    let counted = metrics
        .lines()
        .filter(|line| line.contains("route=\"/a b\""));
    let counted: Vec<_> = counted
        .filter(|line| line.starts_with("perennial_http_requests"))
        .collect();
    assert!(counted.is_empty(), "{counted:?}");
}

/// Puts a link in place of another one, in one step.
fn link(target: &str, at: &Path) {
    let new = at.with_extension("new");
    symlink(target, &new).unwrap();
    fs::rename(&new, at).unwrap();
}

/// Two files of one version in a folder of their own, each with a route whose answers tell the version.
fn write_version(daemon: &TestDaemon, version: u64) -> String {
    let (folder, site) = (daemon.folder(), daemon.site("").display().to_string());
    let route = |path: &str| {
        format!(
            "[route.\"{path}\"]\nfiles = {{ root = '{site}' }}\nheaders = {{ X-Version = '{version}' }}\n"
        )
    };
    let name = format!("version-{version}");
    fs::create_dir(folder.join(&name)).unwrap();
    let text = format!("include = ['part.toml']\n{}", toml(folder, &route("/main")));
    fs::write(folder.join(&name).join("perennial.toml"), text).unwrap();
    fs::write(folder.join(&name).join("part.toml"), route("/part")).unwrap();
    name
}

#[test]
fn files_that_are_swapped_together_while_they_are_read_are_never_mixed() {
    let mut daemon = TestDaemon::prepare("");
    fs::remove_file(daemon.config()).unwrap();
    // As Kubernetes mounts a map: all files are links into the folder that one link names.
    for name in ["perennial.toml", "part.toml"] {
        symlink(format!("data-link/{name}"), daemon.folder().join(name)).unwrap();
    }
    let data_link = daemon.folder().join("data-link");
    link(&write_version(&daemon, 0), &data_link);
    daemon.restart();
    let ends = AtomicBool::new(false);
    let mut seen = BTreeSet::new();
    thread::scope(|scope| {
        let swapping = scope.spawn(|| {
            for version in 1..20_000 {
                link(&write_version(&daemon, version), &data_link);
                if ends.load(Ordering::Relaxed) {
                    break;
                }
            }
        });
        let mut client = Client::connect(daemon.public()).unwrap();
        while !swapping.is_finished() {
            // Refused if the files never stand still.
            let reloaded = client::post(daemon.admin(), "/reload", &Value::Null);
            let versions = ["/main/", "/part/"].map(|path| {
                let answer = client.get(path).unwrap();
                answer.header("x-version").map(str::to_owned)
            });
            let mixed = versions[0] != versions[1];
            if reloaded.status == 200 {
                seen.insert(versions[0].clone());
            }
            ends.store(mixed || seen.len() >= 60, Ordering::Relaxed);
            assert!(!mixed, "{versions:?}");
        }
    });
}
