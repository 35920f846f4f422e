//! Files of a store that are damaged below a running daemon, while clients write, read and look at pages. Whatever notices it,
//! nothing that was acknowledged is lost, no answer is wrong, every page is served, and the store is whole again by itself.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::{self, Client, Response};
use crate::daemon::TestDaemon;
use crate::damage::{BACK, Store};
use crate::drills::{RandomDurations, count};

/// The cache is so small that reading comes to the disk.
const SETTINGS: &str = "index = [\"n\"]\n[storage]\ncache = \"1 MiB\"\n";
/// A writer deletes a record when there are more than this.
const RECORDS_MAX: usize = 1_200;
/// The value of `n` in the first record that is written under load: there is one record with each.
const FIRST: u64 = 1_000_000;

/// What notices the damage.
#[derive(Debug, Clone, Copy)]
enum Notice {
    /// Everything that is stored is read in the background.
    Scrub,
    /// Clients read every record.
    Reading,
    /// The daemon is stopped and started.
    Restart,
    /// It is killed and started.
    Kill,
}

const NOTICES: [Notice; 4] = [
    Notice::Scrub,
    Notice::Reading,
    Notice::Restart,
    Notice::Kill,
];

/// What clients were promised, and what they saw.
#[derive(Default)]
struct Seen {
    /// The records that must be there, by their paths.
    kept: Mutex<BTreeMap<String, Value>>,
    /// The paths of records that were deleted.
    deleted: Mutex<Vec<String>>,
    wrong: Mutex<Vec<String>>,
    pages: AtomicU64,
    answered: AtomicU64,
    refused: AtomicU64,
    /// The first and the last time at which a request was refused, since the last damage.
    refusals: Mutex<Option<[Instant; 2]>>,
    next: AtomicU64,
    /// Set when the daemon is about to be stopped: from then on a broken connection is no fault.
    ending: AtomicBool,
}

impl Seen {
    fn tell(&self, wrong: String) {
        self.wrong.lock().unwrap().push(wrong);
    }

    /// The answer of a resource, unless it is refused for the time being.
    fn answer(&self, what: &str, answer: io::Result<Response>) -> Option<Response> {
        match answer {
            Ok(answer) if answer.status == 503 && answer.header("retry-after").is_some() => {
                self.refused.fetch_add(1, Ordering::Relaxed);
                let now = Instant::now();
                let mut refusals = self.refusals.lock().unwrap();
                *refusals = Some([refusals.map_or(now, |[first, _]| first), now]);
                drop(refusals);
                thread::sleep(Duration::from_millis(20));
                None
            }
            Ok(answer) => {
                self.answered.fetch_add(1, Ordering::Relaxed);
                Some(answer)
            }
            Err(error) => {
                if !self.ending.load(Ordering::SeqCst) {
                    self.tell(format!("{what}: {error}"));
                }
                None
            }
        }
    }

    fn one_kept(&self, number: u64) -> Option<(String, Value)> {
        let kept = self.kept.lock().unwrap();
        let at = usize::try_from(number).unwrap() % kept.len().max(1);
        kept.iter()
            .nth(at)
            .map(|(path, record)| (path.clone(), record.clone()))
    }

    fn write(&self, client: &mut Client) {
        let n = FIRST + self.next.fetch_add(1, Ordering::Relaxed);
        let length = [20, 300, 9_000][usize::try_from(n % 3).unwrap()];
        let record = json!({ "n": n, "filling": "y".repeat(length) });
        if let Some(answer) = self.answer("POST", client.post("/books", &record)) {
            if answer.status == 201 {
                let path = answer.location().unwrap().to_owned();
                self.kept.lock().unwrap().insert(path, answer.json());
            } else {
                self.tell(format!("POST: {} {}", answer.status, answer.text()));
            }
        }
        if self.kept.lock().unwrap().len() <= RECORDS_MAX {
            return;
        }
        let Some((path, _)) = self.one_kept(n) else {
            return;
        };
        // Until it is answered nobody knows.
        if self.kept.lock().unwrap().remove(&path).is_none() {
            return;
        }
        let answer = client.send("DELETE", &path, &[], None);
        match self.answer("DELETE", answer).map(|answer| answer.status) {
            Some(200) => self.deleted.lock().unwrap().push(path),
            Some(status) => self.tell(format!("DELETE {path}: {status}")),
            None => {}
        }
    }

