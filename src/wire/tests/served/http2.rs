//! HTTP/2 with prior knowledge: what holds for a connection of HTTP/1 holds for a stream here, and no stream for another.

use std::future::poll_fn;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, SendStream};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::super::super::http2::STREAMS_MAX;
use super::frames::{FrameClient, GOAWAY, RST_STREAM, get};
use super::site::{LARGE, ServedSite};
use super::{LIMITS, LimitSettings, Served, read, run};

const PATIENCE: Duration = Duration::from_secs(5);
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// A client, whose connection is driven beside.
struct Peer {
    send: SendRequest<Bytes>,
    driven: tokio::task::JoinHandle<Result<(), h2::Error>>,
}

struct Reply {
    status: u16,
    headers: http::HeaderMap,
    body: Vec<u8>,
}

impl Reply {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    fn code(&self) -> String {
        let problem: serde_json::Value = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(problem["request_id"], self.header("x-request-id").unwrap());
        problem["code"].as_str().unwrap().to_owned()
    }
}

impl Peer {
    async fn connect(served: &Served) -> Self {
        let socket = TcpStream::connect(served.address).await.unwrap();
        let (send, connection) = h2::client::Builder::new()
            .initial_connection_window_size(1 << 20)
            .handshake(socket)
            .await
            .unwrap();
        let driven = actix_rt::spawn(connection);
        Self { send, driven }
    }

    async fn begin(
        &mut self,
        method: &str,
        path: &str,
        header: Option<(&str, &str)>,
        ends: bool,
    ) -> (ResponseFuture, SendStream<Bytes>) {
        poll_fn(|cx| self.send.poll_ready(cx)).await.unwrap();
        let mut request = http::Request::builder()
            .method(method)
            .uri(format!("http://a{path}"));
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        self.send
            .send_request(request.body(()).unwrap(), ends)
            .unwrap()
    }

    async fn get(&mut self, path: &str) -> Reply {
        let (answer, _) = self.begin("GET", path, None, true).await;
        whole(answer).await
    }

    /// Waits for the end of the connection.
    async fn ended(self) {
        let driven = tokio::time::timeout(PATIENCE, self.driven).await;
        driven.expect("the end").unwrap().unwrap();
    }
}

/// Reads an answer to its end.
async fn whole(answer: ResponseFuture) -> Reply {
    let read = async {
        let (head, mut stream) = answer.await.unwrap().into_parts();
        let mut body = Vec::new();
        while let Some(part) = stream.data().await {
            let part = match part {
                // The rest of the question is not wanted (RFC 9113, 8.1); the answer is whole.
                Err(error) if error.reason() == Some(Reason::NO_ERROR) => break,
                part => part.unwrap(),
            };
            stream.flow_control().release_capacity(part.len()).unwrap();
            body.extend_from_slice(&part);
        }
        Reply {
            status: head.status.as_u16(),
            headers: head.headers,
            body,
        }
    };
    tokio::time::timeout(PATIENCE, read)
        .await
        .expect("an answer")
}

#[test]
fn pages_and_problems_are_as_in_http_1() {
    run(async {
        let site = ServedSite::serve().await;
        let mut peer = Peer::connect(&site.served).await;
        let page = peer.get("/").await;
        assert_eq!((page.status, page.body.as_slice()), (200, &b"<p>home"[..]));
        assert_eq!(page.header("content-length"), Some("7"));
        assert!(page.header("date").is_some() && page.header("x-request-id").is_some());
        let etag = page.header("etag").unwrap();
        let known = Some(("if-none-match", etag));
        let (answer, _) = peer.begin("GET", "/", known, true).await;
        let unchanged = whole(answer).await;
        assert_eq!(unchanged.status, 304);
        assert_eq!(unchanged.header("content-length"), None);
        let (answer, _) = peer.begin("OPTIONS", "/", None, true).await;
        let allowed = whole(answer).await;
        assert_eq!(allowed.status, 204);
        assert_eq!(allowed.header("content-length"), None);
        let (answer, _) = peer.begin("HEAD", "/large.bin", None, true).await;
        let head = whole(answer).await;
        assert_eq!(head.header("content-length"), Some("600000"));
        assert!(head.body.is_empty());
        let large = peer.get("/large.bin").await;
        assert_eq!((large.status, large.body.len()), (200, LARGE));
        assert!(large.body.iter().all(|&byte| byte == 7));
        let lost = peer.get("/lost").await;
        assert_eq!((lost.status, lost.code().as_str()), (404, "not_found"));
        let counters = &site.served.counters;
        assert_eq!((read(&counters.connections), read(&counters.http2)), (1, 1));
    });
}

