//! Settings of routes: headers, cache rules, error pages, delays and limits on concurrent requests.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::daemon::{self, TestDaemon, metric};

/// Starts a daemon with these routes beside `/`; `SITE` stands for the served folder.
fn start(routes: &str) -> TestDaemon {
    let mut daemon = TestDaemon::prepare("");
    for folder in ["manual", "old"] {
        fs::create_dir(daemon.site(folder)).unwrap();
    }
    let site = daemon.site("").display().to_string();
    let text = daemon::toml(daemon.folder(), &routes.replace("SITE", &site));
    fs::write(daemon.config(), text).unwrap();
    daemon.spawn();
    daemon.wait_ready();
    daemon
}

#[test]
fn the_route_with_the_longest_prefix_wins_and_adds_its_headers() {
    let daemon = start(
        "[route.\"/docs\"]\nfiles = { root = 'SITE/manual', index = 'first.txt' }\nheaders = { X-Frame-Options = 'DENY', X-Kind = 'manual' }\n\
         [route.\"/docs/old\"]\nfiles = { root = 'SITE/old' }\n",
    );
    fs::create_dir(daemon.site("docs")).unwrap();
    fs::write(daemon.site("manual/first.txt"), "manual").unwrap();
    fs::write(daemon.site("old/a.txt"), "old").unwrap();
    fs::write(daemon.site("docs/a.txt"), "hidden by the route").unwrap();
    let manual = daemon.get("/docs/").expect(200);
    assert_eq!(manual.text(), "manual");
    assert_eq!(manual.header("x-frame-options"), Some("DENY"));
    assert_eq!(daemon.get("/docs/old/a.txt").expect(200).text(), "old");
    assert_eq!(daemon.get("/docs/old/a.txt").header("x-kind"), None);
    let absent = daemon.get("/docs/a.txt");
    assert_eq!(
        absent.header("x-kind"),
        Some("manual"),
        "an error has the headers"
    );
    absent.expect_problem(404);
    let etag = manual.header("etag").unwrap();
    let mut client = Client::connect(daemon.public()).unwrap();
    let unchanged = client
        .send("GET", "/docs/", &[("if-none-match", etag)], None)
        .unwrap()
        .expect(304);
    assert_eq!(
        unchanged.header("x-kind"),
        Some("manual"),
        "a 304 has the headers"
    );
}

#[test]
fn cache_rules_set_cache_control() {
    let daemon = start(
        "[route.\"/app\"]\nfiles = { root = 'SITE' }\n\
         cache = { \"/assets/**\" = 'public, max-age=60, immutable', \"*.html\" = 'no-cache', \"**\" = 'max-age=5' }\n\
         [file_cache]\nmax_file = '100 B'\n",
    );
    fs::create_dir_all(daemon.site("assets/deep")).unwrap();
    fs::write(daemon.site("assets/deep/a.css"), "a").unwrap();
    fs::write(daemon.site("large.txt"), "x".repeat(200)).unwrap();
    for (path, expected) in [
        ("/app/assets/deep/a.css", "public, max-age=60, immutable"),
        ("/app/", "no-cache"),
        ("/app/large.txt", "max-age=5"),
    ] {
        let answer = daemon.get(path).expect(200);
        assert_eq!(answer.header("cache-control"), Some(expected), "{path}");
        let etag = answer.header("etag").unwrap();
        let mut client = Client::connect(daemon.public()).unwrap();
        let known = [("if-none-match", etag)];
        let unchanged = client.send("GET", path, &known, None).unwrap().expect(304);
        assert_eq!(unchanged.header("cache-control"), Some(expected), "{path}");
    }
    fs::write(daemon.site("a.txt"), "a").unwrap();
    let bare = daemon.get("/a.txt").expect(200);
    assert_eq!(bare.header("cache-control"), None, "no rule matches");
    let page = daemon.get("/").expect(200);
    assert_eq!(page.header("cache-control"), Some("no-cache"), "HTML");
}

