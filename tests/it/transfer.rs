//! `perennial export` and `perennial import`, with the real daemon and the command line.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::chaos::{CHILDREN, UNLIMITED_RESTARTS};
use crate::daemon::{BINARY, TestDaemon};

/// A resource for each kind of id, with and without fields.
pub(crate) const RESOURCES: &str = r#"
[resource.counted]
id = "sequence"
[resource.named]
id = "client"
[resource.albums]
id = "sequence"
[resource.albums.fields]
title = { type = "string", required = true, max_length = 20 }
year = { type = "integer", min = 0, max = 3000 }
price = { type = "number" }
lent = { type = "boolean" }
tags = { type = "array", items = "string" }
artist = { type = "object" }
"#;

#[track_caller]
fn run(daemon: &TestDaemon, words: &[&str]) -> Output {
    let mut command = Command::new(BINARY);
    command
        .args(words)
        .args(["--admin", &daemon.admin().to_string()]);
    command.arg("--config").arg(daemon.config());
    command.current_dir(daemon.folder()).output().unwrap()
}

/// Runs a command that must end with this code; returns its stdout and its stderr.
#[track_caller]
pub(crate) fn expect(daemon: &TestDaemon, words: &[&str], code: i32) -> (String, String) {
    let output = run(daemon, words);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let (out, err) = (text(output.stdout), text(output.stderr));
    assert_eq!(output.status.code(), Some(code), "{words:?}: {out}{err}");
    (out, err)
}

pub(crate) fn write(daemon: &TestDaemon, name: &str, text: impl AsRef<[u8]>) {
    fs::write(daemon.folder().join(name), text).unwrap();
}

pub(crate) fn read(daemon: &TestDaemon, name: &str) -> String {
    fs::read_to_string(daemon.folder().join(name)).unwrap()
}

/// The last line of an import that refused some rows and brought others in.
fn not_in(file: &str, rows: usize) -> String {
    format!(
        "{file}: {rows} records are not in: mend them in place and give the same command again, which sends only those ({file}.import says which)"
    )
}

#[track_caller]
pub(crate) fn listed(daemon: &TestDaemon, path: &str) -> Value {
    daemon.get(path).expect(200).json()
}

/// Records of each kind of id, with values that formats get wrong.
fn fill(daemon: &TestDaemon) {
    let odd = json!({
        "text": "a,\"b\"\r\nc\u{e4}\u{1f600}", "empty": "", "number_text": "5", "null_text": "null", "quoted": "\"x\"",
        "null": null, "nested": {"a": [1, {"b": "\n"}]}, "big": 9_007_199_254_740_993_i64, "biggest": u64::MAX, "small": -1,
        "float": 0.1, "exponent": 1e300, "truth": true, "truth_text": "true", "space": " 1",
    });
    for path in ["/books", "/counted"] {
        daemon.post(path, &odd).expect(201);
        daemon
            .post(path, &json!({"id": "text-1.~_", "a": 1}))
            .expect(201);
        daemon.post(path, &json!({})).expect(201);
        daemon
            .post(path, &json!({"id": "7", "other": [], "a b": {}}))
            .expect(201);
    }
    daemon.post("/counted", &json!({"id": 0})).expect(201);
    // Only an import brings the largest numbers.
    write(daemon, "largest.ndjson", "{\"id\":9007199254740990}\n");
    let (told, _) = expect(daemon, &["import", "counted", "largest.ndjson"], 0);
    assert!(told.contains("0 refused"), "{told}");
    daemon.post("/counted", &json!({"id": "007"})).expect(201);
    daemon
        .post("/named", &json!({"id": "b", "x": 1}))
        .expect(201);
    daemon.post("/named", &json!({"id": "a"})).expect(201);
    let albums = [
        json!({"title": "1984", "year": 1984, "price": 1.50, "lent": false, "tags": ["a", "5"], "artist": {"name": "\u{e4}"}}),
        json!({"id": 50, "title": "null", "year": null, "lent": true, "tags": []}),
        json!({"title": ""}),
    ];
    for album in albums {
        daemon.post("/albums", &album).expect(201);
    }
}

