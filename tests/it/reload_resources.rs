//! Resources that come, go and change by a reload, while records are read and written.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::{self, Client, Response};
use crate::daemon::TestDaemon;
use crate::load::{self, Mix, Traffic};
use crate::reload::{metric, perennial_reload, reload, rewrite, settings};

const ALBUMS: &str = "[resource.albums]\n";
const YEARS: &str = "[resource.albums.fields]\nyear = { type = \"integer\", required = true }\n";

/// Puts settings in force that are the usual ones and these.
#[track_caller]
fn apply(daemon: &TestDaemon, more: &str) {
    rewrite(daemon, more);
    reload(daemon, "").expect(200);
}

/// Has the command refuse settings that are the usual ones and these, as it does in a dry run; returns what it prints.
#[track_caller]
fn refuse(daemon: &TestDaemon, more: &str) -> String {
    let before = settings(daemon);
    rewrite(daemon, more);
    let dry = perennial_reload(daemon, &["--dry-run"]);
    assert_eq!(settings(daemon), before, "a dry run leaves no trace");
    let refused = perennial_reload(daemon, &[]);
    assert_eq!(dry, refused);
    assert_eq!(refused.status.code(), Some(78), "{refused:?}");
    let text = String::from_utf8(refused.stderr).unwrap();
    assert!(text.ends_with("nothing has changed\n"), "{text}");
    assert_eq!(settings(daemon)["generation"], before["generation"]);
    client::get(daemon.admin(), "/readyz").expect(200);
    text
}

fn changed(daemon: &TestDaemon, method: &str, path: &str, etag: &str, body: &Value) -> String {
    let head = [("if-match", etag), ("content-type", "application/json")];
    let text = body.to_string();
    let answer =
        client::send(daemon.public(), method, path, &head, Some(text.as_bytes())).expect(200);
    answer.header("etag").unwrap().to_owned()
}

#[test]
fn a_resource_answers_as_soon_as_it_is_declared_and_has_its_records_again_when_it_comes_back() {
    let daemon = TestDaemon::start("");
    let traffic = Traffic::start(daemon.public(), Mix::writers(4));
    let mut kept = Client::connect(daemon.public()).unwrap();
    assert_eq!(
        kept.get("/albums").unwrap().expect_problem(404),
        "not_found"
    );
    rewrite(&daemon, ALBUMS);
    let output = perennial_reload(&daemon, &[]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        text,
        "resource.albums: added\napplied: generation 2 is in force\n"
    );
    let body = json!({ "title": "Blue" });
    let made = kept.post("/albums", &body).unwrap().expect(201);
    let path = made.header("location").unwrap().to_owned();
    let first = made.header("etag").unwrap();
    let etag = changed(&daemon, "PUT", &path, first, &json!({ "title": "Hejira" }));
    rewrite(&daemon, "");
    let output = perennial_reload(&daemon, &[]);
    let text = String::from_utf8(output.stdout).unwrap();
    let told = "resource.albums: removed; its records are kept, and are there again when it is declared again\n";
    assert_eq!(text, format!("{told}applied: generation 3 is in force\n"));
    assert_eq!(kept.get(&path).unwrap().expect_problem(404), "not_found");
    daemon.wait_for_log("the resource albums is not in the settings, and the store has 1 record");
    apply(&daemon, ALBUMS);
    let again = kept.get(&path).unwrap().expect(200);
    assert_eq!(again.header("etag"), Some(etag.as_str()));
    assert_eq!(again.json()["title"], "Hejira");
    let next = changed(&daemon, "PUT", &path, &etag, &json!({ "title": "Mingus" }));
    assert_ne!(next, etag);
    let seen = traffic.stop();
    assert_eq!((seen.failed, seen.closed), (0, 0), "{:?}", seen.failures);
    load::assert_kept(&seen.acked, &load::tokens(daemon.public()));
    load::assert_unchanged(daemon.public(), &seen.acked);
}

#[test]
fn rules_that_stored_records_break_are_refused_until_the_records_are_mended() {
    let daemon = TestDaemon::start(ALBUMS);
    let mut client = Client::connect(daemon.public()).unwrap();
    let mut wrong = Vec::new();
    for record in [
        json!({ "year": 1971 }),
        json!({ "year": "1972" }),
        json!({}),
    ] {
        let made = client.post("/albums", &record).unwrap().expect(201);
        wrong.push(made.json()["id"].as_str().unwrap().to_owned());
    }
    wrong.remove(0);
    let text = refuse(
        &daemon,
        &format!("{ALBUMS}{YEARS}[limits]\nbody = \"2 MiB\"\n"),
    );
    let told = format!(
        "[resource.albums] would get rules that 2 records ({}) break: ",
        wrong.join(", ")
    );
    assert!(text.contains(&told), "{text}");
    assert!(text.contains("year must be there: 1 record"), "{text}");
    client.post("/albums", &json!({})).unwrap().expect(201);
    let added = client.get("/albums?_sort=id&_order=desc").unwrap().json();
    wrong.push(added[0]["id"].as_str().unwrap().to_owned());
    for id in wrong {
        let path = format!("/albums/{id}");
        client
            .json("PATCH", &path, &json!({ "year": 1972 }))
            .unwrap()
            .expect(200);
    }
    apply(&daemon, &format!("{ALBUMS}{YEARS}"));
    let refused = client.post("/albums", &json!({})).unwrap();
    assert_eq!(refused.expect_problem(422), "validation");
    client
        .post("/albums", &json!({ "year": 1974 }))
        .unwrap()
        .expect(201);
}

