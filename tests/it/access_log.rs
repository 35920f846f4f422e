//! The access log has one line for each answer, with the request id of that answer.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::client::Client;
use crate::daemon::{TestDaemon, metric};

/// All lines of the access log files in `dir`. A line that the daemon is writing, so that its end is not there yet, is left out.
pub(crate) fn lines(dir: &Path) -> Vec<Value> {
    let files = fs::read_dir(dir).unwrap();
    let files = files.map(|file| file.unwrap().path()).filter(|path| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.starts_with("access.")
    });
    let bytes = files.map(|path| fs::read(path).unwrap());
    let parse = |line: &[u8]| serde_json::from_slice(line).unwrap();
    bytes
        .flat_map(|bytes| {
            let complete = bytes.split_inclusive(|byte| *byte == b'\n');
            let complete = complete.filter(|line| line.ends_with(b"\n"));
            complete.map(parse).collect::<Vec<_>>()
        })
        .collect()
}

/// Starts a daemon whose log files are in the returned folder.
pub(crate) fn start(more: &str) -> (TestDaemon, PathBuf) {
    start_with(more, "PERENNIAL__SERVER__DRAIN=20s")
}

/// The same with one more setting from the environment.
pub(crate) fn start_with(more: &str, setting: &str) -> (TestDaemon, PathBuf) {
    let mut daemon = TestDaemon::prepare(more);
    let logs = daemon.folder().join("logs");
    let folder = format!("PERENNIAL__LOGGING__FILE__DIR={}", logs.display());
    daemon.run_under(&["env", &folder, setting]);
    daemon.spawn();
    daemon.wait_ready();
    (daemon, logs)
}

pub(crate) fn stop(daemon: &mut TestDaemon) {
    daemon.sigterm();
    assert!(daemon.wait_exit(Duration::from_secs(20)).success());
}

