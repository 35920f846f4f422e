//! Drills of reloads: routes and resources come and go under load, and reloads are killed half way.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::chaos::UNLIMITED_RESTARTS;
use crate::client::{self, Client};
use crate::daemon::{TestDaemon, metric};
use crate::drills::{RandomDurations, count};
use crate::load::{self, Mix, Outcome, Promise, Traffic};
use crate::reload::{reload, settings};
use crate::varied_traffic::{self, VariedTraffic};

/// The large file of [`varied_traffic`] that is streamed from the disk.
const STREAMED: (&str, usize) = ("/streamed.bin", 6_000_000);
/// The part of a slow download that is read at a time, and the pause after it: one takes some seconds.
const PART: usize = 64 << 10;
const PART_PAUSE: Duration = Duration::from_millis(30);
/// What memory may grow by, beyond the store's cache, which the records of the drill fill.
const MEMORY_GROWTH: f64 = 96.0 * 1024.0 * 1024.0;

/// A client that reads a large file slowly, again and again; returns how many it read whole.
fn slow_downloads(host: SocketAddr, stop: &Arc<AtomicBool>) -> JoinHandle<usize> {
    let stop = Arc::clone(stop);
    thread::spawn(move || {
        let mut whole = 0;
        while !stop.load(Ordering::Relaxed) {
            let mut stream = TcpStream::connect(host).unwrap();
            let head = format!(
                "GET {} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n",
                STREAMED.0
            );
            stream.write_all(head.as_bytes()).unwrap();
            let (mut part, mut bytes) = (vec![0; PART], 0);
            loop {
                let read = stream.read(&mut part).unwrap();
                if read == 0 {
                    break;
                }
                bytes += read;
                thread::sleep(PART_PAUSE);
            }
            assert!(bytes > STREAMED.1, "{bytes} bytes of {}", STREAMED.1);
            whole += 1;
        }
        whole
    })
}

/// Everything that asks for something during a drill.
struct Load {
    traffic: Traffic,
    varied: VariedTraffic,
    downloads: JoinHandle<usize>,
    stop: Arc<AtomicBool>,
}

impl Load {
    fn start(daemon: &TestDaemon, socket: &std::path::Path) -> Self {
        let stop = Arc::default();
        Self {
            traffic: Traffic::start(daemon.public(), Mix::large()),
            varied: VariedTraffic::start(daemon.public(), socket),
            downloads: slow_downloads(daemon.public(), &stop),
            stop,
        }
    }

    fn stop(self) -> (Outcome, usize) {
        let mut seen = self.traffic.stop();
        seen.add(self.varied.stop());
        self.stop.store(true, Ordering::Relaxed);
        (seen, self.downloads.join().unwrap())
    }
}

/// Memory, threads and descriptors of a daemon, once it has no more threads and descriptors than these.
fn footprint(daemon: &TestDaemon, [threads, descriptors]: [f64; 2]) -> [f64; 3] {
    let now = |daemon: &TestDaemon| {
        let text = daemon.metrics();
        let names = [
            "process_resident_memory_bytes",
            "process_threads",
            "process_open_fds",
        ];
        names.map(|name| metric(&text, name, "").unwrap_or_else(|| panic!("no {name}")))
    };
    daemon.wait_until("threads and descriptors are given back", |daemon| {
        let [_, has, holds] = now(daemon);
        has <= threads && holds <= descriptors
    });
    now(daemon)
}

/// The settings of the `n`th reload, besides those that stay: routes and resources come, go and change.
fn changing(daemon: &TestDaemon, n: u64) -> String {
    let albums = match (n % 2, n % 3) {
        (0, _) => "",
        (_, 0) => {
            "[resource.albums]\nfields = { token = { type = \"string\", required = true } }\n"
        }
        _ => "[resource.albums]\n",
    };
    let site = daemon.site("").display().to_string();
    let more = if n % 4 < 2 {
        format!("[route.\"/more\"]\nfiles = {{ root = '{site}' }}\n")
    } else {
        String::new()
    };
    let pens = if n.is_multiple_of(5) {
        "[resource.pens]\nid = \"sequence\"\n"
    } else {
        ""
    };
    let seconds = 60 + n % 7;
    format!("{albums}{more}{pens}[limits]\nidle_timeout = \"{seconds}s\"\n")
}

