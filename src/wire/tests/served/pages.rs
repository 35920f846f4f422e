//! Files over a socket.

use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::body::BoxBody;
use actix_web::http::StatusCode;
use tokio::time::Instant;

use super::site::{LARGE, ServedSite};
use super::{Code, Incoming, LIMITS, LimitSettings, Problem, Responder, Response, read, run};

/// An answer that no socket's buffers take at once.
pub(super) struct Big;

impl Responder for Big {
    type Matched = ();

    fn resolve(&self, _: &Incoming) {}

    fn quick(&self, _: &Incoming, (): &(), _: Instant) -> Option<Response> {
        let body = BoxBody::new(vec![0; 32 << 20]);
        Some(HttpResponse::with_body(StatusCode::OK, body))
    }

    async fn slow(&self, request: &mut Incoming, (): &()) -> Response {
        Problem::new(Code::NotFound).response(request)
    }
}

#[test]
fn a_page_is_304_once_it_is_known() {
    run(async {
        let site = ServedSite::serve().await;
        let mut client = site.served.client().await;
        let page = client.get("/").await;
        assert_eq!((page.status, page.text()), (200, "<p>home"));
        let etag = format!("if-none-match: {}\r\n", page.header("etag").unwrap());
        let same = client.ask("GET", "/", &etag, "").await;
        assert_eq!(
            (same.status, same.header("etag")),
            (304, page.header("etag"))
        );
        let head = client.ask("HEAD", "/", "", "").await;
        assert_eq!(
            (head.status, head.header("content-length")),
            (200, Some("7"))
        );
        assert_eq!(client.get("/").await.status, 200);
    });
}

#[test]
fn a_folder_without_its_slash_is_a_redirect_that_ends() {
    run(async {
        let site = ServedSite::serve().await;
        let mut client = site.served.client().await;
        let moved = client.get("/docs?a=b").await;
        assert_eq!(
            (moved.status, moved.header("location")),
            (307, Some("docs/?a=b"))
        );
        assert_eq!(moved.header("content-length"), Some("0"));
        assert_eq!(client.get("/docs/").await.text(), "docs");
    });
}

#[test]
fn a_large_file_is_streamed_and_its_connection_goes_on() {
    run(async {
        let site = ServedSite::serve().await;
        let mut client = site.served.client().await;
        for _ in 0..2 {
            let reply = client.get("/large.bin").await;
            assert_eq!((reply.status, reply.body.len()), (200, LARGE));
            assert!(reply.body.iter().all(|&byte| byte == 7));
        }
        let head = client.ask("HEAD", "/large.bin", "", "").await;
        assert_eq!(head.header("content-length"), Some("600000"));
        assert_eq!(client.get("/").await.status, 200);
        assert_eq!(read(&site.served.counters.connections), 1);
    });
}

#[test]
fn a_head_does_not_read_the_file() {
    run(async {
        let site = ServedSite::serve().await;
        let huge = std::fs::File::create(site.folder.path().join("huge.bin")).unwrap();
        // Sparse: it costs nothing, unless somebody reads it.
        huge.set_len(200 << 30).unwrap();
        let mut client = site.served.client().await;
        let head = client.ask("HEAD", "/huge.bin", "", "").await;
        assert_eq!(head.header("content-length"), Some("214748364800"));
        assert_eq!(client.get("/").await.status, 200);
    });
}

#[test]
fn no_timer_of_heads_or_idleness_runs_while_an_answer_is_streamed() {
    run(async {
        let limits = LimitSettings {
            header_timeout: Duration::from_millis(100),
            idle_timeout: Duration::from_millis(100),
            ..LIMITS
        };
        let site = ServedSite::with(limits).await;
        let big = std::fs::File::create(site.folder.path().join("big.bin")).unwrap();
        big.set_len(64 << 20).unwrap();
        let mut client = site.served.client().await;
        // The beginning of the next request comes while this one is answered.
        client
            .send(b"GET /big.bin HTTP/1.1\r\nhost: a\r\n\r\n")
            .await;
        actix_rt::time::sleep(Duration::from_millis(30)).await;
        client.send(b"GET / HTTP/1.1\r\nho").await;
        actix_rt::time::sleep(Duration::from_millis(250)).await;
        let reply = client.reply(false).await;
        assert_eq!((reply.status, reply.body.len()), (200, 64 << 20));
        assert!(
            reply.body.iter().all(|&byte| byte == 0),
            "nothing else in it"
        );
    });
}

#[test]
fn what_is_not_there_is_told_without_a_file_path() {
    run(async {
        let site = ServedSite::serve().await;
        let mut client = site.served.client().await;
        for path in ["/no.html", "/.env", "/docs/no"] {
            let reply = client.get(path).await;
            assert_eq!((reply.status, reply.code().as_str()), (404, "not_found"));
            assert_eq!(reply.json()["instance"], path);
            assert!(!reply.text().contains("/tmp"), "{path}");
        }
        let refused = client.ask("PUT", "/", "", "").await;
        assert_eq!(refused.code(), "method_not_allowed");
        assert_eq!(refused.header("allow"), Some("GET, HEAD, OPTIONS"));
    });
}

#[test]
fn a_page_in_memory_is_served_while_the_cache_is_dead() {
    run(async {
        let site = ServedSite::serve().await;
        let mut client = site.served.client().await;
        assert_eq!(client.get("/").await.status, 200);
        actix_rt::time::sleep(Duration::from_millis(100)).await;
        // Fatal twice: the message is given up, and the caller is told so.
        site.faults.arm("file-cache.message", 2);
        let reply = client.get("/").await;
        assert_eq!((reply.status, reply.text()), (200, "<p>home"));
    });
}

#[test]
fn a_page_in_memory_that_is_not_copied_is_whole_and_in_its_place() {
    run(async {
        let site = ServedSite::serve().await;
        let page: Vec<u8> = (0..90_000_u32).map(|n| n.to_le_bytes()[1]).collect();
        std::fs::write(site.folder.path().join("page.bin"), &page).unwrap();
        let mut client = site.served.client().await;
        let get = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n");
        // All at once: no answer overtakes what another one still owes.
        let all = ["/page.bin", "/", "/large.bin", "/page.bin", "/"].map(get);
        client.send(all.concat().as_bytes()).await;
        let mut lengths = Vec::new();
        for _ in &all {
            let reply = client.reply(false).await;
            assert_eq!(reply.status, 200);
            assert!(reply.body.len() != page.len() || reply.body == page);
            lengths.push(reply.body.len());
        }
        assert_eq!(lengths, [page.len(), 7, LARGE, page.len(), 7]);
        let head = client.ask("HEAD", "/page.bin", "", "").await;
        assert_eq!(head.header("content-length"), Some("90000"));
        let last = client
            .ask("GET", "/page.bin", "connection: close\r\n", "")
            .await;
        assert!(last.body == page, "the last one, too");
        client.closed().await;
    });
}

#[test]
fn a_page_in_memory_that_nobody_reads_is_broken_off() {
    run(async {
        let site = ServedSite::serve().await;
        let page = vec![b'x'; 90_000];
        std::fs::write(site.folder.path().join("page.bin"), &page).unwrap();
        let mut client = site.served.client().await;
        // More than the sockets between us hold.
        let request = b"GET /page.bin HTTP/1.1\r\nhost: a\r\n\r\n";
        client.send(&request.repeat(500)).await;
        let stalled = || read(&site.served.counters.stalled) == 1;
        super::until("it is broken off", stalled).await;
    });
}
