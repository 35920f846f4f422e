//! Floods over HTTP/2: each ends its own connection, and others are served.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

use super::super::super::http2::STREAMS_MAX;
use super::frames::{
    ACK, CALM, CONTINUATION, DATA, END_HEADERS, END_STREAM, FrameClient, GOAWAY, HEADERS, PING,
    PRIORITY, RST_STREAM, SETTINGS, block, field, frame, get, post, window,
};
use super::site::ServedSite;
use super::{LIMITS, LimitSettings, Served, read, run};

/// More frames than any flood may bring.
const FRAMES: u32 = 20_000;
const INITIAL_WINDOW: u16 = 4;

/// Requests may hang for longer than a flood lasts.
const PATIENT: LimitSettings = LimitSettings {
    request_timeout: Duration::from_secs(10),
    stall_timeout: Duration::from_secs(10),
    ..LIMITS
};

/// Sends `first` and then what `next` makes of the numbers from 0 on, until the server says goodbye.
async fn flood(
    served: &Served,
    settings: &[(u16, u32)],
    first: Vec<u8>,
    next: impl Fn(u32) -> Vec<u8> + 'static,
) {
    let mut client = FrameClient::connect(served, settings).await;
    client.send(&first).await;
    let floods = read(&served.counters.floods);
    let FrameClient { reader, mut writer } = client;
    let writing = actix_rt::spawn(async move {
        for from in (0..FRAMES).step_by(100) {
            let some: Vec<u8> = (from..from + 100).flat_map(&next).collect();
            if writer.write_all(&some).await.is_err() {
                return writer;
            }
        }
        writer
    });
    // The writer is not needed to read.
    let (_, unused) = tokio::net::TcpStream::connect(served.address)
        .await
        .unwrap()
        .into_split();
    let mut client = FrameClient {
        reader,
        writer: unused,
    };
    assert_eq!(client.goodbye().await, Some(CALM));
    drop(client);
    super::until("it is counted", || {
        read(&served.counters.floods) == floods + 1
    })
    .await;
    let mut other = served.client().await;
    assert_eq!(other.get("/now").await.status, 200);
    drop(writing.await.unwrap());
}

/// A flood on a connection without requests.
fn floods(next: impl Fn(u32) -> Vec<u8> + 'static) {
    run(async {
        let served = Served::with(super::Stage, PATIENT).await;
        flood(&served, &[], Vec::new(), next).await;
    });
}

/// A flood behind a request with a body that does not end.
fn floods_a_body(next: impl Fn(u32) -> Vec<u8> + 'static) {
    run(async {
        let served = Served::with(super::Stage, PATIENT).await;
        flood(&served, &[], post(1, "/hang"), next).await;
    });
}

fn stream(number: u32) -> u32 {
    number * 2 + 1
}

#[test]
fn of_pings() {
    floods(|_| frame(PING, 0, 0, b"12345678"));
}

#[test]
fn of_answers_to_pings() {
    floods(|_| frame(PING, ACK, 0, b"12345678"));
}

#[test]
fn of_settings() {
    floods(|_| frame(SETTINGS, 0, 0, &[]));
}

#[test]
fn of_priorities() {
    floods(|number| frame(PRIORITY, 0, stream(number), &[0, 0, 0, 0, 1]));
}

#[test]
fn of_windows() {
    floods(|_| window(0, 1));
}

#[test]
fn of_unknown_frames() {
    floods(|_| frame(0xfa, 0, 0, &[]));
}

#[test]
fn of_empty_data() {
    floods_a_body(|_| frame(DATA, 0, 1, &[]));
}

#[test]
fn of_padding() {
    floods_a_body(|_| frame(DATA, 8, 1, &[3, 0, 0, 0]));
}

#[test]
fn of_single_bytes_that_are_not_read() {
    floods_a_body(|_| frame(DATA, 0, 1, b"x"));
}

#[test]
fn of_requests_that_are_taken_back_at_once() {
    floods(|number| {
        let stream = stream(number);
        let cancel = frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes());
        [get(stream, "/hang"), cancel].concat()
    });
}

#[test]
fn of_requests_that_are_taken_back_later() {
    run(async {
        let served = Served::with(super::Stage, PATIENT).await;
        let mut client = FrameClient::connect(&served, &[]).await;
        let start = Instant::now();
        let mut sent = 0;
        // Each is accepted before it is taken back, which the library does not limit.
        while read(&served.counters.floods) == 0 {
            client.send(&get(stream(sent), "/hang")).await;
            while served.metrics.in_flight() == 0 && read(&served.counters.floods) == 0 {
                tokio::task::yield_now().await;
            }
            let cancel = frame(RST_STREAM, 0, stream(sent), &8_u32.to_be_bytes());
            client.send(&cancel).await;
            while served.metrics.in_flight() == 1 {
                tokio::task::yield_now().await;
            }
            sent += 1;
            assert!(sent < FRAMES && start.elapsed() < Duration::from_secs(10));
        }
        assert_eq!(client.goodbye().await, Some(CALM));
        assert!(sent > 500, "honest clients take many back");
    });
}