#[test]
fn a_panic_is_a_500_of_one_stream() {
    run(async {
        let served = Served::stage().await;
        let mut peer = Peer::connect(&served).await;
        let (nap, _) = peer.begin("GET", "/nap", None, true).await;
        for path in ["/panic-now", "/panic-later"] {
            let reply = peer.get(path).await;
            assert_eq!((reply.status, reply.code().as_str()), (500, "internal"));
        }
        assert_eq!(whole(nap).await.body, b"nap");
        assert_eq!(served.metrics.panics(), 2);
    });
}

#[test]
fn more_streams_than_there_may_be_have_to_wait_and_are_all_answered() {
    run(async {
        let served = Served::stage().await;
        let mut peer = Peer::connect(&served).await;
        // So that the client knows its limit.
        assert_eq!(peer.get("/now").await.status, 200);
        let mut answers = Vec::new();
        let begun = Instant::now();
        for _ in 0..STREAMS_MAX + 10 {
            answers.push(whole(peer.begin("GET", "/nap", None, true).await.0));
        }
        let replies = join_all(answers).await;
        assert!(replies.iter().all(|reply| reply.body == b"nap"));
        assert!(begun.elapsed() >= Duration::from_millis(400), "two rounds");
        assert!(read(&served.counters.streams_full) >= 1);
    });
}

#[test]
fn a_stream_that_nobody_reads_is_ended_alone() {
    run(async {
        let site = ServedSite::serve().await;
        let mut peer = Peer::connect(&site.served).await;
        let (answer, _) = peer.begin("GET", "/large.bin", None, true).await;
        let mut unread = answer.await.unwrap().into_body();
        // Others go on meanwhile, within what the connection has left.
        assert_eq!(peer.get("/no-such-page").await.status, 404);
        let reset = async {
            // Nothing is given back, so that the server may not send more.
            while let Some(Ok(_)) = unread.data().await {}
            poll_fn(|cx| unread.poll_data(cx)).await
        };
        let reset = tokio::time::timeout(PATIENCE, reset).await;
        assert!(reset.is_ok(), "ended");
        assert_eq!(read(&site.served.counters.stalled), 1);
        drop(unread);
        assert_eq!(peer.get("/").await.status, 200, "the connection lives");
    });
}

#[test]
fn a_body_that_stalls_is_a_408_and_one_that_comes_is_read() {
    run(async {
        let served = Served::stage().await;
        let mut peer = Peer::connect(&served).await;
        let (stalled, _kept) = peer.begin("POST", "/read", None, false).await;
        let (answer, mut body) = peer.begin("POST", "/read", None, false).await;
        body.send_data(Bytes::from_static(b"whole"), true).unwrap();
        assert_eq!(whole(answer).await.body, b"read");
        let late = whole(stalled).await;
        assert_eq!((late.status, late.code().as_str()), (408, "body_timeout"));
        assert_eq!(read(&served.counters.stalled), 1);
        let (answer, mut body) = peer.begin("POST", "/read", None, false).await;
        let large = Bytes::from(vec![b'x'; 2000]);
        body.send_data(large, true).unwrap();
        assert_eq!(whole(answer).await.code(), "body_too_large");
    });
}

#[test]
fn a_large_head_is_a_431_of_one_stream() {
    run(async {
        let served = Served::stage().await;
        let mut peer = Peer::connect(&served).await;
        let fill = "a".repeat(4200);
        let (answer, _) = peer.begin("GET", "/now", Some(("x", &fill)), true).await;
        let reply = whole(answer).await;
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (431, "head_too_large")
        );
        assert_eq!(read(&served.counters.heads_too_large), 1);
        assert_eq!(peer.get("/now").await.status, 200);
    });
}

