//! TLS of the public listeners: versions, protocols, certificates by host, resumed sessions, half-open handshakes, and certificates
//! that are replaced while clients are served.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned};
use serde_json::json;

use crate::chaos::{Chaos, UNLIMITED_RESTARTS};
use crate::client::{self, Client};
use crate::daemon::{TestDaemon, toml};
use crate::load::{self, Mix, Traffic};
use crate::reload::{metric, perennial_reload, reload, rewrite, settings};
use crate::required::skip;

const TLS: &str = "[tls]\nlisten = ['127.0.0.1:0']\ncert = 'cert.pem'\nkey = 'key.pem'\n";
const NAMES: [&str; 2] = ["example.org", "localhost"];

/// Whether this program is on the machine.
fn has(program: &str) -> bool {
    let found = Command::new(program).arg("version").output().is_ok();
    if !found {
        skip(&format!("there is no {program}"));
    }
    found
}

/// Writes a certificate for these names, which ends in so many days, with its key.
fn write_pair(folder: &Path, cert: &str, key: &str, names: &[&str], days: i64) -> String {
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    let now = time::OffsetDateTime::now_utc();
    params.not_before = now - time::Duration::days(100);
    params.not_after = now + time::Duration::days(days);
    let pair = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&pair).unwrap().pem();
    fs::write(folder.join(cert), &certificate).unwrap();
    let key = folder.join(key);
    fs::write(&key, pair.serialize_pem()).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    certificate
}

/// A daemon that speaks TLS, not started; `more` comes behind its `[tls]`.
pub(crate) fn prepare(more: &str) -> TestDaemon {
    let daemon = TestDaemon::prepare(&format!("{TLS}{more}"));
    write_pair(daemon.folder(), "cert.pem", "key.pem", &NAMES, 90);
    daemon
}

fn start(more: &str) -> TestDaemon {
    let mut daemon = prepare(more);
    daemon.restart();
    daemon
}

/// A client that trusts these files of the daemon.
pub(crate) fn config(daemon: &TestDaemon, trusted: &[&str]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    for name in trusted {
        let pem = fs::read(daemon.folder().join(name)).unwrap();
        roots
            .add(CertificateDer::from_pem_slice(&pem).unwrap())
            .unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

type Stream = StreamOwned<ClientConnection, TcpStream>;

fn connect(address: SocketAddr, config: &Arc<ClientConfig>, name: &'static str) -> Stream {
    let name = ServerName::try_from(name).unwrap();
    let session = ClientConnection::new(Arc::clone(config), name).unwrap();
    let socket = TcpStream::connect(address).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let mut stream = StreamOwned::new(session, socket);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock).unwrap();
    }
    stream
}

/// The certificate that a client gets that asks for this host.
fn certificate_of(daemon: &TestDaemon, trusted: &[&str], name: &'static str) -> Vec<u8> {
    let config = Arc::new(config(daemon, trusted));
    let stream = connect(daemon.tls(), &config, name);
    stream.conn.peer_certificates().unwrap()[0].to_vec()
}

fn der(pem: &str) -> Vec<u8> {
    CertificateDer::from_pem_slice(pem.as_bytes())
        .unwrap()
        .to_vec()
}