const NAMES: [&str; 4] = ["albums", "books", "counted", "named"];

#[test]
fn each_format_brings_the_same_records_into_another_store() {
    let from = TestDaemon::start(RESOURCES);
    fill(&from);
    for ending in ["ndjson", "csv", "json"] {
        let to = TestDaemon::start(RESOURCES);
        for name in NAMES {
            let file = to.folder().join(format!("{name}.{ending}"));
            let file = file.to_str().unwrap();
            expect(&from, &["export", name, file], 0);
            let (told, _) = expect(&to, &["import", name, file], 0);
            assert!(told.contains("0 refused"), "{told}");
            let path = format!("/{name}");
            assert_eq!(listed(&to, &path), listed(&from, &path), "{ending}");
            let (first, _) = expect(&from, &["export", name, "--format", "ndjson"], 0);
            let (second, _) = expect(&to, &["export", name], 0);
            assert_eq!(second, first, "{ending}");
            let again = format!("again.{ending}");
            expect(&to, &["export", name, &again, "--overwrite"], 0);
            assert_eq!(read(&to, &again), fs::read_to_string(file).unwrap());
        }
        // The counter went past the ids.
        assert_eq!(
            to.post("/albums", &json!({"title": "x"}))
                .expect(201)
                .json()["id"],
            52
        );
    }
    let to = TestDaemon::start(RESOURCES);
    let (database, _) = expect(&from, &["export", "--format", "db.json"], 0);
    write(&to, "db.json", &database);
    expect(&to, &["import", "db.json"], 0);
    let (again, _) = expect(&to, &["export", "--format", "db.json"], 0);
    assert_eq!(again, database);
    let parsed: Value = serde_json::from_str(&database).unwrap();
    assert_eq!(parsed["albums"].as_array().map(Vec::len), Some(3));
}

#[test]
fn wrong_lines_are_reported_with_all_their_faults_and_the_others_go_in() {
    let daemon = TestDaemon::start(RESOURCES);
    let text = "\u{feff}{\"title\":\"a\"}\r\n\r\n{\"titel\":1,\"year\":4000}\r\n{\"title\":\r\n[]\r\n{\"id\":1.5,\"title\":\"b\"}\r\n{\"id\":1,\"title\":\"c\"}\r\n{\"id\":2,\"title\":\"unterminated\"}";
    write(&daemon, "albums.ndjson", text);
    let (told, faults) = expect(&daemon, &["import", "albums", "albums.ndjson"], 65);
    assert_eq!(
        told,
        "albums.ndjson: 2 records imported, 0 of them replaced others; 5 refused\n"
    );
    let faults: Vec<_> = faults.lines().collect();
    assert_eq!(
        faults,
        [
            "albums.ndjson:3: titel is not a field of this resource; did you mean title?; year must be at most 3000; title must be there",
            "albums.ndjson:4: not valid JSON at column 9: EOF while parsing a value",
            "albums.ndjson:5: a record must be a JSON object, this is an array",
            "albums.ndjson:6: the id must be a string or a whole number from 0 to 9007199254740991",
            "albums.ndjson:7: a record with the id 1 exists already",
            &not_in("albums.ndjson", 5),
        ]
    );
    let titles = |daemon: &TestDaemon| {
        let all = listed(daemon, "/albums");
        let all = all.as_array().unwrap().iter();
        all.map(|album| format!("{}", album["title"]))
            .collect::<Vec<_>>()
    };
    assert_eq!(titles(&daemon), ["\"a\"", "\"unterminated\""]);
    assert!(daemon.folder().join("albums.ndjson.import").exists());

    let csv =
        "\u{feff}id,title,year\r\n1,again,5\r\n,\"new\r\nlines\",2000\r\n\r\n,short\r\n7,late,x";
    write(&daemon, "albums.csv", csv);
    let dry = &["import", "albums", "albums.csv", "--dry-run"];
    let (told, dry) = expect(&daemon, dry, 65);
    assert_eq!(
        told,
        "albums.csv: 1 records could be imported, 0 of them replaced others; 3 refused\n"
    );
    assert_eq!(titles(&daemon).len(), 2, "a dry run changes nothing");
    let (_, wet) = expect(&daemon, &["import", "albums", "albums.csv"], 65);
    assert_eq!(format!("{dry}{}\n", not_in("albums.csv", 3)), wet);
    let lines: Vec<_> = dry.lines().collect();
    assert_eq!(
        lines,
        [
            "albums.csv:2: a record with the id 1 exists already",
            "albums.csv:6: the row has 2 cells, the header 3",
            "albums.csv:7: year must be a whole number",
        ]
    );
    write(&daemon, "one.csv", "id,title\n1,replaced\n60,new");
    let (told, _) = expect(&daemon, &["import", "albums", "one.csv", "--upsert"], 0);
    assert_eq!(
        told,
        "one.csv: 2 records imported, 1 of them replaced others; 0 refused\n"
    );
    assert_eq!(listed(&daemon, "/albums/1")["title"], "replaced");
    for empty in ["empty.ndjson", "empty.csv"] {
        write(&daemon, empty, "");
        expect(&daemon, &["import", "albums", empty], 0);
    }
    write(&daemon, "empty.json", "{}");
    expect(&daemon, &["import", "empty.json"], 65);
}