#[test]
fn a_connection_that_asks_nothing_is_ended() {
    run(async {
        let limits = LimitSettings {
            idle_timeout: Duration::from_millis(150),
            ..LIMITS
        };
        let served = Served::with(super::Stage, limits).await;
        let start = Instant::now();
        let fresh = Peer::connect(&served).await;
        fresh.ended().await;
        assert!(
            start.elapsed() >= LIMITS.header_timeout,
            "as long as for a head"
        );
        let mut asked = Peer::connect(&served).await;
        let start = Instant::now();
        // Longer than a connection may be idle: it is not, while it waits for us.
        assert_eq!(asked.get("/nap").await.status, 200);
        asked.ended().await;
        assert!(start.elapsed() >= super::NAP + limits.idle_timeout);
        assert_eq!(read(&served.counters.idle), 2);
    });
}

#[test]
fn a_preface_comes_in_drops_or_too_late() {
    run(async {
        let served = Served::stage().await;
        let mut client = served.client().await;
        for byte in PREFACE {
            client.send(&[*byte]).await;
            actix_rt::time::sleep(Duration::from_millis(2)).await;
        }
        let mut first = [0; 9];
        tokio::io::AsyncReadExt::read_exact(&mut client.socket, &mut first)
            .await
            .unwrap();
        assert_eq!(first[3], 4, "settings");
        let mut late = served.client().await;
        late.send(&PREFACE[..20]).await;
        assert_eq!(late.reply(false).await.code(), "head_timeout");
        late.closed().await;
        assert_eq!(read(&served.counters.heads_too_slow), 1);
        assert_eq!(read(&served.counters.http2), 1);
    });
}

#[test]
fn a_drain_lets_streams_finish_and_takes_no_more() {
    run(async {
        let served = Served::stage().await;
        let idle = Peer::connect(&served).await;
        let mut busy = Peer::connect(&served).await;
        let (nap, _) = busy.begin("GET", "/nap", None, true).await;
        actix_rt::time::sleep(Duration::from_millis(50)).await;
        served.drain.begin();
        idle.ended().await;
        assert_eq!(whole(nap).await.body, b"nap");
        busy.ended().await;
    });
}

#[test]
fn a_client_that_does_not_acknowledge_the_drain_is_refused_before_long() {
    const REFUSED_STREAM: u32 = 7;
    run(async {
        let served = Served::stage().await;
        let mut client = FrameClient::connect(&served, &[]).await;
        served.drain.begin();
        let began = Instant::now();
        let (mut answered, mut refused, mut last) = (0, 0, 0);
        let mut ends = false;
        for stream in (1..).step_by(2) {
            ends |= client.writer.write_all(&get(stream, "/now")).await.is_err();
            while !ends {
                let Some(frame) = client.next().await else {
                    ends = true;
                    break;
                };
                match frame.kind {
                    GOAWAY => last = frame.number(0),
                    RST_STREAM => {
                        assert_eq!(frame.number(0), REFUSED_STREAM);
                        refused += 1;
                    }
                    _ => answered += usize::from(frame.ends_stream()),
                }
                if frame.stream == stream && (frame.kind == RST_STREAM || frame.ends_stream()) {
                    break;
                }
            }
            if ends {
                break;
            }
            actix_rt::time::sleep(Duration::from_millis(50)).await;
        }
        assert!(began.elapsed() < PATIENCE);
        assert!(answered > 0 && refused > 0, "{answered} {refused}");
        assert!(last < 0x7fff_ffff, "it is told which were the last");
    });
}

#[test]
fn who_takes_a_request_back_is_not_worked_for() {
    run(async {
        let served = Served::stage().await;
        let mut peer = Peer::connect(&served).await;
        let (answer, mut body) = peer.begin("GET", "/hang", None, true).await;
        super::until("it is being answered", || served.metrics.in_flight() == 1).await;
        body.send_reset(Reason::CANCEL);
        drop(answer);
        super::until("it is not", || served.metrics.in_flight() == 0).await;
        assert_eq!(peer.get("/now").await.status, 200);
    });
}