#[test]
fn an_error_is_answered_with_the_error_page_of_its_route() {
    let daemon = start(
        "[route.\"/shop\"]\nfiles = { root = 'SITE' }\n\
         errors = { 404 = '/lost.html', 405 = '/gone.html' }\n",
    );
    fs::write(daemon.site("lost.html"), "<h1>lost</h1>").unwrap();
    let mut client = Client::connect(daemon.public()).unwrap();
    for _ in 0..2 {
        let lost = client.get("/shop/nothing").unwrap().expect(404);
        assert_eq!(lost.text(), "<h1>lost</h1>");
        assert_eq!(
            lost.header("content-type"),
            Some("text/html; charset=utf-8")
        );
        assert_eq!(lost.header("cache-control"), Some("no-store"));
        assert_eq!(
            lost.header("etag"),
            None,
            "an error page must not be cached"
        );
    }
    let known = [("if-none-match", "*")];
    let lost = client.send("GET", "/shop/nothing", &known, None).unwrap();
    lost.expect(404);
    let head = client.send("HEAD", "/shop/nothing", &[], None).unwrap();
    assert_eq!(head.expect(404).header("content-length"), Some("13"));
    let refused = client.send("POST", "/shop/", &[], Some(b"x")).unwrap();
    assert!(
        refused.header("allow").is_some(),
        "the error page does not exist, so the answer is the problem"
    );
    refused.expect_problem(405);
    client.get("/nothing").unwrap().expect_problem(404);
}

#[test]
fn a_page_of_3_6_mb_is_sent_completely() {
    let daemon = start("");
    let picture = "iVBORw0KGgo".repeat(3_600_000 / 11);
    let page = format!("<!doctype html><img src=\"data:image/png;base64,{picture}\">");
    fs::write(daemon.site("large.html"), &page).unwrap();
    let mut client = Client::connect(daemon.public()).unwrap();
    for _ in 0..3 {
        let answer = client.get("/large.html").unwrap().expect(200);
        assert!(answer.text() == page, "every byte");
    }
}

/// Sends one request from each of so many clients at once; returns the time until the last answer, and all statuses.
fn all_at_once(daemon: &TestDaemon, path: &'static str, clients: usize) -> (Duration, Vec<u16>) {
    let begun = Instant::now();
    let (sender, statuses) = mpsc::channel();
    for _ in 0..clients {
        let (sender, public) = (sender.clone(), daemon.public());
        thread::Builder::new()
            .stack_size(128 * 1024)
            .spawn(move || {
                let timeout = Duration::from_secs(60);
                let mut client = Client::connect_with(public, timeout).unwrap();
                sender.send(client.get(path).unwrap().status).unwrap();
            })
            .unwrap();
    }
    drop(sender);
    let statuses = statuses.iter().collect();
    (begun.elapsed(), statuses)
}

const SLOW: &str = "[route.\"/slow\"]\nfiles = { root = 'SITE' }\ndelay = '1s'\n\
    [route.\"/narrow\"]\nfiles = { root = 'SITE' }\ndelay = '50ms'\nmax_in_flight = 1\n\
    [route.\"/shut\"]\nfiles = { root = 'SITE' }\ndelay = '1h'\nmax_in_flight = 1\n";

#[test]
fn a_delay_delays_a_thousand_clients_as_long_as_one_and_no_other_route() {
    let daemon = start(SLOW);
    daemon.get("/slow/").expect(200);
    for clients in [2, 1000] {
        let (took, statuses) = all_at_once(&daemon, "/slow/", clients);
        assert_eq!(statuses, vec![200; clients]);
        assert!(took >= Duration::from_secs(1), "{clients}: {took:?}");
        assert!(took < Duration::from_secs(3), "{clients}: {took:?}");
    }
    let (waiting, public) = (Instant::now(), daemon.public());
    let slow = thread::spawn(move || Client::connect(public).unwrap().get("/slow/").unwrap());
    for _ in 0..100 {
        daemon.get("/").expect(200);
    }
    assert!(!slow.is_finished() || waiting.elapsed() > Duration::from_secs(1));
    slow.join().unwrap().expect(200);
    let missing = Instant::now();
    daemon.get("/slow/nothing").expect_problem(404);
    assert!(
        missing.elapsed() >= Duration::from_secs(1),
        "an error is delayed, too"
    );
}

