//! Settings that are read again while the daemon runs: applied as a whole or refused as a whole, and no request notices.

use std::fs;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::{self, Client, Response};
use crate::daemon::{BINARY, TestDaemon, toml};

pub(crate) fn rewrite(daemon: &TestDaemon, more: &str) {
    fs::write(daemon.config(), toml(daemon.folder(), more)).unwrap();
}

pub(crate) fn reload(daemon: &TestDaemon, query: &str) -> Response {
    client::post(daemon.admin(), &format!("/reload{query}"), &Value::Null)
}

pub(crate) fn perennial_reload(daemon: &TestDaemon, more: &[&str]) -> Output {
    reload_command(daemon, more).output().unwrap()
}

pub(crate) fn reload_command(daemon: &TestDaemon, more: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command.arg("--config").arg(daemon.config()).arg("reload");
    let admin = daemon.admin().to_string();
    command.args(["--admin", &admin]).args(more);
    command
}

pub(crate) fn settings(daemon: &TestDaemon) -> Value {
    client::get(daemon.admin(), "/supervisor").json()["settings"].clone()
}

/// The value of one metric.
pub(crate) fn metric(daemon: &TestDaemon, name: &str) -> String {
    let metrics = client::get(daemon.admin(), "/metrics").text();
    let line = metrics.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_else(|| panic!("no {name}"))
        .trim()
        .to_owned()
}

const SLOW: &str = "[route.\"/slow\"]\nfiles = { root = 'SITE' }\n";

/// Settings with a slow route, whose answers have this header, and with this limit of bodies.
fn slow(daemon: &TestDaemon, more: &str, body: &str) -> String {
    let site = daemon.site("").display().to_string();
    let route = SLOW.replace("SITE", &site);
    format!("{route}{more}\n[limits]\nbody = \"{body}\"")
}

#[test]
fn a_kept_connection_has_the_new_rules_and_a_request_in_flight_ends_under_the_old_ones() {
    let mut daemon = TestDaemon::prepare("");
    let old = slow(
        &daemon,
        "delay = '2s'\nheaders = { X-Rule = \"old\" }",
        "2 KiB",
    );
    rewrite(&daemon, &old);
    daemon.restart();
    let mut kept = Client::connect(daemon.public()).unwrap();
    let large = json!({ "text": "x".repeat(4096) });
    assert_eq!(kept.post("/books", &large).unwrap().status, 413);
    let mut kept = Client::connect(daemon.public()).unwrap();
    kept.get("/").unwrap().expect(200);
    let mut in_flight = Client::connect(daemon.public()).unwrap();
    let request = format!("GET /slow/ HTTP/1.1\r\nHost: {}\r\n\r\n", daemon.public());
    in_flight.write(request.as_bytes()).unwrap();
    let begun = Instant::now();
    while metric(&daemon, "perennial_http_requests_in_flight ") == "0" {
        assert!(begun.elapsed() < Duration::from_secs(1), "it is too late");
    }
    rewrite(
        &daemon,
        &slow(&daemon, "headers = { X-Rule = \"new\" }", "8 KiB"),
    );
    let reloaded = reload(&daemon, "").expect(200).json();
    assert_eq!(reloaded["generation"], 2, "{reloaded}");
    assert!(begun.elapsed() < Duration::from_secs(2), "it is too late");
    let answer = kept.get("/slow/").unwrap().expect(200);
    assert_eq!(answer.header("x-rule"), Some("new"));
    kept.post("/books", &large).unwrap().expect(201);
    let answer = in_flight.read_answer(false).unwrap().expect(200);
    assert_eq!(answer.header("x-rule"), Some("old"));
    assert!(begun.elapsed() >= Duration::from_secs(2), "it was delayed");
    let answer = in_flight.get("/slow/").unwrap().expect(200);
    assert_eq!(answer.header("x-rule"), Some("new"));
    daemon.wait_for_log("reload: route.\"/slow\": changed: route.\"/slow\".delay from \"2s\"");
    daemon.wait_for_log("reload: limits: changed: limits.body from \"2 KiB\" to \"8 KiB\"");
    let counted = "perennial_http_requests_total{route=\"/slow\",method=\"GET\",code=\"200\"} ";
    assert_eq!(metric(&daemon, counted), "3");
}

