//! Hundreds of wrong files, tried on one running daemon: each is refused with its faults, and the old state serves.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use serde_json::json;
use toml::{Table, Value};

use crate::chaos::UNLIMITED_RESTARTS;
use crate::client::Client;
use crate::daemon::{TestDaemon, toml};
use crate::reload::{metric, perennial_reload, reload, settings};

const GOLDEN: &str = "tests/golden/settings/";

/// Every key of the reference with its value there.
fn keys() -> Vec<(Vec<String>, Value)> {
    let reference = fs::read_to_string("config/reference.toml").unwrap();
    let (mut table, mut keys) = (String::new(), Vec::new());
    for line in reference.lines() {
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|line| line.strip_suffix(']'))
        {
            name.clone_into(&mut table);
            continue;
        }
        // One without a default is shown as a comment.
        let line = line.strip_prefix("# ").unwrap_or(line);
        let Some((name, _)) = line.split_once(" = ") else {
            continue;
        };
        let plain = |name: &str| name.chars().all(|c| c.is_ascii_lowercase() || c == '_');
        // The fields of a resource have names of their own.
        if !plain(name) || table.contains("albums") {
            continue;
        }
        let Ok(value) = line.parse::<Table>() else {
            continue;
        };
        let above = table.split('.').map(|part| part.trim_matches('"'));
        let above = above.filter(|part| !part.is_empty());
        let path = above.chain([name]).map(str::to_owned).collect();
        keys.push((path, value[name].clone()));
    }
    keys
}

/// Puts a value at a path, in place of what is there.
fn put(table: &mut Table, path: &[String], value: Value) {
    let (name, above) = path.split_last().unwrap();
    let mut at = table;
    for part in above {
        let inner = at.entry(part).or_insert_with(|| Table::new().into());
        at = inner.as_table_mut().unwrap();
    }
    at.insert(name.clone(), value);
}

/// Values of kinds that a key with this value can't have.
fn of_other_kinds(value: &Value) -> [Value; 2] {
    if value.is_bool() {
        return [Value::String("yes".to_owned()), Value::Integer(1)];
    }
    let table = Table::from_iter([("a".to_owned(), Value::Integer(1))]);
    [Value::Boolean(true), table.into()]
}

/// Files in each of which one key has a wrong value or a wrong name, with what the fault has to name.
fn mutations(whole: &str) -> Vec<(String, String)> {
    let whole: Table = whole.parse().unwrap();
    let mut files = Vec::new();
    for (path, value) in keys() {
        let name = path.last().unwrap().clone();
        let mut add = |path: &[String], value: Value| {
            let mut file = whole.clone();
            put(&mut file, path, value);
            files.push((file.to_string(), name.clone()));
        };
        let [one, other] = of_other_kinds(&value);
        add(&path, one);
        add(&path, other);
        let mut misspelt = path.clone();
        misspelt.last_mut().unwrap().push('x');
        add(&misspelt, value.clone());
    }
    files
}

fn golden() -> Vec<PathBuf> {
    let files = fs::read_dir(GOLDEN)
        .unwrap()
        .map(|file| file.unwrap().path());
    let mut files: Vec<_> = files
        .filter(|path| path.extension().is_some_and(|e| e == "toml"))
        .collect();
    files.sort();
    files
}

