//! Random requests over HTTP: none is answered with a 500, and each connection stays open.

use crate::client::Client;
use crate::daemon::TestDaemon;
use crate::drills::count;
use crate::random_input::RandomInput;

/// The resources that the requests name.
const ALBUMS: &str = r#"
[resource.pens]
accept = ["text/plain"]
upsert = true
delete_matching = true
[resource.counted]
id = "sequence"
[resource.albums]
put = "merge"
[resource.albums.fields]
title = { type = "string", required = true, min_length = 1, max_length = 20 }
barcode = { type = "string", pattern = '^[0-9]{3}$' }
year = { type = "integer", min = 0, max = 3000 }
price = { type = "number", min = 0.5 }
on_sale = { type = "boolean", default = false }
released = { type = "datetime" }
tags = { type = "array", items = "string", default = [], max_length = 2 }
artist = { type = "object", fields = { name = { type = "string", required = true }, born = { type = "integer" } } }
"#;

/// Sends a random request; returns its text and the answer.
fn request(
    random: &mut RandomInput,
    client: &mut Client,
) -> (String, std::io::Result<crate::client::Response>) {
    const METHODS: [&str; 8] = [
        "GET", "GET", "HEAD", "POST", "POST", "PUT", "PATCH", "DELETE",
    ];
    const PATHS: [&str; 16] = [
        "/books",
        "/books",
        "/albums",
        "/albums",
        "/pens",
        "/counted",
        "/books/x",
        "/books/x",
        "/albums/x",
        "/pens/x",
        "/pens/x",
        "/pens/x",
        "/counted/1",
        "/books/_changes",
        "/books/%00",
        "/_batch",
    ];
    const HEADERS: [(&str, &str); 10] = [
        ("if-match", "*"),
        ("if-match", "\"1\""),
        ("if-match", "x"),
        ("if-none-match", "*"),
        ("if-none-match", "W/\"1\", \""),
        ("prefer", "return=minimal"),
        ("prefer", "handling=lenient"),
        ("prefer", "=;,\""),
        ("accept", "application/json;q="),
        ("idempotency-key", "1"),
    ];
    const TYPES: [&str; 6] = [
        "application/json",
        "application/json",
        "application/json",
        "application/merge-patch+json",
        "text/plain",
        "",
    ];
    let method = random.pick(&METHODS);
    // Characters that no URL may contain are replaced, so that the request is parsed.
    let query = random.query().replace(
        |c: char| !c.is_ascii_graphic() || "<>\"#`^|\\{}".contains(c),
        "%41",
    );
    let resource = random.pick(&PATHS);
    let path = format!("{resource}?{query}");
    let mut head = vec![("content-type", random.pick(&TYPES))];
    if resource == "/books/_changes" {
        // A page of changes has an end; a stream of events has none.
        head.push(("accept", "application/json"));
    }
    while random.one_in(2) {
        head.push(random.pick(&HEADERS));
    }
    let body = random.body();
    let body = (method != "GET" && method != "HEAD").then_some(body.as_slice());
    let shown = format!(
        "{method} {path} {head:?} {:?}",
        body.map(String::from_utf8_lossy)
    );
    (shown, client.send(method, &path, &head, body))
}

fn ask_many(requests: u64, seed: u64) {
    println!("{requests} requests, FUZZ_SEED={seed}");
    let daemon = TestDaemon::start(ALBUMS);
    let mut random = RandomInput::new(seed);
    let mut client = Client::connect(daemon.public()).unwrap();
    let mut statuses = std::collections::BTreeMap::<u16, u64>::new();
    for _ in 0..requests {
        let (shown, answer) = request(&mut random, &mut client);
        let answer = answer.unwrap_or_else(|error| panic!("{shown}: {error}"));
        assert!(answer.status < 500, "{shown}: {answer:?}");
        assert!(answer.keep_alive, "{shown}: {answer:?}");
        *statuses.entry(answer.status).or_default() += 1;
        if !answer.body.is_empty() {
            let kind = answer.header("content-type").unwrap();
            let expected = if answer.status < 400 {
                "application/json"
            } else {
                "application/problem+json"
            };
            assert_eq!(kind, expected, "{shown}");
            answer.json();
        }
    }
    println!("{statuses:?}");
    for status in [200, 201, 204, 304, 400, 404, 405, 409, 412, 415, 422] {
        assert!(statuses.contains_key(&status), "no {status}");
    }
}

#[test]
fn random_requests_are_never_answered_with_a_500() {
    ask_many(12_000, count("FUZZ_SEED", 1));
}

#[test]
#[ignore = "takes a minute: .ci/run runs it"]
fn tens_of_thousands_of_random_requests_are_never_answered_with_a_500() {
    ask_many(count("FUZZ_REQUESTS", 50_000), count("FUZZ_SEED", 2));
}
