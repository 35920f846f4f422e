//! Golden texts: every wrong file in `tests/golden/settings` with all its faults. `BLESS=1` writes them anew.

mod json_schema;
mod on_disk;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::*;

fn env(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

/// The settings that a file means with these variables.
fn load(path: Option<&Path>, env: &BTreeMap<String, String>) -> Result<Settings, LoadError> {
    super::load(path, env, CheckedFolders::None).map(|loaded| loaded.settings)
}

/// The value of every key of a file with this text.
pub(super) fn values(text: &str) -> SettingValues {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("perennial.toml");
    fs::write(&file, text).unwrap();
    let loaded = super::load(Some(&file), &BTreeMap::new(), CheckedFolders::None);
    loaded.unwrap().values
}

/// The same with the folders on the disk looked at.
fn check(path: Option<&Path>, env: &BTreeMap<String, String>) -> Result<LoadedSettings, LoadError> {
    super::load(path, env, CheckedFolders::All)
}

/// Compares with a committed file, or writes it.
fn golden(path: &Path, text: &str) {
    if std::env::var_os("BLESS").is_some() {
        fs::write(path, text).unwrap();
    }
    let expected = fs::read_to_string(path).unwrap_or_default();
    assert_eq!(
        text,
        expected,
        "{}: BLESS=1 cargo test accepts the new text",
        path.display()
    );
}

#[test]
fn every_wrong_file_is_told_all_its_faults() {
    let mut files: Vec<PathBuf> = fs::read_dir("tests/golden/settings")
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "toml"))
        .collect();
    files.sort();
    assert!(files.len() >= 45, "there are only {}", files.len());
    for file in files {
        let error = load(Some(&file), &BTreeMap::new()).expect_err(&file.display().to_string());
        golden(&file.with_extension("txt"), &format!("{error}\n"));
    }
}

#[test]
fn every_file_that_is_worth_a_look_is_told_why() {
    let here = std::env::current_dir().unwrap();
    let here = format!("{}/", here.canonicalize().unwrap().display());
    for name in ["access", "cache", "effects", "folders", "pages", "records"] {
        let file = Path::new("tests/golden/settings/warnings").join(format!("{name}.toml"));
        let warnings = check(Some(&file), &BTreeMap::new()).unwrap().warnings;
        let lines = warnings.iter().map(|warning| format!("{warning}\n"));
        let told = lines.collect::<String>().replace(&here, "");
        golden(&file.with_extension("txt"), &told);
    }
}

#[test]
fn the_reference_is_what_the_table_says_and_changes_nothing() {
    let path = Path::new("config/reference.toml");
    golden(path, &reference());
    let missing = keys::KEYS
        .iter()
        .filter(|key| !reference().contains(key.doc));
    assert_eq!(missing.map(|key| key.path).collect::<Vec<_>>(), [""; 0]);
    let mut settings = load(Some(path), &BTreeMap::new()).unwrap();
    let books = settings.resources.remove("books").unwrap();
    assert_eq!(books, ResourceSettings::at("/books"));
    let albums = settings.resources.remove("albums").unwrap();
    let paths = albums.schema.paths();
    assert_eq!(paths.iter().filter(|path| !path.contains('.')).count(), 12);
    assert_eq!(settings, Settings::default());
}

#[test]
fn the_shipped_file_serves_books_and_movies_on_this_machine_only() {
    let settings = load(Some(Path::new("config/perennial.toml")), &BTreeMap::new()).unwrap();
    assert_eq!(
        settings.resources.keys().collect::<Vec<_>>(),
        ["books", "movies"]
    );
    assert!(settings.server.listen.iter().all(Listen::is_local));
}

