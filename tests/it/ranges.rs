//! Parts of files (RFC 9110 section 14): of small ones, of large ones in memory, and of those that are sent from the disk, over HTTP/1
//! and HTTP/2, as one part and as several.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::time::{Duration, Instant};

use crate::client::{Client, Response};
use crate::daemon::{TestDaemon, metric};
use crate::over_http2;

const PATIENCE: Duration = Duration::from_secs(20);
/// The files, and their lengths: on the heap, in a memory file, and larger than what is kept in memory.
const FILES: [(&str, usize); 3] = [
    ("/small.bin", 1000),
    ("/medium.bin", 300_001),
    ("/large.bin", 5_000_003),
];

/// Content no two pages of which are the same.
fn content(length: usize) -> Vec<u8> {
    let numbers = (0_u64..).flat_map(|n| n.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes());
    numbers.take(length).collect()
}

fn site() -> TestDaemon {
    let daemon = TestDaemon::start("");
    for (path, length) in FILES {
        fs::write(daemon.site(&path[1..]), content(length)).unwrap();
    }
    daemon
}

/// A request over one of the two versions of HTTP.
type Send<'a> = Box<dyn FnMut(&str, &str, &[(&str, &str)]) -> Response + 'a>;

/// Over HTTP/1 all on one connection, so that an answer with another length than it tells spoils the next.
fn both_versions(daemon: &TestDaemon) -> [Send<'_>; 2] {
    let mut client = Client::connect(daemon.public()).unwrap();
    [
        Box::new(move |method, path, fields| client.send(method, path, fields, None).unwrap()),
        Box::new(|method, path, fields| over_http2::send(daemon.public(), method, path, fields)),
    ]
}

/// The parts of a multipart answer: their ranges and their bytes.
fn parts(answer: &Response) -> Vec<(String, Vec<u8>)> {
    let content_type = answer.header("content-type").unwrap();
    let boundary = content_type
        .strip_prefix("multipart/byteranges; boundary=")
        .unwrap_or_else(|| panic!("{content_type}"));
    let mut rest = answer.body.as_slice();
    let mut parts = Vec::new();
    let mut delimiter = format!("--{boundary}");
    loop {
        rest = rest.strip_prefix(delimiter.as_bytes()).expect("a boundary");
        if rest == b"--\r\n" {
            return parts;
        }
        delimiter = format!("\r\n--{boundary}");
        let end = rest
            .windows(4)
            .position(|four| four == b"\r\n\r\n")
            .unwrap();
        let head = std::str::from_utf8(&rest[..end]).unwrap();
        assert!(
            head.contains("Content-Type: application/octet-stream"),
            "{head}"
        );
        let (_, range) = head.split_once("Content-Range: ").unwrap();
        let numbers = range.strip_prefix("bytes ").unwrap();
        let numbers = numbers.split_once('/').unwrap().0.split_once('-').unwrap();
        let (first, last): (usize, usize) =
            (numbers.0.parse().unwrap(), numbers.1.parse().unwrap());
        let length = last - first + 1;
        let body = &rest[end + 4..];
        parts.push((range.to_owned(), body[..length].to_vec()));
        rest = &body[length..];
    }
}

