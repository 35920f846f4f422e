//! Damaged stores: whatever is wrong with the files, the daemon either serves every acknowledged record, or exits with 65 and
//! says what it found and what to do. It never serves a wrong record, never hangs, and never deletes a file.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::client::Client;
use crate::daemon::TestDaemon;
use crate::drills::{RandomDurations, count};

const RECORDS: u64 = 4_000;
const WRITERS: u64 = 8;
const TIMEOUT: Duration = Duration::from_secs(60);
const SEGMENT: u64 = 512 << 10;

/// The files of a store, and the records that were acknowledged.
struct Store {
    folder: TempDir,
    acked: BTreeMap<String, Value>,
}

impl Store {
    /// Writes records and kills the daemon. `with_snapshot` opens the store once more, which makes sled write a snapshot.
    fn make(with_snapshot: bool) -> Self {
        let folder = TempDir::new().unwrap();
        let mut daemon = TestDaemon::prepare_on(&folder.path().join("data"), "");
        daemon.restart();
        let host = daemon.public();
        let write = |writer| {
            thread::spawn(move || {
                let mut client = Client::connect(host).unwrap();
                let mut acked = Vec::new();
                for n in 0..RECORDS / WRITERS {
                    let length = [20, 200, 900, 9_000][usize::try_from(n % 4).unwrap()];
                    let record = json!({ "writer": writer, "n": n, "filling": "x".repeat(length) });
                    let made = client.post("/books", &record).unwrap().expect(201);
                    acked.push((made.header("location").unwrap().to_owned(), made.json()));
                }
                acked
            })
        };
        let writers: Vec<_> = (0..WRITERS).map(write).collect();
        let acked = writers
            .into_iter()
            .flat_map(|writer| writer.join().unwrap());
        let acked = acked.collect();
        daemon.kill9();
        if with_snapshot {
            daemon.restart();
            daemon.sigterm();
            daemon.wait_exit(TIMEOUT);
        }
        Self { folder, acked }
    }

    /// A copy of the store with `damage` applied to it.
    fn damaged(&self, damage: impl FnOnce(&Path)) -> TempDir {
        let copy = TempDir::new().unwrap();
        copy_all(&self.folder.path().join("data"), &copy.path().join("data"));
        damage(&copy.path().join("data"));
        copy
    }

    /// Starts a daemon on a damaged copy, and checks what it serves or why it refuses.
    fn serve(&self, what: &str, copy: &TempDir) -> Outcome {
        let data = copy.path().join("data");
        let before = names(&data);
        let mut daemon = TestDaemon::prepare_on(&data, "");
        daemon.spawn();
        let outcome = if let Err(stderr) = daemon.ready_or_ended() {
            let code = daemon.wait_exit(TIMEOUT).code();
            assert_eq!(code, Some(65), "{what}: {stderr}");
            let advice =
                stderr.contains("nothing was deleted") || stderr.contains("then start again");
            assert!(advice, "{what}: {stderr}");
            Outcome::Refused
        } else {
            let mut client = Client::connect(daemon.public()).unwrap();
            for (path, promised) in &self.acked {
                let found = client.get(path).unwrap();
                assert_eq!(found.status, 200, "{what}: {path}");
                assert_eq!(found.json(), *promised, "{what}: {path}");
            }
            Outcome::Whole
        };
        daemon.kill9();
        let after = names(&data);
        for name in before {
            // sled keeps only its newest snapshot, and rewrites unfinished ones.
            let kept = after.contains(&name) || name.starts_with("snap.");
            assert!(kept, "{what}: {name} is gone");
        }
        outcome
    }
}

/// A case: its name, and the damage to the data folder.
type Damage = (&'static str, fn(&Path));

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Whole,
    Refused,
}

fn copy_all(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_all(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// The names of all files below a folder.
fn names(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.extend(names(&entry.path()));
        } else {
            found.push(entry.file_name().into_string().unwrap());
        }
    }
    found
}

fn file(data: &Path, starts: &str) -> PathBuf {
    let files = fs::read_dir(data.join("sled")).unwrap();
    let mut paths = files.map(|file| file.unwrap().path());
    let is = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.starts_with(starts)
    };
    paths.find(is).unwrap_or_else(|| panic!("no {starts}"))
}

fn length(path: &Path) -> u64 {
    fs::metadata(path).unwrap().len()
}

fn cut(path: &Path, bytes: u64) {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(length(path).saturating_sub(bytes)).unwrap();
}

fn zero(path: &Path, bytes: u64) {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    let zeros = vec![0; usize::try_from(bytes).unwrap()];
    let at = length(path).saturating_sub(bytes);
    file.write_all_at(&zeros, at).unwrap();
}

