//! Power cuts: the image of the file system is copied at a random moment, and a daemon is started on the copy. The copy lacks
//! what was only in the page cache. `tests/ops/powercut.sh` runs this test.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;

use crate::client::{Client, Response};
use crate::daemon::TestDaemon;
use crate::disk::{self, Disk};
use crate::drills::{RandomDurations, count};

const IMAGE: &str = "4G";
/// The pause after each write: the disk must have room for the writes of all images.
const PAUSE: Duration = Duration::from_millis(40);
const WRITERS: usize = 4;
/// The sizes of the records in bytes; every power of two between them is equally likely.
const SMALLEST: usize = 100;
const LARGEST: usize = 100_000;

/// The length of `filling` in each acknowledged record, by path.
type Acked = Arc<Mutex<BTreeMap<String, usize>>>;

struct Writers {
    stop: Arc<AtomicBool>,
    acked: Acked,
    threads: Vec<JoinHandle<()>>,
}

impl Writers {
    fn start(host: SocketAddr) -> Self {
        static SEED: AtomicU64 = AtomicU64::new(1);
        let (stop, acked) = (Arc::<AtomicBool>::default(), Acked::default());
        let writer = |_| {
            let (stop, acked) = (Arc::clone(&stop), Arc::clone(&acked));
            let mut seed = SEED.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
            thread::spawn(move || {
                let mut client = Client::connect(host).unwrap();
                while !stop.load(Ordering::Relaxed) {
                    seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    let odd = usize::try_from((seed >> 50) % 100).unwrap();
                    let bytes = (SMALLEST << ((seed >> 33) % 11)) + odd;
                    let bytes = bytes.min(LARGEST);
                    let record = json!({ "filling": "x".repeat(bytes) });
                    let Ok(answer) = client.post("/books", &record) else {
                        return;
                    };
                    // While the daemon is stopped for a long copy, its deadline may pass.
                    if answer.status != 504 {
                        let location = answer.expect(201).location().unwrap().to_owned();
                        acked
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .insert(location, bytes);
                    }
                    thread::sleep(PAUSE);
                }
            })
        };
        let threads = (0..WRITERS).map(writer).collect();
        Self {
            stop,
            acked,
            threads,
        }
    }

    fn acked(&self) -> BTreeMap<String, usize> {
        let acked = self.acked.lock().unwrap_or_else(PoisonError::into_inner);
        acked.clone()
    }

    fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().unwrap();
        }
    }
}

/// Starts a daemon on the disk and looks for every acknowledged record.
fn check_records(disk: &Disk, acked: &BTreeMap<String, usize>) -> Result<(), String> {
    let mut daemon = TestDaemon::prepare_on(&disk.data(), "");
    daemon.boot_again();
    daemon.spawn();
    daemon.ready_or_ended()?;
    // A view that takes long to make again is no loss.
    daemon.wait_until("the store is open", TestDaemon::is_open);
    let mut client = Client::connect(daemon.public()).unwrap();
    let mut lost = 0;
    for (path, bytes) in acked {
        let answer = client.get(path).unwrap();
        let filling = |answer: &Response| answer.json()["filling"].as_str().map(str::len);
        if answer.status != 200 || filling(&answer) != Some(*bytes) {
            lost += 1;
        }
    }
    if lost > 0 {
        return Err(format!(
            "{lost} of {} acknowledged records are lost",
            acked.len()
        ));
    }
    Ok(())
}

/// Cuts the power `images` times and checks the records of each image. `weak` turns off the sync of the log.
fn cut_the_power(images: u64, weak: bool) -> Vec<Result<(), String>> {
    let folder = TempDir::new().unwrap();
    let disk = Disk::make(folder.path(), IMAGE);
    let mut daemon = TestDaemon::prepare_on(&disk.data(), "[chaos]\nenabled = true\n");
    daemon.restart();
    if weak {
        daemon.chaos(&json!({ "point": "storage.weak_sync", "hits": u32::MAX }));
    }
    let mut durations = RandomDurations::new();
    let writers = Writers::start(daemon.public());
    let mut outcomes = Vec::new();
    for number in 1..=images {
        thread::sleep(Duration::from_millis(200) + durations.below(Duration::from_millis(1300)));
        daemon.signal("-STOP");
        let acked = writers.acked();
        let cut = disk.cut(folder.path());
        daemon.signal("-CONT");
        let outcome = check_records(&cut, &acked);
        println!("image {number}: {} acknowledged, {outcome:?}", acked.len());
        let enough = weak && outcome.is_err();
        outcomes.push(outcome);
        if enough {
            break;
        }
    }
    writers.stop();
    daemon.kill9();
    outcomes
}

#[test]
#[ignore = "needs root and a loop device: tests/ops/powercut.sh runs it"]
fn a_power_cut_at_any_moment_loses_no_acknowledged_record() {
    if !disk::available() {
        return;
    }
    let images = count("POWERCUT_IMAGES", 30);
    let outcomes = cut_the_power(images, false);
    let failed: Vec<_> = outcomes
        .iter()
        .filter_map(|outcome| outcome.as_ref().err())
        .collect();
    println!("{} images, {} failed", outcomes.len(), failed.len());
    assert!(failed.is_empty(), "{failed:?}");
    // Without the sync of the log the test must fail: otherwise it proves nothing.
    let outcomes = cut_the_power(images, true);
    let first = outcomes.iter().position(Result::is_err);
    println!("without the sync of the log, the first image with a lost record is {first:?}");
    assert!(
        first.is_some(),
        "{} images lost no record without the sync of the log",
        outcomes.len()
    );
}
