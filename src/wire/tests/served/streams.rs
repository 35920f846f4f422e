//! The streams of HTTP/2: the rules of their heads, and bodies that nobody reads.

use std::sync::Arc;
use std::time::Duration;

use super::frames::{
    ACK, DATA, END_HEADERS, END_STREAM, FrameClient, HEADERS, RST_STREAM, SETTINGS, WINDOW_UPDATE,
    block, field, frame, get, post, window,
};
use super::site::{LARGE, ServedSite};
use super::{LIMITS, LimitSettings, Served, read, run};
use crate::num::as_u64;

const METHOD: (&str, &str) = (":method", "GET");
const SCHEME: (&str, &str) = (":scheme", "http");
const PATH: (&str, &str) = (":path", "/now");

/// A header block.
fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
    let fields = fields.iter();
    fields
        .flat_map(|(name, value)| field(name, value))
        .collect()
}

#[test]
fn a_request_that_breaks_a_rule_is_refused_alone() {
    run(async {
        let served = Served::stage().await;
        let mut client = FrameClient::connect(&served, &[]).await;
        let mut stream = 1;
        for (more, wanted) in [
            (&[(":authority", "a")][..], 200),
            (&[("host", "a")], 200),
            (&[(":authority", "a"), ("host", "A")], 200),
            (&[], 400),
            (&[(":authority", "a"), ("host", "b")], 400),
            (&[("host", "a"), ("host", "a")], 400),
            (&[("host", "a b/@c")], 400),
            (&[(":authority", "u@a")], 400),
            (&[(":authority", "a"), ("content-length", "5")], 400),
            (&[(":authority", "a"), ("content-length", "0")], 200),
            (&[(":authority", "a"), ("x", " y")], 400),
        ] {
            let head = [METHOD, SCHEME, PATH];
            let block = fields(&[&head, more].concat());
            let request = frame(HEADERS, END_HEADERS | END_STREAM, stream, &block);
            client.send(&request).await;
            assert_eq!(client.answer(stream).await, wanted, "{more:?}");
            stream += 2;
        }
        for (method, path, wanted) in [
            ("GET", "*", 400),
            ("GET", "now", 400),
            ("GET", "?now", 400),
            ("GET", "http://b/now", 400),
            ("OPTIONS", "*", 204),
            ("OPTIONS", "**", 400),
        ] {
            let block = block(method, path);
            let request = frame(HEADERS, END_HEADERS | END_STREAM, stream, &block);
            client.send(&request).await;
            assert_eq!(client.answer(stream).await, wanted, "{method} {path}");
            stream += 2;
        }
        let lengths = [("content-length", "2"), ("content-length", "2")];
        let twice = [block("POST", "/read"), fields(&lengths)].concat();
        client
            .send(&frame(HEADERS, END_HEADERS, stream, &twice))
            .await;
        client.send(&frame(DATA, END_STREAM, stream, b"ab")).await;
        assert_eq!(client.answer(stream).await, 400);
        assert_eq!(served.counters.faults(), 13);
        assert_eq!(read(&served.counters.floods), 0);
    });
}

#[test]
fn too_many_headers_or_trailers_are_refused_on_their_stream_alone() {
    run(async {
        let served = Served::stage().await;
        let mut client = FrameClient::connect(&served, &[]).await;
        let some = |name, count| fields(&vec![(name, "1"); count]);
        let mut stream = 1;
        let mut refused = 0;
        for (more, trailers, wanted) in [
            (some("x", 100), 100, None),
            (some("x", 101), 0, Some("head_too_large")),
            ([some("x", 99), some("cookie", 50)].concat(), 0, None),
            (
                [some("cookie", 2), some("x", 100)].concat(),
                0,
                Some("head_too_large"),
            ),
            (Vec::new(), 101, Some("head_too_large")),
            (Vec::new(), 1, None),
        ] {
            let head = [block("POST", "/read"), more].concat();
            let request = [
                frame(HEADERS, END_HEADERS, stream, &head),
                frame(DATA, 0, stream, b"body"),
                frame(
                    HEADERS,
                    END_HEADERS | END_STREAM,
                    stream,
                    &some("x", trailers),
                ),
            ];
            client.send(&request.concat()).await;
            let (_, body) = client.answer_with_body(stream).await;
            match wanted {
                None => assert_eq!(body, b"read", "{stream}"),
                Some(code) => {
                    let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
                    assert_eq!(
                        (&problem["status"], &problem["code"]),
                        (&431.into(), &code.into())
                    );
                    refused += 1;
                }
            }
            assert_eq!(served.counters.faults(), refused, "{stream}");
            stream += 2;
        }
        assert_eq!(read(&served.counters.heads_too_large), refused);
    });
}

