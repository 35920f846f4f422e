//! One route has many spellings: they all lead to it, and no spelling leads around its rules.

use std::fs;

use serde_json::json;

use crate::client::{self, Client, Response};
use crate::daemon::{self, TestDaemon};

/// A daemon with folders at `/app`, at two names that need an encoding, and at `/`; and with a resource beside `books`.
fn start() -> TestDaemon {
    let mut daemon = TestDaemon::prepare("");
    let mut routes = String::new();
    let names = [("app", "plain"), ("caf\u{e9}", "accent"), ("a b", "space")];
    for (name, kind) in names {
        fs::create_dir_all(daemon.site(kind).join("deep")).unwrap();
        fs::write(daemon.site(kind).join("x.txt"), kind).unwrap();
        fs::write(daemon.site(kind).join("deep/index.html"), "deep").unwrap();
        // What a spelling that is not recognised would show.
        fs::create_dir_all(daemon.site(name)).unwrap();
        fs::write(daemon.site(name).join("x.txt"), "around").unwrap();
        let root = daemon.site(kind);
        let root = root.display();
        let route = format!(
            "[route.\"/{name}\"]\nfiles = {{ root = '{root}' }}\nheaders = {{ X-Kind = '{kind}' }}\n"
        );
        routes.push_str(&route);
    }
    routes.push_str("[resource.drinks]\npath = \"/caf\u{e9}s/tea time\"\nid = \"client\"\n");
    let text = daemon::toml(daemon.folder(), &routes);
    fs::write(daemon.config(), text).unwrap();
    daemon.spawn();
    daemon.wait_ready();
    daemon
}

#[test]
fn every_spelling_of_a_route_leads_to_it_with_its_rules() {
    let daemon = start();
    for (path, kind) in [
        ("/app/x.txt", "plain"),
        ("/%61pp/x.txt", "plain"),
        ("/a%70%70/%78.txt", "plain"),
        ("/caf%C3%A9/x.txt", "accent"),
        ("/%63af%c3%a9/x.txt", "accent"),
        ("/a%20b/x.txt", "space"),
    ] {
        let answer = daemon.get(path).expect(200);
        assert_eq!(answer.text(), kind, "{path}");
        assert_eq!(answer.header("x-kind"), Some(kind), "{path}");
    }
    for (path, kind) in [("/%61pp/nothing", "plain"), ("/a%20b/nothing", "space")] {
        let absent = daemon.get(path).expect(404);
        assert_eq!(absent.header("x-kind"), Some(kind), "{path}");
    }
}

#[test]
fn what_is_no_spelling_of_a_route_does_not_lead_around_it() {
    let daemon = start();
    for path in [
        "/app%2Fx.txt",
        "/app%2fx.txt",
        "/%2561pp/x.txt",
        "/app%5Cx.txt",
        "/app%00/x.txt",
        "/x%2F..%2Fapp/x.txt",
        "/APP/x.txt",
        "/app./x.txt",
        "/%C0%AFapp/x.txt",
    ] {
        let answer = daemon.get(path);
        assert!((400..500).contains(&answer.status), "{path}: {answer:?}");
        assert!(!answer.text().contains("around"), "{path}");
    }
}

#[test]
fn records_have_every_spelling_of_their_address() {
    let daemon = start();
    let book = json!({ "id": "a~b-1", "title": "Emma" });
    daemon.post("/%62ooks", &book).expect(201);
    for path in ["/books/a~b-1", "/books/a%7Eb-1", "/%62ook%73/%61%7eb%2D1"] {
        let read = daemon.get(path).expect(200);
        assert_eq!(read.json()["title"], "Emma", "{path}");
    }
    for path in ["/books/a%2Fb-1", "/books/%zz", "/books/a%00b", "/books/%ff"] {
        daemon.get(path).expect_problem(404);
    }
    let tea = json!({ "id": "tea" });
    let made = daemon.post("/caf%C3%A9s/tea%20time", &tea).expect(201);
    let place = made.location().unwrap();
    assert_eq!(place, "/caf%C3%A9s/tea%20time/tea");
    assert_eq!(daemon.get(place).expect(200).json(), tea);
}

/// Where a reference leads from a path (RFC 3986 section 5.2, as far as paths go).
fn resolve(path: &str, reference: &str) -> String {
    let (folder, _) = path.rsplit_once('/').unwrap();
    let mut kept: Vec<&str> = Vec::new();
    let merged = format!("{folder}/{reference}");
    let segments: Vec<_> = merged[1..].split('/').collect();
    for (n, segment) in segments.iter().enumerate() {
        let last = n + 1 == segments.len();
        match *segment {
            ".." => {
                kept.pop();
            }
            "." => {}
            name => kept.push(name),
        }
        if last && matches!(*segment, "." | "..") {
            kept.push("");
        }
    }
    format!("/{}", kept.join("/"))
}

fn follow(daemon: &TestDaemon, path: &str) -> (String, Response) {
    let moved = daemon.get(path).expect(307);
    let reference = moved.header("location").unwrap().to_owned();
    assert!(!reference.starts_with('/'), "{path}: {reference}");
    let place = resolve(path, &reference);
    let answer = daemon.get(&place);
    (place, answer)
}

#[test]
fn a_path_with_a_detour_is_redirected_to_the_one_without() {
    let daemon = start();
    for (path, place) in [
        ("//app/x.txt", "/app/x.txt"),
        ("/app//x.txt", "/app/x.txt"),
        ("/./app/x.txt", "/app/x.txt"),
        ("/app/./x.txt", "/app/x.txt"),
        ("/nothing/../app/x.txt", "/app/x.txt"),
        ("/nothing/%2e%2e/app/x.txt", "/app/x.txt"),
        ("/app/deep/%2E/", "/app/deep/"),
        ("///", "/"),
        ("/..", "/"),
        ("/../../app/x.txt", "/app/x.txt"),
        ("//books", "/books"),
        ("/app//x.txt?v=1", "/app/x.txt?v=1"),
    ] {
        let (found, answer) = follow(&daemon, path);
        assert_eq!(found, place, "{path}");
        answer.expect(200);
    }
    let (place, answer) = follow(&daemon, "//evil.example/..//%2e/x");
    assert_eq!(place, "/x");
    answer.expect(404);
    let sent = client::send(daemon.public(), "POST", "//books", &[], Some(b"{}"));
    assert!([307, 404].contains(&sent.status), "{sent:?}");
}

#[test]
fn a_folder_is_redirected_to_its_slash_for_now_and_relatively() {
    let daemon = start();
    fs::create_dir(daemon.site("a:b")).unwrap();
    fs::write(daemon.site("a:b/index.html"), "colon").unwrap();
    for (path, place) in [
        ("/app/deep", "/app/deep/"),
        ("/%61pp/deep?a=b", "/%61pp/deep/?a=b"),
        ("/a:b", "/a:b/"),
    ] {
        let (found, answer) = follow(&daemon, path);
        assert_eq!(found, place, "{path}");
        answer.expect(200);
    }
    let mut client = Client::connect(daemon.public()).unwrap();
    let head = client.send("HEAD", "/app/deep", &[], None).unwrap();
    assert_eq!(head.expect(307).header("location"), Some("deep/"));
}
