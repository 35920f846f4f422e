//! Clients of HTTP/2 that take nothing of what they have asked for.

use std::time::Duration;

use super::frames::{
    DATA, END_HEADERS, END_STREAM, FrameClient, HEADERS, RST_STREAM, block, field, frame, get,
    window,
};
use super::site::ServedSite;
use super::{LIMITS, LimitSettings, Served, Stage, read, run};

const PATIENT: LimitSettings = LimitSettings {
    stall_timeout: Duration::from_secs(10),
    ..LIMITS
};

/// No more answers are made for a client that takes nothing. When it takes them, all come.
#[test]
fn requests_of_a_client_that_takes_nothing_wait() {
    const PAGES: u32 = 12;
    const PAGE: usize = 1_000_000;
    const STREAMS: u32 = 100;
    run(async {
        let site = ServedSite::with(PATIENT).await;
        std::fs::write(site.folder.path().join("page.bin"), vec![7; PAGE]).unwrap();
        let mut client = FrameClient::unread(&site.served, &[(4, 0x7fff_ffff)]).await;
        client.send(&window(0, 0x7000_0000)).await;
        let mut asked = 0;
        let waits = |asked: u32| {
            let answered = site.served.metrics.answers() == u64::from(asked);
            read(&site.served.counters.begun_full) > 0 && !answered
        };
        while !waits(asked) {
            assert!(asked < STREAMS, "none waits");
            let path = if asked < PAGES { "/page.bin" } else { "/" };
            client.send(&get(2 * asked + 1, path)).await;
            asked += 1;
            actix_rt::time::sleep(Duration::from_millis(20)).await;
        }
        let (mut bytes, mut ended) = (0, 0);
        while ended < asked {
            let frame = client.next().await.expect("a frame");
            if frame.kind == DATA {
                bytes += frame.payload.len();
                ended += u32::from(frame.ends_stream());
            }
        }
        assert!(bytes > PAGE);
    });
}

/// The library gets few heads of answers at a time. None is lost, whether the client reads at once or late.
#[test]
fn many_answers_at_a_time_all_come() {
    const STREAMS: u32 = 100;
    run(async {
        let site = ServedSite::with(PATIENT).await;
        for late in [0, 300] {
            let mut client = FrameClient::unread(&site.served, &[(4, 0x7fff_ffff)]).await;
            client.send(&window(0, 0x7000_0000)).await;
            let all = (0..STREAMS).map(|number| get(2 * number + 1, "/large.bin"));
            client.send(&all.collect::<Vec<_>>().concat()).await;
            actix_rt::time::sleep(Duration::from_millis(late)).await;
            let mut ended = 0;
            while ended < STREAMS {
                let frame = client.next().await.expect("a frame");
                ended += u32::from(frame.kind == DATA && frame.ends_stream());
            }
        }
    });
}

/// While many bytes of heads wait for their answers, further requests are refused after a moment, and the connection is read.
#[test]
fn large_heads_that_are_not_answered_are_few_and_hold_up_nothing() {
    const REQUESTS: u32 = 60;
    const REFUSED_STREAM: u32 = 7;
    const CANCEL: u32 = 8;
    run(async {
        let limits = LimitSettings {
            head_bytes: 16 * 1024,
            request_timeout: Duration::from_secs(60),
            ..LIMITS
        };
        let served = Served::with(Stage, limits).await;
        let mut client = FrameClient::connect(&served, &[]).await;
        let large: Vec<u8> = (0..60).flat_map(|_| field("x", &"v".repeat(120))).collect();
        let flags = END_STREAM | END_HEADERS;
        for number in 0..REQUESTS {
            let head = [block("GET", "/hang"), large.clone()].concat();
            client
                .send(&frame(HEADERS, flags, 2 * number + 1, &head))
                .await;
        }
        let mut refused = Vec::new();
        let begun = || u32::try_from(served.metrics.in_flight()).unwrap();
        while u32::try_from(refused.len()).unwrap() + begun() < REQUESTS {
            let reset = client.find(RST_STREAM).await;
            assert_eq!(reset.number(0), REFUSED_STREAM);
            refused.push(reset.stream);
        }
        // 128 KiB of heads with about 7.5 KB each.
        assert!((15..=19).contains(&begun()), "{}", begun());
        assert_eq!(
            read(&served.counters.heads_full),
            u64::try_from(refused.len()).unwrap()
        );
        assert!(client.until_now().await.is_empty(), "it is read");
        for number in 0..begun() {
            let cancel = frame(RST_STREAM, 0, 2 * number + 1, &CANCEL.to_be_bytes());
            client.send(&cancel).await;
        }
        client.send(&get(2 * REQUESTS + 1, "/now")).await;
        assert_eq!(client.answer(2 * REQUESTS + 1).await, 200);
    });
}
