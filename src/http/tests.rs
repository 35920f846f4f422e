//! One thread's HTTP over real sockets, around answers that panic, dawdle and hang.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::body::BoxBody;
use actix_web::http::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use super::{
    Answer, Counters, Drain, HandlerMetrics, Incoming, Parts, Response, Service, Stream, TimeLimits,
};

struct Moody;

fn fine(body: &'static str) -> Response {
    let answer = HttpResponse::with_body(StatusCode::OK, BoxBody::new(body));
    Response {
        answer,
        route: Some(0),
    }
}

impl Answer for Moody {
    fn quick(&self, request: &Incoming, _: Instant) -> Option<Response> {
        assert_ne!(request.path(), "/panic-quick", "as asked");
        (request.path() == "/quick").then(|| fine("quick"))
    }

    async fn slow(&self, request: &mut Incoming) -> Response {
        assert_ne!(request.path(), "/panic-slow", "as asked");
        tokio::task::yield_now().await;
        assert_ne!(request.path(), "/panic-after-await", "as asked");
        if request.path() == "/sleep" {
            std::future::pending::<()>().await;
        }
        fine("slow")
    }
}

struct Served {
    address: SocketAddr,
    metrics: Arc<HandlerMetrics>,
    drain: Drain,
}

async fn served(request_timeout: Duration) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (metrics, drain) = (Arc::new(HandlerMetrics::new(1)), Drain::new());
    let second = Duration::from_secs(60);
    let limits = TimeLimits {
        head_bytes: 1024,
        header: second,
        idle: second,
        stall: second,
    };
    let parts = Parts {
        answer: Arc::new(Moody),
        metrics: Arc::clone(&metrics),
        counters: Arc::<Counters>::default(),
        limits,
        request_timeout,
        drain: drain.clone(),
    };
    let service = Service::build(Arc::new(parts)).await;
    actix_rt::spawn(async move {
        while let Ok((stream, peer)) = listener.accept().await {
            actix_rt::spawn(service.serve(Stream::Tcp(stream), Some(peer)));
        }
    });
    Served {
        address,
        metrics,
        drain,
    }
}

async fn connect(served: &Served) -> TcpStream {
    TcpStream::connect(served.address).await.unwrap()
}

/// Sends a request and reads one answer with a Content-Length.
async fn ask(stream: &mut TcpStream, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    answer(stream).await
}

async fn answer(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    loop {
        let byte = char::from(stream.read_u8().await.expect("an answer"));
        text.push(byte);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            if body.len() == length.map_or(0, |length| length.parse().unwrap()) {
                return text;
            }
        }
    }
}

fn run<F: Future<Output = ()> + 'static>(test: F) {
    let limit = Duration::from_secs(20);
    actix_rt::System::new()
        .block_on(async { tokio::time::timeout(limit, test).await })
        .expect("the test ends");
}

#[test]
fn a_panic_is_a_500_on_a_connection_that_lives_on() {
    run(async {
        let served = served(Duration::from_secs(60)).await;
        let mut stream = connect(&served).await;
        for path in ["/panic-quick", "/panic-slow", "/panic-after-await"] {
            let told = ask(&mut stream, path).await;
            assert!(told.starts_with("HTTP/1.1 500 "), "{told}");
            assert!(told.contains("application/problem+json"), "{told}");
            assert!(
                told.contains("\"code\":\"internal\"") && !told.contains("as asked"),
                "{told}"
            );
            assert!(ask(&mut stream, "/quick").await.ends_with("quick"));
            assert!(ask(&mut stream, "/slow").await.ends_with("slow"));
        }
        assert_eq!(served.metrics.panics(), 3);
        assert_eq!(served.metrics.in_flight(), 0);
    });
}

#[test]
fn what_takes_too_long_is_a_504_on_a_connection_that_lives_on() {
    run(async {
        let served = served(Duration::from_millis(50)).await;
        let mut stream = connect(&served).await;
        assert!(
            ask(&mut stream, "/sleep")
                .await
                .starts_with("HTTP/1.1 504 ")
        );
        assert!(ask(&mut stream, "/quick").await.ends_with("quick"));
    });
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    run(async {
        let served = served(Duration::from_secs(60)).await;
        let mut stream = connect(&served).await;
        let get = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
        let all = [get("/slow"), get("/quick"), get("/slow")].concat();
        stream.write_all(all.as_bytes()).await.unwrap();
        for expected in ["slow", "quick", "slow"] {
            assert!(answer(&mut stream).await.ends_with(expected));
        }
    });
}

#[test]
fn a_drain_lets_the_request_in_flight_finish_and_closes_the_idle() {
    run(async {
        let served = served(Duration::from_millis(200)).await;
        let (mut busy, mut idle) = (connect(&served).await, connect(&served).await);
        assert!(ask(&mut idle, "/quick").await.ends_with("quick"));
        busy.write_all(b"GET /sleep HTTP/1.1\r\nhost: x\r\n\r\n")
            .await
            .unwrap();
        while served.metrics.in_flight() == 0 {
            tokio::task::yield_now().await;
        }
        served.drain.begin();
        assert_eq!(
            idle.read(&mut [0; 1]).await.unwrap(),
            0,
            "the idle one is closed"
        );
        let told = answer(&mut busy).await;
        assert!(
            told.starts_with("HTTP/1.1 504 ") && told.contains("connection: close"),
            "{told}"
        );
        assert_eq!(
            busy.read(&mut [0; 1]).await.unwrap(),
            0,
            "and then the busy one"
        );
    });
}

#[test]
fn a_client_that_leaves_in_the_middle_is_not_in_flight_for_ever() {
    run(async {
        let served = served(Duration::from_secs(60)).await;
        let mut stream = connect(&served).await;
        stream
            .write_all(b"GET /sleep HTTP/1.1\r\nhost: x\r\n\r\n")
            .await
            .unwrap();
        while served.metrics.in_flight() == 0 {
            tokio::task::yield_now().await;
        }
        stream.set_zero_linger().unwrap();
        drop(stream);
        while served.metrics.in_flight() > 0 {
            tokio::task::yield_now().await;
        }
    });
}
