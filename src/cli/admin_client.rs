//! One request to the admin listener: all the HTTP the command line needs.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

/// The time limit for connecting and for each read.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often the request is sent. A listener with too many connections may close one before its answer is sent.
const ATTEMPTS: usize = 3;
/// The largest answer that is taken.
const ANSWER_BYTES_MAX: u64 = 16 << 20;

/// The error of a request to the admin listener.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    #[error("nothing answers at http://{0}; is the daemon running, and is that its admin address?")]
    Unreachable(String, #[source] std::io::Error),
    #[error(
        "http://{0} did not answer in time; the daemon there may be stuck or stopped: look at its log"
    )]
    Silent(String),
    #[error("http://{address}{path} answered {status}{detail}")]
    Refused {
        address: String,
        path: String,
        status: String,
        /// The detail of the problem, if the answer is one.
        detail: String,
    },
}

/// The body of a 200. The address is HOST:PORT.
pub(super) fn get(address: &str, path: &str) -> Result<Vec<u8>, ClientError> {
    let mut attempts = (1..ATTEMPTS).map(|_| exchange(address, "GET", path));
    let answered = attempts.find(|answer| !was_closed(answer));
    let answer = answered.unwrap_or_else(|| exchange(address, "GET", path));
    body_of(answer, address, path)
}

/// The body of a 200 to a POST without a body. It is sent once: it may change something.
pub(super) fn post(address: &str, path: &str) -> Result<Vec<u8>, ClientError> {
    body_of(exchange(address, "POST", path), address, path)
}

fn body_of(
    answer: std::io::Result<Vec<u8>>,
    address: &str,
    path: &str,
) -> Result<Vec<u8>, ClientError> {
    // A read that runs out of time is the first of these on Linux.
    let is_late = |kind| matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut);
    let answer = answer.map_err(|source| {
        let address = address.to_owned();
        if is_late(source.kind()) {
            ClientError::Silent(address)
        } else {
            ClientError::Unreachable(address, source)
        }
    })?;
    let split = answer
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .unwrap_or(answer.len());
    let (head, body) = answer.split_at(split);
    let head = String::from_utf8_lossy(head);
    let status = head.lines().next().unwrap_or_default();
    let body = body.get(4..).unwrap_or_default();
    match status.split_once(' ') {
        Some((_, code)) if code.starts_with("200") => Ok(body.to_vec()),
        _ => Err(ClientError::Refused {
            address: address.to_owned(),
            path: path.to_owned(),
            status: status.to_owned(),
            detail: detail(body).map_or_else(String::new, |detail| format!(": {detail}")),
        }),
    }
}

/// Whether the connection was closed before an answer came.
fn was_closed(answer: &std::io::Result<Vec<u8>>) -> bool {
    match answer {
        Ok(answer) => answer.is_empty(),
        Err(error) => matches!(
            error.kind(),
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
        ),
    }
}

/// The detail of a problem.
fn detail(body: &[u8]) -> Option<String> {
    let problem: serde_json::Value = serde_json::from_slice(body).ok()?;
    Some(problem.get("detail")?.as_str()?.to_owned())
}

/// Connects to the first address of the name at which something answers.
fn connect(address: &str) -> std::io::Result<TcpStream> {
    let mut failed = ErrorKind::AddrNotAvailable.into();
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => return Ok(stream),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

fn exchange(address: &str, method: &str, path: &str) -> std::io::Result<Vec<u8>> {
    let mut stream = connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    // HTTP/1.0: the answer comes whole, not chunked, and the connection ends with it.
    write!(
        stream,
        "{method} {path} HTTP/1.0\r\nHost: {address}\r\nContent-Length: 0\r\n\r\n"
    )?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    Ok(answer)
}