#[test]
fn the_environment_overrides_what_is_written() {
    let env = env(&[
        ("PERENNIAL__SERVER__LISTEN", "127.0.0.1:1, 127.0.0.1:2"),
        ("PERENNIAL__SERVER__HANDLERS", "3"),
        (
            "PERENNIAL__SUPERVISION__CHILDREN__FILE_CACHE__DEADLINE",
            "9s",
        ),
        ("PERENNIAL__CHAOS__ENABLED", "true"),
        ("UNRELATED", "x"),
    ]);
    let settings = load(Some(Path::new("config/perennial.toml")), &env).unwrap();
    assert_eq!(settings.server.listen.len(), 2);
    assert_eq!(
        settings.server.handlers,
        AutoCount::Count(3.try_into().unwrap())
    );
    assert_eq!(
        settings.supervision.children.file_cache.deadline,
        Duration::from_secs(9)
    );
    assert!(settings.chaos.enabled);
}

#[test]
fn hosts_content_types_and_the_rules_of_resources_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.toml");
    let text = r#"
        server.hosts = ["Example.ORG", "[::1]", "10.0.0.1"]
        [route."/"]
        files = { root = "a" }
        types = { ".foo" = "text/x-foo; charset=utf-8", ".tar.gz" = "application/gzip" }
        [resource.pens]
        headers = { X-A = "b" }
        delay = "1s"
        max_in_flight = 2
    "#;
    fs::write(&file, text).unwrap();
    let settings = load(Some(&file), &BTreeMap::new()).unwrap();
    assert_eq!(settings.server.hosts, ["example.org", "[::1]", "10.0.0.1"]);
    assert_eq!(
        settings.routes["/"].types[".foo"],
        "text/x-foo; charset=utf-8"
    );
    let rules = &settings.resources["pens"].rules;
    assert_eq!(rules.headers["X-A"], "b");
    assert_eq!(rules.delay, Duration::from_secs(1));
    assert_eq!(rules.max_in_flight.map(NonZeroUsize::get), Some(2));
}

/// The result of `load` for a file with this text.
fn loaded(text: &str) -> Result<Settings, LoadError> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.toml");
    fs::write(&file, text).unwrap();
    let schema = folder.path().join("book.schema.json");
    fs::write(schema, r#"{"type": "object"}"#).unwrap();
    load(Some(&file), &BTreeMap::new())
}

/// The lines that a key about clients needs beside it, and its value, if the one of the table does not fit. The keys of tokens are in
/// the file `jwt`.
fn of_clients(path: &[String], jwt: &Path) -> (String, Option<String>) {
    let algorithms = "[\"EdDSA\"]".to_owned();
    let needed = [("algorithms", algorithms), ("keys", format!("{jwt:?}"))];
    let (mut beside, mut own) = (Vec::new(), None);
    let of_jwt = path[0] == "auth";
    for (name, written) in needed {
        if of_jwt && path[2] == name {
            own = Some(written);
        } else {
            beside.push(format!("auth.jwt.{name} = {written}"));
        }
    }
    if !of_jwt {
        let hash = keys::find(&["auth", "keys", "x", "hash"]).unwrap().value;
        beside.push(format!("auth.keys.admin.hash = {hash}"));
        beside.push("resource.x.access = [\"key:admin\"]".to_owned());
    }
    if path[2] == "owner_except" {
        beside.push("resource.x.owner = \"by\"".to_owned());
    }
    (beside.join("\n") + "\n", own)
}