    /// Whether a record is as it was promised, by its path and by an index. A record may be deleted meanwhile.
    fn read(&self, client: &mut Client, path: &str, record: &Value) -> bool {
        let n = record["n"].as_u64().filter(|n| *n >= FIRST);
        let by_index = n.map(|n| format!("/books?n={n}"));
        for asked in [Some(path), by_index.as_deref()].into_iter().flatten() {
            let Some(answer) = self.answer(asked, client.get(asked)) else {
                return false;
            };
            let found = match answer.status {
                200 if asked == path => answer.json() == *record,
                200 => answer.json() == json!([record]),
                _ => false,
            };
            if !found && self.kept.lock().unwrap().contains_key(path) {
                self.tell(format!("GET {asked}: {} {}", answer.status, answer.text()));
            }
        }
        true
    }

    fn look_at_page(&self, client: &mut Client) {
        match client.get("/") {
            Ok(answer) if answer.status == 200 => {
                self.pages.fetch_add(1, Ordering::Relaxed);
            }
            Err(_) if self.ending.load(Ordering::SeqCst) => {}
            other => self.tell(format!("GET /: {other:?}")),
        }
    }

    /// Reads everything until all of it was served.
    fn check_all(&self, host: SocketAddr) {
        let mut client = Client::connect(host).unwrap();
        let kept = self.kept.lock().unwrap().clone();
        let until = Instant::now() + Duration::from_secs(60);
        for (path, record) in &kept {
            while !self.read(&mut client, path, record) {
                assert!(Instant::now() < until, "{path} is not served again");
            }
        }
        let deleted = self.deleted.lock().unwrap().clone();
        for path in deleted {
            if let Some(answer) = self.answer(&path, client.get(&path))
                && answer.status != 404
            {
                self.tell(format!("GET {path}, which was deleted: {}", answer.status));
            }
        }
    }
}

/// Clients that run.
struct Load {
    seen: Arc<Seen>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    fn start(host: SocketAddr, seen: &Arc<Seen>) -> Self {
        seen.ending.store(false, Ordering::SeqCst);
        let stop = Arc::<AtomicBool>::default();
        let client = |kind: usize| {
            let (seen, stop) = (Arc::clone(seen), Arc::clone(&stop));
            thread::spawn(move || {
                let mut number = 0;
                let mut client = Client::connect(host).unwrap();
                while !stop.load(Ordering::SeqCst) {
                    number += 7;
                    match kind {
                        0..3 => seen.write(&mut client),
                        3..5 => seen.look_at_page(&mut client),
                        _ => {
                            if let Some((path, record)) = seen.one_kept(number) {
                                seen.read(&mut client, &path, &record);
                            }
                        }
                    }
                    thread::sleep(Duration::from_millis(3));
                }
            })
        };
        let threads = (0..8).map(client).collect();
        Self {
            seen: Arc::clone(seen),
            stop,
            threads,
        }
    }

    fn end(self) {
        self.seen.ending.store(true, Ordering::SeqCst);
        self.stop.store(true, Ordering::SeqCst);
        for thread in self.threads {
            thread.join().unwrap();
        }
    }
}

fn scrubs(daemon: &TestDaemon) -> usize {
    daemon
        .stderr()
        .matches("everything that is stored was read")
        .count()
}

