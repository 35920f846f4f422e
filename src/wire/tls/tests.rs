//! Sessions on real sockets, with the client of the same library.

use std::cell::Cell;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, ProtocolVersion, RootCertStore, StreamOwned,
    SupportedProtocolVersion,
};
use tokio::net::TcpListener;
use tokio::task::spawn_blocking;

use super::super::tests::{Told, peer, socket};
use super::super::{
    ConnectionCounters, Drain, Editions, HandlerMetrics, Parts, Peer, Service, Speaks, TlsAcceptor,
};
use super::failure::HandshakeFailure;
use crate::certificates::tests::self_signed;
use crate::certificates::{Pair, Pairs};
use crate::settings::{LimitSettings, Settings, TlsSettings, TlsVersion};

const PATIENCE: Duration = Duration::from_secs(10);

fn settings(min_version: TlsVersion, names: &[&str]) -> (TlsSettings, RootCertStore) {
    let mut roots = RootCertStore::empty();
    let pairs = names.iter().map(|name| {
        let (certificate, key) = self_signed(&[name], 90);
        roots
            .add(CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap())
            .unwrap();
        let pair = Pair::read(certificate.as_bytes(), key.as_bytes()).unwrap();
        ((*name).to_owned(), pair)
    });
    let settings = TlsSettings {
        min_version,
        pairs: Pairs::new(pairs.collect()),
        ..Settings::default().tls
    };
    (settings, roots)
}

/// A server that speaks TLS on this thread.
struct TlsServer {
    address: SocketAddr,
    acceptor: Arc<TlsAcceptor>,
    counters: Arc<ConnectionCounters>,
    roots: RootCertStore,
}

impl TlsServer {
    async fn start(settings: TlsSettings, roots: RootCertStore) -> Self {
        Self::limited(settings, roots, Settings::default().limits).await
    }

    async fn limited(settings: TlsSettings, roots: RootCertStore, limits: LimitSettings) -> Self {
        let acceptor = Arc::<TlsAcceptor>::default();
        acceptor.follow(&settings).unwrap();
        let counters = Arc::<ConnectionCounters>::default();
        let service = Service::build(Arc::new(Parts {
            editions: Editions::only(Told, limits),
            metrics: Arc::new(HandlerMetrics::new(1)),
            counters: Arc::clone(&counters),
            drain: Drain::new(PATIENCE),
            access: None,
            tls: Arc::clone(&acceptor),
        }));
        let service = service.await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        actix_rt::spawn(async move {
            loop {
                let (stream, from) = listener.accept().await.unwrap();
                let peer = Peer {
                    named: None,
                    speaks: Speaks::Https,
                    ..peer(from)
                };
                actix_rt::spawn(service.serve(socket(stream), peer, &Arc::default()));
            }
        });
        Self {
            address,
            acceptor,
            counters,
            roots,
        }
    }

    fn client(&self, versions: &[&'static SupportedProtocolVersion]) -> TlsClient {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(self.roots.clone())
            .with_no_client_auth();
        TlsClient {
            address: self.address,
            config,
        }
    }

    fn failed(&self, failure: HandshakeFailure) -> u64 {
        self.acceptor.counters.of(failure)
    }
}

/// A client that makes a new connection for each request.
#[derive(Clone)]
struct TlsClient {
    address: SocketAddr,
    config: ClientConfig,
}

type TlsStream = StreamOwned<ClientConnection, TcpStream>;

impl TlsClient {
    fn connect(&self, name: &'static str) -> io::Result<TlsStream> {
        let stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let name = ServerName::try_from(name).unwrap();
        let session = ClientConnection::new(Arc::new(self.config.clone()), name);
        let mut stream = StreamOwned::new(session.unwrap(), stream);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(stream)
    }

    /// Does something with a blocking connection, on another thread.
    async fn with<T: Send + 'static>(
        &self,
        name: &'static str,
        act: impl FnOnce(io::Result<TlsStream>) -> T + Send + 'static,
    ) -> T {
        let client = self.clone();
        spawn_blocking(move || act(client.connect(name)))
            .await
            .unwrap()
    }
}

