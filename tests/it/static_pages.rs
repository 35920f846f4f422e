//! Static files over HTTP: what is served, and what never leaves the folder.

use std::fs;
use std::os::unix::fs::symlink;
use std::thread;
use std::time::{Duration, Instant};

use crate::client::{self, Client};
use crate::daemon::TestDaemon;

const SECRET: &str = "the-planted-secret-5f1c";

#[test]
fn a_page_is_answered_to_get_head_and_conditional_requests() {
    let daemon = TestDaemon::start("");
    let page = daemon.get("/").expect(200);
    assert_eq!(page.text(), "<h1>first</h1>");
    let etag = page.header("etag").expect("an ETag").to_owned();
    let content_type = page.header("content-type").unwrap_or_default();
    assert!(content_type.starts_with("text/html"), "{content_type}");

    let mut client = Client::connect(daemon.public()).unwrap();
    let head = client.send("HEAD", "/", &[], None).unwrap().expect(200);
    assert_eq!(head.header("content-length"), Some("14"));
    assert_eq!(head.header("etag"), Some(etag.as_str()));
    let tags = [("if-none-match", etag.as_str())];
    let unchanged = client.send("GET", "/", &tags, None).unwrap().expect(304);
    assert_eq!(unchanged.header("etag"), Some(etag.as_str()));
    let other = [("if-none-match", "\"another\"")];
    client.send("GET", "/", &other, None).unwrap().expect(200);
    let modified = page.header("last-modified").expect("a date").to_owned();
    let dates = [("if-modified-since", modified.as_str())];
    client.send("GET", "/", &dates, None).unwrap().expect(304);
    let both = [dates[0], other[0]];
    client.send("GET", "/", &both, None).unwrap().expect(200);
    let earlier = [("if-modified-since", "Sun, 06 Nov 1994 08:49:37 GMT")];
    client.send("GET", "/", &earlier, None).unwrap().expect(200);
    let answer = client.send("POST", "/", &[], Some(b"x")).unwrap();
    assert!(
        answer
            .header("allow")
            .is_some_and(|allow| allow.contains("GET"))
    );
    answer.expect_problem(405);
}

#[test]
fn the_content_type_follows_the_file_name() {
    let daemon = TestDaemon::start("");
    let types = [
        ("a.html", "text/html"),
        ("a.css", "text/css"),
        ("a.js", "text/javascript"),
        ("a.cjs", "text/javascript"),
        ("a.yaml", "application/yaml"),
        ("a.ts", "video/mp2t"),
        ("a.m3u8", "application/vnd.apple.mpegurl"),
        ("a.woff", "font/woff"),
        ("a.otf", "font/otf"),
        ("a.tgz", "application/gzip"),
        ("apple-app-site-association", "application/json"),
        ("a.json", "application/json"),
        ("a.svg", "image/svg+xml"),
        ("a.png", "image/png"),
        ("a.txt", "text/plain"),
        ("a.unknown-kind", "application/octet-stream"),
    ];
    fs::create_dir(daemon.site("deep")).unwrap();
    for (name, expected) in types {
        fs::write(daemon.site("deep").join(name), "content").unwrap();
        let answer = daemon.get(&format!("/deep/{name}")).expect(200);
        let content_type = answer.header("content-type").unwrap_or_default();
        assert!(content_type.starts_with(expected), "{name}: {content_type}");
        assert_eq!(answer.text(), "content");
    }
}