#[test]
fn a_stop_during_a_comparison_of_records_is_not_delayed() {
    const CHAOS: &str = "[chaos]\nenabled = true\n";
    let mut daemon = TestDaemon::start(&format!("{CHAOS}{ALBUMS}"));
    let album = daemon.post("/albums", &json!({ "year": 1971 })).expect(201);
    let held = json!({ "point": "storage.held_comparison", "hits": 1_000_000 });
    daemon.chaos(&held);
    rewrite(&daemon, &format!("{CHAOS}{ALBUMS}{YEARS}"));
    let admin = daemon.admin();
    let reloading = std::thread::spawn(move || client::post(admin, "/reload", &Value::Null));
    daemon.wait_until("the records are compared", |daemon| {
        let storage = client::get(daemon.admin(), "/readyz/storage").text();
        storage.contains("comparing the stored records")
    });
    // Reads and writes go on meanwhile.
    daemon.post("/albums", &json!({ "year": 1972 })).expect(201);
    let begun = Instant::now();
    daemon.sigterm();
    assert!(daemon.wait_exit(Duration::from_secs(30)).success());
    assert!(
        begun.elapsed() < Duration::from_secs(4),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(
        reloading.join().unwrap().expect_problem(503),
        "shutting_down"
    );
    daemon.restart();
    assert_eq!(settings(&daemon)["last_outcome"], "started");
    let location = album.header("location").unwrap();
    daemon.get(location).expect(200);
    assert_eq!(daemon.post("/albums", &json!({})).status, 422);
}

#[test]
fn unique_values_that_stored_records_repeat_are_refused_until_the_records_are_mended() {
    const UNIQUE: &str = "unique = ['isbn', ['shelf', 'place']]\n";
    let daemon = TestDaemon::start(ALBUMS);
    let mut client = Client::connect(daemon.public()).unwrap();
    let mut ids = Vec::new();
    for record in [
        json!({ "isbn": "1", "shelf": 1, "place": 1 }),
        json!({ "isbn": "1", "shelf": 1, "place": 2 }),
        json!({ "isbn": null, "shelf": 1, "place": 3 }),
        json!({ "isbn": null, "shelf": 1, "place": 2 }),
    ] {
        let made = client.post("/albums", &record).unwrap().expect(201);
        ids.push(made.json()["id"].as_str().unwrap().to_owned());
    }
    let text = refuse(&daemon, &format!("{ALBUMS}{UNIQUE}"));
    for (fields, id) in [("isbn", &ids[1]), ("shelf, place", &ids[3])] {
        let told = format!(
            "[resource.albums] would get unique = [{fields}], but 1 record ({id}) have the same there as another one"
        );
        assert!(text.contains(&told), "{text}");
    }
    for (id, change) in [
        (&ids[1], json!({ "isbn": "2" })),
        (&ids[3], json!({ "place": 4 })),
    ] {
        let path = format!("/albums/{id}");
        client.json("PATCH", &path, &change).unwrap().expect(200);
    }
    apply(&daemon, &format!("{ALBUMS}{UNIQUE}"));
    daemon.wait_until("the index is complete", |daemon| {
        daemon.get("/albums?isbn=2").expect(200);
        metric(daemon, "perennial_storage_queries_total{plan=\"index\"} ") != "0"
    });
    let taken = client.post("/albums", &json!({ "isbn": "2" })).unwrap();
    assert_eq!(taken.status, 409);
    // What is unique already is not compared again.
    apply(
        &daemon,
        &format!("{ALBUMS}{UNIQUE}[limits]\nbody = '2 MiB'\n"),
    );
}

#[test]
fn ids_by_which_records_could_not_be_named_are_refused() {
    let counted = format!("{ALBUMS}id = \"sequence\"\n");
    let daemon = TestDaemon::start(&counted);
    daemon.post("/albums", &json!({})).expect(201);
    let text = refuse(&daemon, ALBUMS);
    assert!(
        text.contains("1 record (1) were given ids by id = \"sequence\""),
        "{text}"
    );
    daemon.get("/albums/1").expect(200);
    client::send(daemon.public(), "DELETE", "/albums/1", &[], None).expect(200);
    apply(&daemon, ALBUMS);
    let made = daemon.post("/albums", &json!({})).expect(201).json();
    assert!(made["id"].as_str().unwrap().len() > 30, "a UUID: {made}");
}

#[test]
fn a_request_that_is_sent_again_has_no_second_effect_although_its_path_went_and_came_back() {
    let daemon = TestDaemon::start(ALBUMS);
    let sent = |path: &str, key: &str, body: &Value| {
        let head = [
            ("content-type", "application/json"),
            ("idempotency-key", key),
        ];
        let text = body.to_string();
        client::send(daemon.public(), "POST", path, &head, Some(text.as_bytes()))
    };
    let operation =
        |method: &str, path: &str| json!({ "method": method, "path": path, "body": { "n": 1 } });
    let operations = [operation("POST", "/books"), operation("POST", "/albums")];
    let batch = |mode: &str| json!({ "mode": mode, "ops": operations });
    let plain = json!({ "n": 1 });
    let first = sent("/albums", "plain", &plain).expect(201);
    let all = ["atomic", "gather"].map(|mode| {
        let made = sent("/_batch", mode, &batch(mode)).expect(200).json();
        (mode, made["results"].clone())
    });
    let totals = || {
        let total = |path: &str| daemon.get(path).header("x-total-count").map(str::to_owned);
        (total("/books"), total("/albums"))
    };
    let before = totals();
    for albums in ["", ALBUMS] {
        apply(&daemon, albums);
        for (mode, results) in &all {
            let again = sent("/_batch", mode, &batch(mode)).expect(200);
            assert_eq!(again.header("idempotent-replayed"), Some("true"), "{mode}");
            assert_eq!(again.json()["results"], *results, "{mode}");
        }
        // A path that is no resource's has no answers, and no effects.
        let again = sent("/albums", "plain", &plain);
        if albums.is_empty() {
            again.expect_problem(404);
            let new = sent("/_batch", "new", &batch("atomic"));
            assert_eq!(new.status, 404, "{}", new.text());
        } else {
            assert_eq!(again.header("idempotent-replayed"), Some("true"));
            assert_eq!(again.header("location"), first.header("location"));
        }
    }
    assert_eq!(totals(), before);
}

/// A request whose body is sent later.
struct Begun {
    client: Client,
    body: String,
}

impl Begun {
    /// The `nth` that is under way.
    fn post(daemon: &TestDaemon, nth: usize, body: &Value) -> Self {
        let (mut client, body) = (Client::connect(daemon.public()).unwrap(), body.to_string());
        let head = format!(
            "POST /albums HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            daemon.public(),
            body.len()
        );
        client.write(head.as_bytes()).unwrap();
        let begun = nth.to_string();
        daemon.wait_until("it has begun", |daemon| {
            metric(daemon, "perennial_http_requests_in_flight ") == begun
        });
        Self { client, body }
    }

    fn end(mut self) -> Response {
        self.client.write(self.body.as_bytes()).unwrap();
        self.client.read_answer(false).unwrap()
    }
}

#[test]
fn a_write_that_began_before_is_done_by_the_rules_it_began_with_or_refused_by_the_new_ones() {
    let daemon = TestDaemon::start(ALBUMS);
    let good = Begun::post(&daemon, 1, &json!({ "year": 1970 }));
    let bad = Begun::post(&daemon, 2, &json!({ "year": "none" }));
    apply(&daemon, &format!("{ALBUMS}{YEARS}"));
    let late = Begun::post(&daemon, 3, &json!({ "year": 1976 }));
    good.end().expect(201);
    assert_eq!(bad.end().expect_problem(422), "validation");
    apply(&daemon, "");
    daemon.get("/albums").expect_problem(404);
    let late = late.end().expect(201).json();
    apply(&daemon, &format!("{ALBUMS}{YEARS}"));
    let path = format!("/albums/{}", late["id"].as_str().unwrap());
    assert_eq!(daemon.get(&path).expect(200).json(), late);
    assert_eq!(daemon.get("/albums").header("x-total-count"), Some("2"));
}

#[test]
fn without_a_store_resources_stay_as_they_are_and_the_rest_is_reloaded() {
    let daemon = TestDaemon::start("");
    let mut second = TestDaemon::prepare("");
    let of_first = |more: &str| {
        let text = std::fs::read_to_string(daemon.config()).unwrap();
        format!("{text}\n[storage]\non_refusal = \"degrade\"\n{more}")
    };
    std::fs::write(second.config(), of_first("")).unwrap();
    second.spawn();
    second.wait_for_log("is in use by process");
    second.wait_until("it answers", |second| !second.listening().is_empty());
    std::fs::write(second.config(), of_first(ALBUMS)).unwrap();
    let refused = perennial_reload(&second, &[]);
    assert_eq!(refused.status.code(), Some(75), "{refused:?}");
    let text = String::from_utf8(refused.stderr).unwrap();
    assert!(text.contains("only while the store takes writes"), "{text}");
    assert!(text.contains("is in use by process"), "{text}");
    std::fs::write(second.config(), of_first("[limits]\nbody = \"2 MiB\"\n")).unwrap();
    reload(&second, "").expect(200);
    assert_eq!(settings(&second)["generation"], 2);
}