#[test]
fn a_dry_run_tells_the_same_as_the_import_after_it() {
    let daemon = TestDaemon::start(RESOURCES);
    let mut text =
        "{\"id\":\"a\"}\n{\"id\":\"old\"}\n{\"id\":\"a\"}\n{\"id\":\"\u{e4}\"}\n".to_owned();
    // The next parcel.
    for n in 0..3000 {
        writeln!(text, "{{\"id\":\"n{n}\"}}").unwrap();
    }
    text.push_str("{\"id\":\"a\"}\n{\"id\":\"\\u0061\"}\n{\"id\":\"old\"}\n{\"id\":\"b\"}");
    write(&daemon, "n.ndjson", text);
    for (name, upsert, refused) in [("named", false, 6), ("books", true, 1)] {
        let path = format!("/{name}");
        daemon.post(&path, &json!({"id": "old"})).expect(201);
        let more = upsert.then_some("--upsert");
        let mut words = vec!["import", name, "n.ndjson"];
        words.extend(more);
        let dry = [&words[..], &["--dry-run"]].concat();
        let (told_dry, faults_dry) = expect(&daemon, &dry, 65);
        assert_eq!(listed(&daemon, &path).as_array().map(Vec::len), Some(1));
        let (told, faults) = expect(&daemon, &words, 65);
        let hint = not_in("n.ndjson", refused);
        assert_eq!(format!("{faults_dry}{hint}\n"), faults);
        assert_eq!(faults_dry.lines().count(), refused);
        fs::remove_file(daemon.folder().join("n.ndjson.import")).unwrap();
        assert_eq!(told_dry.replace("could be imported", "imported"), told);
    }
}

#[test]
fn an_array_that_is_no_resource_is_told_with_its_settings() {
    let daemon = TestDaemon::start(RESOURCES);
    let database = "{\"comments\": [{\"id\": 1}, {}],\n \"profile\": {\"name\": \"x\"},\n \"named\": [{\"id\": \"a\"}]}";
    write(&daemon, "db.json", database);
    let (told, faults) = expect(&daemon, &["import", "db.json"], 65);
    assert!(told.contains("1 records imported"), "{told}");
    assert!(told.ends_with("; 0 refused, 2 left out\n"), "{told}");
    let last = not_in("db.json", 2).replace("mend them in place", "declare their resources");
    assert!(faults.ends_with(&format!("{last}\n")), "{faults}");
    assert!(faults.contains("[resource.comments]\n"), "{faults}");
    assert!(faults.contains("id = \"sequence\""), "{faults}");
    assert!(
        faults.contains("profile is no array of records"),
        "{faults}"
    );
    let (_, told) = expect(&daemon, &["import", "comments", "db.json"], 65);
    assert!(told.contains("[resource.comments]"), "{told}");
    let (_, told) = expect(&daemon, &["export", "comments"], 1);
    assert!(told.contains("no resource named comments"), "{told}");
    write(
        &daemon,
        "cut.json",
        "{\"named\": [{\"id\": \"b\"}, {\"id\": ",
    );
    let (told, fault) = expect(&daemon, &["import", "cut.json"], 65);
    assert!(told.contains("1 records imported"), "{told}");
    assert!(fault.contains("is not a db.json: EOF"), "{fault}");
    for words in [
        &["import", "x.ndjson"][..],
        &["import", "books"],
        &["export"],
    ] {
        expect(&daemon, words, 64);
    }
}