#[test]
fn one_part_of_a_file_is_sent_wherever_the_file_lies() {
    let daemon = site();
    for mut send in both_versions(&daemon) {
        for (path, length) in FILES {
            let all = content(length);
            let whole = send("GET", path, &[]).expect(200);
            assert_eq!(whole.header("accept-ranges"), Some("bytes"));
            assert!(whole.body == all && whole.header("content-range").is_none());
            let cases = [
                ("bytes=0-0", 0..1),
                ("bytes=0-499", 0..500),
                ("bytes=7-", 7..length),
                ("bytes=-1", length - 1..length),
                ("bytes=-999999999", 0..length),
                ("bytes=500-999999999", 500..length),
                ("bytes=900-,999999999-", 900..length),
            ];
            for (range, bytes) in cases {
                let part = send("GET", path, &[("range", range)]).expect(206);
                let expected = format!("bytes {}-{}/{length}", bytes.start, bytes.end - 1);
                assert_eq!(
                    part.header("content-range"),
                    Some(&*expected),
                    "{path} {range}"
                );
                // The tag of a young file from the disk is weak, and becomes strong.
                let tag = |answer: &Response| {
                    let tag = answer.header("etag").unwrap();
                    tag.trim_start_matches("W/").to_owned()
                };
                assert_eq!(tag(&part), tag(&whole), "{path} {range}");
                for same in ["last-modified", "content-type", "accept-ranges"] {
                    assert_eq!(
                        part.header(same),
                        whole.header(same),
                        "{path} {range} {same}"
                    );
                }
                let told: usize = part.header("content-length").unwrap().parse().unwrap();
                assert_eq!(told, bytes.len(), "{path} {range}");
                assert!(part.body == all[bytes], "{path} {range}");
            }
        }
    }
}

#[test]
fn several_parts_are_sent_each_with_its_range() {
    let daemon = site();
    for mut send in both_versions(&daemon) {
        for (path, length) in FILES {
            let all = content(length);
            let answer = send("GET", path, &[("range", "bytes=600-,0-0, 3-499,-1")]).expect(206);
            assert_eq!(answer.header("content-range"), None, "it is in the parts");
            let told: usize = answer.header("content-length").unwrap().parse().unwrap();
            assert_eq!(told, answer.body.len());
            let expected = [600..length, 0..1, 3..500, length - 1..length];
            let expected = expected.map(|bytes| {
                let range = format!("bytes {}-{}/{length}", bytes.start, bytes.end - 1);
                (range, all[bytes].to_vec())
            });
            assert!(parts(&answer) == expected, "{path}");
        }
    }
}

#[test]
fn a_range_that_asks_for_nothing_there_is_refused_and_one_that_says_nothing_is_ignored() {
    let daemon = site();
    let many = (0..100).map(|n| format!("{n}-{n}")).collect::<Vec<_>>();
    let many = format!("bytes={}", many.join(","));
    for mut send in both_versions(&daemon) {
        for (path, length) in FILES {
            for range in ["bytes=999999999-", "bytes=-0"] {
                let refused = send("GET", path, &[("range", range)]);
                let told = format!("bytes */{length}");
                assert_eq!(refused.header("content-range"), Some(&*told));
                assert_eq!(refused.expect_problem(416), "range_not_satisfiable");
            }
            let whole = send("GET", path, &[]).expect(200);
            let ignored: [(&str, &[(&str, &str)]); 8] = [
                ("GET", &[("range", "bytes=x")]),
                ("GET", &[("range", "bytes=5-1")]),
                ("GET", &[("range", "books=0-4")]),
                ("GET", &[("range", "bytes=0-1"), ("range", "bytes=2-3")]),
                ("GET", &[("range", "bytes=0-,0-,0-")]),
                ("GET", &[("range", &many)]),
                ("HEAD", &[("range", "bytes=0-1")]),
                ("HEAD", &[("range", "bytes=999999999-")]),
            ];
            for (method, fields) in ignored {
                let answer = send(method, path, fields).expect(200);
                let length = length.to_string();
                assert_eq!(
                    answer.header("content-length"),
                    Some(&*length),
                    "{path} {fields:?}"
                );
                assert_eq!(answer.header("content-range"), None);
                assert!(method == "HEAD" || answer.body == whole.body);
            }
        }
    }
    let ignored = metric(&daemon.metrics(), "perennial_file_ranges_ignored_total", "");
    assert_eq!(
        ignored,
        Some(12.0),
        "two of three files, twice: those that ask for too much"
    );
    let refused = daemon.post("/small.bin", &serde_json::json!({}));
    refused.expect(405);
}

#[test]
fn an_empty_file_is_sent_whole() {
    let daemon = TestDaemon::start("");
    fs::write(daemon.site("empty.bin"), "").unwrap();
    for mut send in both_versions(&daemon) {
        let answer = send("GET", "/empty.bin", &[("range", "bytes=0-")]).expect(200);
        assert_eq!(answer.header("content-length"), Some("0"));
        assert!(answer.body.is_empty());
    }
}

