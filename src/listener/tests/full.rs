//! Tests of full listeners: which connections are closed and which are refused when all places, or all of one peer, are taken.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::Instant;

use super::super::{listening, place};
use super::{
    ConnectionBounds, Faults, Handlers, ListenerCounters, ListenerState, PATIENCE, PAUSE, Places,
    SharedListening, ask, run, start, start_bounded, tcp,
};
use crate::request_handler::PeerBound;
use crate::wire::{ClientWait, Speaks, register};

/// Whether a connection waits like this that gives way at `now`.
fn one_waits(state: &ListenerState, wait: ClientWait, now: Instant) -> bool {
    let handlers = state.handlers.load();
    let mut loads = handlers.iter().map(|handler| &handler.load);
    loads.any(|load| load.oldest(wait, now).is_some())
}

#[test]
fn the_oldest_idle_connection_gives_way_to_a_newcomer() {
    run(async {
        let (socket, address) = tcp();
        let started = start(socket, &[100], 3).await;
        let mut clients = Vec::new();
        for busy in [true, false, false] {
            let mut client = TcpStream::connect(address).await.unwrap();
            ask(&mut client).await;
            if busy {
                client.write_all(b"GET / HT").await.unwrap();
                // The server has to know it before the newcomer comes.
                let later = Instant::now() + PATIENCE;
                while !one_waits(&started.state, ClientWait::RestOfHead, later) {
                    tokio::task::yield_now().await;
                }
            }
            clients.push(client);
        }
        // A connection that was opened just now is left alone, whatever it waits for.
        while !one_waits(&started.state, ClientWait::Request, Instant::now()) {
            tokio::task::yield_now().await;
        }
        let mut newcomer = TcpStream::connect(address).await.unwrap();
        assert_eq!(ask(&mut newcomer).await, "handler-0");
        let mut byte = [0; 1];
        let read = tokio::time::timeout(PATIENCE, clients[1].read(&mut byte)).await;
        assert_eq!(read.unwrap().unwrap(), 0, "the oldest idle one is closed");
        clients[0]
            .write_all(b"TP/1.1\r\nhost: a\r\n\r\n")
            .await
            .unwrap();
        assert_eq!(clients[0].read(&mut byte).await.unwrap(), 1, "it was busy");
        assert_eq!(ask(&mut clients[2]).await, "handler-0");
        assert_eq!(started.state.counters.gave_way.get(), 1);
        drop((clients, newcomer));
        started.stop().await;
    });
}

#[test]
fn one_connection_gives_way_to_each_newcomer_the_oldest_of_all_handlers_first() {
    run(async {
        let (socket, address) = tcp();
        let started = start(socket, &[100, 100], 4).await;
        let (mut clients, mut handlers) = (Vec::new(), Vec::new());
        for _ in 0..4 {
            let mut client = TcpStream::connect(address).await.unwrap();
            handlers.push(ask(&mut client).await);
            clients.push(client);
        }
        handlers.sort();
        assert_eq!(
            handlers,
            ["handler-0", "handler-0", "handler-1", "handler-1"]
        );
        let mut newcomers = Vec::new();
        for next in 0..4 {
            for client in &mut clients[next..] {
                ask(client).await;
            }
            let mut newcomer = TcpStream::connect(address).await.unwrap();
            ask(&mut newcomer).await;
            newcomers.push(newcomer);
            let end = tokio::time::timeout(PATIENCE, clients[next].read(&mut [0; 1])).await;
            assert_eq!(end.unwrap().unwrap(), 0, "{next} is closed");
        }
        assert_eq!(started.state.counters.gave_way.get(), 4);
        drop(newcomers);
        started.stop().await;
    });
}

#[test]
fn a_listener_whose_client_another_one_has_accepted_keeps_no_place() {
    run(async {
        let (socket, address) = tcp();
        let bounds = ConnectionBounds {
            places: Places::new(1),
            peers: PeerBound::new(1),
        };
        let taken = bounds.places.try_take().unwrap();
        let state = ListenerState::new(
            &SharedListening::new(socket, false),
            Speaks::Http,
            Arc::new(Handlers::from_pointee(Vec::new())),
            None,
            bounds,
            Faults::default(),
            ListenerCounters::default(),
        );
        let socket = register(state.socket.socket.try_clone().unwrap()).unwrap();
        let _client = TcpStream::connect(address).await.unwrap();
        let mut waiting = std::pin::pin!(place(&state, &socket));
        while state.counters.full.get() == 0 {
            assert!(futures_util::poll!(&mut waiting).is_pending());
            tokio::task::yield_now().await;
        }
        let _accepted = listening::accept(&state.socket.socket).unwrap();
        let waits = tokio::time::timeout(PAUSE * 2, &mut waiting).await;
        assert!(waits.is_err(), "no place is free");
        drop(taken);
        assert!(state.bounds.places.try_take().is_some());
    });
}

