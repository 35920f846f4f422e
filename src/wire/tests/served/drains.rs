//! The end of connections when the handler is asked to stop.

use std::time::Duration;

use super::{Client, LIMITS, LimitSettings, Served, Stage, run};

#[test]
fn a_drain_closes_the_idle_and_answers_the_busy() {
    run(async {
        let patient = LimitSettings {
            idle_timeout: Duration::from_secs(60),
            ..LIMITS
        };
        let served = Served::with(Stage, patient).await;
        let mut idle = served.client().await;
        assert_eq!(idle.get("/now").await.status, 200);
        let mut busy = served.client().await;
        busy.send(b"POST /read HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n{")
            .await;
        actix_rt::time::sleep(Duration::from_millis(50)).await;
        served.drain.begin();
        actix_rt::time::sleep(Duration::from_millis(50)).await;
        busy.send(b"}").await;
        let reply = busy.reply(false).await;
        assert_eq!(
            (reply.status, reply.header("connection")),
            (200, Some("close"))
        );
        busy.closed().await;
        idle.closed().await;
    });
}

#[test]
fn a_client_that_asks_again_and_again_learns_of_the_drain_from_an_answer() {
    run(async {
        let served = Served::stage().await;
        let mut clients = Vec::new();
        for _ in 0..20 {
            let mut client = served.client().await;
            assert_eq!(client.get("/now").await.status, 200);
            clients.push(client);
        }
        // Some of what is asked now is there when the drain begins, and some comes soon after.
        served.drain.begin();
        for client in &mut clients {
            let reply = client.get("/now").await;
            let told = (reply.status, reply.header("connection"));
            assert_eq!(told, (200, Some("close")));
            client.closed().await;
        }
    });
}

#[test]
fn a_request_that_was_sent_before_the_drain_is_answered() {
    run(async {
        let served = Served::stage().await;
        // Accepted by nobody yet, as in a queue on its way to a handler.
        let get = b"GET /now HTTP/1.1\r\nhost: a\r\n\r\n";
        let mut waiting = Client::eager(served.address, get);
        let mut half = served.client().await;
        half.send(&get[..10]).await;
        actix_rt::time::sleep(Duration::from_millis(30)).await;
        let mut late = Client::eager(served.address, get);
        served.drain.begin();
        half.send(&get[10..]).await;
        for client in [&mut half, &mut late] {
            let reply = client.reply(false).await;
            assert_eq!(
                (reply.status, reply.header("connection")),
                (200, Some("close"))
            );
            client.closed().await;
        }
        assert_eq!(waiting.reply(false).await.status, 200);
        waiting.closed().await;
    });
}

#[test]
fn a_connection_that_never_asked_does_not_hold_the_drain() {
    run(async {
        let served = Served::stage().await;
        let mut silent = served.client().await;
        actix_rt::time::sleep(Duration::from_millis(30)).await;
        served.drain.begin();
        silent.closed().await;
    });
}

#[test]
fn a_connection_that_comes_late_in_the_drain_is_answered_if_it_has_asked() {
    run(async {
        let served = Served::stage().await;
        served.drain.begin();
        actix_rt::time::sleep(Duration::from_millis(700)).await;
        let mut late = Client::eager(served.address, b"GET /now HTTP/1.1\r\nhost: a\r\n\r\n");
        assert_eq!(late.reply(false).await.status, 200);
        late.closed().await;
        served.client().await.closed().await;
    });
}
