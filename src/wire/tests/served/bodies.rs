//! Bodies: read within their limits, thrown away, or the end of the connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::body::BoxBody;
use actix_web::http::StatusCode;
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

use super::client::Client;
use super::{Incoming, LIMITS, Responder, Response, Served, read, read_body, run};

fn head(method: &str, path: &str, more: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nhost: a\r\n{more}\r\n")
}

#[test]
fn a_body_that_stalls_ends_its_connection() {
    run(async {
        let served = Served::stage().await;
        for first in ["", "{"] {
            let mut client = served.client().await;
            let head = head("POST", "/read", "content-length: 9\r\n");
            client.send(format!("{head}{first}").as_bytes()).await;
            let start = Instant::now();
            let reply = client.reply(false).await;
            assert_eq!((reply.status, reply.code().as_str()), (408, "body_timeout"));
            client.closed().await;
            assert!(
                start.elapsed() < Duration::from_millis(900),
                "before the request's own limit"
            );
        }
        assert_eq!(read(&served.counters.stalled), 2);
    });
}

/// The client is told so, since it could send its next request on the connection (RFC 9112 section 9.6).
#[test]
fn a_body_that_is_too_slow_ends_its_connection_with_a_word() {
    run(async {
        let served = Served::stage().await;
        let mut client = served.client().await;
        let head = head("POST", "/read", "content-length: 99\r\n");
        client.send(head.as_bytes()).await;
        // No pause is as long as one may be, and together they are longer than the request may take.
        let send = async {
            for _ in 0..12 {
                client.send(b"x").await;
                tokio::time::sleep(LIMITS.stall_timeout / 4).await;
            }
        };
        send.await;
        let reply = client.reply(false).await;
        assert_eq!((reply.status, reply.code().as_str()), (408, "body_timeout"));
        assert_eq!(reply.header("connection"), Some("close"));
        client.closed().await;
    });
}

/// Answers with the number of turns that another task had while a body was read.
struct TurnsOfAnother(Arc<AtomicUsize>);

impl Responder for TurnsOfAnother {
    type Matched = ();

    fn resolve(&self, _: &Incoming) {}

    fn quick(&self, _: &Incoming, (): &(), _: Instant) -> Option<Response> {
        None
    }

    async fn slow(&self, request: &mut Incoming, (): &()) -> Response {
        let before = self.0.load(Ordering::Relaxed);
        let body = read_body(request, 1 << 20).await.unwrap();
        let turns = self.0.load(Ordering::Relaxed) - before;
        let body = format!("{} {turns}", body.len());
        HttpResponse::with_body(StatusCode::OK, BoxBody::new(body))
    }
}

#[test]
fn a_body_of_tiny_chunks_lets_others_have_their_turns() {
    run(async {
        let turns = Arc::<AtomicUsize>::default();
        let responder = TurnsOfAnother(Arc::clone(&turns));
        let served = Served::with(responder, LIMITS).await;
        actix_rt::spawn(async move {
            loop {
                turns.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
            }
        });
        // All of it is there before the server looks, so that it need not wait for any of it.
        let head = head("POST", "/", "transfer-encoding: chunked\r\n");
        let request = head + &"1\r\na\r\n".repeat(40_000) + "0\r\n\r\n";
        let mut client = Client::eager(served.address, request.as_bytes());
        let reply = client.reply(false).await;
        let (length, turns) = reply.text().split_once(' ').unwrap();
        assert_eq!((reply.status, length), (200, "40000"));
        // At most 64 KiB of its 240 KB are read at a time.
        assert!(turns.parse::<usize>().unwrap() >= 3, "{turns}");
    });
}

#[test]
fn a_body_over_the_limit_is_413_and_the_last_of_its_connection() {
    run(async {
        let served = Served::stage().await;
        let mut client = served.client().await;
        let long = head("POST", "/read", "content-length: 8000000000\r\n");
        client.send(format!("{long}abc").as_bytes()).await;
        let reply = client.reply(false).await;
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (413, "body_too_large")
        );
        assert_eq!(reply.header("connection"), Some("close"));
        client.closed().await;
        let mut client = served.client().await;
        let chunked = head("POST", "/read", "transfer-encoding: chunked\r\n");
        let chunk = format!("7d0\r\n{}\r\n", "x".repeat(2000));
        client.send(format!("{chunked}{chunk}").as_bytes()).await;
        let reply = client.reply(false).await;
        assert_eq!(reply.code(), "body_too_large");
        assert_eq!(reply.header("connection"), Some("close"));
    });
}