#[test]
fn records_come_from_stdin_and_a_daemon_that_is_not_there_is_told() {
    let mut daemon = TestDaemon::start(RESOURCES);
    let mut import = Command::new(BINARY);
    import.args(["import", "books", "-", "--format", "csv"]);
    import.args(["--admin", &daemon.admin().to_string()]);
    let mut import = import
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    import
        .stdin
        .take()
        .unwrap()
        .write_all(b"n\n1\n2\n")
        .unwrap();
    let output = import.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(listed(&daemon, "/books").as_array().map(Vec::len), Some(2));
    daemon.kill9();
    write(&daemon, "x.csv", "n\n1");
    for words in [&["import", "books", "x.csv"][..], &["export", "books"]] {
        let (_, told) = expect(&daemon, words, 69);
        assert!(told.contains("is the daemon running"), "{told}");
    }
}

/// The lines of a file whose records have no ids, and the numbers in them.
fn numbered(records: usize) -> String {
    let mut text = String::new();
    for n in 0..records {
        writeln!(text, "{{\"n\":{n},\"pad\":\"{}\"}}", "x".repeat(200)).unwrap();
    }
    text
}

/// All numbers of a resource, sorted, by an export.
fn numbers(daemon: &TestDaemon, resource: &str) -> Vec<u64> {
    let (text, _) = expect(daemon, &["export", resource], 0);
    let number = |line: &str| {
        let record: Value = serde_json::from_str(line).unwrap();
        record["n"].as_u64().unwrap()
    };
    let mut numbers: Vec<_> = text.lines().map(number).collect();
    numbers.sort_unstable();
    numbers
}

