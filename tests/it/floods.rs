//! Ten kinds of floods over HTTP/2: each is ended within a second, and honest clients hardly notice it.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::daemon::{TestDaemon, metric};
use crate::drills::count;
use crate::frames::{
    CANCEL, CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, GOAWAY, HEADERS, PING,
    PRIORITY, RST_STREAM, SETTINGS, WINDOW_UPDATE, block, fields, frame,
};

/// The longest time for which a flood may go on.
const ENDED_WITHIN: Duration = Duration::from_secs(1);
/// The most by which honest answers may take longer: twice as long.
const SLOWER_MAX: f64 = 2.0;
/// The quiet and flooded times of each kind, by turns.
const TURNS: usize = 3;
/// The pause of an honest client between two requests.
const PAUSE: Duration = Duration::from_millis(1);
/// The time after which a client that was ended floods again: a new connection over a network takes as long.
const FLOOD_PAUSE: Duration = Duration::from_millis(50);
/// Frames of a flood that are sent in one write.
const AT_A_TIME: u32 = 50;

/// A path that is answered after a minute.
const SLOW: &str = "/slow/index.html";
/// The streams of a connection that may be open.
const OPEN: u32 = 100;

/// A kind of flood: the bytes with which it begins, and then those for each number from 0 on.
struct Flood {
    name: &'static str,
    first: Vec<u8>,
    next: fn(u32) -> Vec<u8>,
}

fn floods() -> Vec<Flood> {
    let flood = |name, next| Flood {
        name,
        first: Vec::new(),
        next,
    };
    vec![
        flood("PING", |_| frame(PING, 0, 0, b"12345678")),
        flood("SETTINGS", |_| frame(SETTINGS, 0, 0, &[])),
        flood("PRIORITY", |number| {
            frame(PRIORITY, 0, stream(number), &[0, 0, 0, 0, 1])
        }),
        flood("WINDOW_UPDATE", |_| window(0, 1)),
        Flood {
            first: head(0, 0, &post()),
            ..flood("empty DATA", |_| frame(DATA, 0, stream(0), &[]))
        },
        flood("requests that are reset", |number| {
            let reset = frame(RST_STREAM, 0, stream(number), &CANCEL.to_be_bytes());
            [get(number, SLOW), reset].concat()
        }),
        flood("requests that the server resets", |number| {
            [get(number, SLOW), window(stream(number), 0x7fff_ffff)].concat()
        }),
        Flood {
            first: (0..OPEN).flat_map(|number| get(number, SLOW)).collect(),
            ..flood("requests over the limit", |number| get(OPEN + number, SLOW))
        },
        Flood {
            first: frame(HEADERS, END_STREAM, stream(0), &block("/")),
            ..flood("CONTINUATION", |_| {
                frame(CONTINUATION, 0, stream(0), b"\0\x01x\x01y")
            })
        },
        flood("heads that unfold", |number| {
            // One long header goes into the table, and each further byte names it.
            let insert = [&b"\x40\x01x\x78"[..], &[b'v'; 120]].concat();
            let bomb = [block("/"), insert, vec![0xbe; 15_000]].concat();
            head(number, END_STREAM, &bomb)
        }),
    ]
}

fn stream(number: u32) -> u32 {
    number * 2 + 1
}

fn head(number: u32, flags: u8, block: &[u8]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | flags, stream(number), block)
}

fn get(number: u32, path: &str) -> Vec<u8> {
    head(number, END_STREAM, &block(path))
}

/// The header block of a POST whose body is waited for.
fn post() -> Vec<u8> {
    fields(&[
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/books"),
        (":authority", "localhost"),
        ("content-type", "application/json"),
    ])
}

fn window(stream: u32, bytes: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes())
}

/// Floods one connection until it is told to be calm; returns the time until then.
fn flood_once(address: SocketAddr, flood: &Flood) -> Duration {
    let mut socket = TcpStream::connect(address).unwrap();
    let limit = Some(5 * ENDED_WITHIN);
    socket.set_read_timeout(limit).unwrap();
    socket.set_write_timeout(limit).unwrap();
    let begun = Instant::now();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let first = [&preface[..], &frame(SETTINGS, 0, 0, &[]), &flood.first];
    socket.write_all(&first.concat()).unwrap();
    thread::scope(|scope| {
        let mut writer = socket.try_clone().unwrap();
        let writing = scope.spawn(move || {
            let numbers = (0..).step_by(usize::try_from(AT_A_TIME).unwrap());
            for from in numbers {
                let some: Vec<u8> = (from..from + AT_A_TIME).flat_map(flood.next).collect();
                // It fails when the reader has seen the end.
                if writer.write_all(&some).is_err() {
                    return;
                }
            }
        });
        let reason = goodbye(&mut socket);
        let took = begun.elapsed();
        let _closed = socket.shutdown(Shutdown::Both);
        writing.join().unwrap();
        let name = flood.name;
        assert_eq!(reason.unwrap(), ENHANCE_YOUR_CALM, "{name} after {took:?}");
        took
    })
}

