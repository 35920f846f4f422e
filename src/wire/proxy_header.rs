//! The header by which a proxy names the client of a connection before anything else is sent: the PROXY protocol of `HAProxy`, versions
//! 1 and 2 (<https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>).

use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::task::Poll;

use ppp::{v1, v2};
use tokio::time::timeout;

use super::counters::count;
use super::hosts::Peer;
use super::socket::LazySocket;
use super::thread::Thread;

/// The longest header of version 1, in bytes.
const TEXT_BYTES_MAX: usize = 107;
/// The longest header of version 2 that is read; only what it tells beside addresses can be longer.
const BINARY_BYTES_MAX: usize = 4096;
/// The bytes that each header has: it is read no further than to its end.
const FIRST_BYTES: usize = 15;
/// The bytes of a header of version 2 before its addresses; the last two are the length of what follows.
const BINARY_HEAD_BYTES: usize = 16;

/// The reason why a connection of a proxy is closed.
#[derive(Debug, thiserror::Error)]
enum HeaderFault {
    #[error("the connection does not begin with a header of the PROXY protocol")]
    Missing,
    #[error("the header of the PROXY protocol can't be read")]
    Unread,
    #[error("the header of the PROXY protocol is longer than {BINARY_BYTES_MAX} bytes")]
    TooLong,
    #[error("the header of the PROXY protocol did not come in time (limits.header_timeout)")]
    Late,
    #[error("the daemon stops")]
    Stopped,
    #[error(transparent)]
    Socket(#[from] io::Error),
}

/// The step after some bytes of a header.
#[derive(Debug, PartialEq, Eq)]
enum HeaderStep {
    /// So many bytes more have to be read; all of them belong to it.
    Read(usize),
    /// It is whole, and names this client. A proxy that asks for itself names nobody.
    Client(Option<IpAddr>),
}

/// Reads the header of a connection of a proxy, and not one byte more. The peer is then the one that the proxy names. `None` if
/// there is no header, which is counted and logged here.
pub(super) async fn read(
    thread: &Rc<Thread>,
    mut socket: LazySocket,
    peer: Peer,
) -> Option<(LazySocket, Peer)> {
    let limit = thread.limits().header_timeout;
    let header = timeout(limit, header(thread, &mut socket)).await;
    match header.unwrap_or(Err(HeaderFault::Late)) {
        Ok(named) => Some((socket, Peer { named, ..peer })),
        Err(fault) => {
            count(&thread.counters.proxy_headers_refused);
            let address = peer.address;
            tracing::debug!(%fault, ?address, "a connection of a proxy is closed");
            None
        }
    }
}

async fn header(
    thread: &Rc<Thread>,
    socket: &mut LazySocket,
) -> Result<Option<IpAddr>, HeaderFault> {
    let mut drain = Rc::clone(&thread.drain).watch();
    let mut bytes = Vec::new();
    loop {
        let more = match next(&bytes)? {
            HeaderStep::Client(client) => return Ok(client),
            HeaderStep::Read(more) => more,
        };
        let begin = bytes.len();
        bytes.resize(begin + more, 0);
        let room = bytes.get_mut(begin..).unwrap_or_default();
        let read = poll_fn(|cx| match socket.poll_recv(cx, room) {
            Poll::Ready(read) => Poll::Ready(read.map_err(HeaderFault::from)),
            Poll::Pending if drain.late(cx) => Poll::Ready(Err(HeaderFault::Stopped)),
            Poll::Pending => Poll::Pending,
        });
        let read = read.await?;
        if read == 0 {
            return Err(HeaderFault::Missing);
        }
        bytes.truncate(begin + read);
    }
}

/// Decides on the bytes that were read so far. Pure.
fn next(bytes: &[u8]) -> Result<HeaderStep, HeaderFault> {
    let begins = |with: &[u8]| {
        let common = with.len().min(bytes.len());
        bytes.get(..common) == with.get(..common)
    };
    if begins(v2::PROTOCOL_PREFIX) {
        return binary(bytes);
    }
    if !begins(v1::PROTOCOL_PREFIX.as_bytes()) {
        return Err(HeaderFault::Missing);
    }
    if bytes.len() < FIRST_BYTES {
        return Ok(HeaderStep::Read(FIRST_BYTES - bytes.len()));
    }
    if !bytes.ends_with(b"\r\n") {
        // Where it ends is not known before.
        return if bytes.len() < TEXT_BYTES_MAX {
            Ok(HeaderStep::Read(1))
        } else {
            Err(HeaderFault::Unread)
        };
    }
    let text = std::str::from_utf8(bytes).map_err(|_| HeaderFault::Unread)?;
    let header = v1::Header::try_from(text).map_err(|_| HeaderFault::Unread)?;
    Ok(HeaderStep::Client(match header.addresses {
        v1::Addresses::Tcp4(addresses) => Some(addresses.source_address.into()),
        v1::Addresses::Tcp6(addresses) => Some(addresses.source_address.into()),
        v1::Addresses::Unknown => None,
    }))
}

fn binary(bytes: &[u8]) -> Result<HeaderStep, HeaderFault> {
    if bytes.len() < FIRST_BYTES {
        return Ok(HeaderStep::Read(FIRST_BYTES - bytes.len()));
    }
    let Some(&[high, low]) = bytes.get(BINARY_HEAD_BYTES - 2..BINARY_HEAD_BYTES) else {
        return Ok(HeaderStep::Read(BINARY_HEAD_BYTES - bytes.len()));
    };
    let whole = BINARY_HEAD_BYTES + usize::from(u16::from_be_bytes([high, low]));
    if whole > BINARY_BYTES_MAX {
        return Err(HeaderFault::TooLong);
    }
    if bytes.len() < whole {
        return Ok(HeaderStep::Read(whole - bytes.len()));
    }
    let header = v2::Header::try_from(bytes).map_err(|_| HeaderFault::Unread)?;
    Ok(HeaderStep::Client(
        match (header.command, header.addresses) {
            (v2::Command::Proxy, v2::Addresses::IPv4(addresses)) => {
                Some(addresses.source_address.into())
            }
            (v2::Command::Proxy, v2::Addresses::IPv6(addresses)) => {
                Some(addresses.source_address.into())
            }
            (v2::Command::Proxy, v2::Addresses::Unix(_) | v2::Addresses::Unspecified)
            | (v2::Command::Local, _) => None,
        },
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a header as it is read from a socket that gives `at_most` bytes at a time: the client, and what is left.
    fn read(sent: &[u8], at_most: usize) -> Result<(Option<IpAddr>, usize), HeaderFault> {
        let mut read = 0;
        loop {
            match next(&sent[..read])? {
                HeaderStep::Client(client) => return Ok((client, sent.len() - read)),
                HeaderStep::Read(_) if read == sent.len() => return Err(HeaderFault::Missing),
                HeaderStep::Read(more) => read += more.min(at_most).min(sent.len() - read),
            }
        }
    }

    fn version_2(command: u8, family: u8, length: u16, rest: &[u8]) -> Vec<u8> {
        let mut header = v2::PROTOCOL_PREFIX.to_vec();
        header.extend([command, family]);
        header.extend(length.to_be_bytes());
        header.extend(rest);
        header
    }

    #[test]
    fn the_client_is_the_one_that_the_header_names_and_nothing_behind_it_is_read() {
        let v4 = [192, 0, 2, 7, 127, 0, 0, 1, 1, 187, 0, 80];
        let mut v6 = [0; 36];
        v6[..2].copy_from_slice(&[0x20, 0x01]);
        v6[15] = 9;
        let with_more = [&v4[..], &[4, 0, 1, 42]].concat();
        let long = [&v4[..], &[0; 4000]].concat();
        for (header, client) in [
            (
                b"PROXY TCP4 192.0.2.7 127.0.0.1 443 80\r\n".to_vec(),
                Some("192.0.2.7"),
            ),
            (
                b"PROXY TCP6 2001::9 ::1 443 80\r\n".to_vec(),
                Some("2001::9"),
            ),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n".to_vec(), None),
            (version_2(0x21, 0x11, 12, &v4), Some("192.0.2.7")),
            (version_2(0x21, 0x21, 36, &v6), Some("2001::9")),
            (version_2(0x21, 0x11, 16, &with_more), Some("192.0.2.7")),
            (version_2(0x21, 0x11, 4012, &long), Some("192.0.2.7")),
            (version_2(0x20, 0x11, 12, &v4), None),
            (version_2(0x20, 0, 0, &[]), None),
            (version_2(0x21, 0x31, 216, &[0; 216]), None),
        ] {
            let client = client.map(|client| client.parse().unwrap());
            for at_most in [1, 2, 15, 4096] {
                let request = [&header[..], b"GET / HTTP/1.1\r\n"].concat();
                let (found, left) = read(&request, at_most).unwrap();
                assert_eq!((found, left), (client, 16), "{header:?}");
            }
        }
    }

    #[test]
    fn what_is_no_header_is_refused() {
        for sent in [
            &b""[..],
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            b"\x16\x03\x01\x02\x00",
            b"PROXY",
            b"PROXY TCP4 1.2.3.4\r\n\r\n",
            b"PROXY TCP4 1.2.3.4 1.2.3.4 99999 80\r\n",
            b"PROXY TCP4 1.2.3.4.5 1.2.3.4 1 80\r\n",
            b"PROXY TCP6 1.2.3.4 1.2.3.4 1 80\r\n",
            b"PROXY HTTP 1.2.3.4 1.2.3.4 1 80\r\n",
            b"proxy TCP4 1.2.3.4 1.2.3.4 1 80\r\n",
            &[b"PROXY TCP4 ".as_slice(), &[b'1'; 200]].concat(),
            b"\r\n\r\n\0\r\nQUIX\n",
            &version_2(0x31, 0x11, 12, &[0; 12]),
            &version_2(0x22, 0x11, 12, &[0; 12]),
            &version_2(0x21, 0x11, 11, &[0; 11]),
            &version_2(0x21, 0x41, 12, &[0; 12]),
            &version_2(0x21, 0x11, 5000, &[0; 5000]),
            &version_2(0x21, 0x11, 12, &[0; 3]),
        ] {
            for at_most in [1, 4096] {
                let text = String::from_utf8_lossy(sent);
                assert!(read(sent, at_most).is_err(), "{text}");
            }
        }
    }
}