#[test]
fn an_import_whose_daemon_or_sender_is_killed_goes_on_where_it_was() {
    let mut daemon = TestDaemon::start(RESOURCES);
    let records = 20_000;
    write(&daemon, "n.ndjson", numbered(records));
    let state = daemon.folder().join("n.ndjson.import");
    let spawn = |daemon: &TestDaemon, resource: &str| {
        let mut import = Command::new(BINARY);
        import
            .args(["import", resource, "n.ndjson"])
            .current_dir(daemon.folder());
        import.args(["--admin", &daemon.admin().to_string()]);
        import
            .stderr(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let came = |daemon: &TestDaemon, path: &str, least: usize| {
        daemon.wait_until("some records", |daemon| {
            let list = daemon.get(path).expect(200);
            let total = list.header("x-total-count").unwrap();
            total.parse::<usize>().unwrap() > least
        });
    };
    for (resource, path) in [
        ("counted", "/counted?_limit=0"),
        ("books", "/books?_limit=0"),
    ] {
        // The sender is killed, and the daemon does what it has got meanwhile.
        let mut import = spawn(&daemon, resource);
        came(&daemon, path, 1000);
        import.kill().unwrap();
        import.wait().unwrap();
        assert!(state.exists());
        // Then the daemon is killed; the sender gives up, since the next one has another address.
        let import = spawn(&daemon, resource);
        came(&daemon, path, 9000);
        daemon.kill9();
        let output = import.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(69), "{output:?}");
        daemon.restart();
        daemon
            .post(&format!("/{resource}"), &json!({"n": 1_000_000}))
            .expect(201);
        let (told, goes_on) = expect(&daemon, &["import", resource, "n.ndjson"], 0);
        assert!(goes_on.contains("goes on, "), "{goes_on}");
        assert!(
            told.contains(&format!(": {records} records imported")),
            "{told}"
        );
        let mut all: Vec<_> = (0..20_000).collect();
        all.push(1_000_000);
        assert_eq!(numbers(&daemon, resource), all);
        assert!(!state.exists());
    }
    // Rows that may be on their way must be as they were.
    let mut import = spawn(&daemon, "books");
    came(&daemon, "/books?_limit=0", records + 1000);
    import.kill().unwrap();
    import.wait().unwrap();
    let whole = read(&daemon, "n.ndjson");
    write(&daemon, "n.ndjson", whole.replace("\"n\":", "\"m\":"));
    let (_, told) = expect(&daemon, &["import", "books", "n.ndjson"], 65);
    assert!(told.contains("were changed"), "{told}");
    write(&daemon, "n.ndjson", whole);
    let (_, told) = expect(&daemon, &["import", "counted", "n.ndjson"], 65);
    assert!(told.contains("into another resource"), "{told}");
    expect(&daemon, &["import", "books", "n.ndjson"], 0);
    assert!(!state.exists());
}

/// Rows that were refused are mended in place; only they are sent when the same command is given again.
#[test]
fn mended_rows_go_in_and_those_that_are_in_are_not_sent_again() {
    let daemon = TestDaemon::start(RESOURCES);
    let state = |name: &str| daemon.folder().join(format!("{name}.import"));
    // No id of their own: sent twice, they would be there twice.
    let rows = |wrong: &[usize], wrong_row: &str| {
        let row = |n| {
            if wrong.contains(&n) {
                format!("{wrong_row}\n")
            } else {
                format!("{{\"title\":\"t{n}\",\"year\":{n}}}\n")
            }
        };
        (0..2500).map(row).collect::<String>()
    };
    let years = |daemon: &TestDaemon| {
        let (text, _) = expect(daemon, &["export", "albums"], 0);
        let year = |line: &str| serde_json::from_str::<Value>(line).unwrap()["year"].as_u64();
        let mut years: Vec<_> = text.lines().map(year).map(Option::unwrap).collect();
        years.sort_unstable();
        years
    };
    let import = |file: &str, code: i32| expect(&daemon, &["import", "albums", file], code);
    write(&daemon, "a.ndjson", rows(&[0, 7, 8, 2400], "{\"titel\":1}"));
    let (told, faults) = import("a.ndjson", 65);
    assert!(told.contains("2496 records imported"), "{told}");
    assert!(
        faults.ends_with(&format!("{}\n", not_in("a.ndjson", 4))),
        "{faults}"
    );
    // Unchanged, they are told of again, and nothing happens.
    let (_, again) = import("a.ndjson", 65);
    assert!(again.contains("goes on, 2496 records are in"), "{again}");
    assert!(again.ends_with(&faults), "{again}");
    // Rows that are in must stay where they are.
    let mended = rows(&[8], "{}");
    write(&daemon, "a.ndjson", mended.replace("t1000", "changed"));
    let (_, refused) = import("a.ndjson", 65);
    assert!(refused.contains("says that 2496 rows"), "{refused}");
    write(&daemon, "a.ndjson", mended.split_once('\n').unwrap().1);
    import("a.ndjson", 65);
    // Some are mended, and then the last one; a row that came to the end is sent, too.
    write(&daemon, "a.ndjson", &mended);
    let (told, faults) = import("a.ndjson", 65);
    assert!(
        told.contains("2499 records imported") && told.contains("1 refused"),
        "{told}"
    );
    assert!(
        faults.contains("a.ndjson:9: title must be there"),
        "{faults}"
    );
    let end = "{\"title\":\"end\",\"year\":2500}\n";
    write(&daemon, "a.ndjson", format!("{}{end}", rows(&[], "")));
    import("a.ndjson", 0);
    assert_eq!(years(&daemon), (0..=2500).collect::<Vec<_>>());
    assert!(!state("a.ndjson").exists());

    // A file that breaks off is mended behind what is in.
    let broken = "{\"albums\": [{\"title\":\"x\",\"year\":2600}, {\"title\":\"y\",\"year\":2601";
    write(&daemon, "b.json", broken);
    expect(&daemon, &["import", "b.json"], 65);
    assert!(state("b.json").exists());
    write(&daemon, "b.json", format!("{broken}}}]}}"));
    expect(&daemon, &["import", "b.json"], 0);
    assert_eq!(years(&daemon).len(), 2503);

    // An array that was not declared is sent when it is; one that nothing came of leaves nothing behind.
    write(&daemon, "none.csv", "title,year\n,x\n");
    import("none.csv", 65);
    write(&daemon, "broken.csv", "title,title\nx,5\n");
    import("broken.csv", 65);
    for name in ["none.csv", "broken.csv", "b.json"] {
        assert!(!state(name).exists(), "{name}");
    }
    write(&daemon, "none.csv", "title,year\nnow,2700\n");
    import("none.csv", 0);
    assert_eq!(years(&daemon).len(), 2504);
}

/// The disk fails, and the writer and whoever takes the parcels die, at each of their fault points.
#[test]
fn an_import_during_which_children_die_brings_each_record_once() {
    let daemon = TestDaemon::start(&format!("{UNLIMITED_RESTARTS}{RESOURCES}"));
    let records = 3000;
    let text = numbered(records);
    write(&daemon, "n.ndjson", &text);
    let points = CHILDREN[2].1.iter().map(|point| json!({ "point": point }));
    let more = ["writer.fatal", "storage.failing_sync"];
    let more = more.iter().map(|point| json!({ "point": point }));
    let children = ["admin-handler", "admin-listener", "writer"];
    let children = children.iter().map(|child| json!({ "child": child }));
    let mut rounds: u64 = 0;
    for order in points.chain(more).chain(children) {
        daemon.chaos(&order);
        let (told, _) = expect(&daemon, &["import", "counted", "n.ndjson"], 0);
        let all =
            format!("n.ndjson: {records} records imported, 0 of them replaced others; 0 refused\n");
        assert_eq!(told, all, "{order}");
        rounds += 1;
        if let Some(point) = order["point"].as_str() {
            let known = crate::client::get(daemon.admin(), "/chaos").expect(200);
            assert_eq!(known.json()["points"][point], 0, "{point} was not passed");
        }
    }
    let (all, _) = expect(&daemon, &["export", "counted"], 0);
    let ids = all.lines().map(|line| {
        let record: Value = serde_json::from_str(line).unwrap();
        (
            record["id"].as_u64().unwrap(),
            record["n"].as_u64().unwrap(),
        )
    });
    // The ids follow one another, and so do the records.
    let count = as_u64(records) * rounds;
    let expected = (1..=count).map(|id| (id, (id - 1) % as_u64(records)));
    assert!(
        ids.eq(expected),
        "{} of {count} records",
        all.lines().count()
    );
}

fn as_u64(n: usize) -> u64 {
    u64::try_from(n).unwrap()
}

/// The memory of each is limited to less than it would take to keep what is read.
#[test]
fn a_source_without_an_end_of_a_record_ends_the_import() {
    let daemon = TestDaemon::start(RESOURCES);
    for (format, told) in [
        (
            "ndjson",
            "/dev/zero has no end of line 1 within 1024 MiB: is it NDJSON?",
        ),
        (
            "csv",
            "/dev/zero has a record near line 1 without an end within",
        ),
        ("db.json", "/dev/zero is not a db.json"),
    ] {
        let mut import = Command::new("sh");
        import.args(["-c", "ulimit -v 900000; exec \"$0\" \"$@\""]);
        import.arg(BINARY);
        import.args(["import", "books", "/dev/zero", "--format", format]);
        import.args(["--admin", &daemon.admin().to_string()]);
        let output = import.output().unwrap();
        let found = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(65), "{format}: {found}");
        assert!(found.contains(told), "{format}: {found}");
    }
    assert!(
        !fs::exists("/dev/zero.import").unwrap(),
        "a device has no state"
    );
}

