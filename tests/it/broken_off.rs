//! Requests whose clients leave before their answers: each has one line in the access log, and is counted.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use socket2::SockRef;

use crate::access_log::{lines, start_with};
use crate::daemon::{TestDaemon, metric};
use crate::frames::{block, frame};
use crate::unread::over_http_2;

const SETTINGS: &str =
    "[logging]\naccess = true\n[route.\"/slow\"]\nfiles = { root = 'SITE' }\ndelay = \"60s\"\n";
const PATH: &str = "/slow/index.html";
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const CANCEL: [u8; 4] = [0, 0, 0, 8];

fn start(more: &str) -> (TestDaemon, PathBuf) {
    start_with(more, "PERENNIAL__SERVER__DRAIN=1s")
}

fn send(daemon: &TestDaemon, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(daemon.public()).unwrap();
    stream.write_all(bytes).unwrap();
    stream
}

/// Closes a connection so that its peer sees it as broken.
fn reset(stream: TcpStream) {
    let linger = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
    linger.unwrap();
    drop(stream);
}

/// Waits until so many requests are being answered.
fn wait_for(daemon: &TestDaemon, requests: f64) {
    daemon.wait_until(&format!("{requests} requests in flight"), |daemon| {
        let text = daemon.metrics();
        metric(&text, "perennial_http_requests_in_flight", "") == Some(requests)
    });
}

fn counted(daemon: &TestDaemon, labels: &str) -> Option<f64> {
    metric(&daemon.metrics(), "perennial_http_requests_total", labels)
}

#[test]
fn a_request_whose_client_leaves_has_a_line_and_is_counted() {
    let site = tempfile::tempdir().unwrap();
    fs::write(site.path().join("index.html"), "slow").unwrap();
    let settings = SETTINGS.replace("SITE", &site.path().display().to_string());
    let (mut daemon, logs) = start(&settings);
    let ask = format!("GET {PATH}?a=b HTTP/1.1\r\nhost: localhost\r\nuser-agent: it\r\n\r\n");
    let ask = ask.as_bytes();
    let over_http_1: Vec<_> = (0..5).map(|_| send(&daemon, ask)).collect();
    let mut cancelling = send(&daemon, &over_http_2(PATH, 3, false));
    let leaving = send(&daemon, &over_http_2(PATH, 3, false));
    wait_for(&daemon, 11.0);
    over_http_1.into_iter().for_each(reset);
    reset(leaving);
    for stream in [1, 3, 5] {
        let cancel = frame(RST_STREAM, 0, stream, &CANCEL);
        cancelling.write_all(&cancel).unwrap();
    }
    wait_for(&daemon, 0.0);
    let left = "route=\"/slow\",method=\"GET\",code=\"499\"";
    daemon.wait_until("all are counted", |daemon| {
        counted(daemon, left) == Some(11.0)
    });
    // These two are cut off by the end of the drain.
    let _late = [
        send(&daemon, ask),
        send(&daemon, &over_http_2(PATH, 1, false)),
    ];
    wait_for(&daemon, 2.0);
    daemon.sigterm();
    daemon.wait_exit(Duration::from_secs(20));
    let lines = lines(&logs);
    assert_eq!(lines.len(), 13, "{lines:#?}");
    let mut http_2 = 0;
    for line in &lines {
        assert_eq!(line["path"], PATH);
        assert_eq!(
            (&line["method"], &line["route"]),
            (&json!("GET"), &json!("/slow"))
        );
        let end = (&line["status"], &line["fault"], &line["bytes"]);
        assert_eq!(end, (&json!(499), &json!("broken_off"), &json!(0)));
        let first = line["protocol"] == "HTTP/1.1";
        let agent = if first { json!("it") } else { Value::Null };
        assert_eq!(line["user_agent"], agent);
        http_2 += usize::from(!first);
    }
    assert_eq!(http_2, 7);
}