#[test]
fn settings_that_are_wrong_or_need_a_restart_are_refused_and_nothing_changes() {
    let daemon = TestDaemon::start("");
    let first = settings(&daemon);
    assert_eq!(first["generation"], 1);
    assert_eq!(first["last_error"], Value::Null);
    assert_eq!(
        metric(&daemon, "perennial_config_last_reload_successful "),
        "1.0"
    );
    rewrite(&daemon, "[limits]\nbody = \"lots\"\nheaders = 5");
    let refused = reload(&daemon, "");
    let faults = refused.clone().expect(422).json();
    assert_eq!(refused.expect_problem(422), "invalid_settings");
    assert_eq!(faults["reasons"].as_array().unwrap().len(), 2, "{faults}");
    rewrite(
        &daemon,
        "[storage]\ncache = \"2 MiB\"\n[limits]\nbody = \"2 MiB\"",
    );
    assert_eq!(reload(&daemon, "").expect_problem(409), "needs_restart");
    let now = settings(&daemon);
    for same in ["generation", "hash", "since"] {
        assert_eq!(now[same], first[same], "{same}");
    }
    let error = now["last_error"].as_str().unwrap();
    assert!(error.contains("storage.cache"), "{error}");
    assert_eq!(
        metric(&daemon, "perennial_config_last_reload_successful "),
        "0.0"
    );
    client::get(daemon.admin(), "/readyz").expect(200);
    rewrite(&daemon, "");
    reload(&daemon, "").expect(200);
    assert_eq!(settings(&daemon)["last_error"], Value::Null);
    client::get(daemon.admin(), "/reload").expect_problem(405);
    reload(&daemon, "?dry=yes").expect_problem(400);
}

#[test]
fn the_command_prints_what_changes_and_a_dry_run_changes_nothing() {
    let daemon = TestDaemon::start("");
    let unchanged = perennial_reload(&daemon, &[]);
    assert_eq!(unchanged.status.code(), Some(0));
    let text = String::from_utf8(unchanged.stdout).unwrap();
    assert_eq!(text, "nothing to change: generation 1 is in force\n");
    rewrite(&daemon, "[limits]\nidle_timeout = \"9s\"");
    let change = "limits: changed: limits.idle_timeout from \"75s\" to \"9s\"\n";
    for (arguments, outcome, generation) in [
        (
            &["--dry-run"][..],
            "not applied: generation 1 stays in force\n",
            1,
        ),
        (&[], "applied: generation 2 is in force\n", 2),
    ] {
        let output = perennial_reload(&daemon, arguments);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(text, format!("{change}{outcome}"));
        assert_eq!(settings(&daemon)["generation"], generation);
    }
    rewrite(&daemon, "[storage]\ncache = \"2 MiB\"");
    let refused = perennial_reload(&daemon, &[]);
    assert_eq!(refused.status.code(), Some(78));
    let text = String::from_utf8(refused.stderr).unwrap();
    assert!(
        text.contains("storage.cache from \"128 MiB\" to \"2 MiB\""),
        "{text}"
    );
    assert!(text.ends_with("nothing has changed\n"), "{text}");
}

#[test]
fn routes_and_their_folders_come_and_go() {
    let daemon = TestDaemon::start("");
    let more = daemon.folder().join("more");
    fs::create_dir(&more).unwrap();
    fs::write(more.join("index.html"), "more").unwrap();
    let route = format!(
        "[route.\"/more\"]\nfiles = {{ root = '{}' }}",
        more.display()
    );
    let mut kept = Client::connect(daemon.public()).unwrap();
    kept.get("/more/").unwrap().expect(404);
    rewrite(&daemon, &route);
    let added = reload(&daemon, "").expect(200).json();
    assert_eq!(added["changes"][0]["change"], "added", "{added}");
    assert_eq!(kept.get("/more/").unwrap().expect(200).text(), "more");
    client::get(daemon.admin(), "/readyz/files:%2Fmore").expect(200);
    let elsewhere = daemon.site("").display().to_string();
    rewrite(
        &daemon,
        &route.replace(&more.display().to_string(), &elsewhere),
    );
    reload(&daemon, "").expect(200);
    assert_eq!(kept.get("/more/").unwrap().text(), "<h1>first</h1>");
    rewrite(&daemon, &route.replace("more'", "no-folder'"));
    assert_eq!(reload(&daemon, "").expect_problem(422), "invalid_settings");
    assert_eq!(kept.get("/more/").unwrap().text(), "<h1>first</h1>");
    rewrite(&daemon, "");
    let removed = reload(&daemon, "").expect(200).json();
    assert_eq!(removed["changes"][0]["change"], "removed", "{removed}");
    kept.get("/more/").unwrap().expect(404);
    client::get(daemon.admin(), "/readyz/files:%2Fmore").expect(404);
}