/// A log that was trimmed past the cut leaves open which records are in.
#[test]
fn a_file_is_imported_by_one_at_a_time() {
    let daemon = TestDaemon::start(RESOURCES);
    write(&daemon, "n.ndjson", numbered(10));
    let other = fs::File::open(daemon.folder().join("n.ndjson")).unwrap();
    other.lock().unwrap();
    let words = ["import", "counted", "n.ndjson"];
    let (_, told) = expect(&daemon, &words, 1);
    assert!(
        told.contains("another import of n.ndjson is under way"),
        "{told}"
    );
    other.unlock().unwrap();
    expect(&daemon, &words, 0);
    assert_eq!(numbers(&daemon, "counted").len(), 10);
}

#[test]
fn an_import_does_not_go_on_where_the_log_is_too_short_to_know() {
    let more = format!("{RESOURCES}\n[storage]\nlog_keep = 1000");
    let daemon = TestDaemon::start(&more);
    write(&daemon, "few.ndjson", numbered(4000));
    expect(&daemon, &["import", "counted", "few.ndjson"], 0);
    let path = format!(
        "/records/counted?import={}&first=0&again=5",
        uuid::Uuid::now_v7()
    );
    let answer = crate::client::send(daemon.admin(), "POST", &path, &[], Some(b"{}"));
    let code = answer.clone().expect_problem(400);
    assert_eq!(code, "invalid_parameter");
    assert!(
        answer.text().contains("nobody knows how far it came"),
        "{}",
        answer.text()
    );
}

