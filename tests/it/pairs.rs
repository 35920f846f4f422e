//! Two requests on one connection, in every pair of kinds and split at every byte: each is framed by itself, and nothing is
//! processed after a close.
//!
//! The answers are read by a parser that knows only RFC 9112, sections 6 and 9.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::client;
use crate::daemon::TestDaemon;

pub(crate) const PAGE: &str = "a page of forty-two bytes, read from disk\n";
pub(crate) const BODY: &str = "{\"token\":\"a record\"}";
/// Connections at a time.
const CLIENTS: usize = 16;
/// Where a pair with a delayed answer is split: at each byte it would take minutes.
const LATER_STEP: usize = 41;
/// The beginning of a connection of HTTP/2: the preface, settings, and a request for `/`.
const HTTP_2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\
    \0\0\x03\x01\x05\0\0\0\x01\x82\x86\x84";
/// Between the two writes, so that the server reads them one by one.
pub(crate) const PAUSE: Duration = Duration::from_micros(300);

/// One kind of request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kind {
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    pub(crate) version: &'static str,
    pub(crate) fields: &'static str,
    pub(crate) body: &'static str,
    /// Whether the connection ends with its answer.
    pub(crate) closes: bool,
}

pub(crate) const fn kind(
    method: &'static str,
    path: &'static str,
    fields: &'static str,
    body: &'static str,
) -> Kind {
    Kind {
        method,
        path,
        version: "HTTP/1.1",
        fields,
        body,
        closes: false,
    }
}

pub(crate) const PATH: &str = "/page.txt";
pub(crate) const JSON: &str = "content-type: application/json\r\ncontent-length: 20\r\n";
pub(crate) const EXPECTING: &str =
    "content-type: application/json\r\ncontent-length: 20\r\nexpect: 100-continue\r\n";
pub(crate) const KINDS: [Kind; 9] = [
    kind("GET", PATH, "", ""),
    kind("HEAD", PATH, "", ""),
    kind("POST", "/books", JSON, BODY),
    kind("POST", "/books", EXPECTING, BODY),
    kind("GET", PATH, "connection: upgrade\r\nupgrade: h2c\r\n", ""),
    kind(
        "GET",
        PATH,
        "connection: upgrade\r\nupgrade: websocket\r\ncontent-length: 4\r\n",
        "abcd",
    ),
    Kind {
        closes: true,
        ..kind("GET", PATH, "connection: close\r\n", "")
    },
    Kind {
        version: "HTTP/1.0",
        closes: true,
        ..kind("GET", PATH, "", "")
    },
    Kind {
        version: "HTTP/1.0",
        ..kind("GET", PATH, "connection: keep-alive\r\n", "")
    },
];

impl Kind {
    pub(crate) fn makes_record(self) -> bool {
        self.path == "/books"
    }

    pub(crate) fn bytes(self, later: bool) -> Vec<u8> {
        let path = match (self.path, later) {
            (path, false) => path,
            ("/books", true) => "/notes",
            (_, true) => "/later/page.txt",
        };
        let (method, version) = (self.method, self.version);
        let (fields, body) = (self.fields, self.body);
        format!("{method} {path} {version}\r\nhost: localhost\r\n{fields}\r\n{body}").into_bytes()
    }
}

/// One answer, as RFC 9112 frames it.
#[derive(Debug)]
pub(crate) struct RawAnswer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl RawAnswer {
    /// Takes one answer from the front of `bytes`; an interim one is an answer of its own.
    pub(crate) fn take(bytes: &mut &[u8], head_only: bool) -> Result<Self, String> {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        let (head, rest) = bytes.split_at(end.ok_or("no whole head")? + 4);
        let head = std::str::from_utf8(head).map_err(|error| error.to_string())?;
        let status: Option<u16> = head
            .strip_prefix("HTTP/1.1 ")
            .and_then(|rest| rest.get(..3)?.parse().ok());
        let status = status.ok_or_else(|| format!("no status line: {head}"))?;
        let field = |name: &str| {
            let mut lines = head.lines().filter_map(|line| line.split_once(':'));
            let line = lines.find(|(known, _)| known.eq_ignore_ascii_case(name));
            line.map(|(_, value)| value.trim())
        };
        // RFC 9110 section 15.2: an interim answer has no body, and the final one follows.
        let length = if head_only || status < 200 || status == 204 || status == 304 {
            0
        } else {
            let length = field("content-length").and_then(|value| value.parse().ok());
            length.ok_or_else(|| format!("no length: {head}"))?
        };
        let body = rest.get(..length).ok_or("the body is cut off")?;
        *bytes = &rest[length..];
        Ok(Self {
            status,
            head: head.to_ascii_lowercase(),
            body: body.to_vec(),
        })
    }
}

/// Takes one final answer from the front of `bytes`: its status and its body.
fn answer(bytes: &mut &[u8], head_only: bool) -> Result<(u16, Vec<u8>), String> {
    loop {
        let answer = RawAnswer::take(bytes, head_only)?;
        if answer.status >= 200 {
            return Ok((answer.status, answer.body));
        }
    }
}