/// A key of the table without a field, or with a value that serde can't read, fails here.
#[test]
fn every_key_has_a_field() {
    let folder = tempfile::tempdir().unwrap();
    let [cert, pem] = ["cert.pem", "key.pem"].map(|name| folder.path().join(name));
    let (certificate, key) = crate::certificates::tests::self_signed(&["a.example"], 90);
    fs::write(&cert, certificate).unwrap();
    fs::write(&pem, key).unwrap();
    let jwt = folder.path().join("jwt.pem");
    fs::write(&jwt, crate::tokens::tests::Issuer::ed25519().public).unwrap();
    for key in keys::KEYS {
        let mut path: Vec<_> = key.path.split('.').map(str::to_owned).collect();
        let mut more = String::new();
        if key.is_named() {
            path[1] = "/x".to_owned();
            if path[0] == "resource" {
                path[1] = "x".to_owned();
            } else if path[0] == "auth" {
                path[1] = key.path.split('.').nth(1).unwrap().to_owned();
                path[2] = "x".to_owned();
                let hash = keys::find(&["auth", "keys", "x", "hash"]).unwrap().value;
                if path[1] == "keys" && path[3] != "hash" {
                    more = format!("auth.keys.x.hash = {hash}\n[resource.books]\n");
                }
            } else if path[0] == "tls" {
                path[1] = "certificate".to_owned();
                path[2] = "x".to_owned();
            } else if !["files.root", "redirect.", "respond."]
                .iter()
                .any(|target| key.path.starts_with(&format!("route.*.{target}")))
            {
                more.push_str("route.\"/x\".files.root = \"a\"\n");
            }
        }
        let mut value = key.value.to_owned();
        match path.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["tls", "listen"] => {
                more = format!("{more}tls.cert = {cert:?}\ntls.key = {pem:?}\n");
            }
            ["auth", "jwt", _] | ["resource", _, "owner" | "owner_except"] => {
                let (beside, own) = of_clients(&path, &jwt);
                more.push_str(&beside);
                value = own.unwrap_or(value);
            }
            ["tls", .., "cert"] => {
                let key = [&path[..path.len() - 1], &["key".to_owned()]].concat();
                more = format!("{} = {pem:?}\n", fault::shown(&key));
                value = format!("{cert:?}");
            }
            [kind, name, "rate", other] if other != "requests" => {
                let requests = ["", kind, name, "rate", "requests"].map(str::to_owned);
                more = format!("{more}{} = 1\n", fault::shown(&requests[1..]));
            }
            [_, _, "respond", other] if other != "status" => {
                more = "route.\"/x\".respond.status = 200\n".to_owned();
            }
            [_, _, "redirect", "permanent"] => {
                more = "route.\"/x\".redirect.to = \"/\"\n".to_owned();
            }
            // It is written beside the certificate.
            ["tls", .., "key"] => continue,
            _ => {}
        }
        let text = format!("{} = {value}\n{more}", fault::shown(&path));
        let found = loaded(&text);
        assert!(found.is_ok(), "{text}{found:?}");
    }
}

#[test]
fn what_is_proposed_can_be_written() {
    for name in keys::COMING {
        for above in ["", "server", "limits", "route.\"/\".files", "resource.pens"] {
            if keys::find(&["route", "/", "files", name]).is_some() && above.ends_with("files") {
                continue;
            }
            let path = if above.is_empty() {
                name.to_owned()
            } else {
                format!("{above}.{name}")
            };
            let error = loaded(&format!("{path} = 1\n"))
                .expect_err(&path)
                .to_string();
            assert!(error.contains("in this release"), "{error}");
        }
    }
    for (wrong, told) in [
        ("limits.rates = 1", "known here are body,"),
        ("server.body = 1", "unknown here; did you mean limits.body?"),
        ("tsl.cert = 1", "unknown; did you mean tls?"),
        ("zzz.cert = 1", "unknown; known here are include,"),
        ("server.tls = 1", "unknown; known here are listen,"),
        (
            "storage.drain = 1",
            "unknown here; did you mean server.drain?",
        ),
        (
            "route.\"/\".index = 1",
            "unknown here; did you mean files.index?",
        ),
        (
            "resource.pens.index = 1",
            "is not a list of fields, such as",
        ),
        ("logging.keep = 1", "unknown here; did you mean file.keep?"),
    ] {
        let error = loaded(&format!("{wrong}\n")).unwrap_err().to_string();
        assert!(error.contains(told), "{error}");
        let proposed = error.lines().next().unwrap();
        let mut words = proposed.split(|c: char| !c.is_alphanumeric() && c != '_');
        assert!(!words.any(|word| keys::COMING.contains(&word)), "{error}");
    }
}

#[test]
fn without_a_route_the_built_in_page_needs_no_folder() {
    assert!(check(None, &BTreeMap::new()).unwrap().warnings.is_empty());
}