#[test]
fn a_parcel_that_is_sent_again_is_not_applied_twice_and_tells_the_same_faults() {
    let daemon = TestDaemon::start(RESOURCES);
    daemon.post("/counted", &json!({"id": 70})).expect(201);
    let import = uuid::Uuid::now_v7();
    let send = |first: u64, more: &str, body: &str| {
        let path = format!("/records/counted?import={import}&first={first}{more}");
        let answer = crate::client::send(daemon.admin(), "POST", &path, &[], Some(body.as_bytes()));
        answer.expect(200).json()
    };
    let begun = send(0, "", "")["change"].as_u64().unwrap();
    let body = "{\"id\":70}\n{\"a\":1}\n\n{\"id\":80}\n[]\n{\"id\":80}\n";
    let refused = json!([
        {"at": 0, "faults": ["a record with the id 70 exists already"]},
        {"at": 4, "faults": ["a record must be a JSON object, this is an array"]},
        {"at": 5, "faults": ["a record with the id 80 exists already"]},
    ]);
    let done = send(0, "", body);
    let change = begun + 2;
    let created =
        json!({"created": 2, "replaced": 0, "before": 0, "change": change, "refused": refused});
    assert_eq!(done, created);
    let again = send(0, &format!("&again={begun}"), body);
    let before =
        json!({"created": 0, "replaced": 0, "before": 2, "change": change, "refused": refused});
    assert_eq!(again, before);
    assert_eq!(
        listed(&daemon, "/counted").as_array().map(Vec::len),
        Some(3)
    );
    let next = send(6, &format!("&again={change}"), "{}\n");
    assert_eq!(next["created"], 1);
}

