//! Listeners and handlers in one tree on one thread, with real sockets: nothing that was accepted is lost.

mod full;

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::Instant;

use super::metrics::ListenerCounters;
use super::{ConnectionBounds, ListenerState, PAUSE, SharedListening, bind, child_spec};
use crate::places::Places;
use crate::request_handler::{self, GiveWay, HandlerLoad, HandlerRef, Handlers, PeerBound};
use crate::settings::LimitSettings;
use crate::supervision::{
    Env, EventLoop, Faults, Intensity, PreparedTree, QueueLimits, RunningTree, SupervisorSpec, Tree,
};
use crate::wire::{
    Code, ConnectionCounters, Drain, Editions, HandlerMetrics, Incoming, Parts, Problem, Responder,
    Response, Speaks, read_body,
};

const PATIENCE: Duration = Duration::from_secs(10);

/// Says who it is.
struct Named(&'static str);

impl Responder for Named {
    type Matched = ();

    fn resolve(&self, _: &Incoming) {}

    async fn slow(&self, request: &mut Incoming, (): &()) -> Response {
        // It is not whole for a client that keeps the rest back.
        let _body = read_body(request, 1000).await;
        // Any answer will do, as long as it names its handler.
        Problem::new(Code::NotFound)
            .detail(self.0)
            .response(request)
    }
}

struct StartedTree {
    state: Arc<ListenerState>,
    faults: Faults,
    loads: Vec<Arc<HandlerLoad>>,
    tree: Tree,
    root: RunningTree,
}

fn handler(
    name: &'static str,
    faults: &Faults,
    queue: usize,
) -> (crate::supervision::ChildSpec, HandlerRef) {
    let queue = QueueLimits {
        messages: queue,
        bytes: 100_000,
    };
    let long = Duration::from_secs(30);
    let limits = LimitSettings {
        head_bytes: 4096,
        body_bytes: 1000,
        request_timeout: long,
        header_timeout: long,
        idle_timeout: long,
        stall_timeout: long,
        list_records: std::num::NonZeroUsize::MIN,
        kept_lists: 1 << 20,
        batch: std::num::NonZeroUsize::MIN,
        batch_bytes: 1000,
    };
    let parts = Parts {
        editions: Editions::only(Named(name), limits),
        metrics: Arc::new(HandlerMetrics::new(0)),
        counters: Arc::<ConnectionCounters>::default(),
        drain: Drain::new(Duration::from_secs(2)),
        access: None,
        tls: Arc::default(),
    };
    request_handler::prepare(name, queue, parts, GiveWay::Unasked, faults.clone())
}

async fn start(socket: OwnedFd, queues: &[usize], places: usize) -> StartedTree {
    // Peers of this machine have no bound.
    start_bounded(socket, queues, places, PeerBound::new(1)).await
}

async fn start_bounded(
    socket: OwnedFd,
    queues: &[usize],
    places: usize,
    peers: Arc<PeerBound>,
) -> StartedTree {
    let faults = Faults::armed();
    let intensity = Intensity {
        max_restarts: 1000,
        period: Duration::from_secs(1),
    };
    let mut supervisor = SupervisorSpec::new("root").intensity(intensity);
    let mut handlers = Vec::new();
    for (name, queue) in ["handler-0", "handler-1"].into_iter().zip(queues) {
        let (spec, handler_ref) = handler(name, &faults, *queue);
        supervisor = supervisor.child(spec);
        handlers.push(handler_ref);
    }
    let loads = handlers.iter().map(|t| Arc::clone(&t.load)).collect();
    let places = Places::new(places);
    let bounds = ConnectionBounds { places, peers };
    let socket = SharedListening::new(socket, false);
    let state = ListenerState::new(
        &socket,
        Speaks::Http,
        Arc::new(Handlers::from_pointee(handlers)),
        None,
        bounds,
        faults.clone(),
        ListenerCounters::default(),
    );
    let spec = child_spec("listener", &EventLoop::default(), Arc::clone(&state));
    let prepared = PreparedTree::new(supervisor.child(spec)).unwrap();
    let tree = prepared.tree();
    let mut root = prepared.start(Env {
        inline: true,
        faults: faults.clone(),
    });
    (&mut root.ready).await.unwrap();
    StartedTree {
        state,
        faults,
        loads,
        tree,
        root,
    }
}

impl StartedTree {
    fn restarts(&self) -> u64 {
        self.tree
            .view()
            .walk()
            .iter()
            .map(|node| node.restarts_total())
            .sum()
    }

    async fn stop(self) {
        self.root.stopper().stop();
        let mut exit = self.root.exit.clone();
        tokio::time::timeout(PATIENCE, exit.wait_for(Option::is_some))
            .await
            .expect("the tree stops")
            .unwrap();
    }
}

fn run(test: impl Future<Output = ()>) {
    actix_rt::System::new().block_on(test);
}

fn tcp() -> (OwnedFd, SocketAddr) {
    let socket = bind("127.0.0.1:0".parse().unwrap(), false, &[]).unwrap();
    let address = socket.local_addr().unwrap();
    (socket.into(), address)
}

async fn ask<S: AsyncRead + AsyncWrite + Unpin>(client: &mut S) -> String {
    client
        .write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    let reading = async {
        loop {
            let named = answer.windows(9).find(|part| part.starts_with(b"handler-"));
            // The whole answer, so that nothing of it is left for the next one.
            if let (Some(named), true) = (named, answer.ends_with(b"}")) {
                return String::from_utf8(named.to_vec()).unwrap();
            }
            assert_ne!(client.read_buf(&mut answer).await.unwrap(), 0, "closed");
        }
    };
    let named = tokio::time::timeout(PATIENCE, reading).await;
    named.expect("an answer")
}

#[test]
fn connections_go_to_the_least_loaded_handler() {
    run(async {
        let (socket, address) = tcp();
        let started = start(socket, &[100, 100], 100).await;
        let mut clients = Vec::new();
        for _ in 0..6 {
            let mut client = TcpStream::connect(address).await.unwrap();
            ask(&mut client).await;
            clients.push(client);
        }
        let living: Vec<_> = started.loads.iter().map(|load| load.living()).collect();
        assert_eq!(living, [3, 3]);
        drop(clients);
        for load in &started.loads {
            tokio::time::timeout(PATIENCE, load.drained())
                .await
                .unwrap();
        }
        started.stop().await;
    });
}

#[test]
fn no_death_of_listener_or_handler_drops_a_connection() {
    run(async {
        let (socket, address) = tcp();
        let started = start(socket, &[100, 100], 100).await;
        let mut old = TcpStream::connect(address).await.unwrap();
        ask(&mut old).await;
        for point in [
            "listener.accepted",
            "handler.message",
            "listener.accepted",
            "handler.message",
        ] {
            let before = started.restarts();
            started.faults.arm(point, 1);
            let mut client = TcpStream::connect(address).await.unwrap();
            ask(&mut client).await;
            assert!(started.restarts() > before, "{point} was passed");
            // Those that were there before do not notice.
            ask(&mut old).await;
        }
        assert_eq!(started.state.counters.accepted.get(), 5);
        started.stop().await;
    });
}

#[test]
fn a_connection_goes_to_the_next_handler_if_the_best_is_full() {
    run(async {
        let (socket, address) = tcp();
        // A handler without a queue takes nothing, and never has a connection: it is always the least loaded.
        let started = start(socket, &[0, 100], 100).await;
        let mut clients = Vec::new();
        for _ in 0..3 {
            let mut client = TcpStream::connect(address).await.unwrap();
            assert_eq!(ask(&mut client).await, "handler-1");
            clients.push(client);
        }
        assert_eq!(started.loads[0].living(), 0);
        assert_eq!(started.state.counters.refused.get(), 0);
        drop(clients);
        started.stop().await;
    });
}

#[test]
fn what_nobody_takes_is_kept_in_hand() {
    run(async {
        let (socket, address) = tcp();
        let started = start(socket, &[0, 0], 100).await;
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        let refused = async {
            while started.state.counters.refused.get() < 3 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, refused).await.unwrap();
        assert!(started.state.has_waiting());
        assert_eq!(started.loads.iter().map(|l| l.living()).sum::<usize>(), 0);
        started.stop().await;
    });
}

#[test]
fn at_the_limit_accepting_stops_and_is_counted() {
    run(async {
        let (socket, address) = tcp();
        let started = start(socket, &[100], 2).await;
        let mut clients = Vec::new();
        for _ in 0..2 {
            let mut client = TcpStream::connect(address).await.unwrap();
            ask(&mut client).await;
            // A connection with a request is not closed for another one.
            let head = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n";
            client.write_all(head).await.unwrap();
            clients.push(client);
        }
        let mut waiting = TcpStream::connect(address).await.unwrap();
        let answer = tokio::time::timeout(Duration::from_millis(100), ask(&mut waiting)).await;
        assert!(answer.is_err(), "it waits");
        assert_eq!(started.loads[0].living(), 2);
        assert!(started.state.counters.full.get() >= 1);
        clients.pop();
        let mut byte = [0; 1];
        let answered = tokio::time::timeout(PATIENCE, waiting.read(&mut byte)).await;
        assert_eq!(answered.unwrap().unwrap(), 1, "and is served");
        drop((clients, waiting));
        started.stop().await;
    });
}

/// Also when a reload moves a listener while the daemon is busy.
#[test]
fn a_client_in_the_backlog_of_a_listener_that_stops_waits_for_a_place() {
    run(async {
        let (socket, address) = tcp();
        let started = start(socket, &[100], 1).await;
        let mut busy = TcpStream::connect(address).await.unwrap();
        ask(&mut busy).await;
        let head = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n";
        busy.write_all(head).await.unwrap();
        let mut waiting = TcpStream::connect(address).await.unwrap();
        let state = Arc::clone(&started.state);
        while state.counters.full.get() == 0 {
            tokio::task::yield_now().await;
        }
        let mut closing = std::pin::pin!(state.close(Instant::now() + PATIENCE));
        assert!(futures_util::poll!(&mut closing).is_pending());
        assert!(!state.socket.is_shut());
        drop(busy);
        let (answer, ()) = tokio::join!(ask(&mut waiting), closing);
        assert_eq!(answer, "handler-0");
        assert!(state.socket.is_shut());
        started.stop().await;
    });
}

#[test]
fn a_listener_that_stops_does_not_wait_for_a_place_for_ever() {
    run(async {
        let (socket, address) = tcp();
        let started = start(socket, &[100], 1).await;
        let mut busy = TcpStream::connect(address).await.unwrap();
        ask(&mut busy).await;
        let head = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n";
        busy.write_all(head).await.unwrap();
        let mut waiting = TcpStream::connect(address).await.unwrap();
        while started.state.counters.full.get() == 0 {
            tokio::task::yield_now().await;
        }
        let closing = started.state.close(Instant::now() + PAUSE * 3);
        tokio::time::timeout(PATIENCE, closing).await.unwrap();
        let mut byte = [0; 1];
        let read = tokio::time::timeout(PATIENCE, waiting.read(&mut byte));
        assert!(!matches!(read.await.unwrap(), Ok(1..)), "it is reset");
        drop(busy);
        started.stop().await;
    });
}

#[test]
fn a_unix_socket_is_served_like_any_other() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("perennial.sock");
        let socket = UnixListener::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        let started = start(socket.into(), &[100], 10).await;
        let mut client = UnixStream::connect(&path).await.unwrap();
        assert_eq!(ask(&mut client).await, "handler-0");
        assert_eq!(ask(&mut client).await, "handler-0");
        drop(client);
        started.stop().await;
    });
}

#[test]
fn a_stop_answers_what_has_been_handed_over() {
    run(async {
        let (socket, address) = tcp();
        let started = start(socket, &[100, 100], 100).await;
        let mut idle = TcpStream::connect(address).await.unwrap();
        ask(&mut idle).await;
        let mut asking = TcpStream::connect(address).await.unwrap();
        while started.state.counters.accepted.get() < 2 {
            tokio::task::yield_now().await;
        }
        let (answer, ()) = tokio::join!(ask(&mut asking), started.stop());
        assert!(answer.starts_with("handler-"), "{answer}");
        assert_eq!(idle.read(&mut [0; 1]).await.unwrap(), 0);
    });
}
