//! The cost of a durable write and of a read over HTTP, compared in the same run with a loop that appends 4 KiB and syncs, and
//! with a plain actix-web server that answers a constant body.
//!
//! Run it with `cargo bench --bench storage`. It runs the real binary, with its data below `target/`. Absolute figures depend
//! on the machine and on its load; compare the ratios. Rounds alternate, and the medians are printed.
//! `cargo bench --bench storage -- --profile` tells where the CPU time of a write goes instead.

#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark that can't run ends with a message, and it measures real time"
)]

#[path = "load.rs"]
mod load;
#[path = "profile.rs"]
mod profile;

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use actix_web::{App, HttpResponse, HttpServer, web};
use load::{Took, Until, count, load, median, request};

const ROUNDS: usize = 7;
const SLICE: Duration = Duration::from_millis(700);
const WRITERS: usize = 64;
const READERS: usize = 16;
const READS: usize = 60_000;
/// Makes the body of a record about 1 KiB.
const FILLING_BYTES: usize = 1000;
/// Linux counts a process's time in hundredths of a second (proc(5), `USER_HZ`).
const TICKS_PER_SECOND: f64 = 100.0;

fn main() {
    if let Some(length) = std::env::args().skip_while(|arg| arg != "hello").nth(1) {
        hello(length.parse().expect("a length"));
        return;
    }
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let server = Server::perennial(folder.path());
    if std::env::args().any(|arg| arg == "--profile") {
        return profiles(folder.path(), &server);
    }
    writes(folder.path(), &server);
    reads(&server);
}

/// A request that writes a record of about 1 KiB.
fn post() -> String {
    let filling = "x".repeat(FILLING_BYTES);
    let record = format!("{{\"title\":\"Dune\",\"filling\":\"{filling}\"}}");
    request("POST /books", &record)
}

/// Prints where the CPU time of a durable write goes.
fn profiles(folder: &Path, server: &Server) {
    let post = post();
    let of = |clients| {
        let load = || {
            let before = server.cpu();
            let took = server.load(&post, clients, &Until::Passed(3 * SLICE));
            (server.cpu() - before) * 1e6 / count(took.micros.len())
        };
        profile::parts(server.process.id(), folder, load)
    };
    let column = |name: &str, clients| profile::Column {
        name: name.to_owned(),
        parts: of(clients),
        aim: None,
    };
    let columns = [column("1 connection", 1), column("64 connections", WRITERS)];
    profile::print("A durable write of 1 KiB", &columns);
}

/// Measures durable writes and the raw loop.
fn writes(folder: &Path, server: &Server) {
    let post = post();
    let mut rows = Vec::new();
    for round in 0..=ROUNDS {
        let raw = append_and_sync(folder);
        let socket = append_over_a_socket(folder, &post);
        let one = server.load(&post, 1, &Until::Passed(SLICE));
        let many = server.load(&post, WRITERS, &Until::Passed(SLICE));
        let again = append_and_sync(folder);
        // The first round is a warm-up.
        if round > 0 {
            rows.push([raw.and(again), one, many, socket]);
        }
    }
    let median = |of: &dyn Fn(&[Took; 4]) -> f64| median(rows.iter().map(of).collect());
    println!("durable writes of 1 KiB over HTTP, {ROUNDS} rounds, medians:");
    println!(
        "  append 4 KiB + fdatasync: {:.0}/s, p50 {:.0} us",
        median(&|r| r[0].rate()),
        median(&|r| r[0].p50())
    );
    println!(
        "  the same behind a socket and a thread: p50 {:.0} us = {:.2} x the loop's",
        median(&|r| r[3].p50()),
        median(&|r| r[3].p50() / r[0].p50()),
    );
    println!(
        "  POST, 1 connection: {:.0}/s = {:.2} x the loop; p50 {:.0} us = {:.2} x the loop's (aim: 1.3 at most)",
        median(&|r| r[1].rate()),
        median(&|r| r[1].rate() / r[0].rate()),
        median(&|r| r[1].p50()),
        median(&|r| r[1].p50() / r[0].p50()),
    );
    println!(
        "  POST, {WRITERS} connections: {:.0}/s = {:.2} x the loop (aim: 8 at least); p50 {:.0} us",
        median(&|r| r[2].rate()),
        median(&|r| r[2].rate() / r[0].rate()),
        median(&|r| r[2].p50()),
    );
}

/// Measures the CPU time of a read and of a constant answer of the same length.
fn reads(server: &Server) {
    let record = "{\"id\":\"dune\",\"title\":\"Dune\",\"author\":\"Frank Herbert\",\"year\":1965}";
    server.load(&request("POST /books", record), 1, &Until::Counted(1));
    let hello = Server::hello(record.len());
    let get = request("GET /books/dune", "");
    let mut rows = Vec::new();
    for round in 0..=ROUNDS {
        let costs = [&hello, server].map(|server| {
            let before = server.cpu();
            let took = server.load(&get, READERS, &Until::Counted(READS));
            (server.cpu() - before) * 1e6 / count(took.micros.len())
        });
        if round > 0 {
            rows.push(costs);
        }
    }
    let median = |of: &dyn Fn(&[f64; 2]) -> f64| median(rows.iter().map(of).collect());
    println!("CPU time of a request, {READERS} connections, {ROUNDS} rounds of {READS}, medians:");
    println!(
        "  bare actix-web, {} bytes: {:.2} us",
        record.len(),
        median(&|r| r[0])
    );
    println!(
        "  GET of a record: {:.2} us = {:.2} x the bare one (aim: 1.0 at most)",
        median(&|r| r[1]),
        median(&|r| r[1] / r[0])
    );
}

