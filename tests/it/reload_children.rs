//! Reloads that add and remove children: one that is not ready in time takes everything back, and streams of HTTP/2 end before
//! those that serve them go.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use h2::client::SendRequest;
use serde_json::json;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::client::{self, Client};
use crate::daemon::{TestDaemon, generation};
use crate::live_children::{Holdings, children, free_address, listen, rewrite};
use crate::reload::{reload, settings};

/// Children have a second to start, and fault points can be armed.
const IMPATIENT: &str = "\n[chaos]\nenabled = true\n[supervision]\nstart_timeout = '1s'\n";

/// Rewrites the settings of a daemon, with more below those of `server`.
fn rewrite_with(daemon: &TestDaemon, server: &[(&str, &str)], more: &str) {
    rewrite(daemon, server);
    let text = fs::read_to_string(daemon.config()).unwrap();
    fs::write(daemon.config(), text + more).unwrap();
}

#[test]
fn a_new_child_that_is_not_ready_in_time_takes_the_whole_reload_back() {
    let (first, second) = (free_address(), free_address());
    let old = listen(&[&first.to_string()]);
    let new = listen(&[&first.to_string(), &second.to_string()]);
    let mut daemon = TestDaemon::prepare("");
    rewrite_with(&daemon, &[("listen", &old)], IMPATIENT);
    daemon.restart();
    let before = Holdings::at_rest(&daemon);
    daemon.chaos(&json!({ "point": "handler.hanging_start", "hits": 1 }));
    rewrite_with(&daemon, &[("listen", &new), ("handlers", "3")], IMPATIENT);
    let refused = reload(&daemon, "").expect(422).json();
    let told = &refused["reasons"];
    let expected = json!(["handler-2: the child could not start: not ready within 1s"]);
    assert_eq!(*told, expected);
    assert_eq!(settings(&daemon)["generation"], 1);
    daemon.wait_until("nothing is left of it", |daemon| {
        children(daemon, "request-handlers").len() == 2 && children(daemon, "listeners").len() == 2
    });
    before.wait_until_again(&daemon);
    assert!(TcpStream::connect(second).is_err());
    client::get(first, "/").expect(200);
    // The same file again, now that nothing hangs.
    reload(&daemon, "").expect(200);
    client::get(second, "/").expect(200);
    assert_eq!(children(&daemon, "request-handlers").len(), 3);
}