#[test]
fn every_answer_has_a_log_line_with_its_request_id() {
    let (mut daemon, logs) = start("[logging]\naccess = true\n");
    let mut client = Client::connect(daemon.public()).unwrap();
    let client_id = [("x-request-id", "mine")];
    let answers = [
        client.get("/").unwrap().expect(200),
        client.get("/?secret=1").unwrap().expect(200),
        client
            .send("HEAD", "/", &client_id, None)
            .unwrap()
            .expect(200),
        client.get("/lost").unwrap().expect(404),
        client.post("/books", &json!({})).unwrap().expect(201),
    ];
    let ids: Vec<_> = answers
        .iter()
        .map(|answer| answer.header("x-request-id").expect("a request id"))
        .collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), 5, "{ids:?}");
    let lost = &answers[3];
    assert_eq!(lost.json()["request_id"], ids[3]);
    let text = daemon.metrics();
    let dropped = metric(&text, "perennial_access_log_lines_dropped_total", "");
    assert_eq!(dropped, Some(0.0));
    stop(&mut daemon);
    let lines = lines(&logs);
    let values = |key: &str| {
        lines
            .iter()
            .map(|line| line[key].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(json!(values("request_id")), json!(ids));
    assert_eq!(values("method"), ["GET", "GET", "HEAD", "GET", "POST"]);
    assert_eq!(values("path"), ["/", "/", "/", "/lost", "/books"]);
    assert_eq!(values("route"), ["/", "/", "/", "/", "/books"]);
    assert_eq!(values("status"), [200, 200, 200, 404, 201]);
    let bytes = [14, 14, 0, lost.body.len(), answers[4].body.len()];
    assert_eq!(values("bytes"), bytes);
    for line in &lines {
        let peer = line["peer"].as_str().unwrap();
        assert!(peer.starts_with("127.0.0.1:"), "{line}");
        assert!(line["time"].as_str().unwrap().ends_with('Z'), "{line}");
        assert!(line["duration_us"].is_u64(), "{line}");
    }
}

#[test]
fn a_line_tells_the_whole_answer_and_how_it_ended() {
    let (mut daemon, logs) = start("[logging]\naccess = true\n");
    let large = vec![b'x'; 8_000_000];
    fs::write(daemon.site("large.bin"), large).unwrap();
    let mut client = Client::connect(daemon.public()).unwrap();
    let headers = [("user-agent", "a \"b\""), ("referer", "http://c/")];
    client
        .send("GET", "/?d=e", &headers, None)
        .unwrap()
        .expect(200);
    client
        .write(b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n")
        .unwrap();
    client.read_answer(false).unwrap().expect(400);
    let mut client = Client::connect(daemon.public()).unwrap();
    client
        .write(b"POST /books HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n")
        .unwrap();
    client.read_answer(false).unwrap().expect(400);
    let mut leaving = TcpStream::connect(daemon.public()).unwrap();
    leaving
        .write_all(b"GET /large.bin HTTP/1.0\r\n\r\n")
        .unwrap();
    // The answer has begun; its rest is never read.
    leaving.read_exact(&mut vec![0; 100_000]).unwrap();
    drop(leaving);
    stop(&mut daemon);
    let lines = lines(&logs);
    let line = |fault: &Value| lines.iter().find(|line| line["fault"] == *fault).unwrap();
    let whole = line(&Value::Null);
    assert_eq!(whole["query"], "d=e");
    assert_eq!(whole["protocol"], "HTTP/1.1");
    assert_eq!(whole["user_agent"], "a \"b\"");
    assert_eq!(whole["referer"], "http://c/");
    assert_eq!(line(&json!("host_twice"))["status"], 400);
    assert_eq!(line(&json!("chunk_size"))["path"], "/books");
    let broken = line(&json!("broken_off"));
    assert_eq!(
        (&broken["path"], &broken["protocol"]),
        (&json!("/large.bin"), &json!("HTTP/1.0"))
    );
    let bytes = broken["bytes"].as_u64().unwrap();
    assert!(bytes > 0 && bytes < 8_000_000, "{broken}");
}

#[test]
fn what_a_client_sends_can_not_steer_whoever_reads_the_logs() {
    let (mut daemon, logs) = start("[logging]\naccess = true\nlevel = \"debug\"\n");
    let steering: String = ('\u{80}'..='\u{9f}')
        .chain('\u{2028}'..='\u{202e}')
        .chain('\u{2066}'..='\u{2069}')
        .chain(['\u{61c}', '\u{200e}', '\u{200f}'])
        .collect();
    let sent = format!("a{steering}z");
    let mut client = Client::connect(daemon.public()).unwrap();
    for target in ["/".to_owned(), format!("/{sent}"), format!("/?{sent}")] {
        let head = format!(
            "GET {target} HTTP/1.1\r\nhost: localhost\r\nuser-agent: {sent}\r\nreferer: {sent}\r\n\r\n"
        );
        client.write(head.as_bytes()).unwrap();
        client.read_answer(false).unwrap();
    }
    stop(&mut daemon);
    for file in fs::read_dir(&logs).unwrap() {
        let text = fs::read_to_string(file.unwrap().path()).unwrap();
        assert!(!text.contains(|char| steering.contains(char)), "{text}");
    }
    let lines = lines(&logs);
    assert_eq!(lines.len(), 3);
    for line in lines {
        assert_eq!(
            (&line["user_agent"], &line["referer"]),
            (&json!(sent), &json!(sent))
        );
    }
}

#[test]
fn queries_can_be_left_out() {
    let (mut daemon, logs) = start("[logging]\naccess = true\naccess_query = false\n");
    daemon.get("/?secret=1").expect(200);
    stop(&mut daemon);
    let lines = lines(&logs);
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0].get("query"), None);
}

#[test]
fn the_access_log_is_off_by_default() {
    let (mut daemon, logs) = start("");
    daemon.get("/").expect(200);
    stop(&mut daemon);
    assert_eq!(lines(&logs), Vec::<Value>::new());
}
