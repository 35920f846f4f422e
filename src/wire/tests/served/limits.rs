//! Limits on one client, and the answers to those who exceed them.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

use super::{Client, LIMITS, Served, read, run, until};

const GET: &[u8] = b"GET /now HTTP/1.1\r\nhost: a\r\n\r\n";

#[test]
fn a_slow_head_is_408_be_it_the_first_or_not() {
    run(async {
        let served = Served::stage().await;
        for before in [0, 2] {
            let mut client = served.client().await;
            for _ in 0..before {
                assert_eq!(client.get("/now").await.status, 200);
            }
            client.send(b"GET / HTTP/1.1\r\nho").await;
            // A byte now and then does not help.
            actix_rt::time::sleep(Duration::from_millis(150)).await;
            client.send(b"st").await;
            let reply = client.reply(false).await;
            assert_eq!((reply.status, reply.code().as_str()), (408, "head_timeout"));
            client.closed().await;
        }
        assert_eq!(read(&served.counters.heads_too_slow), 2);
    });
}

#[test]
fn empty_lines_are_idleness_and_no_request() {
    run(async {
        let served = Served::stage().await;
        let mut client = served.client().await;
        client.send(b"\r\n\r\n").await;
        client.closed().await;
        let mut client = served.client().await;
        client.send(&[b"\r\n\r\n", GET].concat()).await;
        assert_eq!(client.reply(false).await.status, 200);
        client.send(b"\r\n\r\n").await;
        client.closed().await;
        assert_eq!(read(&served.counters.idle), 2);
    });
}

#[test]
fn a_head_that_never_becomes_a_request_has_the_time_of_a_head() {
    run(async {
        let served = Served::stage().await;
        // For us a CR of its own makes no line; for the parser it may.
        let mut client = served.client().await;
        client.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\r\n").await;
        let reply = client.reply(false).await;
        assert!([400, 408].contains(&reply.status), "{}", reply.status);
        client.closed().await;
    });
}

#[test]
fn a_large_head_is_431_be_it_the_first_or_not() {
    run(async {
        let served = Served::stage().await;
        for (before, fill) in [(0, 4200), (1, 4200), (0, 100_000), (2, 300_000)] {
            let mut client = served.client().await;
            for _ in 0..before {
                assert_eq!(client.get("/now").await.status, 200);
            }
            let head = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "a".repeat(fill));
            client.send(head.as_bytes()).await;
            let reply = client.reply(false).await;
            assert_eq!(
                (reply.status, reply.code().as_str()),
                (431, "head_too_large")
            );
            client.closed().await;
        }
        assert_eq!(read(&served.counters.heads_too_large), 4);
    });
}

#[test]
fn a_large_head_behind_another_request_is_431_too() {
    run(async {
        let served = Served::stage().await;
        let large = format!(
            "GET /now HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n",
            "a".repeat(4200)
        );
        let whole = [GET, large.as_bytes(), GET].concat();
        // At once, and with the large one cut where the first read may end.
        for cut in [whole.len(), GET.len() + 9, GET.len() + 4100] {
            let mut client = served.client().await;
            client.send(&whole[..cut]).await;
            actix_rt::time::sleep(Duration::from_millis(30)).await;
            client.send(&whole[cut..]).await;
            assert_eq!(client.reply(false).await.status, 200, "{cut}");
            assert_eq!(client.reply(false).await.code(), "head_too_large", "{cut}");
        }
        assert_eq!(read(&served.counters.heads_too_large), 3);
    });
}

#[test]
fn a_refused_client_that_goes_on_sending_is_cut_off() {
    run(async {
        let served = Served::stage().await;
        let client = served.client().await;
        let start = Instant::now();
        let (_reader, mut writer) = client.socket.into_split();
        let chunk = vec![b'a'; 1 << 16];
        let flood = async { while writer.write_all(&chunk).await.is_ok() {} };
        let cut = tokio::time::timeout(Duration::from_secs(8), flood).await;
        assert!(cut.is_ok(), "still open after {:?}", start.elapsed());
        assert_eq!(served.counters.faults(), 1);
    });
}

#[test]
fn what_is_no_http_is_400_and_counted() {
    run(async {
        let served = Served::stage().await;
        // The last one begins like the preface of HTTP/2.
        let junk = [
            ("GET\r\n\r\n", 400),
            ("GET / HTTP/9.9\r\n\r\n", 505),
            ("\0\r\n\r\n", 400),
            ("PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", 505),
        ];
        for (n, (junk, status)) in junk.iter().enumerate() {
            let mut client = served.client().await;
            client.send(junk.as_bytes()).await;
            let reply = client.reply(false).await;
            assert_eq!(reply.status, *status, "{junk:?}");
            let id = reply.json()["request_id"].clone();
            assert_eq!(reply.header("x-request-id"), id.as_str(), "{junk:?}");
            client.closed().await;
            let counted = u64::try_from(n).unwrap() + 1;
            assert_eq!(served.counters.faults(), counted, "{junk:?}");
        }
    });
}

#[test]
fn what_is_no_http_is_counted_behind_a_request_as_well() {
    run(async {
        let served = Served::stage().await;
        let mut client = served.client().await;
        client.send(&[GET, b"GET\r\n\r\n"].concat()).await;
        assert_eq!(client.reply(false).await.status, 200);
        assert_eq!(client.reply(false).await.status, 400);
        client.closed().await;
        assert_eq!(served.counters.faults(), 1);
        let mut many = served.client().await;
        let head = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(200));
        many.send(head.as_bytes()).await;
        assert_eq!(
            many.reply(false).await.status,
            431,
            "more fields than are looked at"
        );
        many.closed().await;
        assert_eq!(read(&served.counters.heads_too_large), 1);
    });
}

#[test]
fn a_connection_that_asks_for_nothing_is_closed() {
    run(async {
        let served = Served::stage().await;
        served.client().await.closed().await;
        let mut used = served.client().await;
        // Longer in all than it may be idle.
        for _ in 0..9 {
            actix_rt::time::sleep(Duration::from_millis(80)).await;
            assert_eq!(used.get("/now").await.status, 200);
        }
        let start = Instant::now();
        used.closed().await;
        assert!(
            start.elapsed() > LIMITS.idle_timeout / 2,
            "{:?}",
            start.elapsed()
        );
        assert_eq!(read(&served.counters.idle), 2);
    });
}

#[test]
fn a_connection_whose_request_was_there_at_once_is_closed_when_idle() {
    run(async {
        let served = Served::stage().await;
        let mut client = Client::eager(served.address, GET);
        assert_eq!(client.reply(false).await.status, 200);
        client.closed().await;
        assert_eq!(read(&served.counters.idle), 1);
    });
}

#[test]
fn a_client_that_does_not_read_is_let_go() {
    run(async {
        let served = Served::with(super::pages::Big, LIMITS).await;
        let mut client = served.client().await;
        client.send(GET).await;
        until("the stall is counted", || {
            read(&served.counters.stalled) == 1
        })
        .await;
    });
}

#[test]
fn a_client_that_closes_its_side_gets_its_answer() {
    run(async {
        let served = Served::stage().await;
        let mut client = served.client().await;
        client.send(b"GET /later HTTP/1.1\r\nhost: a\r\n\r\n").await;
        client.socket.shutdown().await.unwrap();
        assert_eq!(client.reply(false).await.text(), "later");
        client.closed().await;
    });
}