fn flip(path: &Path, at: u64, bit: u32) {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    byte[0] ^= 1 << bit;
    file.write_all_at(&byte, at).unwrap();
}

/// The length of the log without the zeros that sled has allocated ahead.
fn written(path: &Path) -> u64 {
    let bytes = fs::read(path).unwrap();
    let last = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    u64::try_from(last).unwrap() + 1
}

#[test]
#[ignore = "takes minutes: .ci/run runs it"]
fn damage_to_any_file_but_the_log_loses_no_record() {
    let store = Store::make(true);
    let marked = |data: &Path| data.join("sled.acknowledged");
    let cases: [Damage; 9] = [
        ("a cut snapshot", |data| cut(&file(data, "snap."), 7)),
        ("an empty snapshot", |data| {
            cut(&file(data, "snap."), u64::MAX);
        }),
        ("a flipped snapshot", |data| {
            flip(&file(data, "snap."), 40, 3);
        }),
        ("an unfinished snapshot", |data| {
            fs::write(data.join("sled/snap.00000000000F0000.generating"), "half").unwrap();
        }),
        ("an empty unfinished snapshot", |data| {
            fs::write(data.join("sled/snap.00000000000F0000.generating"), "").unwrap();
        }),
        ("a cut conf", |data| cut(&file(data, "conf"), 3)),
        ("an empty conf", |data| cut(&file(data, "conf"), u64::MAX)),
        ("a flipped conf", |data| flip(&file(data, "conf"), 9, 1)),
        ("a complete unfinished snapshot", |data| {
            let snapshot = file(data, "snap.");
            let name = snapshot.file_name().unwrap().to_str().unwrap();
            let unfinished = snapshot.with_file_name(format!("{name}.generating"));
            fs::copy(&snapshot, unfinished).unwrap();
        }),
    ];
    for (what, damage) in cases {
        let outcome = store.serve(what, &store.damaged(damage));
        assert_eq!(outcome, Outcome::Whole, "{what}");
    }
    let copy = store.damaged(|data| fs::remove_file(marked(data)).unwrap());
    assert_eq!(store.serve("a missing watermark", &copy), Outcome::Whole);
    let copy = store.damaged(|data| flip(&marked(data), 3, 3));
    assert_eq!(store.serve("a flipped watermark", &copy), Outcome::Whole);
    let copy = store.damaged(|data| fs::write(data.join("sled/db"), [7; 9_000]).unwrap());
    assert_eq!(store.serve("a log of garbage", &copy), Outcome::Refused);
    let copy = store.damaged(|data| fs::write(data.join("sled/db"), "").unwrap());
    assert_eq!(store.serve("an empty log", &copy), Outcome::Refused);
}

#[test]
#[ignore = "takes minutes: .ci/run runs it"]
fn a_damaged_log_is_served_whole_or_refused() {
    let mut durations = RandomDurations::new();
    let mut random = |limit: u64| {
        let nanos = durations.below(Duration::from_nanos(limit)).as_nanos();
        u64::try_from(nanos).unwrap()
    };
    let store = Store::make(false);
    let end = written(&store.folder.path().join("data/sled/db"));
    let mut outcomes = BTreeMap::new();
    let mut serve = |kind: &'static str, what: String, damage: &dyn Fn(&Path)| {
        let copy = store.damaged(|data| damage(&data.join("sled/db")));
        let outcome = store.serve(&what, &copy);
        let (whole, refused) = outcomes.entry(kind).or_insert((0, 0));
        match outcome {
            Outcome::Whole => *whole += 1,
            Outcome::Refused => *refused += 1,
        }
    };
    for bytes in [1, 7, 100, 4_096, 65_536, SEGMENT, 2 * SEGMENT] {
        let what = format!("{bytes} bytes cut off the file");
        serve("tail cut", what, &|path| cut(path, bytes));
        let what = format!("{bytes} bytes cut off what was written");
        serve("tail cut", what, &|path| {
            cut(path, length(path) - end + bytes);
        });
        let what = format!("{bytes} bytes zeroed at the end");
        serve("tail zeroed", what, &|path| {
            zero(path, length(path) - end + bytes);
        });
    }
    let flips = count("DAMAGE_FLIPS", 40);
    for _ in 0..flips {
        let (at, bit) = (
            end.saturating_sub(random(SEGMENT)) - 1,
            u32::try_from(random(8)).unwrap(),
        );
        let what = format!("bit {bit} of byte {at} of {end} flipped");
        serve("flipped near the end", what, &|path| flip(path, at, bit));
        let at = random(end);
        let what = format!("bit {bit} of byte {at} of {end} flipped");
        serve("flipped anywhere", what, &|path| flip(path, at, bit));
    }
    for (kind, (whole, refused)) in outcomes {
        println!("{kind}: {whole} served whole, {refused} refused with 65");
    }
}