/// Sends a request of this kind and what follows it in two writes, and returns everything that comes back.
pub(crate) fn send_in_two(
    address: SocketAddr,
    kind: Kind,
    first_length: usize,
    bytes: &[u8],
    split: usize,
) -> Result<Vec<u8>, String> {
    let text = |error: std::io::Error| error.to_string();
    let (first, second) = bytes.split_at(split.min(bytes.len()));
    let mut socket = TcpStream::connect(address).map_err(text)?;
    socket.set_nodelay(true).map_err(text)?;
    socket
        .set_read_timeout(Some(Duration::from_secs(20)))
        .map_err(text)?;
    socket.write_all(first).map_err(text)?;
    let mut read = Vec::new();
    // RFC 9112 section 9.6: after the close that it asked for, a client sends nothing more. What it sends in spite of that can
    // reset the connection and destroy the answer, so the answer is read before.
    let after_close = kind.closes && first.len() == first_length;
    if after_close {
        socket.read_to_end(&mut read).map_err(text)?;
    } else {
        thread::sleep(PAUSE);
    }
    // After a close, the server need not take the rest.
    let sent = socket
        .write_all(second)
        .and_then(|()| socket.shutdown(Shutdown::Write));
    if !kind.closes {
        sent.map_err(text)?;
    }
    let ended = socket.read_to_end(&mut read);
    if !after_close {
        ended.map_err(text)?;
    }
    Ok(read)
}

/// Takes the answer to a request of this kind from the front of `rest`, and checks it. True if it made a record.
fn check_answer(kind: Kind, rest: &mut &[u8]) -> Result<bool, String> {
    let (status, body) = answer(rest, kind.method == "HEAD")?;
    let wanted = if kind.makes_record() { 201 } else { 200 };
    if status != wanted {
        return Err(format!("{status}, not {wanted}"));
    }
    if kind.makes_record() && !body.starts_with(b"{\"id\":") {
        return Err("the body is no record".to_owned());
    }
    if kind.method == "GET" && body != PAGE.as_bytes() {
        return Err("the body is not the page".to_owned());
    }
    Ok(kind.makes_record())
}

fn check_no_more(rest: &[u8]) -> Result<(), String> {
    if rest.is_empty() {
        Ok(())
    } else {
        Err(format!("more: {:?}", String::from_utf8_lossy(rest)))
    }
}

/// Sends both requests in two writes, and checks everything that comes back. Returns the number of records made.
fn exchange(
    address: SocketAddr,
    pair: [Kind; 2],
    later: bool,
    split: usize,
) -> Result<usize, String> {
    let [first, second] = pair.map(|kind| kind.bytes(later));
    let both = [first.as_slice(), &second].concat();
    let read = send_in_two(address, pair[0], first.len(), &both, split)?;
    let mut rest = read.as_slice();
    let mut records = 0;
    for kind in pair {
        records += usize::from(check_answer(kind, &mut rest)?);
        if kind.closes {
            break;
        }
    }
    check_no_more(rest)?;
    Ok(records)
}

/// Sends a request and then speaks HTTP/2, which is refused: it is not the protocol of the connection.
fn change_protocol(address: SocketAddr, kind: Kind, split: usize) -> Result<(), String> {
    let first = kind.bytes(false);
    let both = [first.as_slice(), HTTP_2].concat();
    let read = send_in_two(address, kind, first.len(), &both, split)?;
    let mut rest = read.as_slice();
    check_answer(kind, &mut rest)?;
    if !kind.closes {
        let (status, body) = answer(&mut rest, false)?;
        let problem: serde_json::Value =
            serde_json::from_slice(&body).map_err(|error| error.to_string())?;
        if (status, problem["code"].as_str()) != (505, Some("version_not_supported")) {
            return Err(format!("{status} {problem}"));
        }
    }
    check_no_more(rest)
}

/// Calls `run` for each case, from many threads.
pub(crate) fn for_each<T: Copy + Sync>(cases: &[T], run: impl Fn(T) + Sync) {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    run(*case);
                }
            });
        }
    });
}

#[test]
fn every_pair_of_requests_is_answered_in_order_and_framed_by_itself() {
    let more = "[route.\"/later\"]\nfiles = { root = 'SITE' }\ndelay = '5ms'\n\
                [resource.notes]\npath = \"/notes\"\ndelay = '5ms'\naccess = \"public\"\n";
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("page.txt"), PAGE).unwrap();
    let daemon = TestDaemon::start(&more.replace("SITE", &folder.path().display().to_string()));
    fs::write(daemon.site("page.txt"), PAGE).unwrap();
    let mut cases = Vec::new();
    for first in KINDS {
        for second in KINDS {
            for later in [false, true] {
                let length = first.bytes(later).len() + second.bytes(later).len();
                let step = if later { LATER_STEP } else { 1 };
                cases.extend(
                    (1..=length)
                        .step_by(step)
                        .chain(later.then_some(length))
                        .map(|split| (first, second, later, split)),
                );
            }
        }
    }
    let (address, records) = (daemon.public(), AtomicUsize::new(0));
    for_each(&cases, |(first, second, later, split)| {
        match exchange(address, [first, second], later, split) {
            Ok(made) => records.fetch_add(made, Ordering::Relaxed),
            Err(error) => {
                panic!("{first:?}, {second:?}, later {later}, split at {split}: {error}")
            }
        };
    });
    let count = |path: &str| -> usize {
        let list = client::get(address, &format!("{path}?_start=0&_end=1")).expect(200);
        list.header("x-total-count").unwrap().parse().unwrap()
    };
    let made = records.into_inner();
    assert!(made > 1000, "{made} records");
    assert_eq!(count("/books") + count("/notes"), made);
}

#[test]
fn http_2_behind_a_request_of_http_1_is_refused() {
    let daemon = TestDaemon::start("");
    fs::write(daemon.site("page.txt"), PAGE).unwrap();
    let address = daemon.public();
    let splits = |kind: Kind| 1..=kind.bytes(false).len() + HTTP_2.len();
    let cases = KINDS.map(|kind| splits(kind).map(move |split| (kind, split)));
    let cases: Vec<_> = cases.into_iter().flatten().collect();
    for_each(&cases, |(kind, split)| {
        if let Err(error) = change_protocol(address, kind, split) {
            panic!("{kind:?}, split at {split}: {error}");
        }
    });
}
