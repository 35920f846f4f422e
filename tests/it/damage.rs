//! Damaged stores: with one damaged file, the daemon serves every acknowledged record and the site; with two, it serves them or
//! names what is lost and changes nothing. It never serves a wrong record.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::net::SocketAddr;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::client::{self, Client};
use crate::daemon::{BINARY, TestDaemon};
use crate::drills::{RandomDurations, count};

const RECORDS: u64 = 1_000;
const WRITERS: u64 = 8;
/// The time within which the store serves everything again.
pub(crate) const BACK: Duration = Duration::from_secs(5);

/// The files of a store, and the records that were acknowledged.
pub(crate) struct Store {
    folder: TempDir,
    pub(crate) acked: BTreeMap<String, Value>,
}

/// Writes records with 8 clients at once.
fn write(host: SocketAddr) -> impl Iterator<Item = (String, Value)> {
    let write = |writer| {
        thread::spawn(move || {
            let mut client = Client::connect(host).unwrap();
            let mut acked = Vec::new();
            for n in 0..RECORDS / WRITERS / 2 {
                let length = [20, 200, 900, 9_000][usize::try_from(n % 4).unwrap()];
                let record = json!({ "writer": writer, "n": n, "filling": "x".repeat(length) });
                let made = client.post("/books", &record).unwrap().expect(201);
                acked.push((made.location().unwrap().to_owned(), made.json()));
            }
            acked
        })
    };
    let writers: Vec<_> = (0..WRITERS).map(write).collect();
    let writers = writers.into_iter();
    writers.flat_map(|writer| writer.join().unwrap())
}

impl Store {
    /// Writes records, waits for the view to have them, and kills the daemon. Beside its files there are those that the store
    /// had before, and those of another.
    pub(crate) fn make() -> Self {
        // sled writes its files twice a second.
        Self::killed_after(Duration::from_millis(1_500))
    }

    /// The same without a start in between: sled reads the whole log of its view when the store is opened. Each record was replaced
    /// once, so the log has an older version of most pages.
    fn of_one_run() -> Self {
        let folder = TempDir::new().unwrap();
        let data = folder.path().join("data");
        let mut daemon = TestDaemon::prepare_on(&data, "");
        daemon.restart();
        let mut acked: BTreeMap<_, _> = (0..2).flat_map(|_| write(daemon.public())).collect();
        let mut client = Client::connect(daemon.public()).unwrap();
        for (path, record) in &mut acked {
            record["replaced"] = json!(true);
            let put = client.json("PUT", path, record).unwrap();
            *record = put.expect(200).json();
        }
        thread::sleep(Duration::from_millis(1_500));
        daemon.kill9();
        Self { folder, acked }
    }

    fn killed_after(pause: Duration) -> Self {
        let folder = TempDir::new().unwrap();
        let mut acked = BTreeMap::new();
        let foreign = folder.path().join("foreign");
        let data = folder.path().join("data");
        for data in [&foreign, &data] {
            let mut daemon = TestDaemon::prepare_on(data, "");
            daemon.restart();
            acked = write(daemon.public()).collect();
            daemon.sigterm();
            daemon.wait_exit(Duration::from_secs(20));
        }
        copy_all(&data, &folder.path().join("older"));
        // A snapshot takes the place of a damaged journal.
        flip_in_the_middle(&data.join("journal/000000000001.journal"));
        let mut daemon = TestDaemon::prepare_on(&data, "");
        daemon.restart();
        daemon.wait_for_log("snapshot written");
        acked.extend(write(daemon.public()));
        thread::sleep(pause);
        daemon.kill9();
        assert!(!files(&data.join("snapshots")).is_empty());
        drop(fs::remove_file(data.join("ballast")));
        for entry in fs::read_dir(&data).unwrap() {
            let path = entry.unwrap().path();
            if path
                .file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .starts_with("aside-")
            {
                fs::remove_dir_all(path).unwrap();
            }
        }
        Self { folder, acked }
    }

    /// A copy of the store with `damage` applied to it.
    pub(crate) fn damaged(&self, damage: impl FnOnce(&Path)) -> TempDir {
        let copy = TempDir::new().unwrap();
        copy_all(&self.folder.path().join("data"), &copy.path().join("data"));
        damage(&copy.path().join("data"));
        copy
    }