#[test]
fn a_head_that_is_not_whole_keeps_no_place_from_a_newcomer() {
    run(async {
        let (socket, address) = tcp();
        let started = start(socket, &[100], 3).await;
        let mut clients = Vec::new();
        for begun in ["G", "", "GET / HTTP/1.1\r\nx: "] {
            let mut client = TcpStream::connect(address).await.unwrap();
            client.write_all(begun.as_bytes()).await.unwrap();
            clients.push(client);
        }
        // The idle one first, then the older of the two that have begun.
        for next in [1, 0] {
            let mut newcomer = TcpStream::connect(address).await.unwrap();
            assert_eq!(ask(&mut newcomer).await, "handler-0");
            newcomer.write_all(b"P").await.unwrap();
            let end = tokio::time::timeout(PATIENCE, clients[next].read(&mut [0; 1])).await;
            assert!(matches!(end.unwrap(), Ok(0) | Err(_)), "{next} is closed");
            clients.push(newcomer);
        }
        clients[2].write_all(b"y\r\nhost: a\r\n\r\n").await.unwrap();
        let mut byte = [0; 1];
        assert_eq!(
            clients[2].read(&mut byte).await.unwrap(),
            1,
            "it is answered"
        );
        assert_eq!(started.state.counters.gave_way.get(), 2);
        started.stop().await;
    });
}

/// A client with this address on this machine.
async fn client_from(address: &str, server: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket
        .bind(SocketAddr::new(address.parse().unwrap(), 0))
        .unwrap();
    socket.connect(server).await.unwrap()
}

#[test]
fn a_peer_at_its_bound_gets_no_more_places_than_it_has() {
    run(async {
        let (socket, address) = tcp();
        let bounded = PeerBound::with_loopback(2);
        let started = start_bounded(socket, &[100, 100], 100, bounded).await;
        let mut clients = Vec::new();
        for _ in 0..2 {
            let mut client = client_from("127.0.0.2", address).await;
            ask(&mut client).await;
            client.write_all(b"GET / HT").await.unwrap();
            clients.push(client);
        }
        let closed = |mut client: TcpStream| async move {
            let read = tokio::time::timeout(PATIENCE, client.read(&mut [0; 1])).await;
            assert_eq!(read.unwrap().unwrap(), 0);
        };
        closed(client_from("127.0.0.2", address).await).await;
        assert_eq!(started.state.counters.over_peer_limit.get(), 1);
        // Others are served all the same.
        ask(&mut client_from("127.0.0.3", address).await).await;
        // Its own idle connection gives way, and no other.
        clients[0]
            .write_all(b"TP/1.1\r\nhost: a\r\n\r\n")
            .await
            .unwrap();
        let mut answer = [0; 1000];
        assert_ne!(clients[0].read(&mut answer).await.unwrap(), 0);
        let mut newcomer = loop {
            let mut client = client_from("127.0.0.2", address).await;
            let asked = client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
            if asked.is_ok() && client.read(&mut answer).await.is_ok_and(|read| read > 0) {
                break client;
            }
        };
        closed(clients.remove(0)).await;
        clients[0]
            .write_all(b"TP/1.1\r\nhost: a\r\n\r\n")
            .await
            .unwrap();
        assert_ne!(clients[0].read(&mut answer).await.unwrap(), 0, "busy");
        assert_eq!(started.state.counters.gave_way.get(), 1);
        ask(&mut newcomer).await;
        started.stop().await;
    });
}

#[test]
fn an_idle_connection_of_http_2_is_told_that_it_gives_way() {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    // POST / of http://localhost, whose body is still to come.
    const POST: &[u8] = b"\0\0\x0e\x01\x04\0\0\0\x01\x83\x86\x84\x41\x09localhost";
    const END: &[u8] = b"\0\0\0\0\x01\0\0\0\x01";
    run(async {
        let (socket, address) = tcp();
        let started = start(socket, &[100], 2).await;
        let mut busy = TcpStream::connect(address).await.unwrap();
        busy.write_all(&[PREFACE, POST].concat()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.windows(9).any(|part| part == b"handler-0") {
            assert_ne!(busy.read_buf(&mut answer).await.unwrap(), 0);
        }
        let mut idle = TcpStream::connect(address).await.unwrap();
        idle.write_all(PREFACE).await.unwrap();
        let mut newcomers = Vec::new();
        for (mut quiet, last_stream) in [(idle, 0), (busy, 1)] {
            if last_stream == 1 {
                quiet.write_all(END).await.unwrap();
            }
            let mut newcomer = TcpStream::connect(address).await.unwrap();
            assert_eq!(ask(&mut newcomer).await, "handler-0");
            let mut told = Vec::new();
            let end = tokio::time::timeout(PATIENCE, quiet.read_to_end(&mut told)).await;
            end.unwrap().unwrap();
            let go_away = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, last_stream, 0, 0, 0, 0];
            assert!(told.ends_with(&go_away), "{told:?}");
            // It keeps its place.
            newcomer.write_all(b"GET / HT").await.unwrap();
            newcomers.push(newcomer);
        }
        assert_eq!(started.state.counters.gave_way.get(), 2);
        drop(newcomers);
        started.stop().await;
    });
}