#[test]
fn a_small_body_that_nobody_wanted_does_not_cost_the_connection() {
    run(async {
        let served = Served::stage().await;
        let mut client = served.client().await;
        for (method, path, status) in [
            ("POST", "/no", 405),
            ("GET", "/now", 200),
            ("POST", "/panic-later", 500),
        ] {
            let sized = head(method, path, "content-length: 3\r\n");
            client.send(format!("{sized}abc").as_bytes()).await;
            assert_eq!(client.reply(false).await.status, status, "{path}");
            let chunked = head(method, path, "transfer-encoding: chunked\r\n");
            client
                .send(format!("{chunked}3\r\nabc\r\n0\r\n\r\n").as_bytes())
                .await;
            assert_eq!(client.reply(false).await.status, status, "{path}");
        }
        assert_eq!(read(&served.counters.connections), 1);
    });
}

#[test]
fn the_rest_of_a_refused_body_is_never_taken_for_a_head() {
    run(async {
        let served = Served::stage().await;
        let mut client = served.client().await;
        let chunked = head("POST", "/no", "transfer-encoding: chunked\r\n");
        let chunk = format!("2710\r\n{}\r\n", "x".repeat(10_000));
        client
            .send(format!("{chunked}{}", chunk.repeat(8)).as_bytes())
            .await;
        let reply = client.reply(false).await;
        assert_eq!(
            (reply.status, reply.header("connection")),
            (405, Some("close"))
        );
        for _ in 0..8 {
            // The connection may be closed by now.
            if client.socket.write_all(chunk.as_bytes()).await.is_err() {
                break;
            }
            actix_rt::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(read(&served.counters.heads_too_large), 0);
    });
}

#[test]
fn a_refused_body_that_goes_on_for_ever_is_cut_off() {
    run(async {
        let served = Served::stage().await;
        let mut client = served.client().await;
        client
            .send(head("POST", "/no", "transfer-encoding: chunked\r\n").as_bytes())
            .await;
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(5) {
            if client.socket.write_all(b"5\r\nabcde\r\n").await.is_err() {
                return;
            }
            actix_rt::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("still open");
    });
}

#[test]
fn a_body_that_is_no_http_is_a_problem() {
    run(async {
        let served = Served::stage().await;
        let chunked = head("POST", "/read", "transfer-encoding: chunked\r\n");
        for body in ["ZZ\r\n", "5\r\nabcdeXX"] {
            let mut client = served.client().await;
            client.send(format!("{chunked}{body}").as_bytes()).await;
            let reply = client.reply(false).await;
            assert_eq!(
                (reply.status, reply.code().as_str()),
                (400, "malformed_request"),
                "{body:?}"
            );
            assert_eq!(reply.header("connection"), Some("close"));
            client.closed().await;
        }
    });
}

#[test]
fn a_wish_for_another_protocol_does_not_delay_the_answer() {
    run(async {
        let served = Served::stage().await;
        let upgrade = "connection: upgrade\r\nupgrade: websocket\r\n";
        for (method, more, status) in [("GET", upgrade, 200), ("CONNECT", "", 501)] {
            let mut client = served.client().await;
            let start = Instant::now();
            let path = if status == 200 { "/now" } else { "a:1" };
            client.send(head(method, path, more).as_bytes()).await;
            assert_eq!(client.reply(false).await.status, status, "{method}");
            let took = start.elapsed();
            assert!(took < Duration::from_millis(500), "{method}: {took:?}");
        }
    });
}

#[test]
fn a_client_that_waits_for_leave_to_send_gets_it() {
    run(async {
        let served = Served::stage().await;
        let mut client = served.client().await;
        let expecting = "expect: 100-continue\r\ncontent-length: 2\r\n";
        client
            .send(head("POST", "/read", expecting).as_bytes())
            .await;
        assert_eq!(client.reply(true).await.status, 100);
        client.send(b"{}").await;
        assert_eq!(client.reply(false).await.status, 200);
        assert_eq!(client.get("/now").await.status, 200);
        assert_eq!(served.counters.faults(), 0);
    });
}