/// Reads frames up to the one that says goodbye; returns its reason.
fn goodbye(socket: &mut TcpStream) -> io::Result<u32> {
    loop {
        let mut head = [0; 9];
        socket.read_exact(&mut head)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        socket.read_exact(&mut payload)?;
        if head[3] == GOAWAY {
            return Ok(u32::from_be_bytes(payload[4..8].try_into().unwrap()));
        }
    }
}

/// The median time of the answers to a client that asks for a page now and then, until it is told to stop.
fn honest(address: SocketAddr, until: &dyn Fn() -> bool) -> Duration {
    let mut client = Client::connect(address).unwrap();
    let mut times = Vec::new();
    while times.is_empty() || !until() {
        let begun = Instant::now();
        client.get("/").unwrap().expect(200);
        times.push(begun.elapsed());
        thread::sleep(PAUSE);
    }
    times.sort();
    times[times.len() / 2]
}

/// One kind of flood, by turns with quiet times.
#[derive(Default)]
struct FloodTurns {
    /// The time until the end of each flood.
    ended: Vec<Duration>,
    /// The median times of honest answers, quiet and flooded.
    honest: Vec<(Duration, Duration)>,
}

impl FloodTurns {
    fn turn(&mut self, address: SocketAddr, flood: &Flood, lasts: Duration) {
        let quiet_until = Instant::now() + lasts;
        let quiet = honest(address, &|| Instant::now() >= quiet_until);
        let ended = AtomicBool::new(false);
        let flooded = thread::scope(|scope| {
            let honest = scope.spawn(|| honest(address, &|| ended.load(Ordering::Relaxed)));
            let until = Instant::now() + lasts;
            while Instant::now() < until {
                self.ended.push(flood_once(address, flood));
                thread::sleep(FLOOD_PAUSE);
            }
            ended.store(true, Ordering::Relaxed);
            honest.join().unwrap()
        });
        self.honest.push((quiet, flooded));
    }

    fn longest(&self) -> Duration {
        self.ended.iter().copied().max().unwrap()
    }

    /// How many times as long honest answers take while it is flooded: the median of all turns, with its times.
    fn slower(&self) -> (f64, Duration, Duration) {
        let turns = self.honest.iter();
        let ratio =
            |quiet: Duration, flooded: Duration| flooded.as_secs_f64() / quiet.as_secs_f64();
        let mut turns: Vec<_> = turns.map(|(q, f)| (ratio(*q, *f), *q, *f)).collect();
        turns.sort_by(|(one, ..), (other, ..)| one.total_cmp(other));
        turns[turns.len() / 2]
    }
}

#[test]
#[ignore = "measures time, so it needs a release build: .ci/run runs it"]
fn each_kind_of_flood_is_ended_within_a_second_and_hardly_noticed_by_others() {
    let lasts = Duration::from_millis(count("DRILL_FLOOD_MS", 700));
    let site = tempfile::tempdir().unwrap();
    std::fs::write(site.path().join("index.html"), "slow").unwrap();
    let mut daemon = TestDaemon::prepare(&format!(
        "[route.\"/slow\"]\nfiles = {{ root = '{}' }}\ndelay = '60s'\n",
        site.path().display()
    ));
    // The honest client and the floods have the same thread.
    daemon.run_under(&["env", "PERENNIAL__SERVER__HANDLERS=1"]);
    daemon.spawn();
    daemon.wait_ready();
    let (mut missed, mut all) = (Vec::new(), 0);
    for flood in floods() {
        let mut seen = FloodTurns::default();
        for _ in 0..TURNS {
            seen.turn(daemon.public(), &flood, lasts);
        }
        all += seen.ended.len();
        let (longest, (slower, quiet, flooded)) = (seen.longest(), seen.slower());
        let line = format!(
            "{}: {} floods, each ended within {longest:.1?}; honest p50 {quiet:.0?} quiet, {flooded:.0?} flooded ({slower:.2} times)",
            flood.name,
            seen.ended.len()
        );
        println!("{line}");
        if longest > ENDED_WITHIN || slower > SLOWER_MAX {
            missed.push(line);
        }
    }
    assert!(missed.is_empty(), "missed: {missed:#?}");
    let counted = metric(&daemon.metrics(), "perennial_http2_floods_total", "");
    let all = f64::from(u32::try_from(all).unwrap());
    assert_eq!(counted, Some(all), "each is counted");
}