#[test]
#[ignore = "takes minutes: .ci/run runs it"]
fn reloads_under_load_fail_no_request_and_lose_no_write() {
    let reloads = count("DRILL_RELOADS", 50);
    let mut daemon = TestDaemon::prepare("");
    let socket = varied_traffic::prepare(&daemon);
    let fixed = fs::read_to_string(daemon.config()).unwrap();
    daemon.restart();
    let mut albums = load::Acked::new();
    let (mut all, mut downloads, mut slowest) = (Outcome::default(), 0, Duration::ZERO);
    let unlimited = [f64::INFINITY; 2];
    let [_, threads, descriptors] = footprint(&daemon, unlimited);
    // Threads that read files and look after the store come with the first requests.
    let idle = [threads + 24.0, descriptors + 12.0];
    let mut warm = [0.0; 3];
    let mut kept = Client::connect(daemon.public()).unwrap();
    let mut n = 0;
    // The first part warms up; then nothing may grow any more.
    for (part, until) in [reloads / 5, reloads].into_iter().enumerate() {
        let running = Load::start(&daemon, &socket);
        while n < until {
            n += 1;
            fs::write(daemon.config(), format!("{fixed}{}", changing(&daemon, n))).unwrap();
            let begun = Instant::now();
            let reloaded = reload(&daemon, "").expect(200).json();
            slowest = slowest.max(begun.elapsed());
            assert_eq!(reloaded["generation"], n + 1, "{reloaded}");
            let there = |there: bool| if there { 200 } else { 404 };
            kept.get("/more/").unwrap().expect(there(n % 4 < 2));
            kept.get("/pens")
                .unwrap()
                .expect(there(n.is_multiple_of(5)));
            kept.get("/albums").unwrap().expect(there(n % 2 == 1));
            if n % 2 == 1 {
                let token = format!("album-{n}");
                let made = kept.post("/albums", &json!({ "token": token })).unwrap();
                albums.insert(token, Promise::of(&made).expect("a 201"));
            }
        }
        let (seen, whole) = running.stop();
        all.add(seen);
        downloads += whole;
        if part == 0 {
            drop(kept);
            warm = footprint(&daemon, idle);
            kept = Client::connect(daemon.public()).unwrap();
        }
    }
    let last = kept.get("/").unwrap().expect(200);
    assert!(last.keep_alive, "it was kept through all reloads");
    drop(kept);
    let end = footprint(&daemon, [warm[1] + 1.0, warm[2] + 2.0]);
    println!(
        "{reloads} reloads, the slowest in {slowest:?}: {} requests, {} failed, {} kept connections closed; {} writes \
         acknowledged, {} to a resource that came and went; {downloads} slow downloads; memory, threads, descriptors: \
         {warm:?} after a fifth, {end:?} at the end",
        all.requests,
        all.failed,
        all.closed,
        all.acked.len(),
        albums.len(),
    );
    assert_eq!((all.failed, all.closed), (0, 0), "{:#?}", all.failures);
    load::assert_kept(&all.acked, &load::tokens(daemon.public()));
    load::assert_unchanged(daemon.public(), &all.acked);
    fs::write(daemon.config(), format!("{fixed}[resource.albums]\n")).unwrap();
    reload(&daemon, "").expect(200);
    for (token, promise) in &albums {
        let album = daemon.get(&format!("/albums/{}", promise.id)).expect(200);
        assert_eq!(album.json()["token"], token.as_str());
        assert_eq!(album.header("etag"), Some(promise.etag.as_str()));
    }
    assert_eq!(
        daemon.get("/albums").header("x-total-count"),
        Some(albums.len().to_string().as_str())
    );
    assert!(end[0] < warm[0] + MEMORY_GROWTH, "memory has grown");
}

/// One of two files: what it declares, what the other one does not, and a header of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum File {
    Albums,
    Pens,
}

impl File {
    fn other(self) -> Self {
        match self {
            Self::Albums => Self::Pens,
            Self::Pens => Self::Albums,
        }
    }

    /// Its settings, after those of both.
    fn more(self, daemon: &TestDaemon) -> String {
        let site = daemon.site("").display().to_string();
        match self {
            Self::Albums => format!(
                "[resource.albums.fields]\ntoken = {{ type = \"string\", required = true }}\n[route.\"/a\"]\nfiles = {{ root = '{site}' }}\n"
            ),
            Self::Pens => format!(
                "[resource.pens]\nid = \"sequence\"\n[route.\"/p\"]\nfiles = {{ root = '{site}' }}\n"
            ),
        }
    }

    fn write(self, daemon: &TestDaemon, fixed: &str) {
        let text = format!("{fixed}{}", self.more(daemon));
        let fresh = daemon.folder().join("fresh.toml");
        fs::write(&fresh, text).unwrap();
        fs::rename(fresh, daemon.config()).unwrap();
    }

    fn resource(self) -> &'static str {
        match self {
            Self::Albums => "/albums",
            Self::Pens => "/pens",
        }
    }

    /// Which file the routes answer by. Fails if they answer by both.
    #[track_caller]
    fn in_force(daemon: &TestDaemon) -> Self {
        let mut client = Client::connect(daemon.public()).unwrap();
        let paths = ["/albums", "/a/", "/pens", "/p/"];
        let statuses = paths.map(|path| client.get(path).unwrap().status);
        match statuses {
            [200, 200, 404, 404] => Self::Albums,
            [404, 404, 200, 200] => Self::Pens,
            _ => panic!("{paths:?} are answered {statuses:?}"),
        }
    }
}

/// Records that were acknowledged: their paths and `ETag`s.
type Promises = Vec<(String, String)>;

/// Creates a record in the resource that is declared now.
fn create(daemon: &TestDaemon, promises: &mut Promises) {
    let resource = File::in_force(daemon).resource();
    let made = daemon.post(resource, &json!({ "token": "t" })).expect(201);
    let header = |name| made.header(name).unwrap().to_owned();
    promises.push((header("location"), header("etag")));
}