    /// Starts a daemon on a damaged copy, and checks what it serves or why it refuses.
    /// Returns that, and how long it took until it was known.
    fn serve(&self, what: &str, copy: &TempDir) -> (Outcome, Duration) {
        let data = copy.path().join("data");
        let before = all_of(&data);
        let mut daemon = TestDaemon::prepare_on(&data, "");
        let foretold = foretold(&daemon, what);
        let begun = Instant::now();
        daemon.restart();
        // Whatever is wrong with the store, the site is served.
        client::get(daemon.public(), "/").expect(200);
        daemon.wait_until("the store is open or refused", |daemon| {
            let ready = client::get(daemon.admin(), "/readyz/storage");
            ready.status == 200 || ready.text().contains("is damaged")
        });
        let took = begun.elapsed();
        let refused = client::get(daemon.admin(), "/readyz/storage").status != 200;
        let outcome = if refused {
            client::get(daemon.public(), "/books").expect_problem(503);
            Outcome::Refused
        } else {
            let mut client = Client::connect(daemon.public()).unwrap();
            for (path, promised) in &self.acked {
                let found = client.get(path).unwrap();
                assert_eq!(found.status, 200, "{what}: {path}");
                assert_eq!(found.json(), *promised, "{what}: {path}");
            }
            let made = client
                .post("/books", &json!({ "n": 0 }))
                .unwrap()
                .expect(201);
            assert!(!self.acked.contains_key(made.location().unwrap()));
            Outcome::Whole
        };
        daemon.kill9();
        assert_eq!(foretold, outcome, "{what}: the check said otherwise");
        if outcome == Outcome::Refused {
            let told = daemon.stderr_from(" ERROR ");
            assert!(told.contains("nothing was deleted"), "{what}: {told}");
            // The changes, or the only file that had the rest.
            let named = [
                "no copy has them",
                "marks",
                ".snapshot at byte",
                "two stores",
            ]
            .iter()
            .any(|lost| told.contains(lost));
            assert!(named, "{what}: {told}");
            let after = all_of(&data);
            let changed = |path: &&PathBuf| before.get(*path) != after.get(*path);
            let changed: Vec<_> = before.keys().chain(after.keys()).filter(changed).collect();
            assert!(changed.is_empty(), "{what}: a refusal changed {changed:?}");
        }
        (outcome, took)
    }
}

/// The outcome of a start, as `perennial check --data` tells it beforehand.
fn foretold(daemon: &TestDaemon, what: &str) -> Outcome {
    let mut check = Command::new(BINARY);
    check
        .args(["check", "--data", "--config"])
        .arg(daemon.config());
    let checked = check.current_dir(daemon.folder()).output().unwrap();
    let told = String::from_utf8(checked.stderr).unwrap();
    let lost = [
        "no copy has all that was acknowledged",
        "has files of two stores",
        "neither the file marks nor the journal can be read",
    ];
    match checked.status.code() {
        Some(0) => Outcome::Whole,
        Some(65) if told.contains("another copy has all") => Outcome::Whole,
        Some(65) if lost.iter().any(|lost| told.contains(lost)) => Outcome::Refused,
        code => panic!("{what}: {code:?} {told}"),
    }
}

/// A kind of damage, done to a file.
type Damage = (&'static str, fn(&Path, u64));

const DAMAGES: [Damage; 8] = [
    ("a flipped bit", |path, at| {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .unwrap();
        let (at, bit) = (at / 8, at % 8);
        let mut byte = [0];
        if file.read_at(&mut byte, at).unwrap() == 1 {
            file.write_all_at(&[byte[0] ^ (1 << bit)], at).unwrap();
        }
    }),
    ("cut", |path, at| {
        let file = OpenOptions::new().write(true).open(path).unwrap();
        file.set_len(at / 8).unwrap();
    }),
    ("zeroed from", |path, at| {
        let length = fs::metadata(path).unwrap().len();
        let file = OpenOptions::new().write(true).open(path).unwrap();
        let zeros = vec![0; usize::try_from(length - at / 8).unwrap()];
        file.write_all_at(&zeros, at / 8).unwrap();
    }),
    ("garbage from", put_garbage),
    ("emptied", |path, _| {
        fs::write(path, "").unwrap();
    }),
    ("removed", |path, _| {
        fs::remove_file(path).unwrap();
    }),
    ("replaced by a folder", |path, _| {
        fs::remove_file(path).unwrap();
        fs::create_dir(path).unwrap();
    }),
    ("replaced by a FIFO", |path, _| {
        fs::remove_file(path).unwrap();
        put_fifo(path);
    }),
];
/// The folders of a store, in whose places there is something else once in a while.
const FOLDERS: [&str; 3] = ["journal", "snapshots", "view"];
/// One damage of so many is done to a folder.
const FOLDERS_SHARE: u64 = 20;

fn put_garbage(path: &Path, at: u64) {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(&[0x5a; 700], at / 8).unwrap();
}

fn put_fifo(path: &Path) {
    let made = Command::new("mkfifo").arg(path).status().unwrap();
    assert!(made.success());
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Whole,
    Refused,
}

pub(crate) fn copy_all(from: &Path, to: &Path) {
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

/// The files of a folder that have content, and those of the folders in it.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&entry.path()));
        } else if entry.metadata().unwrap().len() > 0 {
            found.push(entry.path());
        }
    }
    found.sort();
    found
}