#[test]
fn a_line_that_was_refused_is_told_with_its_reason_when_the_parcel_is_sent_again() {
    let mut settings = String::new();
    for (name, id) in [
        ("counted", "sequence"),
        ("named", "client"),
        ("made", "uuidv7"),
    ] {
        writeln!(
            settings,
            "[resource.{name}]\nid = \"{id}\"\nunique = [\"isbn\"]\n"
        )
        .unwrap();
    }
    let daemon = TestDaemon::start(&settings);
    let taken = |id: &str| {
        format!("isbn: the record {id} has the same value already, and it must be unique")
    };
    let duplicate = |id: &str| format!("a record with the id {id} exists already");
    for (name, upsert, lines, before, refused) in [
        (
            "counted",
            "",
            "{\"isbn\":1}\n{\"isbn\":1}\n{\"isbn\":2}\n{\"id\":2}\n{}\n{}\n",
            4,
            vec![(1, taken("1")), (3, duplicate("2"))],
        ),
        (
            "named",
            "",
            "{\"id\":\"a\",\"isbn\":1}\n{\"id\":\"b\",\"isbn\":1}\n{\"id\":\"a\"}\n",
            1,
            vec![(1, taken("a")), (2, duplicate("a"))],
        ),
        (
            "named",
            "&upsert",
            "{\"id\":\"c\",\"isbn\":1}\n{\"id\":\"d\",\"isbn\":2}\n{\"id\":\"a\",\"isbn\":2}\n",
            1,
            vec![(0, taken("a")), (2, taken("d"))],
        ),
    ] {
        let import = uuid::Uuid::now_v7();
        let send = |more: &str, body: &str| {
            let path = format!("/records/{name}?import={import}&first=0{upsert}{more}");
            let body = Some(body.as_bytes());
            let answer = crate::client::send(daemon.admin(), "POST", &path, &[], body);
            answer.expect(200).json()
        };
        let begun = send("", "")["change"].as_u64().unwrap();
        let first = send("", lines);
        let faults = |(at, fault): &(usize, String)| json!({"at": at, "faults": [fault]});
        let refused: Vec<_> = refused.iter().map(faults).collect();
        assert_eq!(first["refused"], json!(refused), "{name}");
        for _ in 0..2 {
            let again = send(&format!("&again={begun}"), lines);
            assert_eq!(again["refused"], first["refused"], "{name}");
            assert_eq!(again["before"], json!(before), "{name}");
            assert_eq!(again["created"], json!(0), "{name}");
            assert_eq!(again["change"], first["change"], "{name}");
        }
    }
    // One whose id the daemon made has the same again.
    let path = format!("/records/made?import={}&first=0", uuid::Uuid::now_v7());
    let body = Some(&b"{\"isbn\":1}\n{\"isbn\":1}\n"[..]);
    let send = |more: &str| {
        let path = format!("{path}{more}");
        crate::client::send(daemon.admin(), "POST", &path, &[], body)
            .expect(200)
            .json()
    };
    let refused = send("")["refused"].clone();
    let again = send("&again=0");
    assert_eq!((&again["before"], &again["refused"]), (&json!(1), &refused));
}

/// Resources are exported in the order of their names, whatever refers to what.
#[test]
fn an_export_is_imported_whole_whatever_refers_to_what() {
    let resources = r#"
[resource.a_kid.fields]
parent = { type = "ref", to = "z_parent" }
[resource.z_parent.fields]
up = { type = "ref", to = "z_parent" }
"#;
    let from = TestDaemon::start(resources);
    for (path, record) in [
        ("/z_parent", json!({"id": "p9"})),
        ("/z_parent", json!({"id": "p5", "up": "p9"})),
        ("/z_parent", json!({"id": "p1", "up": "p5"})),
        ("/a_kid", json!({"id": "k", "parent": "p1"})),
    ] {
        from.post(path, &record).expect(201);
    }
    expect(&from, &["export", "db.json"], 0);
    let text = read(&from, "db.json");
    let to = TestDaemon::start(resources);
    write(&to, "db.json", &text);
    let (could, faults) = expect(&to, &["import", "db.json", "--dry-run"], 0);
    assert!(could.contains("4 records could be imported"), "{could}");
    assert!(could.contains("; 0 refused"), "{could}");
    assert!(!faults.contains("db.json:"), "{faults}");
    let (told, _) = expect(&to, &["import", "db.json"], 0);
    assert!(told.contains("4 records imported"), "{told}");
    assert!(!to.folder().join("db.json.import").exists());
    for path in ["/a_kid", "/z_parent"] {
        assert_eq!(listed(&to, path), listed(&from, path));
    }
    // What lacks a record that no line brings is told, and the others go in.
    let to = TestDaemon::start(resources);
    let mut lacking: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(lacking["z_parent"][2]["id"], "p9");
    lacking["z_parent"][2]["id"] = json!("p8");
    write(&to, "db.json", lacking.to_string());
    for words in [
        &["import", "db.json", "--dry-run"][..],
        &["import", "db.json"],
    ] {
        let (told, faults) = expect(&to, words, 65);
        assert!(
            told.contains("1 records") && told.contains("3 refused"),
            "{told}"
        );
        let lines = faults.lines().filter(|line| line.starts_with("db.json:"));
        assert!(lines.count() >= 3, "{faults}");
    }
}
