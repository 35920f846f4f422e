//! Panics, deadlines, pipelines.

use super::{Served, read, run};

#[test]
fn a_panic_is_500_and_its_connection_lives_on() {
    run(async {
        let served = Served::stage().await;
        let mut client = served.client().await;
        for path in ["/panic-now", "/panic-later"] {
            let reply = client.get(path).await;
            assert_eq!((reply.status, reply.code().as_str()), (500, "internal"));
            let id = reply.json()["request_id"].as_str().unwrap().to_owned();
            assert_eq!(reply.header("x-request-id"), Some(id.as_str()));
            assert!(!reply.text().contains("src/"), "nothing internal");
            assert_eq!(client.get("/now").await.status, 200);
        }
        assert_eq!(read(&served.counters.connections), 1);
    });
}

#[test]
fn a_request_that_takes_too_long_is_504_and_its_connection_lives_on() {
    run(async {
        let served = Served::stage().await;
        let mut client = served.client().await;
        let reply = client.get("/hang").await;
        assert_eq!((reply.status, reply.code().as_str()), (504, "deadline"));
        assert_eq!(client.get("/now").await.status, 200);
    });
}

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    run(async {
        let served = Served::stage().await;
        let mut client = served.client().await;
        let get = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n");
        let batch = [get("/now"), get("/later"), get("/no"), get("/now")].concat();
        // The last head comes in two parts.
        let (first, second) = batch.as_bytes().split_at(batch.len() - 9);
        client.send(first).await;
        actix_rt::time::sleep(std::time::Duration::from_millis(50)).await;
        client.send(second).await;
        let mut statuses = Vec::new();
        for _ in 0..4 {
            statuses.push(client.reply(false).await.status);
        }
        assert_eq!(statuses, [200, 200, 405, 200]);
    });
}

#[test]
fn requests_in_flight_come_back_to_none() {
    run(async {
        let served = Served::stage().await;
        let mut gone = served.client().await;
        // Nothing cuts off a request that changes something; its client breaks off hard.
        gone.send(b"POST /hang HTTP/1.1\r\nhost: a\r\n\r\n").await;
        super::until("it is in flight", || served.metrics.in_flight() == 1).await;
        let socket = socket2::SockRef::from(&gone.socket);
        socket.set_linger(Some(std::time::Duration::ZERO)).unwrap();
        drop(gone);
        super::until("it is gone", || served.metrics.in_flight() == 0).await;
        let mut client = served.client().await;
        for path in ["/now", "/later", "/panic-now", "/panic-later"] {
            client.get(path).await;
        }
        assert_eq!(served.metrics.in_flight(), 0);
    });
}

#[test]
fn a_pipeline_that_is_longer_than_the_dispatcher_looks_is_answered_to_its_end() {
    run(async {
        let served = Served::stage().await;
        let mut client = served.client().await;
        let get = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n");
        // The queue is full when the rest comes, which stays in the buffer.
        let first = [get("/nap"), get("/now").repeat(20)].concat();
        client.send(first.as_bytes()).await;
        actix_rt::time::sleep(std::time::Duration::from_millis(50)).await;
        client.send(get("/now").repeat(50).as_bytes()).await;
        for n in 0..71 {
            assert_eq!(client.reply(false).await.status, 200, "{n}");
        }
    });
}

#[test]
fn a_flood_behind_a_slow_request_is_neither_lost_nor_read_without_end() {
    run(async {
        let served = Served::stage().await;
        let client = served.client().await;
        let get = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n");
        let body = "POST /read HTTP/1.1\r\nhost: a\r\ncontent-length: 900\r\n\r\n".to_owned();
        let rounds = 300;
        let round = [get("/now").repeat(30), body + &"x".repeat(900)].concat();
        let bytes = [get("/nap"), round.repeat(rounds), get("/last")].concat();
        let (mut reader, mut writer) = client.socket.into_split();
        let write =
            async { tokio::io::AsyncWriteExt::write_all(&mut writer, bytes.as_bytes()).await };
        let read = async {
            let (mut answers, mut buffer) = (Vec::new(), vec![0; 1 << 16]);
            while !answers.ends_with(b"405\"}") && !answers.windows(8).any(|w| w == b"\"/last\",") {
                let got = tokio::io::AsyncReadExt::read(&mut reader, &mut buffer)
                    .await
                    .unwrap();
                assert_ne!(got, 0, "closed");
                let keep = answers.len().saturating_sub(8);
                answers.drain(..keep);
                answers.extend_from_slice(&buffer[..got]);
            }
        };
        let both = async { tokio::join!(write, read).0 };
        let patience = std::time::Duration::from_secs(20);
        tokio::time::timeout(patience, both)
            .await
            .expect("in time")
            .unwrap();
    });
}