/// All that is in a data folder, but for the lock and the note that a process runs: the content of files, and other kinds by name.
fn all_of(data: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![data.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let (path, kind) = (entry.path(), entry.file_type().unwrap());
            if kind.is_dir() {
                folders.push(path.clone());
            }
            if !["lock", "running"]
                .iter()
                .any(|name| path == data.join(name))
            {
                let content = kind.is_file().then(|| fs::read(&path).unwrap());
                found.insert(path, content);
            }
        }
    }
    found
}

/// The end of what was written into a file: damage behind it changes nothing.
fn used(path: &Path) -> u64 {
    let bytes = fs::read(path).unwrap();
    let last = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0);
    u64::try_from(last).unwrap() + 1
}

/// Flips a bit of a file.
pub(crate) fn flip(path: &Path, at: u64) {
    let (_, flip) = DAMAGES[0];
    flip(path, at);
}

/// Flips a bit in the middle of what was written into a file.
pub(crate) fn flip_in_the_middle(path: &Path) {
    flip(path, used(path) * 4);
}

impl Store {
    /// Damages one file in a copy of the store, chosen at random, or puts an older file or that of another store in its place.
    /// Returns what was done.
    pub(crate) fn damage_one(&self, data: &Path, random: &mut RandomDurations) -> String {
        let name = random.one_of(&FOLDERS);
        let path = data.join(name);
        if random.number_below(FOLDERS_SHARE) == 0 && path.is_dir() {
            fs::rename(&path, data.join(format!("by-hand-{name}"))).unwrap();
            return if random.number_below(2) == 0 {
                fs::write(&path, "no folder").unwrap();
                format!("{name} replaced by a file")
            } else {
                put_fifo(&path);
                format!("{name} replaced by a FIFO")
            };
        }
        let files = files(data);
        let path = random.one_of(&files);
        let name = path.strip_prefix(data).unwrap();
        let others = ["older", "foreign"].map(|folder| self.folder.path().join(folder).join(name));
        let others = others.into_iter().filter(|other| other.exists());
        let ways: Vec<_> = DAMAGES.iter().map(Ok).chain(others.map(Err)).collect();
        match random.one_of(&ways) {
            Ok((kind, damage)) => {
                let at = random.number_below(used(path) * 8);
                damage(path, at);
                format!("{} {kind} at bit {at}", name.display())
            }
            Err(other) => {
                let new = data.join("new");
                fs::copy(other, &new).unwrap();
                fs::rename(&new, path).unwrap();
                format!("{} replaced by {}", name.display(), other.display())
            }
        }
    }
}

/// sled passes over damage in the middle of its log without an error.
#[test]
fn damage_anywhere_in_the_log_of_the_view_loses_nothing() {
    const STEPS: u64 = 8;
    let store = Store::of_one_run();
    for step in 0..STEPS {
        let mut at = 0;
        let copy = store.damaged(|data| {
            let log = data.join("view/db");
            at = used(&log) * step / STEPS;
            put_garbage(&log, at * 8);
        });
        let what = format!("garbage from byte {at} of the log on");
        assert_eq!(store.serve(&what, &copy).0, Outcome::Whole, "{what}");
    }
}

#[test]
#[ignore = "takes minutes: .ci/run runs it"]
fn one_damaged_file_loses_nothing_and_two_lose_nothing_silently() {
    let mut random = RandomDurations::new();
    let store = Store::make();
    let mut slowest = (Duration::ZERO, String::new());
    let singles = count("DAMAGE_SINGLE", 200);
    for n in 0..singles {
        let mut what = String::new();
        let copy = store.damaged(|data| what = store.damage_one(data, &mut random));
        let (outcome, took) = store.serve(&what, &copy);
        assert_eq!(outcome, Outcome::Whole, "case {n}: {what}");
        slowest = slowest.max((took, what));
    }
    let (took, what) = slowest;
    println!("{singles} damaged files: all served whole, after {took:?} at most ({what})");
    assert!(took < BACK, "{took:?}: {what}");
    let (mut whole, mut refused) = (0, 0);
    // In half of the cases only the journal has the last changes.
    let stores = [store, Store::killed_after(Duration::ZERO)];
    for (_, store) in (0..count("DAMAGE_DOUBLE", 20)).zip(stores.iter().cycle()) {
        let mut what = String::new();
        let copy = store.damaged(|data| {
            let first = store.damage_one(data, &mut random);
            what = format!("{first} and {}", store.damage_one(data, &mut random));
        });
        match store.serve(&what, &copy).0 {
            Outcome::Whole => whole += 1,
            Outcome::Refused => refused += 1,
        }
    }
    println!("two damaged files: {whole} served whole, {refused} refused by name");
}