#[test]
fn a_trailer_that_tells_the_length_is_refused_on_its_stream_alone() {
    run(async {
        let served = Served::stage().await;
        let mut client = FrameClient::connect(&served, &[]).await;
        for (stream, name, wanted) in [(1, "content-length", 400), (3, "x-sum", 200)] {
            let request = [
                frame(HEADERS, END_HEADERS, stream, &block("POST", "/read")),
                frame(DATA, 0, stream, b"body"),
                frame(
                    HEADERS,
                    END_HEADERS | END_STREAM,
                    stream,
                    &fields(&[(name, "4")]),
                ),
            ];
            client.send(&request.concat()).await;
            assert_eq!(client.answer(stream).await, wanted, "{name}");
        }
        assert_eq!(served.counters.faults(), 1);
    });
}

#[test]
fn a_body_that_comes_after_the_answer_is_read_and_the_stream_is_not_reset() {
    run(async {
        let served = Served::stage().await;
        let mut client = FrameClient::connect(&served, &[]).await;
        for stream in [1, 3, 5] {
            client.send(&post(stream, "/unknown")).await;
            client.answer(stream).await;
            let part = frame(DATA, 0, stream, &[b'x'; 10_000]);
            client.send(&[part.clone(), part].concat()).await;
            let met = client.until_now().await;
            assert!(
                met.iter().all(|frame| frame.kind != RST_STREAM),
                "{stream}: {met:?}"
            );
            client.send(&frame(DATA, END_STREAM, stream, b"end")).await;
            let met = client.until_now().await;
            assert!(
                met.iter().all(|frame| frame.kind != RST_STREAM),
                "{stream}: {met:?}"
            );
        }
    });
}

#[test]
fn a_body_that_does_not_end_after_the_answer_is_given_up() {
    run(async {
        let served = Served::stage().await;
        let mut client = FrameClient::connect(&served, &[]).await;
        // One does not come.
        client.send(&post(1, "/unknown")).await;
        client.answer(1).await;
        // One is too large.
        client.send(&post(3, "/unknown")).await;
        client.answer(3).await;
        let part = frame(DATA, 0, 3, &[b'x'; 16_000]);
        client.send(&part.repeat(4)).await;
        // The window is opened again for what was dropped.
        client.find(WINDOW_UPDATE).await;
        client.send(&part).await;
        let large = client.find(RST_STREAM).await;
        assert_eq!((large.stream, large.number(0)), (3, 0), "no error");
        let late = client.find(RST_STREAM).await;
        assert_eq!((late.stream, late.number(0)), (1, 0), "no error");
        client.send(&get(5, "/now")).await;
        assert_eq!(client.answer(5).await, 200);
    });
}

#[test]
fn bodies_that_nobody_reads_do_not_stop_another() {
    run(async {
        let limits = LimitSettings {
            body_bytes: 300_000,
            request_timeout: Duration::from_secs(10),
            ..LIMITS
        };
        let served = Served::with(super::Stage, limits).await;
        let mut client = FrameClient::connect(&served, &[]).await;
        let settings = client.find(SETTINGS).await;
        assert_eq!(settings.flags & ACK, 0);
        let window = settings.payload.chunks(6).find(|pair| pair[1] == 4);
        let window = window.unwrap()[2..].try_into().unwrap();
        assert_eq!(u32::from_be_bytes(window), 300_000);
        client.until_now().await;
        // Whole bodies, for which no window has to be waited.
        for stream in [1, 3, 5] {
            client.send(&post(stream, "/hang")).await;
            for _ in 0..20 {
                let part = frame(DATA, 0, stream, &[b'x'; 15_000]);
                client.send(&part).await;
            }
        }
        client.send(&post(7, "/read")).await;
        client.send(&frame(DATA, END_STREAM, 7, &[b'x'; 900])).await;
        assert_eq!(client.answer(7).await, 200);
    });
}