#[test]
fn a_new_listener_that_is_not_ready_in_time_cuts_nothing_else_on_its_thread() {
    let (first, second) = (free_address(), free_address());
    let old = listen(&[&first.to_string()]);
    let new = listen(&[&first.to_string(), &second.to_string()]);
    let mut daemon = TestDaemon::prepare("");
    let site = daemon.site("").display().to_string();
    let more =
        format!("{IMPATIENT}[route.\"/slow\"]\nfiles = {{ root = '{site}' }}\ndelay = '3s'\n");
    rewrite_with(&daemon, &[("listen", &old), ("handlers", "1")], &more);
    daemon.restart();
    let mut kept = Client::connect(first).unwrap();
    kept.get("/").unwrap().expect(200);
    let mut in_flight = Client::connect(first).unwrap();
    in_flight
        .write(b"GET /slow/ HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .unwrap();
    daemon.wait_until("it is in flight", |daemon| {
        daemon
            .metrics()
            .contains("perennial_http_requests_in_flight 1")
    });
    let before = Holdings::at_rest(&daemon);
    daemon.chaos(&json!({ "point": "listener.hanging_start", "hits": 1 }));
    rewrite_with(&daemon, &[("listen", &new), ("handlers", "1")], &more);
    let refused = reload(&daemon, "").expect(422).json();
    let expected = json!(["listener-1: the child could not start: not ready within 1s"]);
    assert_eq!(refused["reasons"], expected);
    in_flight.read_answer(false).unwrap().expect(200);
    kept.get("/").unwrap().expect(200);
    client::get(first, "/").expect(200);
    assert!(TcpStream::connect(second).is_err());
    assert_eq!(settings(&daemon)["generation"], 1);
    let tree = daemon.tree();
    for child in ["handler-0", "listener-0"] {
        assert_eq!(generation(&tree, child), 1, "{child}");
    }
    daemon.wait_until("nothing is left of it", |daemon| {
        children(daemon, "listeners") == ["listener-0"]
    });
    before.wait_until_again(&daemon);
    // The same file again, now that nothing hangs.
    reload(&daemon, "").expect(200);
    client::get(second, "/").expect(200);
    kept.get("/").unwrap().expect(200);
}

/// One connection of HTTP/2 to `host`.
struct Streams {
    host: SocketAddr,
    client: SendRequest<Bytes>,
    end: JoinHandle<Result<(), h2::Error>>,
}

impl Streams {
    async fn connect(host: SocketAddr) -> Self {
        let socket = tokio::net::TcpStream::connect(host).await.unwrap();
        let (client, connection) = h2::client::handshake(socket).await.unwrap();
        let end = tokio::spawn(connection);
        Self { host, client, end }
    }

    /// The status of one stream.
    async fn get(&self, path: &str) -> Result<u16, h2::Error> {
        let mut client = self.client.clone().ready().await?;
        let request = http::Request::get(format!("http://{}{path}", self.host));
        let (answer, _) = client.send_request(request.body(()).unwrap(), true)?;
        let (head, mut body) = answer.await?.into_parts();
        while let Some(part) = body.data().await {
            let length = part?.len();
            body.flow_control().release_capacity(length)?;
        }
        Ok(head.status.as_u16())
    }
}

/// Has two streams under way on each of so many connections; once they are answered and `reloaded` is told, asks once more.
/// Returns how many connections live on, and how many have ended in order.
async fn hold(
    host: SocketAddr,
    connections: usize,
    reloaded: oneshot::Receiver<()>,
) -> (usize, usize) {
    let all = join_all((0..connections).map(|_| Streams::connect(host))).await;
    let asked = all
        .iter()
        .flat_map(|one| [one.get("/slow/"), one.get("/slow/")]);
    for status in join_all(asked).await {
        assert_eq!(status.unwrap(), 200);
    }
    reloaded.await.unwrap();
    let (mut live_on, mut ended) = (0, 0);
    for one in all {
        if let Ok(status) = one.get("/").await {
            assert_eq!(status, 200);
            live_on += 1;
        } else {
            drop(one.client);
            one.end.await.unwrap().unwrap();
            ended += 1;
        }
    }
    (live_on, ended)
}

#[test]
fn streams_of_http_2_end_before_their_handler_goes_and_outlive_their_listener() {
    // So many that each handler has some: one has at most 64 more than the other.
    const CONNECTIONS: usize = 70;
    let (first, second) = (free_address(), free_address());
    let one = listen(&[&first.to_string()]);
    let both = listen(&[&first.to_string(), &second.to_string()]);
    let mut daemon = TestDaemon::prepare("");
    let site = daemon.site("").display().to_string();
    let slow = format!("\n[route.\"/slow\"]\nfiles = {{ root = '{site}' }}\ndelay = '3s'\n");
    rewrite_with(&daemon, &[("listen", &both)], &slow);
    daemon.restart();
    let (told, reloaded) = oneshot::channel();
    let holding = thread::spawn(move || {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().build().unwrap();
        let held = hold(second, CONNECTIONS, reloaded);
        let limit = Duration::from_secs(60);
        runtime.block_on(async { tokio::time::timeout(limit, held).await.unwrap() })
    });
    let in_flight = format!("perennial_http_requests_in_flight {}", 2 * CONNECTIONS);
    daemon.wait_until("all are in flight", |daemon| {
        daemon.metrics().contains(&in_flight)
    });
    rewrite_with(&daemon, &[("listen", &one), ("handlers", "1")], &slow);
    reload(&daemon, "").expect(200);
    assert!(
        daemon.metrics().contains(&in_flight),
        "it waits for no stream"
    );
    assert!(TcpStream::connect(second).is_err(), "it is refused at once");
    told.send(()).unwrap();
    let (live_on, ended) = holding.join().unwrap();
    assert_eq!(live_on + ended, CONNECTIONS);
    assert!(live_on > 0 && ended > 0, "{live_on} and {ended}");
    daemon.wait_until("the handler is gone", |daemon| {
        children(daemon, "request-handlers") == ["handler-0"]
    });
    client::get(first, "/").expect(200);
}

#[test]
fn a_reload_of_an_unchanged_file_does_again_what_could_not_be_done() {
    let (first, second) = (free_address(), free_address());
    let one = listen(&[&first.to_string()]);
    let both = listen(&[&first.to_string(), &second.to_string()]);
    let mut daemon = TestDaemon::prepare("");
    rewrite(&daemon, &[("listen", &both)]);
    daemon.restart();
    let order = |order: &str| {
        let path = format!("/supervisor/listeners/{order}");
        client::post(daemon.admin(), &path, &json!(null)).expect(200)
    };
    order("stop");
    rewrite(&daemon, &[("listen", &one)]);
    reload(&daemon, "").expect(200);
    daemon.wait_for_log("a child that is not wanted any more could not be removed yet");
    order("start");
    assert_eq!(children(&daemon, "listeners").len(), 4);
    let again = reload(&daemon, "").expect(200).json();
    assert_eq!(again["changes"], json!([]), "{again}");
    daemon.wait_until("the address is closed", |daemon| {
        children(daemon, "listeners").len() == 2 && TcpStream::connect(second).is_err()
    });
    client::get(first, "/").expect(200);
}