#[test]
fn with_max_in_flight_1_twenty_requests_are_served_one_after_the_other() {
    let daemon = start(SLOW);
    let (took, statuses) = all_at_once(&daemon, "/narrow/", 20);
    assert_eq!(statuses, vec![200; 20]);
    assert!(took >= Duration::from_secs(1), "{took:?}");
    let text = daemon.metrics();
    let figure = |name| metric(&text, name, "/narrow");
    assert_eq!(figure("perennial_http_queue_requests"), Some(0.0));
    assert_eq!(figure("perennial_http_queue_refused_total"), Some(0.0));
    let waited = figure("perennial_http_queue_waited_total").unwrap();
    assert!((1.0..20.0).contains(&waited), "{waited}");
}

#[test]
fn a_request_to_a_full_queue_is_answered_503_at_once() {
    let daemon = start(SLOW);
    let waiting = || metric(&daemon.metrics(), "perennial_http_queue_requests", "/shut");
    // One request is being served, 1024 wait.
    let held: Vec<_> = (0..1025)
        .map(|_| {
            let mut client = Client::connect(daemon.public()).unwrap();
            client
                .write(b"GET /shut/ HTTP/1.1\r\nhost: localhost\r\n\r\n")
                .unwrap();
            client
        })
        .collect();
    let until = Instant::now() + Duration::from_secs(30);
    while waiting() != Some(1024.0) {
        assert!(Instant::now() < until, "{:?} requests wait", waiting());
        thread::sleep(Duration::from_millis(20));
    }
    let refused = daemon.get("/shut/").expect(503);
    assert_eq!(refused.header("retry-after"), Some("3600"));
    assert_eq!(refused.expect_problem(503), "overloaded");
    daemon.get("/").expect(200);
    let text = daemon.metrics();
    let refused = metric(&text, "perennial_http_queue_refused_total", "/shut");
    assert_eq!(refused, Some(1.0));
    drop(held);
}

#[test]
fn a_queued_request_whose_client_has_left_keeps_nobody_waiting() {
    let daemon =
        start("[route.\"/slow\"]\nfiles = { root = 'SITE' }\ndelay = '1s'\nmax_in_flight = 1\n");
    let request = b"GET /slow/ HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut first = Client::connect(daemon.public()).unwrap();
    first.write(request).unwrap();
    let mut half_closed = Vec::new();
    for n in 0..10 {
        let mut stream = TcpStream::connect(daemon.public()).unwrap();
        stream.write_all(request).unwrap();
        thread::sleep(Duration::from_millis(20));
        // Some leave, and some only say that they will send nothing more.
        if n % 2 == 0 {
            stream.shutdown(Shutdown::Write).unwrap();
            half_closed.push(stream);
        }
    }
    daemon.get("/slow/").expect(200);
    first.read_answer(false).unwrap().expect(200);
    let mut answer = String::new();
    // The first of them may have been quicker than the first client; the last one had to wait.
    let last = half_closed.last_mut().unwrap();
    last.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 499 "), "{answer}");
    let metrics = daemon.metrics();
    let waiting = metric(&metrics, "perennial_http_queue_requests", "/slow");
    assert_eq!(waiting, Some(0.0));
    // The route works a second for each request that it carries out: for the two clients that wait, and for one of the ten
    // at most, which may have been quicker than the first client.
    let carried_out = metric(
        &metrics,
        "perennial_http_requests_total",
        "route=\"/slow\",method=\"GET\",code=\"200\"",
    );
    assert!(matches!(carried_out, Some(2.0 | 3.0)), "{metrics}");
}