/// Has the daemon refuse the file that it has now; returns the faults.
#[track_caller]
fn refused(daemon: &TestDaemon, kept: &mut Client) -> Vec<String> {
    let answer = reload(daemon, "").expect(422).json();
    assert_eq!(answer["code"], "invalid_settings", "{answer}");
    assert_eq!(kept.get("/").unwrap().expect(200).text(), "<h1>first</h1>");
    kept.get("/books").unwrap().expect(200);
    let reasons = answer["reasons"].as_array().unwrap().iter();
    reasons
        .map(|reason| reason.as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn hundreds_of_wrong_files_are_refused_with_their_faults_and_the_old_state_serves() {
    let daemon = TestDaemon::start("");
    let before = settings(&daemon);
    let mut kept = Client::connect(daemon.public()).unwrap();
    let files = mutations(&toml(daemon.folder(), ""));
    for (text, named) in &files {
        fs::write(daemon.config(), text).unwrap();
        let faults = refused(&daemon, &mut kept);
        assert!(
            faults.iter().any(|fault| fault.contains(named)),
            "{named}: {faults:?}\n{text}"
        );
    }
    let parts = daemon.folder().join("parts");
    fs::create_dir(&parts).unwrap();
    for part in fs::read_dir(Path::new(GOLDEN).join("parts")).unwrap() {
        let part = part.unwrap();
        fs::copy(part.path(), parts.join(part.file_name())).unwrap();
    }
    for named in fs::read_dir(GOLDEN).unwrap() {
        let named = named.unwrap();
        let end = named.path().extension().map(ToOwned::to_owned);
        if end.is_some_and(|end| end == "json" || end == "pem") {
            fs::copy(named.path(), daemon.folder().join(named.file_name())).unwrap();
        }
    }
    let golden = golden();
    for file in &golden {
        fs::copy(file, daemon.config()).unwrap();
        let faults = refused(&daemon, &mut kept);
        let expected = fs::read_to_string(file.with_extension("txt")).unwrap();
        let expected = expected
            .replace(
                &file.display().to_string(),
                &daemon.config().display().to_string(),
            )
            .replace(GOLDEN, &format!("{}/", daemon.folder().display()));
        // The last line is their number.
        for fault in expected.lines().rev().skip(1) {
            assert!(
                faults.iter().any(|told| told == fault),
                "{fault}\n{faults:#?}"
            );
        }
    }
    let tried = files.len() + golden.len();
    println!("{tried} wrong files");
    assert!(tried >= 200, "only {tried} files");
    let now = settings(&daemon);
    for same in ["generation", "hash", "since"] {
        assert_eq!(now[same], before[same], "{same}");
    }
    assert_eq!(now["last_outcome"], "refused");
    assert_eq!(
        metric(&daemon, "perennial_config_last_reload_successful "),
        "0.0"
    );
    assert_eq!(metric(&daemon, "perennial_config_generation "), "1.0");
    fs::write(daemon.config(), toml(daemon.folder(), "")).unwrap();
    reload(&daemon, "").expect(200);
    assert_eq!(
        metric(&daemon, "perennial_config_last_reload_successful "),
        "1.0"
    );
}

#[test]
fn all_reasons_that_can_be_known_together_are_told_at_once() {
    let albums = format!("{UNLIMITED_RESTARTS}[resource.albums]\n");
    let daemon = TestDaemon::start(&albums);
    for _ in 0..2 {
        daemon.post("/albums", &json!({ "isbn": "1" })).expect(201);
    }
    let before = settings(&daemon);
    let site = daemon.site("").display().to_string();
    let route = format!("[route.\"/x\"]\nfiles = {{ root = '{site}' }}\n");
    let restart = "[storage]\ncache = \"2 MiB\"\n";
    let rules = "unique = ['isbn']\nfields = { isbn = { type = \"integer\" } }\n";
    let reasons = [
        "storage.cache",
        "route /x: a GET of /x/ by the daemon itself",
        "would get rules that 2 records",
        "would get unique = [isbn], but 1 record",
    ];
    for (more, told, status) in [
        (format!("{albums}{restart}"), &reasons[..1], 409),
        (format!("{albums}{rules}"), &reasons[2..], 422),
        (
            format!("{albums}{rules}{restart}{route}"),
            &reasons[..],
            422,
        ),
    ] {
        fs::write(daemon.config(), toml(daemon.folder(), &more)).unwrap();
        let failing = || {
            if more.ends_with(&route) {
                daemon.chaos(&json!({ "point": "file-cache.message", "hits": 2 }));
            }
        };
        failing();
        let refused = reload(&daemon, "").expect(status).json();
        assert_eq!(
            refused["reasons"].as_array().unwrap().len(),
            told.len(),
            "{refused}"
        );
        let [dry, real] = [&["--dry-run"][..], &[]].map(|words| {
            failing();
            perennial_reload(&daemon, words)
        });
        assert_eq!(dry.status.code(), Some(78), "{dry:?}");
        assert_eq!(dry, real);
        for reason in told {
            let printed = String::from_utf8_lossy(&dry.stderr);
            assert!(printed.contains(reason), "{reason}: {printed}");
            assert!(
                refused["reasons"].to_string().contains(reason),
                "{reason}: {refused}"
            );
            assert!(
                settings(&daemon)["last_error"].to_string().contains(reason),
                "{reason}"
            );
        }
        assert_eq!(settings(&daemon)["hash"], before["hash"]);
    }
}

#[test]
fn addresses_that_are_taken_are_told_with_everything_else() {
    let albums = "[resource.albums]\n";
    let daemon = TestDaemon::start(albums);
    daemon.post("/albums", &json!({ "isbn": "1" })).expect(201);
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = other.local_addr().unwrap().to_string();
    let file = daemon.folder().join("no-socket");
    fs::write(&file, "mine").unwrap();
    let gone = daemon.folder().join("gone/http.sock");
    let unix = [&file, &gone].map(|path| format!("unix:{}", path.display()));
    let listen = format!("listen = {:?}", ["127.0.0.1:0", &taken, &unix[0], &unix[1]]);
    let addresses = [&taken, "no-socket", "gone/http.sock"];
    let rules = "fields = { isbn = { type = \"integer\" } }\n";
    for (more, told) in [
        ("", &[][..]),
        ("[limits]\nbody = 7\n", &["limits.body"]),
        (rules, &["would get rules that 1 record"]),
        ("[storage]\ncache = \"2 MiB\"\n", &["storage.cache"]),
    ] {
        let text = toml(daemon.folder(), &format!("{albums}{more}"));
        let text = text.replacen("listen = [\"127.0.0.1:0\"]", &listen, 1);
        fs::write(daemon.config(), text).unwrap();
        let refused = reload(&daemon, "").json();
        let reasons = refused["reasons"].to_string();
        for reason in addresses.iter().chain(told) {
            assert!(reasons.contains(reason), "{reason}: {refused}");
        }
        assert_eq!(
            refused["reasons"].as_array().unwrap().len(),
            3 + told.len(),
            "{refused}"
        );
        let dry = perennial_reload(&daemon, &["--dry-run"]);
        assert_eq!(dry.status.code(), Some(78), "{dry:?}");
        let printed = String::from_utf8(dry.stderr).unwrap();
        for reason in addresses.iter().chain(told) {
            assert!(printed.contains(reason), "{reason}: {printed}");
        }
    }
    assert_eq!(fs::read_to_string(file).unwrap(), "mine");
}

#[test]
fn a_file_without_anything_in_it_does_not_take_everything_away() {
    let mut daemon = TestDaemon::prepare("");
    // The data folder is not in the file, so that nothing else refuses it.
    let data = format!(
        "PERENNIAL__SERVER__DATA={}",
        daemon.folder().join("data").display()
    );
    let ports = [
        "PERENNIAL__SERVER__LISTEN=127.0.0.1:0",
        "PERENNIAL__SERVER__ADMIN=127.0.0.1:0",
    ];
    daemon.run_under(&["env", &data, ports[0], ports[1]]);
    daemon.restart();
    let whole = fs::read_to_string(daemon.config()).unwrap();
    for blank in ["", "\n", "# nothing\n"] {
        fs::write(daemon.config(), blank).unwrap();
        let refused = reload(&daemon, "").expect(422).text();
        assert!(refused.contains("nothing is written in it"), "{refused}");
        daemon.get("/books").expect(200);
    }
    fs::write(daemon.config(), whole).unwrap();
    reload(&daemon, "").expect(200);
    fs::write(daemon.config(), "[server]\n").unwrap();
    reload(&daemon, "").expect(200);
    assert_eq!(daemon.get("/books").status, 404);
}
