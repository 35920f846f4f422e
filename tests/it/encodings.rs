//! Compressed files: which client gets which coding, over HTTP/1 and HTTP/2, with its own entity tag, and together with conditions,
//! ranges, and reloads.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use crate::client::{Client, Response};
use crate::daemon::{TestDaemon, metric};
use crate::over_http2;
use crate::reload::reload;

/// A text, which is different for each seed.
fn text(seed: usize, lines: usize) -> String {
    let lines = (0..lines).map(|n| format!("line {n} of {seed} is {}\n", n * n % 9_973));
    lines.collect()
}

/// A text of about 100 kB that does not become much shorter than half of it.
fn digits() -> String {
    let numbers = (0_u64..5_000).map(|n| n.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    numbers.map(|number| number.to_string() + "\n").collect()
}

/// The site at `/`, with these members of `files` beside its root.
fn site(members: &str) -> TestDaemon {
    let mut daemon = TestDaemon::start("");
    set(&mut daemon, members);
    daemon
}

/// Writes these members of `files`, and reloads.
pub(crate) fn set(daemon: &mut TestDaemon, members: &str) {
    let site = daemon.folder().join("site");
    let written = fs::read_to_string(daemon.config()).unwrap();
    let line = written
        .lines()
        .find(|line| line.starts_with("files = "))
        .unwrap();
    let files = format!("files = {{ root = '{}'{members} }}", site.display());
    fs::write(daemon.config(), written.replace(line, &files)).unwrap();
    reload(daemon, "").expect(200);
}

/// Has the coding that this field leads to made, which may take longer than a client waits.
fn make(daemon: &TestDaemon, path: &str, accept: &str, coding: Option<&str>) {
    daemon.wait_until("the coding is there", |daemon| {
        accepting(daemon, path, accept).header("content-encoding") == coding
    });
}

fn accepting(daemon: &TestDaemon, path: &str, accept: &str) -> Response {
    let mut client = Client::connect(daemon.public()).unwrap();
    let fields = [("accept-encoding", accept)];
    client.send("GET", path, &fields, None).unwrap()
}

/// The bytes as a program other than ours decodes them.
fn gunzip(bytes: &[u8]) -> Vec<u8> {
    let gunzip = Command::new("gzip")
        .arg("-dc")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let mut gunzip = gunzip.unwrap();
    let mut stdin = gunzip.stdin.take().unwrap();
    let bytes = bytes.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&bytes));
    let decoded = gunzip.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(decoded.status.success());
    decoded.stdout
}