#[test]
fn a_folder_that_has_gone_is_a_warning_for_its_route_and_a_fault_for_a_new_one() {
    let daemon = TestDaemon::start("");
    let folder = daemon.folder().join("more");
    fs::create_dir(&folder).unwrap();
    let route = |prefix: &str| {
        let root = folder.display();
        format!("[route.\"{prefix}\"]\nfiles = {{ root = '{root}' }}\n")
    };
    rewrite(&daemon, &route("/more"));
    reload(&daemon, "").expect(200);
    fs::remove_dir(&folder).unwrap();
    let limits = "[limits]\nbody = '2 KiB'\n";
    rewrite(&daemon, &format!("{}{limits}", route("/more")));
    for query in ["?dry_run=true", ""] {
        let reloaded = reload(&daemon, query).expect(200).json();
        let warnings = reloaded["warnings"].to_string();
        assert!(
            warnings.contains("there is no folder"),
            "{query}: {reloaded}"
        );
    }
    assert_eq!(settings(&daemon)["generation"], 3);
    daemon.wait_for_log("the daemon serves it already");
    // A change of its rules, too: what it answers has not become worse.
    let rules = "headers = { X-A = 'b' }\n";
    rewrite(&daemon, &format!("{}{rules}{limits}", route("/more")));
    reload(&daemon, "").expect(200);
    for wrong in [route("/other"), route("/more").replace("more'", "nowhere'")] {
        rewrite(&daemon, &format!("{wrong}{limits}"));
        let refused = reload(&daemon, "").expect(422).text();
        assert!(refused.contains("there is no folder"), "{refused}");
    }
    assert_eq!(settings(&daemon)["generation"], 4);
}

/// How often the file cache was asked for a file.
fn asked(daemon: &TestDaemon) -> u64 {
    let misses = metric(daemon, "perennial_file_cache_misses_total");
    misses.trim().trim_end_matches(".0").parse().unwrap()
}

#[test]
fn of_many_new_routes_to_one_folder_one_is_asked_and_each_has_its_line_in_the_log() {
    let daemon = TestDaemon::start("");
    let site = daemon.site("").display().to_string();
    let route = |n: u32| format!("[route.\"/r{n}\"]\nfiles = {{ root = '{site}' }}\n");
    let before = asked(&daemon);
    rewrite(&daemon, &(0..250).map(route).collect::<String>());
    reload(&daemon, "").expect(200);
    assert_eq!(asked(&daemon), before + 1);
    rewrite(&daemon, "");
    reload(&daemon, "").expect(200);
    for end in ["added", "removed"] {
        let lines = |daemon: &TestDaemon| {
            let log = daemon.stderr();
            let lines = log
                .lines()
                .filter(|line| line.contains("reload: route.\"/r"));
            lines.filter(|line| line.ends_with(end)).count()
        };
        daemon.wait_until(end, |daemon| lines(daemon) == 250);
    }
}

#[test]
fn a_new_route_that_does_not_answer_in_time_is_asked_again() {
    let daemon = TestDaemon::start("");
    let site = daemon.site("").display().to_string();
    let route = |prefix: &str| format!("[route.\"{prefix}\"]\nfiles = {{ root = '{site}' }}\n");
    let order = |order: &str| {
        let path = format!("/supervisor/file-cache/{order}");
        client::post(daemon.admin(), &path, &Value::Null).expect(200);
    };
    order("stop");
    rewrite(&daemon, &route("/a"));
    let before = asked(&daemon);
    std::thread::scope(|scope| {
        let reloading = scope.spawn(|| reload(&daemon, ""));
        daemon.wait_until("it is asked again", |daemon| asked(daemon) >= before + 2);
        order("start");
        reloading.join().unwrap().expect(200);
    });
    order("stop");
    let hasty = "[supervision]\nstart_timeout = '1s'\n";
    rewrite(&daemon, &format!("{}{}{hasty}", route("/a"), route("/b")));
    let refused = reload(&daemon, "").expect(422).text();
    assert!(
        refused.contains("a GET of /b/ by the daemon itself was answered 503"),
        "{refused}"
    );
    order("start");
}