/// What curl prints that trusts the daemon's certificate.
fn curl(daemon: &TestDaemon, more: &[&str], path: &str) -> String {
    let mut command = Command::new("curl");
    let url = format!("https://localhost:{}{path}", daemon.tls().port());
    command.args(["-sS", "--max-time", "20", "--cacert"]);
    command.arg(daemon.folder().join("cert.pem"));
    let output = command.args(more).arg(url).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn curl_is_served_over_both_protocols_and_versions() {
    if !has("curl") {
        return;
    }
    let daemon = start("hsts = 'max-age=60'\n");
    let written = "%{http_version} %{http_code}\n";
    for (options, version) in [
        (&["--http1.1"][..], "1.1"),
        (&["--http2"], "2"),
        (&["--http1.1", "--tls-max", "1.2"], "1.1"),
        (&["--http2", "--tlsv1.3"], "2"),
    ] {
        let more: Vec<_> = options.iter().copied().chain(["-w", written]).collect();
        let answer = curl(&daemon, &more, "/");
        assert_eq!(
            answer,
            format!("<h1>first</h1>{version} 200\n"),
            "{options:?}"
        );
    }
    let head = curl(&daemon, &["--http1.1", "-D", "-", "-o", "/dev/null"], "/");
    assert!(
        head.contains("strict-transport-security: max-age=60\r\n"),
        "{head}"
    );
    let made = curl(
        &daemon,
        &[
            "--http2",
            "-D",
            "-",
            "-o",
            "/dev/null",
            "-H",
            "content-type: application/json",
            "-d",
            "{\"title\":\"a\"}",
        ],
        "/books",
    );
    assert!(made.contains("location: https://localhost:"), "{made}");
    // Without TLS nothing has changed.
    let plain = daemon.get("/").expect(200);
    assert_eq!(plain.header("strict-transport-security"), None);
}

#[test]
fn an_old_version_is_refused_and_counted_and_is_no_error_in_the_log() {
    if !has("openssl") {
        return;
    }
    let daemon = start("min_version = '1.3'\n");
    let address = daemon.tls().to_string();
    for (version, fine) in [("-tls1_2", false), ("-tls1_3", true)] {
        let output = Command::new("openssl")
            .args(["s_client", "-connect", &address, version, "-brief"])
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap();
        assert_eq!(output.status.success(), fine, "{version}: {output:?}");
    }
    let failed = "perennial_tls_handshakes_failed_total{reason=\"version\"}";
    assert_eq!(metric(&daemon, failed), "1");
    daemon.wait_for_log("TLS handshakes have failed");
    assert!(!daemon.stderr().contains("ERROR"), "{}", daemon.stderr());
}

#[test]
fn a_client_that_speaks_http_to_the_address_of_tls_is_told_so() {
    let daemon = start("");
    let answer = client::get(daemon.tls(), "/");
    assert_eq!(answer.clone().expect_problem(400), "malformed_request");
    assert!(
        answer.text().contains("write https://"),
        "{}",
        answer.text()
    );
}

#[test]
fn each_host_gets_the_certificate_with_its_name() {
    let shop = "[tls.certificate.shop]\ncert = 'shop.pem'\nkey = 'shop-key.pem'\n";
    let mut daemon = prepare(shop);
    let names = ["shop.example", "*.shop.example"];
    let pem = write_pair(daemon.folder(), "shop.pem", "shop-key.pem", &names, 10);
    daemon.restart();
    daemon.wait_for_log("shop.pem ends at");
    let trusted = ["cert.pem", "shop.pem"];
    for name in ["shop.example", "a.shop.example"] {
        assert_eq!(certificate_of(&daemon, &trusted, name), der(&pem), "{name}");
    }
    assert_ne!(certificate_of(&daemon, &trusted, "example.org"), der(&pem));
    let soon = metric(
        &daemon,
        "perennial_tls_certificate_not_after_seconds{certificate=\"shop\"}",
    );
    let soon: f64 = soon.parse().unwrap();
    let now = std::time::SystemTime::UNIX_EPOCH
        .elapsed()
        .unwrap()
        .as_secs_f64();
    assert!(
        soon > now + 9.0 * 86_400.0 && soon < now + 11.0 * 86_400.0,
        "{soon}"
    );
    let tree = client::get(daemon.admin(), "/supervisor").json();
    assert_eq!(tree["certificates"][1]["name"], "shop");
    assert_eq!(tree["certificates"][1]["hosts"], json!(names));
    let tls: Vec<_> = tree["listeners"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["tls"].clone())
        .collect();
    assert_eq!(tls, [json!(false), json!(true)]);
    let explained = client::get(
        daemon.admin(),
        "/explain?method=GET&url=https%3A%2F%2Fa.shop.example%2F",
    );
    assert!(
        explained.text().contains("tls.certificate.shop"),
        "{}",
        explained.text()
    );
}

#[test]
fn a_session_is_resumed_also_after_a_reload() {
    let daemon = start("");
    let config = Arc::new(config(&daemon, &["cert.pem"]));
    let mut kinds = Vec::new();
    for round in 0..3 {
        let mut stream = connect(daemon.tls(), &config, "example.org");
        let answer = get(&mut stream, "/", true);
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        kinds.push(stream.conn.handshake_kind().unwrap());
        if round == 1 {
            rewrite(&daemon, &format!("{TLS}handshake_timeout = '9s'\n"));
            reload(&daemon, "").expect(200);
        }
    }
    let [full, resumed] = [HandshakeKind::Full, HandshakeKind::Resumed];
    assert_eq!(kinds, [full, resumed, resumed]);
    assert_eq!(
        metric(&daemon, "perennial_tls_handshakes_total{kind=\"resumed\"}"),
        "2"
    );
}

/// Sends a GET and reads the answer to its end, or as long as the connection is kept.
fn get(stream: &mut Stream, path: &str, close: bool) -> String {
    let end = if close { "connection: close\r\n" } else { "" };
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n{end}\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    if close {
        stream.read_to_end(&mut answer).unwrap();
    } else {
        while !answer.ends_with(b"</h1>") {
            let mut some = [0; 4096];
            let read = stream.read(&mut some).unwrap();
            assert_ne!(read, 0, "{}", String::from_utf8_lossy(&answer));
            answer.extend_from_slice(&some[..read]);
        }
    }
    String::from_utf8(answer).unwrap()
}

#[test]
fn half_open_handshakes_hold_up_nobody_and_end_in_time() {
    let daemon = start("handshake_timeout = '8s'\n");
    let address = daemon.tls();
    let half_open: Vec<_> = (0..500)
        .map(|number| {
            let mut socket = TcpStream::connect(address).unwrap();
            // Some say nothing, and some begin.
            if number % 2 == 0 {
                socket
                    .write_all(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc")
                    .unwrap();
            }
            socket
        })
        .collect();
    let config = Arc::new(config(&daemon, &["cert.pem"]));
    for _ in 0..20 {
        let mut stream = connect(address, &config, "localhost");
        assert!(get(&mut stream, "/", true).contains("first"));
    }
    let late = "perennial_tls_handshakes_failed_total{reason=\"timeout\"}";
    assert_eq!(
        metric(&daemon, late),
        "0",
        "the others have not waited for their end"
    );
    for mut socket in half_open {
        socket
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        assert!(!matches!(socket.read(&mut [0; 1]), Ok(1..)), "it is closed");
    }
    assert_eq!(metric(&daemon, late), "500");
    let lines = daemon.stderr();
    assert_eq!(
        lines.matches("TLS handshakes have failed").count(),
        1,
        "{lines}"
    );
}

#[test]
fn half_open_handshakes_give_way_first() {
    let mut daemon = prepare("handshake_timeout = '60s'\n");
    let text = fs::read_to_string(daemon.config()).unwrap();
    let text = text.replace("[server]\n", "[server]\nmax_connections = 8\n");
    fs::write(daemon.config(), text).unwrap();
    daemon.restart();
    let mut kept = Client::connect(daemon.public()).unwrap();
    kept.get("/").unwrap().expect(200);
    let half_open: Vec<_> = (0..7)
        .map(|_| TcpStream::connect(daemon.tls()).unwrap())
        .collect();
    daemon.wait_until("all are accepted", |daemon| {
        metric(daemon, "perennial_listener_accepted_total") == "8"
    });
    // Before that they are left alone, as those of clients that are far away.
    thread::sleep(Duration::from_millis(1100));
    let config = Arc::new(config(&daemon, &["cert.pem"]));
    for _ in 0..3 {
        let mut stream = connect(daemon.tls(), &config, "localhost");
        assert!(get(&mut stream, "/", true).contains("first"));
    }
    kept.get("/").unwrap().expect(200);
    drop(half_open);
}

#[test]
fn large_files_and_slow_clients_over_tls() {
    let daemon = start("");
    // Beyond what is kept in memory, and within it.
    let letters: Vec<u8> = (b'a'..=b'z').cycle().take(20_000_000).collect();
    fs::write(daemon.site("large.txt"), &letters).unwrap();
    fs::write(daemon.site("middle.txt"), &letters[..3_000_000]).unwrap();
    let config = Arc::new(config(&daemon, &["cert.pem"]));
    for (path, length) in [("/large.txt", letters.len()), ("/middle.txt", 3_000_000)] {
        for _ in 0..2 {
            let mut stream = connect(daemon.tls(), &config, "localhost");
            let answer = get(&mut stream, path, true);
            let (_, body) = answer.split_once("\r\n\r\n").unwrap();
            assert!(body.as_bytes() == &letters[..length], "{path}");
        }
    }
    if has("curl") {
        let body = curl(&daemon, &["--http2"], "/large.txt");
        assert!(body.as_bytes() == letters);
        for (protocol, path) in [
            ("--http1.1", "/middle.txt"),
            ("--http1.1", "/large.txt"),
            ("--http2", "/middle.txt"),
            ("--http2", "/large.txt"),
        ] {
            let part = curl(&daemon, &[protocol, "--range", "1000001-1300000"], path);
            assert!(
                part.as_bytes() == &letters[1_000_001..=1_300_000],
                "{protocol} {path}"
            );
            let parts = curl(&daemon, &[protocol, "--range", "3-7,2000001-2100000"], path);
            let second = std::str::from_utf8(&letters[2_000_001..=2_100_000]).unwrap();
            assert!(
                parts.contains("defgh") && parts.contains(second),
                "{protocol} {path}"
            );
        }
    }
    // One that reads nothing holds no more than a piece.
    let mut stuck = Vec::new();
    for _ in 0..20 {
        let mut stream = connect(daemon.tls(), &config, "localhost");
        stream
            .write_all(b"GET /large.txt HTTP/1.1\r\nhost: localhost\r\n\r\n")
            .unwrap();
        stuck.push(stream);
    }
    let buffered = || -> u64 {
        metric(&daemon, "perennial_wire_buffered_bytes")
            .parse()
            .unwrap()
    };
    daemon.wait_until("some is held", |_| buffered() > 0);
    assert!(buffered() < 20 * 140_000, "{}", buffered());
    drop(stuck);
    daemon.wait_until("all is given back", |_| buffered() == 0);
}

#[test]
fn clients_without_tls_are_sent_there_but_not_those_that_ask_for_a_challenge() {
    let mut daemon = prepare("redirect_http = true\nredirect_port = 8443\n");
    let challenges = daemon.site(".well-known/acme-challenge");
    fs::create_dir_all(&challenges).unwrap();
    fs::write(challenges.join("token"), "proof").unwrap();
    let socket = daemon.folder().join("http.sock");
    let text = fs::read_to_string(daemon.config()).unwrap();
    let unix = format!("listen = ['127.0.0.1:0', 'unix:{}']", socket.display());
    let text = text.replacen("listen = [\"127.0.0.1:0\"]", &unix, 1);
    fs::write(daemon.config(), text).unwrap();
    daemon.restart();
    let answer = daemon.get("/a%20b?c=d").expect(308);
    assert_eq!(
        answer.header("location"),
        Some("https://127.0.0.1:8443/a%20b?c=d")
    );
    daemon.post("/books", &json!({"title": "a"})).expect(308);
    let token = daemon.get("/.well-known/acme-challenge/token").expect(200);
    assert_eq!(token.text(), "proof");
    // A proxy on this machine speaks TLS for its clients.
    let mut proxy = Client::connect(daemon.public()).unwrap();
    let forwarded = [("x-forwarded-proto", "https")];
    proxy
        .send("GET", "/", &forwarded, None)
        .unwrap()
        .expect(200);
    let mut unix = UnixStream::connect(&socket).unwrap();
    unix.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    unix.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let config = Arc::new(config(&daemon, &["cert.pem"]));
    let mut stream = connect(daemon.tls(), &config, "localhost");
    assert!(get(&mut stream, "/", true).starts_with("HTTP/1.1 200"));
}

#[test]
fn a_unix_socket_and_an_inherited_one_speak_tls() {
    let inherited = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = inherited.local_addr().unwrap();
    let mut daemon = TestDaemon::prepare("");
    write_pair(daemon.folder(), "cert.pem", "key.pem", &NAMES, 90);
    let socket = daemon.folder().join("https.sock");
    let listen = format!("'unix:{}', 'systemd:https'", socket.display());
    let tls = TLS.replace("'127.0.0.1:0'", &listen);
    rewrite(&daemon, &format!("access = 'public'\n{tls}"));
    let exec = "export LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=https; exec \"$0\" \"$@\" 3<&0 </dev/null";
    daemon.run_under(&["sh", "-c", exec]);
    daemon.set_stdin(inherited.into());
    daemon.restart();
    let config = Arc::new(config(&daemon, &["cert.pem"]));
    let mut stream = connect(address, &config, "localhost");
    assert!(get(&mut stream, "/", true).contains("first"));
    let name = ServerName::try_from("localhost").unwrap();
    let session = ClientConnection::new(config, name).unwrap();
    let mut stream = StreamOwned::new(session, UnixStream::connect(&socket).unwrap());
    let request = b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    stream.write_all(request).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[test]
fn a_reload_takes_a_new_pair_and_refuses_a_wrong_one_while_clients_are_served() {
    let daemon = start("");
    let folder = daemon.folder().to_owned();
    let old = fs::read_to_string(folder.join("cert.pem")).unwrap();
    fs::write(folder.join("old.pem"), &old).unwrap();
    let trusting = Arc::new(config(&daemon, &["old.pem"]));
    let mut kept = connect(daemon.tls(), &trusting, "localhost");
    assert!(get(&mut kept, "/", false).contains("first"));
    // A key that does not fit.
    let new = write_pair(&folder, "new.pem", "new-key.pem", &NAMES, 90);
    fs::copy(folder.join("new.pem"), folder.join("cert.pem")).unwrap();
    let refused = perennial_reload(&daemon, &[]);
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success(), "{told}");
    assert!(
        told.contains("tls.key: ") && told.contains("key.pem is not the key"),
        "{told}"
    );
    assert_eq!(
        certificate_of(&daemon, &["old.pem"], "localhost"),
        der(&old)
    );
    // One that has ended.
    write_pair(&folder, "cert.pem", "key.pem", &NAMES, -1);
    let answer = reload(&daemon, "").text();
    assert!(answer.contains("has ended at"), "{answer}");
    fs::remove_file(folder.join("cert.pem")).unwrap();
    let answer = reload(&daemon, "").text();
    assert!(answer.contains("cert.pem can't be read"), "{answer}");
    assert_eq!(
        certificate_of(&daemon, &["old.pem"], "localhost"),
        der(&old)
    );
    // The right ones, under traffic.
    let stop = Arc::new(AtomicBool::new(false));
    let (address, stopped) = (daemon.tls(), Arc::clone(&stop));
    let both = Arc::new(config(&daemon, &["old.pem", "new.pem"]));
    let asking = thread::spawn(move || {
        let mut asked = 0;
        while !stopped.load(Ordering::Relaxed) {
            let mut stream = connect(address, &both, "localhost");
            assert!(get(&mut stream, "/", true).contains("first"));
            asked += 1;
        }
        asked
    });
    fs::copy(folder.join("new.pem"), folder.join("cert.pem")).unwrap();
    fs::copy(folder.join("new-key.pem"), folder.join("key.pem")).unwrap();
    let before = settings(&daemon)["generation"].as_u64().unwrap();
    reload(&daemon, "").expect(200);
    assert_eq!(settings(&daemon)["generation"], before + 1);
    assert_eq!(
        certificate_of(&daemon, &["new.pem"], "localhost"),
        der(&new)
    );
    stop.store(true, Ordering::Relaxed);
    assert!(asking.join().unwrap() > 0);
    // What was connected before goes on.
    assert!(get(&mut kept, "/", false).contains("first"));
}

#[test]
fn watched_certificates_are_taken_by_themselves() {
    let mut daemon = prepare("");
    let text = fs::read_to_string(daemon.config()).unwrap();
    fs::write(
        daemon.config(),
        text.replace("[server]\n", "[server]\nwatch = true\n"),
    )
    .unwrap();
    daemon.restart();
    daemon.wait_for_log("the files of the settings are watched");
    let folder = daemon.folder().to_owned();
    let new = write_pair(&folder, "next.pem", "next-key.pem", &NAMES, 90);
    // As certbot does it: one file after the other.
    fs::rename(folder.join("next-key.pem"), folder.join("key.pem")).unwrap();
    fs::copy(folder.join("next.pem"), folder.join("cert.pem")).unwrap();
    daemon.wait_for_log("tls: changed: tls.cert from");
    daemon.wait_until("the new one is served", |daemon| {
        let config = Arc::new(config(daemon, &["next.pem"]));
        let name = ServerName::try_from("localhost").unwrap();
        let session = ClientConnection::new(config, name).unwrap();
        let mut stream = StreamOwned::new(session, TcpStream::connect(daemon.tls()).unwrap());
        stream.conn.complete_io(&mut stream.sock).is_ok()
    });
    assert_eq!(
        certificate_of(&daemon, &["next.pem"], "localhost"),
        der(&new)
    );
}

#[test]
fn check_names_all_faults_of_the_pairs_at_once() {
    let more = "[tls.certificate.a]\ncert = 'missing.pem'\nkey = 'key.pem'\n\
                [tls.certificate.b]\ncert = 'b.pem'\nkey = 'key.pem'\n\
                [tls.certificate.c]\ncert = 'c.pem'\n\
                [tls.certificate.d]\ncert = 'd.pem'\nkey = 'd-key.pem'\n";
    let daemon = prepare(more);
    let folder = daemon.folder();
    write_pair(folder, "b.pem", "b-key.pem", &["b.example"], 90);
    write_pair(folder, "c.pem", "c-key.pem", &["c.example"], 90);
    write_pair(folder, "d.pem", "d-key.pem", &["d.example"], -1);
    fs::set_permissions(folder.join("key.pem"), fs::Permissions::from_mode(0o644)).unwrap();
    let output = Command::new(crate::daemon::BINARY)
        .arg("--config")
        .arg(daemon.config())
        .arg("check")
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(78), "{told}");
    for fault in [
        "tls.certificate.a.cert: ",
        "missing.pem can't be read",
        "tls.certificate.b.key: ",
        "key.pem is not the key of the certificate",
        "tls.certificate.c.cert: needs a key beside it",
        "tls.certificate.d.cert: ",
        "d.pem has ended at",
        "4 faults in the settings",
    ] {
        assert!(told.contains(fault), "{fault} is not in\n{told}");
    }
    let text = toml(folder, TLS);
    fs::write(daemon.config(), text).unwrap();
    let output = Command::new(crate::daemon::BINARY)
        .arg("--config")
        .arg(daemon.config())
        .arg("check")
        .output()
        .unwrap();
    let told = format!("{output:?}");
    assert!(output.status.success(), "{told}");
    assert!(
        told.contains("can be read by every user of this machine"),
        "{told}"
    );
}

#[test]
fn a_death_of_a_handler_fails_no_request_over_tls() {
    let daemon = start(UNLIMITED_RESTARTS);
    let target = (daemon.tls(), Arc::new(config(&daemon, &["cert.pem"])));
    let traffic = Traffic::start_with(daemon.public(), Some(target), Mix::small());
    let mut chaos = Chaos::new(daemon.admin());
    let mut deaths = 0;
    let until = Instant::now() + Duration::from_secs(3);
    while Instant::now() < until {
        for handler in ["handler-0", "handler-1"] {
            deaths += u32::from(chaos.ask(Some(&json!({ "child": handler }))).is_some());
        }
        thread::sleep(Duration::from_millis(50));
    }
    let outcome = traffic.stop();
    println!(
        "{} requests over TLS, {deaths} deaths, {} failed",
        outcome.requests, outcome.failed
    );
    assert!(deaths > 10 && outcome.requests > 100);
    assert_eq!(outcome.failed, 0, "{:?}", outcome.failures);
    load::assert_kept(&outcome.acked, &load::tokens(daemon.public()));
}