/// Fails unless each record is there, once its resource is declared.
#[track_caller]
fn assert_all(daemon: &TestDaemon, fixed: &str, promises: &Promises) {
    for file in [File::Albums, File::Pens] {
        file.write(daemon, fixed);
        reload(daemon, "").expect(200);
        assert_eq!(File::in_force(daemon), file);
        let of_it = promises
            .iter()
            .filter(|(path, _)| path.starts_with(file.resource()));
        for (path, etag) in of_it {
            let answer = daemon.get(path).expect(200);
            assert_eq!(answer.header("etag"), Some(etag.as_str()), "{path}");
        }
    }
}

#[test]
#[ignore = "takes minutes: .ci/run runs it"]
fn a_reload_that_is_killed_at_any_point_leaves_the_old_settings_or_the_new_ones() {
    let panics = count("DRILL_PANICS", 40);
    let mut daemon = TestDaemon::prepare(UNLIMITED_RESTARTS);
    let fixed = fs::read_to_string(daemon.config()).unwrap();
    let mut now = File::Albums;
    now.write(&daemon, &fixed);
    daemon.restart();
    let traffic = Traffic::start(daemon.public(), Mix::small());
    let points = [
        "reload.loaded",
        "reload.built",
        "reload.adopted",
        "reload.replaced",
        "writer.message",
        "writer.declaring",
        "writer.after_view",
    ];
    let (mut promises, mut put_in_force, mut refused) = (Promises::new(), 0, 0);
    for (n, point) in (0..panics).zip(points.iter().cycle()) {
        create(&daemon, &mut promises);
        let before = settings(&daemon);
        let next = now.other();
        next.write(&daemon, &fixed);
        // Twice is too often for one message: the reload fails, or its outcome is not known. (The other points of the writer
        // are those of the records, too.)
        let own = point.starts_with("reload") || *point == "writer.declaring";
        let hits = if n % 3 == 2 && own { 2 } else { 1 };
        daemon.chaos(&json!({ "point": point, "hits": hits }));
        let answer = reload(&daemon, "");
        if answer.status != 200 {
            answer.clone().expect_problem(answer.status);
        }
        daemon.wait_until("the reloader runs", |daemon| {
            let answer = client::post(daemon.admin(), "/reload?dry_run=true", &Value::Null);
            answer.status == 200
        });
        let (found, after) = (File::in_force(&daemon), settings(&daemon));
        if found == next {
            put_in_force += 1;
            assert_ne!(after["hash"], before["hash"], "{point}");
        } else {
            refused += 1;
            assert_ne!(answer.status, 200, "{point}: {}", answer.text());
            assert_eq!(after["hash"], before["hash"], "{point}");
        }
        let generation = before["generation"].as_u64().unwrap() + u64::from(found == next);
        assert_eq!(after["generation"], generation, "{point}");
        now = found;
    }
    let seen = traffic.stop();
    println!(
        "{panics} panics at {} points: {put_in_force} reloads put in force, {refused} not at all, none half; {} writes acknowledged",
        points.len(),
        seen.acked.len() + promises.len()
    );
    load::assert_kept(&seen.acked, &load::tokens(daemon.public()));
    load::assert_unchanged(daemon.public(), &seen.acked);
    assert_all(&daemon, &fixed, &promises);
}

#[test]
#[ignore = "takes minutes: .ci/run runs it"]
fn kill_9_during_a_reload_leaves_what_the_file_says_and_every_write() {
    let kills = count("DRILL_KILLS", 20);
    let mut durations = RandomDurations::new();
    let mut daemon = TestDaemon::prepare("");
    let fixed = fs::read_to_string(daemon.config()).unwrap();
    let mut now = File::Albums;
    now.write(&daemon, &fixed);
    let (mut promises, mut acked) = (Promises::new(), load::Acked::new());
    let mut answered = 0;
    for _ in 0..kills {
        daemon.restart();
        assert_eq!(File::in_force(&daemon), now);
        create(&daemon, &mut promises);
        let traffic = Traffic::start(daemon.public(), Mix::writers(4));
        now = now.other();
        now.write(&daemon, &fixed);
        let admin = daemon.admin();
        let reloading = thread::spawn(move || {
            let mut client = Client::connect(admin)?;
            client.post("/reload", &Value::Null)
        });
        thread::sleep(durations.below(Duration::from_millis(40)));
        daemon.kill9();
        let answer = reloading.join().unwrap();
        answered += u64::from(answer.is_ok_and(|answer| answer.status == 200));
        acked.extend(traffic.stop().acked);
    }
    daemon.restart();
    assert_eq!(File::in_force(&daemon), now);
    println!(
        "{kills} kills, {answered} after the reload was answered: each start had the settings of the file; {} writes acknowledged, 0 lost",
        acked.len() + promises.len()
    );
    load::assert_kept(&acked, &load::tokens(daemon.public()));
    load::assert_unchanged(daemon.public(), &acked);
    assert_all(&daemon, &fixed, &promises);
}
