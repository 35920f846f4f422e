//! Clients of HTTP/2 that take nothing of what they have asked for.

use std::time::Duration;

use super::frames::{DATA, FrameClient, get, window};
use super::site::ServedSite;
use super::{LIMITS, LimitSettings, read, run};

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