/// Damages one file of a store in use. Returns what was done, and for how long something was refused because of it.
fn damage_one(
    store: &Store,
    notice: Notice,
    random: &mut RandomDurations,
    seen: &Arc<Seen>,
) -> (String, Duration) {
    let copy = store.damaged(|_| {});
    let data: &Path = &copy.path().join("data");
    let mut daemon = TestDaemon::prepare_on(data, SETTINGS);
    daemon.restart();
    daemon.wait_until("the first reading has ended", |daemon| scrubs(daemon) == 1);
    *seen.kept.lock().unwrap() = store.acked.clone();
    *seen.refusals.lock().unwrap() = None;
    seen.deleted.lock().unwrap().clear();
    let load = Load::start(daemon.public(), seen);
    thread::sleep(random.below(Duration::from_millis(400)));
    let what = store.damage_one(data, random);
    println!("{notice:?}: {what}");
    thread::sleep(random.below(Duration::from_millis(1_500)));
    let mut begun = None;
    match notice {
        Notice::Scrub => {
            client::send(daemon.admin(), "POST", "/scrub", &[], None).expect(200);
            daemon.wait_until("the second reading has ended", |daemon| scrubs(daemon) == 2);
        }
        Notice::Reading => {}
        Notice::Restart | Notice::Kill => {
            seen.ending.store(true, Ordering::SeqCst);
            if matches!(notice, Notice::Kill) {
                daemon.kill9();
            } else {
                daemon.sigterm();
                daemon.wait_exit(Duration::from_secs(20));
            }
            load.stop.store(true, Ordering::SeqCst);
            *seen.refusals.lock().unwrap() = None;
            begun = Some(Instant::now());
            daemon.restart();
        }
    }
    let load = match notice {
        Notice::Restart | Notice::Kill => {
            load.end();
            Load::start(daemon.public(), seen)
        }
        Notice::Scrub | Notice::Reading => load,
    };
    daemon.wait_until("the store is open", TestDaemon::is_open);
    let opened = begun.map_or(Duration::ZERO, |begun| begun.elapsed());
    seen.check_all(daemon.public());
    let refusals = seen.refusals.lock().unwrap().take();
    let refused = refusals.map_or(Duration::ZERO, |[first, last]| last - first);
    let took = refused.max(opened);
    load.end();
    seen.check_all(daemon.public());
    daemon.post("/books", &json!({ "n": 0 })).expect(201);
    assert_eq!(daemon.exited(), None);
    let wrong = seen.wrong.lock().unwrap().clone();
    assert!(wrong.is_empty(), "{notice:?}: {what}: {wrong:#?}");
    // What nobody has noticed so far loses nothing at the next start either.
    daemon.sigterm();
    daemon.wait_exit(Duration::from_secs(20));
    daemon.restart();
    daemon.wait_until("the store is open after another start", TestDaemon::is_open);
    seen.check_all(daemon.public());
    let wrong = seen.wrong.lock().unwrap().clone();
    assert!(
        wrong.is_empty(),
        "{notice:?}: {what}: after another start: {wrong:#?}"
    );
    (what, took)
}

#[test]
#[ignore = "takes minutes: .ci/run runs it"]
fn a_file_that_is_damaged_under_load_loses_nothing_and_no_page_fails() {
    let mut random = RandomDurations::new();
    let store = Store::make();
    let seen = Arc::<Seen>::default();
    let mut slowest = (String::new(), Duration::ZERO);
    let faults = count("DAMAGE_UNDER_LOAD", 500);
    for number in 0..faults {
        let notice = NOTICES[usize::try_from(number).unwrap() % NOTICES.len()];
        let (what, took) = damage_one(&store, notice, &mut random, &seen);
        if took > slowest.1 {
            slowest = (what, took);
        }
    }
    let [pages, answered, refused] =
        [&seen.pages, &seen.answered, &seen.refused].map(|count| count.load(Ordering::Relaxed));
    println!(
        "{faults} files damaged under load: 0 records lost, 0 wrong answers; {pages} pages served, 0 failed; {answered} requests for \
         records answered, {refused} asked to come again; the longest time of refusals {:?} ({})",
        slowest.1, slowest.0
    );
    assert!(slowest.1 < BACK, "{slowest:?}");
}
