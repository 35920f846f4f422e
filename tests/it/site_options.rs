//! The options of a folder: its index files, paths without their ending, the page of an application of a single page, and files that
//! are stored.

use std::fs;
use std::process::Command;

use crate::client::{Client, Response};
use crate::daemon::{BINARY, TestDaemon};
use crate::encodings::set;

/// A site at `/` with these members of `files` beside its root.
fn site(members: &str) -> TestDaemon {
    let mut daemon = TestDaemon::start("");
    for (name, content) in [
        ("index.html", "<h1>first</h1>"),
        ("about.html", "<h1>about</h1>"),
        ("docs/index.htm", "<h1>docs</h1>"),
        ("docs/guide.html", "<h1>guide</h1>"),
        ("blog.html", "<h1>blog</h1>"),
        ("blog/post.html", "<h1>post</h1>"),
        ("files/a.txt", "a file"),
        ("app.js", "app()"),
    ] {
        let file = daemon.site(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, content).unwrap();
    }
    set(&mut daemon, members);
    daemon
}

fn asking(daemon: &TestDaemon, method: &str, path: &str, fields: &[(&str, &str)]) -> Response {
    let mut client = Client::connect(daemon.public()).unwrap();
    client.send(method, path, fields, None).unwrap()
}

const PAGE: (&str, &str) = ("accept", "text/html,application/xhtml+xml,*/*;q=0.8");

#[test]
fn the_fallback_is_for_browsers_that_open_a_page_and_for_nothing_else() {
    let mut daemon = site(", fallback = '/index.html'");
    let navigates = ("sec-fetch-mode", "navigate");
    for fields in [&[PAGE][..], &[navigates], &[PAGE, navigates]] {
        for path in ["/some/where", "/users/john.doe", "/v1.2/", "/caf%C3%A9"] {
            let answer = asking(&daemon, "GET", path, fields).expect(200);
            assert_eq!(answer.text(), "<h1>first</h1>", "{path}");
            assert_eq!(answer.header("cache-control"), Some("no-cache"));
            let vary: Vec<_> = answer
                .headers
                .iter()
                .filter(|(name, _)| name == "vary")
                .collect();
            assert!(
                vary.iter().any(|(_, by)| by == "accept, sec-fetch-mode"),
                "{vary:?}"
            );
            let head = asking(&daemon, "HEAD", path, fields).expect(200);
            assert_eq!(head.header("content-length"), Some("14"));
        }
        for path in [
            "/gone.js",
            "/some/gone.css",
            "/gone.png",
            "/gone.map",
            "/gone.html",
        ] {
            asking(&daemon, "GET", path, fields).expect(404);
        }
        asking(&daemon, "DELETE", "/some/where", fields).expect(404);
        asking(&daemon, "GET", "/.hidden", fields).expect(404);
        let there = asking(&daemon, "GET", "/app.js", fields).expect(200);
        assert_eq!(there.text(), "app()");
    }
    for fields in [
        &[][..],
        &[("accept", "*/*")],
        &[("accept", "application/json")],
        &[("accept", "text/html;q=0")],
        &[("accept", "*/*"), ("sec-fetch-mode", "cors")],
        &[("accept", "*/*"), ("sec-fetch-mode", "no-cors")],
    ] {
        asking(&daemon, "GET", "/some/where", fields).expect(404);
    }
    let known = asking(&daemon, "GET", "/some/where", &[PAGE]);
    let same = [PAGE, ("if-none-match", known.header("etag").unwrap())];
    asking(&daemon, "GET", "/some/where", &same).expect(304);
    set(&mut daemon, "");
    asking(&daemon, "GET", "/some/where", &[PAGE]).expect(404);
    set(&mut daemon, ", fallback = '/gone.html'");
    asking(&daemon, "GET", "/some/where", &[PAGE]).expect(404);
    let config = daemon.config();
    let check = Command::new(BINARY)
        .arg("check")
        .arg("--config")
        .arg(config)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&check.stderr) + String::from_utf8_lossy(&check.stdout);
    assert!(
        told.contains("route.\"/\".files.fallback") && told.contains("there is no file"),
        "{told}"
    );
}

#[test]
fn a_folder_answers_with_the_first_index_that_is_there() {
    let mut daemon = site(", index = ['index.html', 'index.htm']");
    assert_eq!(daemon.get("/").expect(200).text(), "<h1>first</h1>");
    let docs = daemon.get("/docs/").expect(200);
    assert_eq!(docs.text(), "<h1>docs</h1>");
    assert!(
        docs.header("content-type")
            .unwrap()
            .starts_with("text/html")
    );
    let moved = daemon.get("/docs").expect(307);
    assert_eq!(moved.header("location"), Some("docs/"));
    daemon.get("/blog/").expect(404);
    daemon.get("/blog").expect(404);
    set(&mut daemon, ", index = 'index.html'");
    daemon.get("/docs/").expect(404);
    daemon.get("/docs").expect(404);
}

