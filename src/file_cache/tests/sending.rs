//! Large files that are written into a socket.

use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use futures_util::{StreamExt, stream};

use super::super::large::{Download, Large};
use super::site::{CachedSite, Steps, paused};

/// A socket that does not block, and what reads from its other end.
fn pair() -> (Arc<OwnedFd>, UnixStream) {
    let (near, far) = UnixStream::pair().unwrap();
    near.set_nonblocking(true).unwrap();
    far.set_nonblocking(true).unwrap();
    (Arc::new(near.into()), far)
}

/// All that has arrived.
fn arrived(far: &mut UnixStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    match far.read_to_end(&mut bytes) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => {}
        ended => panic!("{ended:?}"),
    }
    bytes
}

fn whole(large: &Large, socket: &Arc<OwnedFd>) -> Steps<usize> {
    send_steps(large, 0..large.length(), socket)
}

fn send_steps(large: &Large, range: Range<u64>, socket: &Arc<OwnedFd>) -> Steps<usize> {
    let socket = Arc::clone(socket);
    let send = move |download: Box<Download>| download.send_to(Arc::clone(&socket));
    Box::pin(stream::try_unfold(Box::new(large.download(range)), send))
}

/// Content no two pages of which are the same.
fn content(bytes: usize) -> String {
    let numbers = (1..).map(|n: u32| char::from(b'A' + u8::try_from(n / 4096 % 26).unwrap()));
    let places = (1..).map(|n: u32| char::from(b'a' + u8::try_from(n % 23).unwrap()));
    numbers
        .zip(places)
        .flat_map(|(number, place)| [number, place])
        .take(bytes)
        .collect()
}

#[test]
fn a_large_file_is_written_into_a_socket_whenever_that_has_room() {
    paused(async {
        let site = CachedSite::new(1 << 20).await;
        for length in [1001, 4096, 4097, 8192, 3_000_001] {
            let content = content(length);
            site.write("film.mp4", &content);
            let large = site.large("/film.mp4").await;
            let (socket, mut far) = pair();
            let mut writes = whole(&large, &socket);
            let (mut all, mut full, mut told) = (Vec::new(), 0, 0);
            while let Some(sent) = writes.next().await {
                let sent = sent.unwrap();
                told += sent;
                if sent == 0 {
                    full += 1;
                    all.extend(arrived(&mut far));
                }
            }
            all.extend(arrived(&mut far));
            assert_eq!((all.len(), told), (length, length));
            assert!(all == content.as_bytes(), "{length}");
            assert_eq!(full > 0, length > 1 << 20, "{length}");
            let part = send_steps(&large, 15..1000, &socket);
            assert_eq!(part.count().await, 1);
            assert!(arrived(&mut far) == content.as_bytes()[15..1000]);
        }
    });
}

#[test]
fn a_file_that_grows_is_written_as_far_as_was_promised() {
    paused(async {
        let site = CachedSite::new(1 << 20).await;
        let content = content(600_000);
        site.write("log.txt", &content);
        let large = site.large("/log.txt").await;
        let log = site.folder.path().join("log.txt");
        let mut log = fs::File::options().append(true).open(log).unwrap();
        let (socket, mut far) = pair();
        let (mut writes, mut all) = (whole(&large, &socket), Vec::new());
        while let Some(sent) = writes.next().await {
            sent.unwrap();
            log.write_all(b"a new line\n").unwrap();
            all.extend(arrived(&mut far));
        }
        assert!(all == content.as_bytes(), "{} bytes", all.len());
    });
}

#[test]
fn a_file_that_is_rewritten_or_cut_is_not_written_further() {
    paused(async {
        let site = CachedSite::new(1 << 20).await;
        let (old, new) = (content(600_000), "abcdefghij".repeat(60_000));
        let longer = format!("{new}{new}");
        let (begun, nearly) = (content(100), content(599_999));
        // After the first write, and later.
        for least in [1, 300_000] {
            for next in [new.as_str(), &longer, &begun, &nearly, ""] {
                site.write("film.mp4", &old);
                let large = site.large("/film.mp4").await;
                let (socket, mut far) = pair();
                let (mut writes, mut all) = (whole(&large, &socket), Vec::new());
                while all.len() < least {
                    writes.next().await.unwrap().unwrap();
                    all.extend(arrived(&mut far));
                }
                assert!(all.len() < old.len());
                site.write("film.mp4", next);
                let error = writes.next().await.unwrap().unwrap_err().to_string();
                assert!(error.contains("while it was sent"), "{error}");
                assert!(writes.next().await.is_none(), "no more after the error");
                all.extend(arrived(&mut far));
                assert!(old.as_bytes().starts_with(&all), "bytes of another state");
            }
        }
    });
}

#[test]
fn a_client_that_has_gone_ends_it() {
    paused(async {
        let site = CachedSite::new(1 << 20).await;
        site.write("film.mp4", &content(600_000));
        let large = site.large("/film.mp4").await;
        let (socket, far) = pair();
        drop(far);
        let mut writes = whole(&large, &socket);
        let error = writes.next().await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
        assert!(writes.next().await.is_none());
    });
}