/// The plain bytes of an answer.
fn decoded(answer: &Response) -> Vec<u8> {
    let body = answer.body.as_slice();
    match answer.header("content-encoding") {
        None => body.to_vec(),
        Some("gzip") => gunzip(body),
        Some("zstd") => zstd::decode_all(body).unwrap(),
        Some("br") => {
            let mut plain = Vec::new();
            brotli::BrotliDecompress(&mut { body }, &mut plain).unwrap();
            plain
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_client_gets_the_coding_that_it_likes_best_with_a_tag_of_its_own() {
    let daemon = TestDaemon::start("");
    // On the heap, and in memory files.
    for (name, text) in [("small.txt", text(1, 200)), ("medium.css", digits())] {
        fs::write(daemon.site(name), &text).unwrap();
        let path = format!("/{name}");
        let mut tags = Vec::new();
        for (accept, coding) in [
            ("gzip, deflate, br, zstd", Some("br")),
            ("gzip, deflate", Some("gzip")),
            ("zstd;q=1, br;q=0.9", Some("zstd")),
            ("br;q=0, *", Some("zstd")),
            ("identity", None),
            ("deflate", None),
            ("", None),
        ] {
            make(&daemon, &path, accept, coding);
            let fields = [("accept-encoding", accept)];
            let answers = [
                accepting(&daemon, &path, accept),
                over_http2::send(daemon.public(), "GET", &path, &fields),
            ];
            let head = over_http2::send(daemon.public(), "HEAD", &path, &fields).expect(200);
            for answer in answers {
                let answer = answer.expect(200);
                assert_eq!(answer.header("content-encoding"), coding, "{path} {accept}");
                assert_eq!(answer.header("vary"), Some("accept-encoding"));
                assert!(decoded(&answer) == text.as_bytes(), "{path} {accept}");
                let told: usize = answer.header("content-length").unwrap().parse().unwrap();
                assert_eq!(told, answer.body.len());
                assert!(coding.is_none() || told < text.len() * 2 / 3);
                for same in [
                    "etag",
                    "content-length",
                    "content-encoding",
                    "vary",
                    "content-type",
                ] {
                    assert_eq!(
                        answer.header(same),
                        head.header(same),
                        "{path} {accept} {same}"
                    );
                }
                let tag = answer.header("etag").unwrap().to_owned();
                let same = [("accept-encoding", accept), ("if-none-match", &*tag)];
                let mut client = Client::connect(daemon.public()).unwrap();
                let unchanged = client.send("GET", &path, &same, None).unwrap().expect(304);
                assert_eq!(unchanged.header("etag"), Some(&*tag));
                assert_eq!(unchanged.header("vary"), Some("accept-encoding"));
                tags.push((coding, tag));
            }
        }
        tags.sort();
        tags.dedup();
        assert_eq!(tags.len(), 4, "{tags:?}");
        let other = [("accept-encoding", "br"), ("if-none-match", &*tags[0].1)];
        let mut client = Client::connect(daemon.public()).unwrap();
        client.send("GET", &path, &other, None).unwrap().expect(200);
    }
    let metrics = daemon.metrics();
    let compressed = metric(&metrics, "perennial_file_cache_compressed_total", "");
    assert_eq!(
        compressed,
        Some(6.0),
        "two files, each once for each coding"
    );
}

#[test]
fn what_is_not_worth_it_is_left_alone_and_who_refuses_it_is_told() {
    let daemon = TestDaemon::start("");
    let text = text(2, 200);
    fs::write(daemon.site("picture.png"), &text).unwrap();
    fs::write(daemon.site("short.txt"), &text[..1000]).unwrap();
    for (path, vary) in [
        ("/picture.png", None),
        ("/short.txt", Some("accept-encoding")),
    ] {
        let answer = accepting(&daemon, path, "br, gzip, zstd").expect(200);
        assert_eq!(answer.header("content-encoding"), None, "{path}");
        assert_eq!(answer.header("vary"), vary, "{path}");
    }
    let refused = accepting(&daemon, "/short.txt", "identity;q=0, gzip");
    assert_eq!(refused.expect_problem(406), "not_acceptable");
    // A picture is never sent in another way, so nobody is asked.
    accepting(&daemon, "/picture.png", "identity;q=0").expect(200);
}

#[test]
fn a_part_is_one_of_the_file_as_it_is_or_of_the_coding_that_is_named() {
    let daemon = TestDaemon::start("");
    let text = text(3, 2_000);
    fs::write(daemon.site("a.txt"), &text).unwrap();
    let mut client = Client::connect(daemon.public()).unwrap();
    let gzip = ("accept-encoding", "gzip");
    let range = ("range", "bytes=10-19");
    let part = client
        .send("GET", "/a.txt", &[gzip, range], None)
        .unwrap()
        .expect(206);
    assert_eq!(part.header("content-encoding"), None);
    assert_eq!(part.body, text.as_bytes()[10..20]);
    assert_eq!(part.header("vary"), Some("accept-encoding"));
    make(&daemon, "/a.txt", "gzip", Some("gzip"));
    let whole = client
        .send("GET", "/a.txt", &[gzip], None)
        .unwrap()
        .expect(200);
    let tag = whole.header("etag").unwrap();
    // A download that was broken off goes on.
    let rest = [gzip, ("range", "bytes=100-"), ("if-range", tag)];
    let rest = client
        .send("GET", "/a.txt", &rest, None)
        .unwrap()
        .expect(206);
    assert_eq!(rest.header("content-encoding"), Some("gzip"));
    assert!(rest.body == whole.body[100..]);
    let told = format!("bytes 100-{}/{}", whole.body.len() - 1, whole.body.len());
    assert_eq!(rest.header("content-range"), Some(&*told));
    // Of an encoded file only one part is sent.
    let several = [gzip, ("range", "bytes=0-1,5-6"), ("if-range", tag)];
    let several = client
        .send("GET", "/a.txt", &several, None)
        .unwrap()
        .expect(200);
    assert!(several.body == whole.body);
    // Who does not take the coding any more gets the file as it is.
    let other = [range, ("if-range", tag)];
    let other = client
        .send("GET", "/a.txt", &other, None)
        .unwrap()
        .expect(200);
    assert!(other.body == text.as_bytes());
    let only = [("accept-encoding", "gzip, identity;q=0"), range];
    let only = client
        .send("GET", "/a.txt", &only, None)
        .unwrap()
        .expect(206);
    assert!(only.body == whole.body[10..20]);
}

#[test]
fn what_the_owner_compressed_is_sent_while_it_is_not_older() {
    let daemon = site(", precompressed = ['br', 'gzip'], compress = []");
    fs::write(daemon.site("film.mp4"), vec![7; 5_000_000]).unwrap();
    fs::write(daemon.site("app.js"), "app()").unwrap();
    for name in ["app.js", "film.mp4"] {
        for ending in ["br", "gz", "zst"] {
            let content = format!("{name} in {ending}");
            fs::write(daemon.site(&format!("{name}.{ending}")), content).unwrap();
        }
        let path = format!("/{name}");
        for (accept, coding, content) in [
            ("br, gzip, zstd", Some("br"), format!("{name} in br")),
            ("gzip", Some("gzip"), format!("{name} in gz")),
        ] {
            make(&daemon, &path, accept, coding);
            let answer = accepting(&daemon, &path, accept).expect(200);
            assert_eq!(answer.text(), content);
            assert_eq!(answer.header("vary"), Some("accept-encoding"));
            let plain = accepting(&daemon, &path, "zstd").expect(200);
            assert_eq!(
                plain.header("content-encoding"),
                None,
                "zstd is not among them"
            );
            assert_eq!(plain.header("content-type"), answer.header("content-type"));
            assert_ne!(plain.header("etag"), answer.header("etag"));
        }
        // The file is built anew, and its compressed form is not.
        let old = SystemTime::now() - Duration::from_secs(3600);
        let beside = fs::File::options()
            .write(true)
            .open(daemon.site(&format!("{name}.br")));
        beside.unwrap().set_modified(old).unwrap();
        daemon.wait_until("the old one is not sent", |daemon| {
            let answer = accepting(daemon, &path, "br, gzip").expect(200);
            answer.header("content-encoding") == Some("gzip")
        });
    }
    // By itself it is a file like any other.
    let itself = daemon.get("/app.js.gz").expect(200);
    assert_eq!(itself.header("content-encoding"), None);
    assert_eq!(itself.header("content-type"), Some("application/gzip"));
}

#[test]
fn a_reload_changes_which_codings_there_are() {
    let mut daemon = site("");
    let text = text(4, 500);
    fs::write(daemon.site("a.txt"), &text).unwrap();
    fs::write(daemon.site("a.txt.gz"), "gzip of its owner").unwrap();
    make(&daemon, "/a.txt", "br", Some("br"));
    let coding = |daemon: &TestDaemon, accept: &str| {
        let answer = accepting(daemon, "/a.txt", accept).expect(200);
        let coding = answer.header("content-encoding").map(str::to_owned);
        (coding, answer.body)
    };
    assert_eq!(coding(&daemon, "gzip, br").0.as_deref(), Some("br"));
    set(&mut daemon, ", compress = ['gzip']");
    make(&daemon, "/a.txt", "gzip", Some("gzip"));
    let (gzip, body) = coding(&daemon, "gzip, br");
    assert_eq!(gzip.as_deref(), Some("gzip"));
    assert!(gunzip(&body) == text.as_bytes());
    set(
        &mut daemon,
        ", compress = ['gzip'], precompressed = ['gzip']",
    );
    assert_eq!(coding(&daemon, "gzip").1, b"gzip of its owner");
    set(&mut daemon, ", compress = []");
    let plain = accepting(&daemon, "/a.txt", "gzip, br").expect(200);
    assert!(plain.header("content-encoding").is_none() && plain.header("vary").is_none());
}

#[test]
fn the_headers_of_a_route_add_to_what_an_answer_varies_by() {
    let daemon = TestDaemon::start("[route.'/'.headers]\nVary = 'Origin'\nX-A = 'b'\n");
    let answer = accepting(&daemon, "/", "gzip").expect(200);
    let vary = answer.headers.iter().filter(|(name, _)| name == "vary");
    let vary: Vec<_> = vary.map(|(_, value)| value.as_str()).collect();
    assert_eq!(vary, ["accept-encoding", "Origin"]);
    assert_eq!(answer.header("x-a"), Some("b"));
}

#[test]
fn many_clients_at_once_cause_one_compression_and_all_get_the_file() {
    let daemon = TestDaemon::start("");
    let text = text(5, 2_000);
    fs::write(daemon.site("a.txt"), &text).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| {
                let answer = accepting(&daemon, "/a.txt", "br").expect(200);
                assert!(decoded(&answer) == text.as_bytes());
            });
        }
    });
    daemon.wait_until("it is compressed", |daemon| {
        let answer = accepting(daemon, "/a.txt", "br").expect(200);
        answer.header("content-encoding") == Some("br")
    });
    let compressed = metric(
        &daemon.metrics(),
        "perennial_file_cache_compressed_total",
        "",
    );
    assert!(
        compressed.is_some_and(|compressed| compressed <= 2.0),
        "{compressed:?}"
    );
}