#[test]
fn a_changed_file_is_seen_within_a_second() {
    let daemon = TestDaemon::start("");
    let mut client = Client::connect(daemon.public()).unwrap();
    client.get("/").unwrap().expect(200);
    for round in 0..3 {
        let text = format!("<h1>changed {round}</h1>");
        fs::write(daemon.site("index.html"), &text).unwrap();
        let since = Instant::now();
        while client.get("/").unwrap().expect(200).text() != text {
            assert!(
                since.elapsed() < Duration::from_secs(1),
                "the old page is still served"
            );
            thread::sleep(Duration::from_millis(20));
        }
    }
    fs::remove_file(daemon.site("index.html")).unwrap();
    let since = Instant::now();
    while client.get("/").unwrap().status != 404 {
        assert!(
            since.elapsed() < Duration::from_secs(1),
            "the deleted page is still served"
        );
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn hidden_files_and_links_out_of_the_folder_are_not_served() {
    let daemon = TestDaemon::start("");
    let outside = daemon.folder().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("secret.txt"), SECRET).unwrap();
    fs::write(daemon.site(".env"), SECRET).unwrap();
    fs::create_dir(daemon.site(".git")).unwrap();
    fs::write(daemon.site(".git/config"), SECRET).unwrap();
    symlink(outside.join("secret.txt"), daemon.site("file-link.txt")).unwrap();
    symlink("../outside/secret.txt", daemon.site("relative.txt")).unwrap();
    symlink(&outside, daemon.site("folder-link")).unwrap();
    for path in [
        "/.env",
        "/%2eenv",
        "/.git/config",
        "/.git/",
        "/file-link.txt",
        "/relative.txt",
        "/folder-link/secret.txt",
        "/folder-link/",
    ] {
        let answer = daemon.get(path);
        assert!(!answer.text().contains(SECRET), "{path} leaks");
        assert!(
            (400..500).contains(&answer.status),
            "{path}: {}",
            answer.status
        );
    }
}

/// Paths that lead out of a folder, in the encodings that other servers were vulnerable to.
fn traversal_paths() -> Vec<Vec<u8>> {
    let dots: &[&[u8]] = &[
        b"..",
        b"%2e%2e",
        b"%2E%2e",
        b".%2e",
        b"%2e.",
        b"%252e%252e",
        b"..%00",
        b"%c0%ae%c0%ae",
        b"%uff0e%uff0e",
        b"..;",
        b"...",
        b".. ",
        b"..%20",
        b"\xc0\xae\xc0\xae",
    ];
    let slashes: &[&[u8]] = &[
        b"/", b"//", b"%2f", b"%5c", b"\\", b"%252f", b"%c0%af", b"/./", b"/%00/",
    ];
    let mut paths = Vec::new();
    for dot in dots {
        for slash in slashes {
            for depth in 1..=3 {
                let mut path = b"/".to_vec();
                for _ in 0..depth {
                    path.extend_from_slice(dot);
                    path.extend_from_slice(slash);
                }
                path.extend_from_slice(b"secret.txt");
                paths.push(path);
            }
        }
    }
    let more: &[&[u8]] = &[
        b"/deep/../../secret.txt",
        b"/deep/%2e%2e/%2e%2e/secret.txt",
        b"/deep/../.%2e/secret.txt",
        b"/index.html/../../secret.txt",
        b"/../site/../secret.txt",
        b"//secret.txt",
        b"../secret.txt",
        b"..",
        b"/..",
        b"/%00",
        b"/secret.txt%00.html",
        b"/../secret.txt%00.html",
        b"/../secret.txt?x=/index.html",
        b"/index.html?/../secret.txt",
        b"/?/../../secret.txt",
        b"http://localhost/../secret.txt",
        b"file:///../secret.txt",
        b"/%",
        b"/%2",
        b"/%zz/../secret.txt",
        b"*",
    ];
    paths.extend(more.iter().map(|path| path.to_vec()));
    paths
}

#[test]
fn no_traversal_path_leads_out_of_the_folder() {
    let daemon = TestDaemon::start("");
    fs::write(daemon.folder().join("secret.txt"), SECRET).unwrap();
    fs::create_dir(daemon.site("deep")).unwrap();
    fs::write(daemon.site("deep/page.txt"), "fine").unwrap();
    let absolute = format!("/{}/secret.txt", daemon.folder().display());
    let mut paths = traversal_paths();
    paths.push(absolute.clone().into_bytes());
    paths.push(absolute.replace('/', "%2f").into_bytes());
    assert!(paths.len() >= 200);
    let timeout = Duration::from_secs(10);
    for path in paths {
        let shown = String::from_utf8_lossy(&path).into_owned();
        let mut client = Client::connect_with(daemon.public(), timeout).unwrap();
        let mut request = b"GET ".to_vec();
        request.extend_from_slice(&path);
        request.extend_from_slice(b" HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        client.write(&request).unwrap();
        let answer = client
            .read_answer(false)
            .unwrap_or_else(|error| panic!("{shown}: {error}"));
        assert!(!answer.text().contains(SECRET), "{shown} leaks");
        assert!(answer.status < 500, "{shown}: {}", answer.status);
    }
    client::get(daemon.public(), "/deep/page.txt").expect(200);
}