impl Took {
    fn and(mut self, other: Self) -> Self {
        self.micros.extend(other.micros);
        self.all += other.all;
        self
    }

    fn rate(&self) -> f64 {
        count(self.micros.len()) / self.all.as_secs_f64()
    }
}

fn append_and_sync(folder: &Path) -> Took {
    let path = folder.join("raw");
    let mut file: File = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .expect("a file");
    let (begun, mut micros) = (Instant::now(), Vec::new());
    while begun.elapsed() < SLICE / 2 {
        let since = Instant::now();
        file.write_all(&[7; 4096]).expect("an append");
        file.sync_data().expect("a sync");
        micros.push(since.elapsed().as_secs_f64() * 1e6);
    }
    Took {
        micros,
        all: begun.elapsed(),
    }
}

/// The same behind a socket, by a thread for the connection that hands each append to a thread for the disk: the least that a
/// server can do which does not let its connections wait for the disk.
fn append_over_a_socket(folder: &Path, request: &str) -> Took {
    let mut file: File = OpenOptions::new()
        .create(true)
        .append(true)
        .open(folder.join("raw"))
        .expect("a file");
    let (to_disk, appends) = mpsc::channel::<()>();
    let (to_connection, synced) = mpsc::channel::<()>();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let address = listener.local_addr().expect("its address");
    let length = request.len();
    thread::spawn(move || {
        for () in appends {
            file.write_all(&[7; 4096]).expect("an append");
            file.sync_data().expect("a sync");
            to_connection.send(()).expect("a connection");
        }
    });
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        stream.set_nodelay(true).expect("no delay");
        let mut request = vec![0; length];
        while stream.read_exact(&mut request).is_ok() {
            to_disk.send(()).expect("a disk");
            synced.recv().expect("an append");
            let answer = b"HTTP/1.1 201 Created\r\ncontent-length: 0\r\n\r\n";
            stream.write_all(answer).expect("an answer");
        }
    });
    load(address, vec![request.to_owned()], 1, &Until::Passed(SLICE))
}

/// A server in its own process.
struct Server {
    process: Child,
    address: SocketAddr,
}

impl Server {
    fn perennial(folder: &Path) -> Self {
        let config = folder.join("perennial.toml");
        let data = folder.join("data");
        let text = format!(
            "[server]\nlisten = [\"127.0.0.1:0\"]\nadmin = \"127.0.0.1:0\"\ndata = '{}'\nhandlers = 1\n[resource.books]\n",
            data.display()
        );
        fs::write(&config, text).expect("a configuration");
        let mut command = Command::new(env!("CARGO_BIN_EXE_perennial"));
        command
            .arg("--config")
            .arg(config)
            .arg("serve")
            .env("NO_COLOR", "1");
        Self::start(
            command.stderr(Stdio::piped()),
            "listening on http://",
            " ready",
        )
    }

    fn hello(length: usize) -> Self {
        let own = std::env::current_exe().expect("the path of this benchmark");
        let mut command = Command::new(own);
        command.arg("hello").arg(length.to_string());
        Self::start(command.stderr(Stdio::piped()), "hello on ", "hello")
    }

    /// Starts the process, and reads its stderr until it is ready.
    fn start(command: &mut Command, before: &str, ready: &str) -> Self {
        let mut process = command.spawn().expect("a server");
        let stderr = BufReader::new(process.stderr.take().expect("a pipe"));
        let (mut address, mut lines) = (None, stderr.lines());
        for line in lines.by_ref().map_while(Result::ok) {
            if let Some((_, rest)) = line.split_once(before) {
                let word = rest
                    .split(|c: char| c != '.' && c != ':' && !c.is_ascii_digit())
                    .next();
                address = address.or(word.and_then(|word| word.parse().ok()));
            }
            if line.contains(ready) {
                break;
            }
        }
        // Keeps the pipe empty, so that the server never blocks on it.
        thread::spawn(move || lines.for_each(drop));
        let address = address.expect("the address of the server");
        Self { process, address }
    }

    /// The CPU time it has used so far, in seconds.
    fn cpu(&self) -> f64 {
        let stat =
            fs::read_to_string(format!("/proc/{}/stat", self.process.id())).expect("its CPU times");
        // The second field, the name, may contain spaces, so the fields are counted from the parenthesis after it.
        let (_, fields) = stat.rsplit_once(')').expect("a name");
        let times = fields.split_whitespace().skip(11).take(2);
        times
            .map(|ticks| ticks.parse::<f64>().expect("ticks"))
            .sum::<f64>()
            / TICKS_PER_SECOND
    }

    fn load(&self, request: &str, clients: usize, until: &Until) -> Took {
        load(self.address, vec![request.to_owned()], clients, until)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().expect("the server can be killed");
        self.process.wait().expect("the server ends");
    }
}

/// Serves a constant body of this length with plain actix-web on one thread.
fn hello(length: usize) {
    let body = web::Bytes::from("x".repeat(length));
    let system = actix_web::rt::System::new();
    let served = system.block_on(async move {
        let hello = move || {
            let body = body.clone();
            App::new().default_service(web::to(move || {
                let body = body.clone();
                async move {
                    HttpResponse::Ok()
                        .content_type("application/json")
                        .body(body)
                }
            }))
        };
        let server = HttpServer::new(hello).workers(1).bind("127.0.0.1:0")?;
        for address in server.addrs() {
            std::io::stderr().write_all(format!("hello on {address}\n").as_bytes())?;
        }
        server.run().await
    });
    served.expect("a server");
}
