//! Every case of `tests/golden/wire`, sent to one daemon: at once, and in small pieces. The statuses, the rule for which a
//! message is refused, the end of the connection and the number of records are those that the RFCs ask for.

use std::collections::BTreeMap;
use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use crate::client;
use crate::daemon::{TestDaemon, metric};
use crate::pairs::RawAnswer;
use crate::wire_cases::{WireCase, WireStep, wire_cases};

const SETTINGS: &str = "[limits]\nheaders = \"2 KiB\"\nbody = \"1 KiB\"\nbatch_body = \"1 KiB\"\n";
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// The most pieces that a message is cut into.
const PIECES_MAX: usize = 40;
/// The request that shows that a connection is open.
const PROBE: &[u8] = b"GET /probe.txt HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";

/// How often each rule was broken so far.
type Faults = BTreeMap<String, u64>;

fn faults(daemon: &TestDaemon) -> Faults {
    let text = daemon.metrics();
    let rows = text.lines().filter_map(|line| {
        let row = line.strip_prefix("perennial_http_messages_refused_total{reason=\"")?;
        let (label, count) = row.split_once("\"} ")?;
        Some((label.to_owned(), count.parse().ok()?))
    });
    rows.collect()
}

/// A connection that has read some bytes.
struct Exchange {
    socket: TcpStream,
    read: Vec<u8>,
    /// Whether bytes are sent in small pieces.
    pieces: bool,
    /// Whether the server has cut the connection off while bytes were on their way.
    reset: bool,
}

impl Exchange {
    fn connect(address: SocketAddr, pieces: bool) -> std::io::Result<Self> {
        let socket = TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(Self {
            socket,
            read: Vec::new(),
            pieces,
            reset: false,
        })
    }

    /// Sends bytes. The server need not take what comes after its last answer.
    fn send(&mut self, bytes: &[u8]) {
        let size = if self.pieces {
            bytes.len().div_ceil(PIECES_MAX)
        } else {
            bytes.len()
        };
        for piece in bytes.chunks(size.max(1)) {
            if let Err(error) = self.socket.write_all(piece) {
                return self.note(&error);
            }
        }
    }

    /// Notes whether the connection was cut off: whichever call comes first is told so.
    fn note(&mut self, error: &std::io::Error) {
        let cut_off = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];
        self.reset |= cut_off.contains(&error.kind());
    }

    /// Reads more; false at the end.
    fn fill(&mut self) -> Result<bool, String> {
        let mut buffer = [0; 8192];
        match self.socket.read(&mut buffer) {
            Ok(read) => {
                self.read.extend_from_slice(&buffer[..read]);
                Ok(read > 0)
            }
            Err(error) => {
                self.note(&error);
                Err(format!("{error}, after {:?}", self.text()))
            }
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.read).into_owned()
    }

    fn answer(&mut self, head_only: bool) -> Result<RawAnswer, String> {
        loop {
            let mut rest = self.read.as_slice();
            match RawAnswer::take(&mut rest, head_only) {
                Ok(answer) => {
                    self.read = rest.to_vec();
                    return Ok(answer);
                }
                Err(error) => {
                    if !self.fill()? {
                        return Err(format!("{error}, at the end: {:?}", self.text()));
                    }
                }
            }
        }
    }

    fn ends(&mut self) -> Result<(), String> {
        while self.fill()? {}
        if self.read.is_empty() {
            Ok(())
        } else {
            Err(format!("one answer too much: {:?}", self.text()))
        }
    }
}

/// Fields that RFC 9110 asks for, sections 6.6.1 and 15.5.6, and forbids, section 8.6.
fn check_head(answer: &RawAnswer) -> Result<(), String> {
    let has = |name: &str| answer.head.contains(&format!("\r\n{name}: "));
    let (status, head) = (answer.status, &answer.head);
    if has("date") != (status >= 200) || status == 405 && !has("allow") {
        return Err(format!("a field is missing: {head}"));
    }
    if (status < 200 || status == 204) && has("content-length") {
        return Err(format!("a length for no body: {head}"));
    }
    Ok(())
}