/// The answer to a GET after which the connection closes in order.
fn get(stream: &mut TlsStream, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nhost: a.example\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    // It is an error if the server does not say that it ends.
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn run(test: impl Future<Output = ()>) {
    actix_rt::System::new().block_on(test);
}

#[test]
fn both_versions_are_served_and_each_name_has_its_certificate() {
    run(async {
        let (settings, roots) = settings(TlsVersion::Tls12, &["a.example", "b.example"]);
        let server = TlsServer::start(settings, roots).await;
        for (versions, version) in [
            (&[&TLS12][..], ProtocolVersion::TLSv1_2),
            (&[&TLS13], ProtocolVersion::TLSv1_3),
            (&[&TLS13, &TLS12], ProtocolVersion::TLSv1_3),
        ] {
            for name in ["a.example", "b.example"] {
                let client = server.client(versions);
                let answered = client.with(name, move |stream| {
                    let mut stream = stream.unwrap();
                    assert_eq!(stream.conn.protocol_version(), Some(version));
                    get(&mut stream, "/quick")
                });
                let answer = answered.await;
                assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
                assert!(answer.ends_with("/quick"), "{answer}");
            }
        }
    });
}

#[test]
fn a_large_body_goes_through_in_both_directions_and_a_connection_is_kept() {
    run(async {
        let (settings, roots) = settings(TlsVersion::Tls12, &["a.example"]);
        let server = TlsServer::start(settings, roots).await;
        for version in [&TLS12, &TLS13] {
            let client = server.client(&[version]);
            client
                .with("a.example", |stream| {
                    let mut stream = stream.unwrap();
                    for _ in 0..3 {
                        let body = vec![b'x'; 9_000];
                        let head = format!(
                            "POST /read HTTP/1.1\r\nhost: a.example\r\ncontent-length: {}\r\n\r\n",
                            body.len()
                        );
                        stream.write_all(head.as_bytes()).unwrap();
                        stream.write_all(&body).unwrap();
                        let mut answer = Vec::new();
                        while !answer.ends_with(b"/read") {
                            let mut some = [0; 1000];
                            let read = stream.read(&mut some).unwrap();
                            assert_ne!(read, 0);
                            answer.extend_from_slice(&some[..read]);
                        }
                    }
                    let large = get(&mut stream, "/large");
                    let (_, body) = large.split_once("\r\n\r\n").unwrap();
                    assert_eq!(body.len(), 3_000_000);
                    assert!(
                        body.bytes()
                            .zip((b'a'..=b'z').cycle())
                            .all(|(is, should)| is == should)
                    );
                })
                .await;
        }
    });
}

#[test]
fn a_session_is_resumed_also_after_the_certificates_were_replaced() {
    run(async {
        let (settings, roots) = settings(TlsVersion::Tls12, &["a.example"]);
        let server = TlsServer::start(settings.clone(), roots).await;
        for version in [&TLS12, &TLS13] {
            let mut client = server.client(&[version]);
            client.config.resumption = Resumption::in_memory_sessions(8);
            for kind in [
                HandshakeKind::Full,
                HandshakeKind::Resumed,
                HandshakeKind::Resumed,
            ] {
                let found = client.with("a.example", |stream| {
                    let mut stream = stream.unwrap();
                    let answer = get(&mut stream, "/quick");
                    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
                    stream.conn.handshake_kind()
                });
                assert_eq!(found.await, Some(kind), "{version:?}");
                server.acceptor.follow(&settings).unwrap();
            }
        }
    });
}

#[test]
fn what_fails_is_counted_by_its_reason_and_told_to_the_client() {
    run(async {
        let (settings, roots) = settings(TlsVersion::Tls13, &["a.example"]);
        let server = TlsServer::start(settings, roots).await;
        let old = server.client(&[&TLS12]);
        let error = old.with("a.example", |stream| stream.unwrap_err()).await;
        assert!(error.to_string().contains("ProtocolVersion"), "{error}");
        assert_eq!(server.failed(HandshakeFailure::Version), 1);
        let mut other = server.client(&[&TLS13]);
        other.config.alpn_protocols = vec![b"smtp".to_vec()];
        let error = other.with("a.example", |stream| stream.unwrap_err()).await;
        assert!(error.to_string().contains("ApplicationProtocol"), "{error}");
        assert_eq!(server.failed(HandshakeFailure::Protocol), 1);
        let mut doubtful = server.client(&[&TLS13]);
        doubtful.config = {
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let (_, others) = super::tests::settings(TlsVersion::Tls13, &["a.example"]);
            ClientConfig::builder_with_provider(provider)
                .with_protocol_versions(&[&TLS13])
                .unwrap()
                .with_root_certificates(others)
                .with_no_client_auth()
        };
        doubtful
            .with("a.example", |stream| stream.unwrap_err())
            .await;
        until(|| server.failed(HandshakeFailure::Alert) == 1).await;
        for (bytes, failure) in [
            (&b"\x80\x80\x01"[..], HandshakeFailure::NotTls),
            (b"\x16\x03\x01\x00\x05hello", HandshakeFailure::NotTls),
            (b"", HandshakeFailure::Left),
        ] {
            let (before, address) = (server.failed(failure), server.address);
            let sending = spawn_blocking(move || {
                let mut stream = TcpStream::connect(address).unwrap();
                stream.write_all(bytes).unwrap();
                stream.shutdown(std::net::Shutdown::Write).unwrap();
                drop(stream.read_to_end(&mut Vec::new()));
            });
            sending.await.unwrap();
            until(|| server.failed(failure) == before + 1).await;
        }
    });
}

#[test]
fn a_client_that_speaks_http_is_told_so() {
    run(async {
        let (settings, roots) = settings(TlsVersion::Tls12, &["a.example"]);
        let server = TlsServer::start(settings, roots).await;
        let address = server.address;
        let answer = spawn_blocking(move || {
            let mut stream = TcpStream::connect(address).unwrap();
            stream
                .write_all(b"GET / HTTP/1.1\r\nhost: a.example\r\n\r\n")
                .unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            answer
        });
        let answer = answer.await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
        assert!(answer.contains("write https://"), "{answer}");
        assert_eq!(server.failed(HandshakeFailure::ClearText), 1);
    });
}

#[test]
fn a_handshake_may_come_in_any_pieces_but_not_for_ever() {
    run(async {
        let (mut settings, roots) = settings(TlsVersion::Tls12, &["a.example"]);
        let server = TlsServer::start(settings.clone(), roots).await;
        let address = server.address;
        let mut client = server.client(&[&TLS13, &TLS12]);
        client.config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let asked = spawn_blocking(move || {
            let name = ServerName::try_from("a.example").unwrap();
            let mut session = ClientConnection::new(Arc::new(client.config), name).unwrap();
            let mut hello = Vec::new();
            session.write_tls(&mut hello).unwrap();
            let mut stream = TcpStream::connect(address).unwrap();
            stream.set_nodelay(true).unwrap();
            for byte in &hello {
                stream.write_all(&[*byte]).unwrap();
            }
            let mut stream = StreamOwned::new(session, stream);
            get(&mut stream, "/quick")
        });
        let answer = asked.await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        settings.handshake_timeout = Duration::from_millis(300);
        server.acceptor.follow(&settings).unwrap();
        let silent = spawn_blocking(move || {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(b"\x16\x03\x01\x02\x00\x01").unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.read(&mut [0; 1]).unwrap_or(0)
        });
        assert_eq!(silent.await.unwrap(), 0, "it is closed");
        assert_eq!(server.failed(HandshakeFailure::Late), 1);
    });
}

#[test]
fn a_client_that_reads_nothing_holds_one_piece() {
    run(async {
        let (settings, roots) = settings(TlsVersion::Tls12, &["a.example"]);
        let limits = LimitSettings {
            stall_timeout: Duration::from_millis(500),
            ..Settings::default().limits
        };
        let server = TlsServer::limited(settings, roots, limits).await;
        let client = server.client(&[&TLS13]);
        let stream = client.with("a.example", |stream| {
            let mut stream = stream.unwrap();
            let request = b"GET /endless HTTP/1.1\r\nhost: a.example\r\n\r\n";
            stream.write_all(request).unwrap();
            stream.flush().unwrap();
            stream
        });
        let stream = stream.await;
        let held = || server.counters.buffered.bytes();
        let most = Cell::new(0);
        until(|| {
            most.set(held().max(most.get()));
            server.counters.stalled.load(Ordering::Relaxed) == 1
        })
        .await;
        assert!(most.get() <= 70_000, "{}", most.get());
        until(|| held() == 0).await;
        drop(stream);
    });
}

async fn until(done: impl Fn() -> bool) {
    let waiting = async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap();
}