#[test]
fn chaos_is_for_this_machine_only() {
    for (admin, fine) in [
        ("127.0.0.1:3001", true),
        ("127.9.9.9:3001", true),
        ("[::1]:3001", true),
        ("0.0.0.0:3001", false),
        ("[::]:3001", false),
        ("192.0.2.1:3001", false),
    ] {
        let text = format!("server.admin = '{admin}'\nchaos.enabled = true\n");
        assert_eq!(loaded(&text).is_ok(), fine, "{admin}");
        let variables = env(&[
            ("PERENNIAL__SERVER__ADMIN", admin),
            ("PERENNIAL__CHAOS__ENABLED", "true"),
        ]);
        assert_eq!(load(None, &variables).is_ok(), fine, "{admin}");
        let text = format!("server.admin = '{admin}'\nchaos.enabled = false\n");
        assert!(loaded(&text).is_ok(), "{admin}");
    }
}

#[test]
fn a_resource_is_not_at_the_address_of_a_record() {
    for (one, two, fine) in [
        ("/books", "/books/reviews", false),
        ("/a/b", "/a/b/c", false),
        ("/books", "/books/of/old", true),
        ("/books", "/bookshelf", true),
        ("/books", "/books", false),
        ("/caf\u{e9}", "/caf\u{e9}/a b", false),
    ] {
        let text = format!("resource.z.path = \"{one}\"\nresource.a.path = \"{two}\"\n");
        let found = loaded(&text);
        assert_eq!(found.is_ok(), fine, "{one} {two}: {found:?}");
    }
}

#[test]
fn a_wrong_variable_is_a_fault_that_names_it() {
    let env = env(&[
        ("PERENNIAL__SERVER__ADMIN", "nowhere"),
        ("PERENNIAL__SERVER__LISTN", "1"),
        ("PERENNIAL__RESOURCE__BOOKS__ACCESS", "public"),
    ]);
    let error = load(None, &env).unwrap_err().to_string();
    assert_eq!(
        error,
        "$PERENNIAL__RESOURCE__BOOKS__ACCESS: resource.books.access: not a setting that can be given by the environment\n\
         $PERENNIAL__SERVER__ADMIN: server.admin: \"nowhere\" is not an address; write IP:PORT, such as \"127.0.0.1:3001\", or unix:PATH\n\
         $PERENNIAL__SERVER__LISTN: server.listn: unknown; did you mean listen?\n\
         3 faults in the settings; nothing was started"
    );
}

#[test]
fn two_spellings_of_a_variable_must_not_disagree() {
    let small = "PERENNIAL__server__admin";
    let capital = "PERENNIAL__SERVER__ADMIN";
    let (one, other) = ("127.0.0.1:1", "127.0.0.1:2");
    assert!(load(None, &env(&[(small, one), (capital, one)])).is_ok());
    let error = load(None, &env(&[(small, one), (capital, other)])).unwrap_err();
    assert_eq!(
        error.to_string(),
        "$PERENNIAL__server__admin: server.admin: $PERENNIAL__SERVER__ADMIN gives another value; keep one of the two\n\
         1 fault in the settings; nothing was started"
    );
}

#[test]
fn a_route_at_the_address_of_a_record_is_worth_a_look() {
    for (prefix, warned) in [("/books/x", true), ("/books/x/y", false), ("/x", false)] {
        let folder = tempfile::tempdir().unwrap();
        let (file, root) = (folder.path().join("a.toml"), folder.path().display());
        let text = format!(
            "server.data = '{root}/data'\nresource.books.id = 'client'\nroute.'{prefix}'.files.root = '{root}/site'\n"
        );
        fs::create_dir(folder.path().join("site")).unwrap();
        fs::write(&file, text).unwrap();
        let warnings = check(Some(&file), &BTreeMap::new()).unwrap().warnings;
        let told = warnings.iter().map(ToString::to_string).collect::<String>();
        let expected = "a.toml:3:7: route.\"/books/x\": \"/books/x\" itself is the address of a record of resource.books";
        assert_eq!(told.contains(expected), warned, "{told}");
        assert_eq!(warnings.is_empty(), !warned, "{told}");
    }
}

