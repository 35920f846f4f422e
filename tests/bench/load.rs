//! Clients of HTTP that each send a request as soon as the one before is answered, and the time of each answer.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::{JoinSet, LocalSet};

const READ_BYTES: usize = 16 * 1024;

/// The time of each call, and of all calls together.
pub(crate) struct Took {
    pub(crate) micros: Vec<f64>,
    pub(crate) all: Duration,
}

impl Took {
    pub(crate) fn p50(&self) -> f64 {
        median(self.micros.clone())
    }
}

pub(crate) fn count(of: usize) -> f64 {
    u32::try_from(of).map_or(f64::INFINITY, f64::from)
}

pub(crate) fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of.get(of.len() / 2).copied().unwrap_or(f64::NAN)
}

/// When the load ends.
pub(crate) enum Until {
    Passed(Duration),
    Counted(usize),
}

/// Opens `clients` connections, each of which sends the requests in turn, each as soon as the one before is answered.
pub(crate) fn load(
    address: SocketAddr,
    requests: Vec<String>,
    clients: usize,
    until: &Until,
) -> Took {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.expect("a runtime");
    let (begun, requests) = (Instant::now(), Rc::new(requests));
    let mut tasks = JoinSet::new();
    let local = LocalSet::new();
    for number in 0..clients {
        let (end, most) = match until {
            Until::Passed(time) => (Some(begun + *time), usize::MAX),
            Until::Counted(calls) => (None, calls.div_ceil(clients)),
        };
        let requests = Rc::clone(&requests);
        let first = number * requests.len() / clients;
        tasks.spawn_local_on(client(address, requests, first, (end, most)), &local);
    }
    let micros = runtime.block_on(local.run_until(tasks.join_all()));
    Took {
        micros: micros.concat(),
        all: begun.elapsed(),
    }
}

pub(crate) fn request(line: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "{line} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

async fn client(
    address: SocketAddr,
    requests: Rc<Vec<String>>,
    first: usize,
    (end, most): (Option<Instant>, usize),
) -> Vec<f64> {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    stream.set_nodelay(true).expect("no delay");
    let mut micros = Vec::new();
    let mut answer = Vec::with_capacity(READ_BYTES);
    for request in requests.iter().cycle().skip(first) {
        // One request is sent in any case.
        let is_late = !micros.is_empty() && end.is_some_and(|end| Instant::now() >= end);
        if micros.len() >= most || is_late {
            break;
        }
        let since = Instant::now();
        stream
            .write_all(request.as_bytes())
            .await
            .expect("a request");
        answer.clear();
        while !whole(&answer) {
            let more = stream.read_buf(&mut answer).await.expect("an answer");
            assert_ne!(more, 0, "{}", String::from_utf8_lossy(&answer));
        }
        assert!(
            answer.starts_with(b"HTTP/1.1 20"),
            "{request}{}",
            String::from_utf8_lossy(&answer)
        );
        micros.push(since.elapsed().as_secs_f64() * 1e6);
    }
    micros
}

/// Whether the buffer holds a complete answer. Nothing follows it, since its client waits.
fn whole(answer: &[u8]) -> bool {
    let Some(head) = answer.windows(4).position(|end| end == b"\r\n\r\n") else {
        return false;
    };
    let (head, body) = answer.split_at(head + 4);
    let head = std::str::from_utf8(head).expect("a head");
    let is_length = |(name, value): (&str, &str)| {
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse::<usize>().ok())?
    };
    let mut fields = head.lines().filter_map(|line| line.split_once(':'));
    match fields.find_map(is_length) {
        Some(length) => body.len() == length,
        None => body.ends_with(b"\r\n0\r\n\r\n"),
    }
}
