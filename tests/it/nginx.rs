//! A second opinion: the bytes of `pairs` and of `tests/golden/wire` are sent to nginx too, and both answers are read by the
//! same rules.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::daemon::TestDaemon;
use crate::pairs::{
    BODY, EXPECTING, JSON, KINDS, Kind, PAGE, PATH, RawAnswer, for_each, kind, send_in_two,
};
use crate::required::skip;
use crate::wire_cases::{WireStep, wire_cases};
use crate::wire_corpus;

/// A pair is split at every so many bytes.
const STEP: usize = 41;
const CHUNKS: &str = "2\r\n{}\r\n0\r\n\r\n";
const CHUNKED: &str = "content-type: application/json\r\ntransfer-encoding: chunked\r\n";
/// Kinds of requests beside those of `pairs`.
const MORE: [Kind; 11] = [
    kind("GET", "/nowhere", "", ""),
    kind("HEAD", "/nowhere", "", ""),
    kind("GET", PATH, "if-none-match: *\r\n", ""),
    kind("GET", PATH, JSON, BODY),
    kind("GET", PATH, CHUNKED, CHUNKS),
    kind("POST", PATH, JSON, BODY),
    kind("POST", PATH, CHUNKED, CHUNKS),
    kind("POST", PATH, EXPECTING, BODY),
    kind("POST", "/books", CHUNKED, CHUNKS),
    Kind {
        closes: true,
        ..kind("HEAD", PATH, "connection: keep-alive, close\r\n", "")
    },
    Kind {
        version: "HTTP/1.0",
        ..kind("HEAD", PATH, "connection: keep-alive\r\n", "")
    },
];
/// Requests whose answer may close the connection here alone, when it goes out before the body has come: their fields, and why.
const CLOSED_HERE: [(&str, &str); 2] = [
    (
        "expect: 100-continue",
        "RFC 9110 section 10.1.1: nobody knows whether the client still sends the body",
    ),
    (
        "transfer-encoding: chunked",
        "RFC 9112 section 9.3: a server reads the body or closes, and here it reads what it knows to be short",
    ),
];
/// Messages of which more is served here than by nginx: a part of the printed line, and why.
const SERVED_HERE: [(&str, &str); 9] = [
    (
        "answered without its body",
        "RFC 9112 section 9.3: the answer closes the connection and need not wait for the body",
    ),
    (
        "(RFC 9112 5.1)",
        "RFC 9110 section 5.6.3: blanks around a value may be tabs",
    ),
    (
        "(RFC 9110 5.6.1.2)",
        "RFC 9110 section 5.6.1.2: empty members of a list are ignored",
    ),
    ("an empty Host", "RFC 9112 section 3.2: Host may be empty"),
    (
        "a length over the limit, of a GET",
        "RFC 9110 section 8.6: there is no longest length",
    ),
    (
        "OPTIONS",
        "RFC 9110 section 9.3.7: nginx does not know OPTIONS",
    ),
    (
        "begins with an asterisk",
        "RFC 9110 section 9.3.7: this is an OPTIONS, too",
    ),
    (
        "a percent sign",
        "RFC 9112 section 9.3: a wrong path says nothing wrong about where the next request begins",
    ),
    (
        "here 307",
        "RFC 3986 section 6.2.2.3: the client is sent to the path without its dots",
    ),
];

/// An nginx that serves what a daemon serves. Dropping it kills the process.
struct Nginx {
    address: SocketAddr,
    process: Child,
    _folder: TempDir,
}

