//! Unusual requests.

use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

/// Limits that a test reaches soon.
const SHORT: LimitSettings = LimitSettings {
    head_bytes: 1024,
    body_bytes: 1000,
    request_timeout: REQUEST_TIMEOUT,
    header_timeout: Duration::from_millis(200),
    idle_timeout: Duration::from_millis(300),
    stall_timeout: Duration::from_secs(5),
    list_records: std::num::NonZeroUsize::MIN,
    kept_lists: 1 << 20,
    batch: std::num::NonZeroUsize::MIN,
    batch_bytes: 1000,
};
const QUICK: &[u8] = b"GET /quick HTTP/1.1\r\nhost: x\r\n\r\n";

#[test]
fn empty_lines_are_no_request() {
    run(async {
        let server = Server::with(SHORT).await;
        for nothing in [&b"\r\n\r\n"[..], b"\r\n", b"\r\n\r\n\r\n\r\n"] {
            let (mut client, _served) = server.connect().await;
            client.0.write_all(nothing).await.unwrap();
            client.ends().await;
            let (mut client, _served) = server.connect().await;
            client.0.write_all(nothing).await.unwrap();
            client.get("/quick").await.expect(200, "/quick");
            client.0.write_all(nothing).await.unwrap();
            client.get("/slow").await.expect(200, "/slow");
            client.0.write_all(nothing).await.unwrap();
            client.ends().await;
        }
        assert!(server.figure("perennial_http_heads_too_slow_total") < 1.0);
    });
}

#[test]
fn many_requests_behind_a_slow_one_are_all_answered() {
    run(async {
        let server = Server::with(SHORT).await;
        let (mut client, _served) = server.connect().await;
        let mut bytes = b"GET /slow/50 HTTP/1.1\r\nhost: x\r\n\r\n".to_vec();
        bytes.extend(QUICK.repeat(100));
        client.0.write_all(&bytes).await.unwrap();
        client.answer(false).await.expect(200, "/slow/50");
        for _ in 0..100 {
            client.answer(false).await.expect(200, "/quick");
        }
    });
}

#[test]
fn a_flood_of_requests_does_not_spin() {
    run(async {
        let server = Server::start().await;
        let address = server.listener.local_addr().unwrap();
        let mut client = TcpStream::connect(address).await.unwrap();
        let (stream, peer) = server.listener.accept().await.unwrap();
        let serving = server
            .service
            .serve(socket(stream), super::peer(peer), &Arc::default());
        let polls = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&polls);
        let _served = actix_rt::spawn(async move {
            let mut serving = pin!(serving);
            std::future::poll_fn(|cx| {
                counted.fetch_add(1, Ordering::Relaxed);
                serving.as_mut().poll(cx)
            })
            .await;
        });
        let (reading, mut writing) = client.split();
        let write = async {
            let slow = b"GET /slow/250 HTTP/1.1\r\nhost: x\r\n\r\n";
            writing.write_all(slow).await.unwrap();
            writing.write_all(&QUICK.repeat(10_000)).await.unwrap();
        };
        let read = async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            let polls = polls.load(Ordering::Relaxed);
            let mut reading = BufReader::new(reading);
            let mut line = String::new();
            let mut answers = 0;
            while answers < 10_001 {
                line.clear();
                assert!(reading.read_line(&mut line).await.unwrap() > 0, "{answers}");
                answers += usize::from(line.contains("HTTP/1.1 200"));
            }
            polls
        };
        let both = async { tokio::join!(write, read).1 };
        let polls = tokio::time::timeout(PATIENCE, both).await.expect("in time");
        assert!(polls < 200, "{polls} polls while one request was slow");
    });
}

#[test]
fn a_body_that_is_not_read_is_never_taken_for_a_head() {
    run(async {
        let server = Server::with(SHORT).await;
        let chunks = format!("1000\r\n{}\r\n", "b".repeat(0x1000)).repeat(50);
        let by_chunks = |path: &str| {
            format!(
                "POST {path} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n{chunks}0\r\n\r\n"
            )
        };
        let body = "b".repeat(200_000);
        let by_length = |path: &str| {
            format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 200000\r\n\r\n{body}")
        };
        for path in ["/quick", "/slow/20", "/panic-slow"] {
            for request in [by_chunks(path), by_length(path)] {
                let (mut client, _served) = server.connect().await;
                client.0.write_all(request.as_bytes()).await.unwrap();
                let answer = client.answer(false).await;
                assert!(answer.head.contains("connection: close"), "{}", answer.head);
                client.ends().await;
            }
        }
        assert!(server.figure("perennial_http_heads_too_large_total") < 1.0);
        // What is small costs no connection.
        let (mut client, _served) = server.connect().await;
        for path in ["/quick", "/slow/20", "/panic-slow"] {
            let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\n");
            let small = format!("{head}transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
            client.0.write_all(small.as_bytes()).await.unwrap();
            client.answer(false).await;
            let small = format!("{head}content-length: 3\r\n\r\nabc");
            client.0.write_all(small.as_bytes()).await.unwrap();
            client.answer(false).await;
        }
        client.get("/quick").await.expect(200, "/quick");
    });
}

#[test]
fn a_long_answer_is_neither_idle_nor_interrupted() {
    run(async {
        let server = Server::with(SHORT).await;
        let (mut client, _served) = server.connect().await;
        client.send("GET", "/stream").await;
        // The beginning of the next head, long before the answer ends.
        client.0.write_all(b"GET /qui").await.unwrap();
        client.answer(false).await.expect(200, &"piece".repeat(8));
        client
            .0
            .write_all(b"ck HTTP/1.1\r\nhost: x\r\n\r\n")
            .await
            .unwrap();
        client.answer(false).await.expect(200, "/quick");
        assert!(server.figure("perennial_http_connections_idle_total") < 1.0);
        client.send("GET", "/stream").await;
        client.answer(false).await.expect(200, &"piece".repeat(8));
        client.get("/quick").await.expect(200, "/quick");
        assert!(server.figure("perennial_http_connections_idle_total") < 1.0);
    });
}
