//! HTTP/2 from the first byte of a connection: streams of every kind at once, sent in two writes that are split at every byte,
//! are answered as the same requests are over HTTP/1.
//!
//! The client is the h2 crate. It writes into a pipe, whose content is cut and sent to the daemon.

use std::fs;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use h2::client::ResponseFuture;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, copy_bidirectional, duplex};
use tokio::net::TcpStream;

use crate::client;
use crate::daemon::TestDaemon;
use crate::pairs::{BODY, PAGE, PAUSE, for_each};

const PATIENCE: Duration = Duration::from_secs(20);
/// More than the requests take.
const PIPE_BYTES: usize = 64 * 1024;

/// A request: its method, path, fields and body.
type Ask = (
    &'static str,
    &'static str,
    &'static [(&'static str, &'static str)],
    &'static str,
);

const JSON: (&str, &str) = ("content-type", "application/json");
const ASKS: [Ask; 6] = [
    ("GET", "/later/page.txt", &[], ""),
    ("POST", "/books", &[JSON], BODY),
    ("HEAD", "/page.txt", &[], ""),
    ("POST", "/books", &[JSON, ("expect", "100-continue")], BODY),
    ("GET", "/page.txt", &[], ""),
    ("GET", "/lost", &[], ""),
];

/// What an answer tells: its status, its length and its body, without what each answer has of its own.
#[derive(Debug, Clone, PartialEq)]
struct Told {
    status: u16,
    length: Option<String>,
    body: String,
}

impl Told {
    fn new(status: u16, length: Option<&str>, body: &[u8]) -> Self {
        let mut text = String::from_utf8_lossy(body).into_owned();
        if let Ok(mut value) = serde_json::from_slice::<serde_json::Value>(body) {
            for own in ["id", "request_id"] {
                value[own].take();
            }
            text = value.to_string();
        }
        Self {
            status,
            length: length.map(str::to_owned),
            body: text,
        }
    }

    fn over_http_1(address: SocketAddr, (method, path, fields, body): Ask) -> Self {
        let body = (!body.is_empty()).then_some(body.as_bytes());
        let answer = client::send(address, method, path, fields, body);
        Self::new(answer.status, answer.header("content-length"), &answer.body)
    }

    async fn over_http_2(answer: ResponseFuture) -> Result<Self, h2::Error> {
        let (head, mut stream) = answer.await?.into_parts();
        let mut body = Vec::new();
        while let Some(part) = stream.data().await {
            body.extend_from_slice(&part?);
        }
        let length = head.headers.get("content-length");
        let length = length.map(|length| length.to_str().unwrap());
        Ok(Self::new(head.status.as_u16(), length, &body))
    }
}

/// Sends what the client has written in two writes, and then passes on what comes from both sides. Tells the `length` of what
/// it has split.
async fn send_in_two(
    address: SocketAddr,
    pipe: &mut DuplexStream,
    split: usize,
    length: &AtomicUsize,
) {
    let mut bytes = vec![0; PIPE_BYTES];
    let read = pipe.read(&mut bytes).await.unwrap();
    length.store(read, Ordering::Relaxed);
    let (first, second) = bytes[..read].split_at(split.min(read));
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.set_nodelay(true).unwrap();
    socket.write_all(first).await.unwrap();
    if !second.is_empty() {
        thread::sleep(PAUSE);
        socket.write_all(second).await.unwrap();
    }
    // It ends when the client has gone.
    let _ended = copy_bidirectional(pipe, &mut socket).await;
}

/// Asks for everything at once over one new connection.
async fn ask_all(
    address: SocketAddr,
    split: usize,
    length: &AtomicUsize,
) -> Result<Vec<Told>, h2::Error> {
    let (near, mut far) = duplex(PIPE_BYTES);
    let (mut send, connection) = h2::client::handshake(near).await?;
    let mut answers = Vec::new();
    for (method, path, fields, body) in ASKS {
        let mut request = http::Request::builder()
            .method(method)
            .uri(format!("http://localhost{path}"));
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let request = request.body(()).unwrap();
        let (answer, mut stream) = send.send_request(request, body.is_empty())?;
        if !body.is_empty() {
            stream.send_data(Bytes::from_static(body.as_bytes()), true)?;
        }
        answers.push(answer);
    }
    let told = async {
        let mut told = Vec::new();
        for answer in answers {
            told.push(Told::over_http_2(answer).await?);
        }
        Ok(told)
    };
    // In this order, so that the pipe has all that the client sends at first.
    tokio::select! {
        biased;
        ended = connection => panic!("the connection ended: {ended:?}"),
        () = send_in_two(address, &mut far, split, length) => panic!("the daemon closed the connection"),
        told = told => told,
    }
}

#[test]
fn streams_are_answered_as_requests_of_http_1_wherever_their_bytes_are_split() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("page.txt"), PAGE).unwrap();
    let daemon = TestDaemon::start(&format!(
        "[route.\"/later\"]\nfiles = {{ root = '{}' }}\ndelay = '5ms'\n",
        folder.path().display()
    ));
    fs::write(daemon.site("page.txt"), PAGE).unwrap();
    let address = daemon.public();
    let wanted = ASKS.map(|ask| Told::over_http_1(address, ask));
    let statuses = wanted.each_ref().map(|told| told.status);
    assert_eq!(statuses, [200, 201, 200, 201, 200, 404]);
    assert!(wanted.iter().all(|told| told.length.is_some()));
    let length = AtomicUsize::new(0);
    let check = |split| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let all = async { tokio::time::timeout(PATIENCE, ask_all(address, split, &length)).await };
        let told = runtime.block_on(all);
        let told = told.unwrap_or_else(|_| panic!("split at {split}: no answer in time"));
        let told = told.unwrap_or_else(|error| panic!("split at {split}: {error}"));
        assert_eq!(told, wanted, "split at {split}");
    };
    check(PIPE_BYTES);
    let splits: Vec<usize> = (1..length.load(Ordering::Relaxed)).collect();
    assert!(splits.len() > 200, "{} bytes", splits.len());
    for_each(&splits, check);
    let list = client::get(address, "/books?_start=0&_end=1").expect(200);
    let records = list.header("x-total-count").unwrap();
    assert_eq!(records, (2 * splits.len() + 4).to_string());
}