/// Answers that are done for the server and wait in its memory, because the client does not read, are no idleness.
#[test]
fn a_connection_with_unsent_answers_is_not_idle() {
    const PAGES: usize = 100;
    const PAGE: usize = 31_000;
    run(async {
        let limits = LimitSettings {
            // A busy machine needs some time until the client has asked.
            idle_timeout: Duration::from_secs(1),
            stall_timeout: Duration::from_secs(10),
            ..LIMITS
        };
        let site = ServedSite::with(limits).await;
        std::fs::write(site.folder.path().join("page.bin"), vec![7; PAGE]).unwrap();
        let settings = [(4, 0x7fff_ffff)];
        let mut client = FrameClient::unread(&site.served, &settings).await;
        client.send(&window(0, 0x7000_0000)).await;
        let asked =
            (0..PAGES).map(|number| get(2 * u32::try_from(number).unwrap() + 1, "/page.bin"));
        client.send(&asked.collect::<Vec<_>>().concat()).await;
        let answered = || site.served.metrics.answers() == as_u64(PAGES);
        super::until("all answers are made", answered).await;
        // Longer than an idle connection is kept, and longer than one that ends waits for its client.
        site.served.drain.begin();
        actix_rt::time::sleep(Duration::from_millis(1500)).await;
        let (mut bytes, mut ended) = (0, 0);
        while let Some(frame) = client.next().await {
            if frame.kind == DATA {
                bytes += frame.payload.len();
                ended += usize::from(frame.ends_stream());
            }
        }
        assert_eq!((ended, bytes), (PAGES, PAGES * PAGE));
    });
}

/// A page in a memory file is copied frame by frame, and the client's windows cut the frames anywhere.
#[test]
fn a_page_in_a_memory_file_is_whole_however_windows_cut_it() {
    const PAGE: u32 = 90_000;
    run(async {
        let site = ServedSite::serve().await;
        let page: Vec<u8> = (0..PAGE).map(|n| n.to_le_bytes()[1] ^ 0x5a).collect();
        std::fs::write(site.folder.path().join("page.bin"), &page).unwrap();
        let all = [1_u8, 3, 5, 7];
        for opened in [997, 16_384, 70_001] {
            let mut client = FrameClient::connect(&site.served, &[(4, opened)]).await;
            client.send(&window(0, 0x7000_0000)).await;
            client
                .send(&all.map(|stream| get(stream.into(), "/page.bin")).concat())
                .await;
            let (mut bodies, mut left) = (vec![Vec::new(); 8], all.len());
            while left > 0 {
                let frame = client.next().await.expect("a frame");
                if frame.kind != DATA {
                    continue;
                }
                left -= usize::from(frame.ends_stream());
                let body = &mut bodies[usize::try_from(frame.stream).unwrap()];
                body.extend_from_slice(&frame.payload);
                let bytes = u32::try_from(frame.payload.len()).unwrap();
                if !frame.ends_stream() {
                    client.send(&window(frame.stream, bytes)).await;
                }
            }
            assert!(
                all.iter()
                    .all(|&stream| bodies[usize::from(stream)] == page),
                "{opened}"
            );
        }
    });
}

/// Streams whose windows are used up wait alone: other streams of the connection begin and end.
#[test]
fn streams_without_a_window_hold_up_no_other() {
    const UNREAD: u32 = 60;
    run(async {
        let site = ServedSite::serve().await;
        std::fs::write(site.folder.path().join("page.bin"), vec![7; 90_000]).unwrap();
        for path in ["/large.bin", "/page.bin"] {
            let mut client = FrameClient::connect(&site.served, &[(4, 1000)]).await;
            let unread = (0..UNREAD).map(|number| get(2 * number + 1, path));
            client.send(&unread.collect::<Vec<_>>().concat()).await;
            let mut bytes = 0;
            while bytes < 1000 * UNREAD {
                let frame = client.find(DATA).await;
                assert!(!frame.ends_stream());
                bytes += u32::try_from(frame.payload.len()).unwrap();
            }
            client.send(&get(2 * UNREAD + 1, "/")).await;
            let page = client.answer_with_body(2 * UNREAD + 1).await;
            assert_eq!(page, (200, b"<p>home".to_vec()), "{path}");
        }
    });
}

/// The bytes that were read of files and are not taken have a bound for each connection, and one for all together. Past that,
/// pieces are small, and all is sent all the same.
#[test]
fn unread_files_hold_little_and_are_sent_whole() {
    const UNREAD: usize = 20;
    run(async {
        let limits = LimitSettings {
            stall_timeout: Duration::from_secs(10),
            ..LIMITS
        };
        for (most, held) in [(usize::MAX, 64 * 1024), (20_000, 20_000)] {
            let site = ServedSite::bounded(limits, most).await;
            let counters = &site.served.counters;
            let settings = [(4, 0x7fff_ffff)];
            let mut client = FrameClient::unread(&site.served, &settings).await;
            client.send(&window(0, 0x7000_0000)).await;
            let all =
                (0..UNREAD).map(|number| get(2 * u32::try_from(number).unwrap() + 1, "/large.bin"));
            client.send(&all.collect::<Vec<_>>().concat()).await;
            super::until("pieces wait", || read(&counters.unsent_full) > 0).await;
            let (mut bytes, mut ended) = (0, 0);
            while ended < UNREAD {
                let frame = client.next().await.expect("a frame");
                if frame.kind == DATA {
                    bytes += frame.payload.len();
                    ended += usize::from(frame.ends_stream());
                }
                assert!(counters.buffered.bytes() <= held);
            }
            assert_eq!(bytes, UNREAD * LARGE);
            super::until("nothing is held", || counters.buffered.bytes() == 0).await;
            assert_eq!(read(&counters.buffered_full) > 0, most < usize::MAX);
        }
    });
}