#[test]
fn an_address_that_the_kernel_would_refuse_is_a_fault_wherever_it_was_written() {
    let told = |pairs: &[(&str, &str)]| load(None, &env(pairs)).unwrap_err().to_string();
    let listen = "PERENNIAL__SERVER__LISTEN";
    let admin = "PERENNIAL__SERVER__ADMIN";
    for (variable, key, address, other) in [
        (admin, "server.admin", "127.0.0.1:3000", "server.listen"),
        (listen, "server.listen", "127.0.0.1:3001", "server.admin"),
    ] {
        assert_eq!(
            told(&[(variable, address)]),
            format!(
                "${variable}: {key}: {address} can't be listened on beside {address}, which {other} is by default; choose \
                 another one\n1 fault in the settings; nothing was started"
            )
        );
    }
    for (public, operators) in [
        ("[::]:3001", "127.0.0.1:3001"),
        ("[::]:81, 0.0.0.0:81", "127.0.0.1:82"),
        ("[::1]:3001", "[::]:3001"),
    ] {
        told(&[(listen, public), (admin, operators)]);
    }
    let apart = [
        (listen, "[::1]:3001, 127.0.0.2:3001, 0.0.0.0:0"),
        (admin, "127.0.0.1:3001"),
    ];
    assert!(load(None, &env(&apart)).is_ok());
}

#[test]
fn what_is_reserved_for_sites_can_be_a_route_and_other_hidden_paths_can_not() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.toml");
    for (prefix, fine) in [
        ("/.well-known", true),
        ("/.well-known-x", false),
        ("/..", false),
    ] {
        let text = format!("[route.\"{prefix}\"]\nfiles = {{ root = \"a\" }}\n");
        fs::write(&file, text).unwrap();
        assert_eq!(
            load(Some(&file), &BTreeMap::new()).is_ok(),
            fine,
            "{prefix}"
        );
    }
}

#[test]
fn an_address_from_the_environment_opens_nothing_by_accident() {
    let open = env(&[("PERENNIAL__SERVER__LISTEN", "0.0.0.0:80")]);
    let error = load(Some(Path::new("config/perennial.toml")), &open);
    assert!(error.is_ok(), "access is spelled out there: {error:?}");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.toml");
    fs::write(&file, "[resource.pens]\n").unwrap();
    assert!(load(Some(&file), &BTreeMap::new()).is_ok());
    let error = load(Some(&file), &open).unwrap_err().to_string();
    let told = "a.toml:1:11: resource.pens: open to everybody who can reach 0.0.0.0:80;";
    assert!(error.contains(told), "{error}");
}

#[test]
fn a_file_that_is_asked_for_and_not_there_is_unreadable() {
    let error = load(Some(Path::new("gone.toml")), &BTreeMap::new()).unwrap_err();
    assert!(matches!(error, LoadError::Unreadable { .. }), "{error}");
}

#[test]
fn settings_are_looked_for_in_order() {
    let env = env(&[("PERENNIAL_CONFIG", "/from/env")]);
    let none = BTreeMap::new();
    let path = |text: &str| Some(PathBuf::from(text));
    assert_eq!(find(path("asked"), &env, |_| true), path("asked"));
    assert_eq!(find(None, &env, |_| true), path("/from/env"));
    let empty = BTreeMap::from([("PERENNIAL_CONFIG".to_owned(), String::new())]);
    assert_eq!(find(None, &empty, |_| true), path("config/perennial.toml"));
    assert_eq!(find(None, &none, |_| true), path("config/perennial.toml"));
    assert_eq!(
        find(None, &none, Path::is_absolute),
        path("/etc/perennial/perennial.toml")
    );
    assert_eq!(find(None, &none, |_| false), None);
}