#[test]
fn of_requests_over_the_limit() {
    run(async {
        let served = Served::with(super::Stage, PATIENT).await;
        let open = u32::try_from(STREAMS_MAX).unwrap();
        let first = (0..open).flat_map(|number| get(stream(number), "/hang"));
        flood(&served, &[], first.collect(), move |number| {
            get(stream(open + number), "/now")
        })
        .await;
    });
}

#[test]
fn of_header_blocks_without_an_end() {
    floods(|number| match number {
        0 => frame(HEADERS, END_STREAM, 1, &block("GET", "/now")),
        _ => frame(CONTINUATION, 0, 1, &field("x", "y")),
    });
}

#[test]
fn of_header_blocks_that_unfold() {
    // One long header goes into the table, and each further byte names it.
    let value = "v".repeat(120);
    let mut insert = field("x", &value);
    insert[0] = 0x40;
    let bomb = [block("GET", "/now"), insert, vec![0xbe; 15_000]].concat();
    floods(move |number| frame(HEADERS, END_STREAM | END_HEADERS, stream(number), &bomb));
}

#[test]
fn of_faults_that_make_the_server_reset() {
    // A window that overflows, a stream that depends on itself, a body that is longer than was told.
    floods(|number| {
        let stream = stream(number);
        [get(stream, "/hang"), window(stream, 0x7fff_ffff)].concat()
    });
    floods(|number| {
        let stream = stream(number);
        let mut depends = stream.to_be_bytes().to_vec();
        depends.push(1);
        let fault = frame(PRIORITY, 0, stream, &depends);
        [get(stream, "/hang"), fault].concat()
    });
    floods(|number| {
        let stream = stream(number);
        let told = [block("POST", "/hang"), field("content-length", "1")].concat();
        [
            frame(HEADERS, END_HEADERS, stream, &told),
            frame(DATA, END_STREAM, stream, b"12"),
        ]
        .concat()
    });
}

#[test]
fn of_requests_that_break_a_rule() {
    let refused = |number| {
        let twice = [block("GET", "/now"), field("host", "b")].concat();
        frame(HEADERS, END_STREAM | END_HEADERS, stream(number), &twice)
    };
    floods(refused);
    // They earn nothing when their answers are read either.
    run(async move {
        let served = Served::with(super::Stage, PATIENT).await;
        let mut client = FrameClient::connect(&served, &[(INITIAL_WINDOW, 0x7fff_ffff)]).await;
        client.send(&window(0, 0x7000_0000)).await;
        let mut answers = 0;
        let reason = loop {
            let some: Vec<u8> = (answers..answers + 50).flat_map(refused).collect();
            // After the end, what is written may be refused.
            let _closed = client.writer.write_all(&some).await;
            let mut left = 50;
            let end = loop {
                match client.next().await {
                    Some(frame) if frame.kind == GOAWAY => break Some(frame.number(4)),
                    Some(frame) => left -= usize::from(frame.ends_stream()),
                    None => panic!("no goodbye after {answers}"),
                }
                if left == 0 {
                    break None;
                }
            };
            if let Some(reason) = end {
                break reason;
            }
            answers += 50;
            assert!(answers < FRAMES, "it may go on for ever");
        };
        assert_eq!(reason, CALM);
    });
}

#[test]
fn of_windows_of_one_byte() {
    run(async {
        let site = ServedSite::with(PATIENT).await;
        let none = [(INITIAL_WINDOW, 0)];
        let first = get(1, "/large.bin");
        let mut client = FrameClient::connect(&site.served, &none).await;
        client.send(&first).await;
        client.find(HEADERS).await;
        let mut bytes = 0;
        let reason = loop {
            // After the end, what is written may be refused.
            let _closed = client.writer.write_all(&window(1, 1)).await;
            match client.next().await {
                Some(frame) if frame.kind == DATA => bytes += frame.payload.len(),
                Some(frame) if frame.kind == GOAWAY => break frame.number(4),
                Some(_) => {}
                None => panic!("no goodbye after {bytes}"),
            }
        };
        assert_eq!(reason, CALM);
        assert!((500..10_000).contains(&bytes), "{bytes}");
        assert_eq!(read(&site.served.counters.floods), 1);
    });
}

#[test]
fn and_who_asks_and_reads_is_none() {
    run(async {
        let site = ServedSite::with(PATIENT).await;
        let mut client = FrameClient::connect(&site.served, &[]).await;
        for number in 0..3000 {
            let stream = stream(number);
            client.send(&get(stream, "/")).await;
            assert_eq!(client.answer(stream).await, 200);
            // As python's clients do, for the stream and for the connection, and another measures the way.
            let read = [window(stream, 7), window(0, 7), frame(PING, 0, 0, &[0; 8])];
            client.send(&read.concat()).await;
        }
        for number in 3000..3020 {
            let stream = stream(number);
            client.send(&get(stream, "/large.bin")).await;
            loop {
                let frame = client.next().await.expect("an answer");
                if frame.stream != stream || frame.kind != DATA {
                    continue;
                }
                let bytes = u32::try_from(frame.payload.len()).unwrap();
                let read = [window(0, bytes), window(stream, bytes)];
                client.send(&read.concat()).await;
                if frame.ends_stream() {
                    break;
                }
            }
        }
        assert_eq!(read(&site.served.counters.floods), 0);
    });
}