#[test]
fn a_path_may_leave_out_the_ending_of_a_page() {
    let mut daemon = site(", clean_urls = true");
    for (path, content) in [
        ("/about", "<h1>about</h1>"),
        ("/about.html", "<h1>about</h1>"),
        ("/docs/guide", "<h1>guide</h1>"),
        ("/app.js", "app()"),
        // A folder without an index is none.
        ("/blog", "<h1>blog</h1>"),
        ("/blog/post", "<h1>post</h1>"),
        ("/", "<h1>first</h1>"),
    ] {
        let answer = daemon.get(path).expect(200);
        assert_eq!(answer.text(), content, "{path}");
        let html = answer
            .header("content-type")
            .unwrap()
            .starts_with("text/html");
        assert_eq!(html, path != "/app.js", "{path}");
    }
    for path in ["/about/", "/gone", "/app", "/docs", "/about.html.html"] {
        daemon.get(path).expect(404);
    }
    fs::write(daemon.site("about"), "the file itself").unwrap();
    daemon.wait_until("the file itself comes first", |daemon| {
        daemon.get("/about").expect(200).text() == "the file itself"
    });
    set(&mut daemon, "");
    daemon.get("/blog").expect(404);
}

#[test]
fn a_download_is_stored_and_not_shown() {
    let mut daemon = site(", download = ['/files/**', '*.js']");
    for (path, disposition) in [
        ("/files/a.txt", Some("attachment")),
        ("/app.js", Some("attachment")),
        ("/about.html", None),
    ] {
        let answer = daemon.get(path).expect(200);
        assert_eq!(answer.header("content-disposition"), disposition, "{path}");
    }
    set(&mut daemon, ", download = ['*.html']");
    assert_eq!(daemon.get("/app.js").header("content-disposition"), None);
    let page = daemon.get("/about.html");
    assert_eq!(page.header("content-disposition"), Some("attachment"));
}

#[test]
fn a_folder_without_an_index_is_listed_where_that_is_wanted() {
    let mut daemon = site(", listing = true");
    fs::write(daemon.site("files/<b>&\"'.txt"), "x").unwrap();
    fs::write(daemon.site("files/javascript:a%41.txt"), "colon").unwrap();
    fs::write(daemon.site("files/.hidden"), "hidden").unwrap();
    fs::create_dir(daemon.site("files/sub")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", daemon.site("files/out")).unwrap();
    std::os::unix::fs::symlink("a.txt", daemon.site("files/link.txt")).unwrap();
    let moved = daemon.get("/files").expect(307);
    assert_eq!(moved.header("location"), Some("files/"));
    let json = [("accept", "application/json")];
    let list = asking(&daemon, "GET", "/files/", &json).expect(200);
    assert_eq!(list.header("content-type"), Some("application/json"));
    assert_eq!(list.header("vary"), Some("accept"));
    let files = list.json()["files"].as_array().unwrap().clone();
    let names: Vec<_> = files
        .iter()
        .map(|file| file["name"].as_str().unwrap())
        .collect();
    let expected = [
        "sub",
        "<b>&\"'.txt",
        "a.txt",
        "javascript:a%41.txt",
        "link.txt",
    ];
    assert_eq!(names, expected);
    assert_eq!(
        (&files[0]["type"], &files[2]["bytes"]),
        (&"folder".into(), &6.into())
    );
    let page = asking(&daemon, "GET", "/files/", &[PAGE]).expect(200);
    assert!(
        page.header("content-type")
            .unwrap()
            .starts_with("text/html")
    );
    let text = page.text();
    assert!(
        text.contains("&lt;b&gt;&amp;") && !text.contains("<b>"),
        "{text}"
    );
    assert!(text.contains("href=\"javascript%3Aa%2541.txt\""), "{text}");
    assert!(
        text.contains("href=\"../\"") && text.contains("href=\"sub/\""),
        "{text}"
    );
    assert!(
        !text.contains("hidden") && !text.contains("passwd"),
        "{text}"
    );
    assert_eq!(
        daemon
            .get("/files/javascript%3Aa%2541.txt")
            .expect(200)
            .text(),
        "colon"
    );
    let tag = page.header("etag").unwrap();
    asking(&daemon, "GET", "/files/", &[PAGE, ("if-none-match", tag)]).expect(304);
    asking(&daemon, "POST", "/files/", &[]).expect(405);
    // A new file is seen at once, an index comes first, and what is not there is not listed.
    fs::write(daemon.site("files/new.txt"), "new").unwrap();
    let list = asking(&daemon, "GET", "/files/", &json).expect(200);
    assert_eq!(list.json()["files"].as_array().unwrap().len(), 6);
    assert_eq!(daemon.get("/").expect(200).text(), "<h1>first</h1>");
    daemon.get("/gone/").expect(404);
    set(&mut daemon, "");
    daemon.get("/files/").expect(404);
    daemon.get("/files").expect(404);
}
