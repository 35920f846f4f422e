//! Lists that are compressed for clients that take it.

use std::io::Read as _;

use serde_json::{Value, json};

use crate::client::{self, Response};
use crate::daemon::{TestDaemon, metric};

fn list(daemon: &TestDaemon, path: &str, accept: &str) -> Response {
    client::send(
        daemon.public(),
        "GET",
        path,
        &[("accept-encoding", accept)],
        None,
    )
}

/// The coding of an answer, and its records.
fn decoded(answer: &Response) -> (Option<String>, Value) {
    let coding = answer.header("content-encoding").map(str::to_owned);
    let mut plain = Vec::new();
    match coding.as_deref() {
        None => plain.clone_from(&answer.body),
        Some("zstd") => plain = zstd::decode_all(&*answer.body).unwrap(),
        Some("gzip") => {
            let mut gzip = flate2::read::GzDecoder::new(&*answer.body);
            gzip.read_to_end(&mut plain).unwrap();
        }
        Some(other) => panic!("{other}"),
    }
    (coding, serde_json::from_slice(&plain).unwrap())
}

fn fill(daemon: &TestDaemon, resource: &str, records: usize) {
    let records: Vec<_> = (0..records)
        .map(|n| json!({ "title": format!("The Left Hand of Darkness, volume {n}") }))
        .collect();
    client::post(daemon.public(), &format!("/{resource}"), &json!(records)).expect(201);
}

fn again(daemon: &TestDaemon) -> f64 {
    metric(&daemon.metrics(), "perennial_http_lists_again_total", "").unwrap_or(0.0)
}

#[test]
fn a_list_is_compressed_as_the_client_takes_it() {
    // With and without answers that are kept, and with a rule that lets no request be answered at once.
    for more in [
        "",
        "[limits]\nkept_lists = \"0 B\"\n",
        "[resource.notes]\nmax_in_flight = 2\n",
    ] {
        let notes = if more.contains("notes") {
            ""
        } else {
            "[resource.notes]\n"
        };
        let daemon = TestDaemon::start(&format!(
            "{more}{notes}compress = [\"zstd\", \"gzip\"]\n[resource.plain]\n[resource.few]\ncompress = [\"gzip\"]\n"
        ));
        // A list of some KiB, which a thread compresses at once, and a part of it that is longer than that.
        for (resource, records) in [("notes", 900), ("plain", 100), ("few", 3)] {
            fill(&daemon, resource, records);
        }
        for _ in 0..3 {
            for query in ["?_limit=50", "?_limit=900"] {
                let path = format!("/notes{query}");
                let (_, plain) = decoded(&list(&daemon, &path, "identity"));
                for (accept, coding) in [
                    ("gzip, deflate, br, zstd", Some("zstd")),
                    ("gzip", Some("gzip")),
                    ("x-gzip;q=1, zstd;q=0.5", Some("gzip")),
                    ("br", None),
                    ("*", Some("zstd")),
                    ("*;q=0", None),
                    ("identity, gzip;q=0.5", None),
                    ("", None),
                ] {
                    let answer = list(&daemon, &path, accept).expect(200);
                    assert_eq!(answer.header("vary"), Some("Prefer, Accept-Encoding"));
                    let (found, records) = decoded(&answer);
                    assert_eq!(found.as_deref(), coding, "{accept}");
                    assert_eq!(records, plain, "{accept}");
                    let short = answer.body.len() < plain.to_string().len() / 4;
                    assert_eq!(short, coding.is_some(), "{accept}");
                    let etag = answer.header("etag").unwrap().to_owned();
                    let known = [("accept-encoding", accept), ("if-none-match", &*etag)];
                    client::send(daemon.public(), "GET", &path, &known, None).expect(304);
                }
            }
        }
        for path in ["/plain", "/few", "/notes?_limit=1"] {
            let answer = list(&daemon, path, "gzip, zstd").expect(200);
            assert_eq!(answer.header("content-encoding"), None, "{path}");
        }
        let head = client::send(
            daemon.public(),
            "HEAD",
            "/notes",
            &[("accept-encoding", "zstd")],
            None,
        );
        let whole = list(&daemon, "/notes", "zstd");
        assert_eq!(
            head.header("content-length"),
            whole.header("content-length")
        );
    }
}

#[test]
fn a_list_that_is_kept_is_compressed_once_and_is_new_after_a_change() {
    let daemon = TestDaemon::start("[resource.notes]\ncompress = [\"zstd\"]\n");
    fill(&daemon, "notes", 900);
    let path = "/notes?_limit=1000";
    let (_, before) = decoded(&list(&daemon, path, "zstd"));
    assert_eq!(before.as_array().unwrap().len(), 900);
    let given = again(&daemon);
    for _ in 0..5 {
        assert_eq!(decoded(&list(&daemon, path, "zstd")).1, before);
    }
    assert!((again(&daemon) - given - 5.0).abs() < 0.5);
    fill(&daemon, "notes", 1);
    let (coding, after) = decoded(&list(&daemon, path, "zstd"));
    assert_eq!(
        (coding.as_deref(), after.as_array().unwrap().len()),
        (Some("zstd"), 901)
    );
}