/// Carries out one case.
fn exchange(address: SocketAddr, case: &WireCase, pieces: bool) -> Result<(), String> {
    let mut exchange = Exchange::connect(address, pieces).map_err(|error| error.to_string())?;
    let done = carry_out(&mut exchange, case);
    // RFC 9112 section 9.6: a client that has asked for a close sends nothing more. In pieces, what it sends in spite of that
    // may come when the connection has ended, and cost it the answer.
    let asked = !case.open && case.wanted().all(|answer| answer.status == 200);
    if exchange.reset && pieces && asked {
        Ok(())
    } else {
        done
    }
}

fn carry_out(exchange: &mut Exchange, case: &WireCase) -> Result<(), String> {
    let mut closing = false;
    for step in &case.steps {
        match step {
            WireStep::Send(bytes) => exchange.send(bytes),
            WireStep::End => {
                let _gone = exchange.socket.shutdown(Shutdown::Write);
                closing = true;
            }
            WireStep::Want(wanted) => {
                let answer = exchange.answer(wanted.no_body)?;
                if answer.status != wanted.status {
                    let (status, body) = (answer.status, String::from_utf8_lossy(&answer.body));
                    return Err(format!("{status}, not {}: {body}", wanted.status));
                }
                check_head(&answer)?;
                let closes = answer.head.contains("\r\nconnection: close\r\n");
                if closes && case.early && exchange.pieces {
                    return exchange.ends();
                }
                closing |= closes;
            }
        }
    }
    if case.open {
        exchange.send(PROBE);
        let answer = exchange.answer(false)?;
        if answer.body != b"probe" {
            return Err(format!("no answer to the next request: {answer:?}"));
        }
    } else if !closing {
        return Err("no answer says that the connection closes".to_owned());
    }
    exchange.ends()
}

/// The difference between the rules that were broken and those that the case names.
fn check_faults(before: &Faults, after: &Faults, case: &WireCase) -> Result<(), String> {
    let mut wanted = before.clone();
    for label in case.wanted().filter_map(|answer| answer.fault.as_ref()) {
        *wanted.entry(label.clone()).or_default() += 1;
    }
    let wrong = after
        .iter()
        .filter(|(label, count)| wanted.get(*label) != Some(count));
    let wrong: Vec<_> = wrong.map(|(label, _)| label).collect();
    if *after == wanted {
        Ok(())
    } else {
        Err(format!("counted otherwise: {wrong:?}"))
    }
}

/// A daemon with the limits and the pages that the cases need.
pub(crate) fn start() -> TestDaemon {
    let daemon = TestDaemon::start(SETTINGS);
    fs::write(daemon.site("probe.txt"), "probe").unwrap();
    fs::write(daemon.site("caf\u{e9}.txt"), "coffee").unwrap();
    fs::write(daemon.site("a b.txt"), "a blank").unwrap();
    daemon
}

#[test]
fn every_hostile_message_is_answered_as_the_rfcs_say() {
    let cases = wire_cases();
    let daemon = start();
    let mut wrong = Vec::new();
    let mut before = faults(&daemon);
    for pieces in [false, true] {
        for case in &cases {
            let done = exchange(daemon.public(), case, pieces);
            let after = faults(&daemon);
            if let Err(error) = done.and_then(|()| check_faults(&before, &after, case)) {
                wrong.push(format!("{} (in pieces: {pieces}): {error}", case.name));
            }
            before = after;
        }
    }
    println!("{} cases", cases.len());
    let count = wrong.len();
    assert!(wrong.is_empty(), "{count} are wrong:\n{}", wrong.join("\n"));
    // A message that was refused, or was only data within another one, has made no record.
    let answers = cases.iter().flat_map(WireCase::wanted);
    let made = answers.filter(|answer| answer.status == 201).count() * 2;
    let list = daemon.get("/books?_start=0&_end=1").expect(200);
    assert_eq!(
        list.header("x-total-count"),
        Some(made.to_string().as_str())
    );
    client::get(daemon.admin(), "/readyz").expect(200);
    let text = daemon.metrics();
    assert_eq!(metric(&text, "perennial_http_panics_total", ""), Some(0.0));
}