impl Nginx {
    /// Starts it; `None` if there is no nginx.
    fn beside(daemon: &TestDaemon) -> Option<Self> {
        if Command::new("nginx").arg("-v").output().is_err() {
            skip("there is no nginx (apt-get install nginx)");
            return None;
        }
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let folder = TempDir::new().unwrap();
        let (at, site) = (folder.path().display(), daemon.site(""));
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {at}/{kind};\n"));
        // Records are another server's, so that nginx reads bodies to their end.
        let settings = format!(
            "daemon off; master_process off; pid {at}/pid; error_log {at}/error.log;\n\
             events {{}}\n\
             http {{ access_log off; {}\n\
             client_header_buffer_size 2k; large_client_header_buffers 4 2k; client_max_body_size 1k;\n\
             keepalive_requests 1000; proxy_ignore_client_abort on;\n\
             server {{ listen {address} default_server; root {};\n\
             location = /books {{ proxy_pass http://unix:{at}/records; }} }}\n\
             server {{ listen {address}; server_name elsewhere.example; return 421; }}\n\
             server {{ listen unix:{at}/records; return 201 a-record; }} }}",
            temporary.concat(),
            site.display(),
        );
        fs::write(folder.path().join("conf"), settings).unwrap();
        let mut command = Command::new("nginx");
        command.args(["-e", "stderr", "-c"]);
        let process = command.arg(folder.path().join("conf")).spawn().unwrap();
        let nginx = Self {
            address,
            process,
            _folder: folder,
        };
        let until = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(address).is_err() {
            assert!(Instant::now() < until, "nginx does not answer");
            thread::sleep(Duration::from_millis(5));
        }
        Some(nginx)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

/// What a client reads on one connection.
#[derive(Debug, PartialEq, Eq)]
struct Reading {
    /// The status of each answer, and its body: that of a page, or whether there is one.
    answers: Vec<(u16, String)>,
    /// `open` or `close`, as the last answer says, or what is wrong.
    end: String,
}

impl Reading {
    fn of(read: Result<Vec<u8>, String>, head_only: impl Fn(usize) -> bool) -> Self {
        let mut reading = Self {
            answers: Vec::new(),
            end: "no answer".to_owned(),
        };
        let bytes = match read {
            Ok(bytes) => bytes,
            Err(error) => {
                reading.end = error;
                return reading;
            }
        };
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            match RawAnswer::take(&mut rest, head_only(reading.answers.len())) {
                Ok(answer) if answer.status < 200 => {}
                Ok(answer) => {
                    let closes = answer.head.contains("\r\nconnection: close\r\n");
                    (if closes { "close" } else { "open" }).clone_into(&mut reading.end);
                    let body = String::from_utf8_lossy(&answer.body).into_owned();
                    let page = body.is_empty() || matches!(answer.status, 200 | 206);
                    let body = if page { body } else { "a body".to_owned() };
                    reading.answers.push((answer.status, body));
                }
                Err(error) => {
                    reading.end = error;
                    break;
                }
            }
        }
        reading
    }

    /// The statuses and the end.
    fn brief(&self) -> String {
        let statuses = self.answers.iter().map(|(status, _)| format!("{status} "));
        format!("{}{}", statuses.collect::<String>(), self.end)
    }

    /// How many requests were served, and how many refused.
    fn counts(&self) -> (usize, usize) {
        let served = self.answers.iter().filter(|(status, _)| *status < 400);
        let served = served.count();
        (served, self.answers.len() - served)
    }
}

#[test]
fn nginx_frames_every_pair_of_requests_alike() {
    let daemon = TestDaemon::start("");
    fs::write(daemon.site("page.txt"), PAGE).unwrap();
    let Some(nginx) = Nginx::beside(&daemon) else {
        return;
    };
    let kinds = || KINDS.into_iter().chain(MORE);
    let mut cases = Vec::new();
    for first in kinds() {
        for second in kinds() {
            let (one, both) = (first.bytes(false).len(), second.bytes(false).len());
            let both = one + both;
            let splits = (1..both).step_by(STEP);
            let splits = splits.chain([one - first.body.len(), one, both]);
            cases.extend(splits.map(|split| (first, second, split)));
        }
    }
    let wrong = Mutex::new(Vec::new());
    for_each(&cases, |(first, second, split)| {
        let one = first.bytes(false);
        let both = [one.as_slice(), &second.bytes(false)].concat();
        let [ours, theirs] = [daemon.public(), nginx.address].map(|address| {
            let read = send_in_two(address, first, one.len(), &both, split);
            Reading::of(read, |at| [first, second][at.min(1)].method == "HEAD")
        });
        let last = [first, second][ours.answers.len().clamp(1, 2) - 1];
        let closed = |fields: &str| {
            let before_body = !last.makes_record() && last.fields.contains(fields);
            before_body && ours.end == "close" && theirs.answers.starts_with(&ours.answers)
        };
        if ours != theirs && !CLOSED_HERE.iter().any(|(fields, _)| closed(fields)) {
            let text = String::from_utf8_lossy(&both);
            let line = format!("{text:?}, split at {split}:\n  here  {ours:?}\n  nginx {theirs:?}");
            wrong.lock().unwrap().push(line);
        }
    });
    let wrong = wrong.into_inner().unwrap();
    println!("{} connections, {} differ", cases.len(), wrong.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn hostile_messages_that_nginx_ends_otherwise() {
    let daemon = wire_corpus::start();
    let Some(nginx) = Nginx::beside(&daemon) else {
        return;
    };
    // The close of a message's connection is the server's business.
    let sender = Kind {
        closes: true,
        ..KINDS[0]
    };
    let (mut more, mut differ) = (Vec::new(), 0);
    for case in wire_cases() {
        let sends = case.steps.iter().map(|step| match step {
            WireStep::Send(bytes) => bytes.as_slice(),
            WireStep::End | WireStep::Want(_) => &[],
        });
        let bytes = sends.collect::<Vec<_>>().concat();
        let finals = case.wanted().filter(|answer| answer.status >= 200);
        let heads: Vec<_> = finals.map(|answer| answer.no_body).collect();
        let [ours, theirs] = [daemon.public(), nginx.address].map(|address| {
            let read = send_in_two(address, sender, usize::MAX, &bytes, bytes.len());
            Reading::of(read, |at| heads.get(at).is_some_and(|head| *head))
        });
        if (ours.counts(), &ours.end) == (theirs.counts(), &theirs.end) {
            continue;
        }
        differ += 1;
        let (name, rule) = (&case.name, &case.rule);
        let line = format!(
            "{name} (RFC {rule}): here {}; nginx {}",
            ours.brief(),
            theirs.brief()
        );
        println!("{line}");
        let listed = SERVED_HERE.iter().any(|(part, _)| line.contains(part));
        if ours.counts().0 > theirs.counts().0 && !listed {
            more.push(line);
        }
    }
    println!("{differ} end otherwise");
    assert!(more.is_empty(), "more is served here:\n{}", more.join("\n"));
}