/// A client that closes as soon as it has sent does not keep what it did out of the log.
#[test]
fn what_was_done_for_a_client_that_left_is_logged() {
    let (mut daemon, logs) = start("[logging]\naccess = true\n");
    let ask = "POST /books HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
    for number in 0..10 {
        let stream = send(&daemon, ask.as_bytes());
        std::thread::sleep(Duration::from_millis(number % 3));
        reset(stream);
    }
    wait_for(&daemon, 0.0);
    let made = daemon.get("/books?_start=0&_end=1").expect(200);
    let made = made
        .header("x-total-count")
        .unwrap()
        .parse::<f64>()
        .unwrap();
    let counted = counted(&daemon, "method=\"POST\"");
    assert!(counted >= Some(made), "{counted:?} of {made}");
    daemon.sigterm();
    assert!(daemon.wait_exit(Duration::from_secs(20)).success());
    let lines = lines(&logs);
    let posts = lines.iter().filter(|line| line["method"] == "POST");
    let statuses: Vec<_> = posts
        .map(|line| (&line["status"], &line["fault"]))
        .collect();
    let number = f64::from(u32::try_from(statuses.len()).unwrap());
    assert_eq!(Some(number), counted, "{statuses:?}");
    for status in statuses {
        let whole = (&json!(201), &Value::Null);
        let [broken, left] = [201, 499].map(|status| (json!(status), json!("broken_off")));
        let broken = [broken, left];
        let is_broken = broken.iter().any(|(code, fault)| status == (code, fault));
        assert!(status == whole || is_broken, "{status:?}");
    }
}

/// What the library of HTTP/2 refuses by itself is counted and logged with its kind.
#[test]
fn what_the_library_of_http_2_refuses_is_counted_and_logged() {
    let (mut daemon, logs) = start("[logging]\naccess = true\n");
    let with = |field: (&str, &str)| {
        let mut bytes = over_http_2("/", 0, false);
        let mut head = block("/");
        head.push(0);
        for text in [field.0, field.1] {
            head.push(u8::try_from(text.len()).unwrap());
            head.extend(text.as_bytes());
        }
        bytes.extend(frame(HEADERS, 5, 1, &head));
        bytes
    };
    let mut window = over_http_2("/", 0, false);
    window.extend(frame(8, 0, 0, &[0; 4]));
    let mut ping = over_http_2("/", 0, false);
    ping.extend(frame(6, 0, 0, &[0; 7]));
    let all = [
        with(("Upper", "x")),
        with(("x", "a\0b")),
        with(("connection", "close")),
        window,
        ping,
    ];
    for (number, bytes) in all.iter().enumerate() {
        let mut stream = send(&daemon, bytes);
        daemon.wait_until(&format!("number {number} is counted"), |daemon| {
            let refused = metric(
                &daemon.metrics(),
                "perennial_http_messages_refused_total",
                "http2_",
            );
            refused == Some(f64::from(u32::try_from(number).unwrap() + 1))
        });
        stream.shutdown(Shutdown::Write).unwrap();
        let _until_its_end = stream.read_to_end(&mut Vec::new());
    }
    daemon.sigterm();
    assert!(daemon.wait_exit(Duration::from_secs(20)).success());
    let lines = lines(&logs);
    assert_eq!(lines.len(), all.len(), "{lines:#?}");
    for line in &lines {
        assert_eq!(line["fault"], "http2_protocol_error");
        assert_eq!(
            (&line["protocol"], &line["status"]),
            (&json!("HTTP/2"), &json!(400))
        );
    }
}

#[test]
fn the_line_of_a_refused_message_tells_what_was_read_of_it() {
    let (mut daemon, logs) = start("[logging]\naccess = true\n");
    for bytes in [
        "GET /a?b=c HTTP/1.1\r\n\r\n",
        "HEAD /a?b=c HTTP/1.1\r\nhost : a\r\n\r\n",
        "PUT /a?b=c HTTP/2.0\r\nhost: a\r\n\r\n",
    ] {
        let mut stream = send(&daemon, bytes.as_bytes());
        stream.read_to_end(&mut Vec::new()).unwrap();
    }
    let mut slow = send(
        &daemon,
        b"POST /books HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{",
    );
    slow.shutdown(Shutdown::Write).unwrap();
    slow.read_to_end(&mut Vec::new()).unwrap();
    daemon.sigterm();
    assert!(daemon.wait_exit(Duration::from_secs(20)).success());
    let lines = lines(&logs);
    let told = |line: &Value| {
        let keys = ["method", "path", "query", "status", "fault"];
        json!(keys.map(|key| line[key].clone()))
    };
    let mut told: Vec<_> = lines.iter().map(told).collect();
    // Each handler writes its lines by itself.
    told.sort_by_key(Value::to_string);
    assert_eq!(
        told,
        [
            json!(["GET", "/a", "b=c", 400, "host_missing"]),
            json!(["HEAD", "/a", "b=c", 400, "field_name"]),
            json!(["POST", "/books", null, 400, "body_incomplete"]),
            json!(["PUT", "/a", "b=c", 505, "version"]),
        ]
    );
}