#[test]
fn conditions_come_before_the_range_and_if_range_decides_about_it() {
    let daemon = site();
    let long_ago = std::time::SystemTime::now() - Duration::from_secs(3600);
    for (path, _) in FILES {
        let file = File::options()
            .write(true)
            .open(daemon.site(&path[1..]))
            .unwrap();
        file.set_modified(long_ago).unwrap();
    }
    for mut send in both_versions(&daemon) {
        for (path, length) in FILES {
            // A young file has no strong validators.
            let since = Instant::now();
            let about = loop {
                let about = send("GET", path, &[]).expect(200);
                let date = about.header("last-modified").unwrap();
                let by_date = [("range", "bytes=1-2"), ("if-range", date)];
                if send("GET", path, &by_date).status == 206 {
                    break send("GET", path, &[]).expect(200);
                }
                assert!(since.elapsed() < PATIENCE, "{path}: it stays young");
                std::thread::sleep(Duration::from_millis(100));
            };
            let tag = about.header("etag").unwrap();
            assert!(!tag.starts_with("W/"), "{path}");
            let range = ("range", "bytes=1-2");
            let part = send("GET", path, &[range, ("if-range", tag)]).expect(206);
            assert_eq!(part.body, content(length)[1..3]);
            let weak = format!("W/{tag}");
            for other in [
                "\"other\"",
                &*weak,
                "Sun, 06 Nov 1994 08:49:37 GMT",
                "yesterday",
            ] {
                let whole = send("GET", path, &[range, ("if-range", other)]).expect(200);
                assert_eq!(whole.body.len(), length, "{path} {other}");
            }
            let beyond = ("range", "bytes=999999999-");
            send("GET", path, &[beyond, ("if-range", "\"other\"")]).expect(200);
            send("GET", path, &[beyond, ("if-range", tag)]).expect(416);
            send("GET", path, &[range, ("if-none-match", tag)]).expect(304);
            send("GET", path, &[beyond, ("if-none-match", tag)]).expect(304);
            send("GET", path, &[range, ("if-match", "\"other\"")]).expect(412);
            send("GET", path, &[range, ("if-match", tag)]).expect(206);
        }
    }
}

#[test]
fn a_sparse_file_of_more_than_four_gigabytes_has_parts_too() {
    const LENGTH: u64 = (5 << 30) + 7;
    let daemon = TestDaemon::start("");
    let file = File::create(daemon.site("disk.img")).unwrap();
    file.set_len(LENGTH).unwrap();
    file.write_all_at(b"at the end", LENGTH - 10).unwrap();
    file.write_all_at(b"behind two", (2 << 30) + 1).unwrap();
    for mut send in both_versions(&daemon) {
        let head = send("HEAD", "/disk.img", &[]).expect(200);
        assert_eq!(head.header("content-length"), Some(&*LENGTH.to_string()));
        let end = send("GET", "/disk.img", &[("range", "bytes=-10")]).expect(206);
        let told = format!("bytes {}-{}/{LENGTH}", LENGTH - 10, LENGTH - 1);
        assert_eq!(end.header("content-range"), Some(&*told));
        assert_eq!(end.text(), "at the end");
        let at = (2_u64 << 30) + 1;
        let range = format!("bytes={}-{},-3,0-1", at - 1, at + 10);
        let answer = send("GET", "/disk.img", &[("range", &range)]).expect(206);
        let bytes: Vec<_> = parts(&answer).into_iter().map(|(_, bytes)| bytes).collect();
        assert_eq!(bytes, [&b"\0behind two\0"[..], b"end", b"\0\0"]);
        let hole = format!("bytes={}-{}", 3_u64 << 30, (3_u64 << 30) + 999_999);
        let hole = send("GET", "/disk.img", &[("range", &hole)]).expect(206);
        assert!(hole.body.len() == 1_000_000 && hole.body.iter().all(|byte| *byte == 0));
    }
}