/// Bodies that nobody reads end their connection where nothing more may be held.
#[test]
fn unread_bodies_past_what_all_may_hold_end_their_connection() {
    run(async {
        let limits = LimitSettings {
            request_timeout: Duration::from_secs(10),
            ..LIMITS
        };
        let counters = Arc::new(super::ConnectionCounters::new(40_000));
        let served = Served::counted(super::Stage, limits, counters).await;
        let mut client = FrameClient::connect(&served, &[]).await;
        client.send(&post(1, "/hang")).await;
        let part = frame(DATA, 0, 1, &[b'x'; 16_000]);
        client.send(&part.repeat(2)).await;
        super::until("it is held", || served.counters.buffered.bytes() >= 32_000).await;
        client.send(&part).await;
        client.goodbye().await;
        super::until("it is not", || served.counters.buffered.bytes() == 0).await;
        assert_eq!(read(&served.counters.buffered_full), 1);
        let mut other = FrameClient::connect(&served, &[]).await;
        other.send(&get(1, "/now")).await;
        assert_eq!(other.answer(1).await, 200);
    });
}

/// The library gets few heads at a time; what stands behind them is not lost.
#[test]
fn many_heads_and_bodies_in_one_write_are_all_answered() {
    const STREAMS: u32 = 90;
    run(async {
        let served = Served::stage().await;
        let mut client = FrameClient::connect(&served, &[]).await;
        let streams = (0..STREAMS).map(|number| 2 * number + 1);
        let heads = streams.clone().flat_map(|stream| post(stream, "/read"));
        let bodies = streams.flat_map(|stream| frame(DATA, END_STREAM, stream, b"body"));
        let all: Vec<u8> = heads.chain(bodies).collect();
        client.send(&all).await;
        let mut answered = 0;
        while answered < STREAMS {
            let frame = client.next().await.expect("an answer");
            if frame.kind == DATA {
                assert_eq!(frame.payload, b"read");
                answered += u32::from(frame.ends_stream());
            }
        }
    });
}

/// If very many requests wait for their answers, those of a connection are begun few at a time, and none waits for long.
#[test]
fn a_busy_thread_begins_few_requests_of_a_connection_at_a_time() {
    const BUSY: i64 = 128;
    const CLIENTS: i64 = 22;
    const STREAMS: i64 = 100;
    run(async {
        let limits = LimitSettings {
            request_timeout: Duration::from_secs(60),
            ..LIMITS
        };
        let served = Served::with(super::Stage, limits).await;
        let all = |path| {
            let streams = (0..STREAMS).map(|number| 2 * u32::try_from(number).unwrap() + 1);
            streams
                .flat_map(|stream| get(stream, path))
                .collect::<Vec<_>>()
        };
        let mut clients = Vec::new();
        for _ in 0..CLIENTS {
            let mut client = FrameClient::connect(&served, &[]).await;
            client.send(&all("/hang")).await;
            clients.push(client);
        }
        let begun = || served.metrics.in_flight();
        super::until("many wait", || begun() >= BUSY).await;
        assert!(begun() < CLIENTS * STREAMS, "{}", begun());
        assert!(read(&served.counters.begun_full) > 0);
        // All of one connection are taken back while they wait, and as many are asked for again.
        let last = clients.last_mut().unwrap();
        for number in 0..STREAMS {
            let stream = 2 * u32::try_from(number).unwrap() + 1;
            let cancel = frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes());
            let again = get(stream + 2 * u32::try_from(STREAMS).unwrap(), "/now");
            last.send(&[cancel, again].concat()).await;
        }
        for _ in 0..STREAMS {
            assert_eq!(last.find(HEADERS).await.status(), 200);
        }
        let hanging = (CLIENTS - 1) * STREAMS;
        super::until("each has had its turn", || begun() == hanging).await;
    });
}
