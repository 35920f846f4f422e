//! Damaged stores: with one damaged file, the daemon serves every acknowledged record and the site; with two, it serves them or
//! names what is lost and changes nothing. It never serves a wrong record.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::net::SocketAddr;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::client::{self, Client};
use crate::daemon::TestDaemon;
use crate::drills::{RandomDurations, count};

const RECORDS: u64 = 1_000;
const WRITERS: u64 = 8;

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
    /// Writes records and kills the daemon. Beside its files there are those that the store had before, and those of another.
    pub(crate) fn make() -> Self {
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
        // sled writes its files twice a second.
        thread::sleep(Duration::from_millis(1_500));
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
    fn serve(&self, what: &str, copy: &TempDir) -> Outcome {
        let data = copy.path().join("data");
        let before = journal(&data);
        let mut daemon = TestDaemon::prepare_on(&data, "");
        daemon.restart();
        // Whatever is wrong with the store, the site is served.
        client::get(daemon.public(), "/").expect(200);
        daemon.wait_until("the store is open or refused", |daemon| {
            let ready = client::get(daemon.admin(), "/readyz/storage");
            ready.status == 200 || ready.text().contains("is damaged")
        });
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
        if outcome == Outcome::Refused {
            let told = daemon.stderr_from(" ERROR ");
            assert!(told.contains("nothing was deleted"), "{what}: {told}");
            // The changes, or the only file that had the rest.
            let named = ["no copy has them", "marks", ".snapshot at byte"]
                .iter()
                .any(|lost| told.contains(lost));
            assert!(named, "{what}: {told}");
            assert_eq!(
                journal(&data),
                before,
                "{what}: a refusal changed the journal"
            );
        }
        outcome
    }
}

/// A kind of damage, done to a file.
type Damage = (&'static str, fn(&Path, u64));

const DAMAGES: [Damage; 6] = [
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
    ("garbage from", |path, at| {
        let file = OpenOptions::new().write(true).open(path).unwrap();
        file.write_all_at(&[0x5a; 700], at / 8).unwrap();
    }),
    ("emptied", |path, _| {
        fs::write(path, "").unwrap();
    }),
    ("removed", |path, _| {
        fs::remove_file(path).unwrap();
    }),
];

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

/// The content of the journal and its snapshots.
fn journal(data: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let folders = ["journal", "snapshots"].map(|folder| data.join(folder));
    let folders = folders.iter().filter(|folder| folder.exists());
    let paths = folders.flat_map(|folder| files(folder));
    paths
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect()
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

#[test]
#[ignore = "takes minutes: .ci/run runs it"]
fn one_damaged_file_loses_nothing_and_two_lose_nothing_silently() {
    let mut random = RandomDurations::new();
    let store = Store::make();
    for n in 0..count("DAMAGE_SINGLE", 200) {
        let mut what = String::new();
        let copy = store.damaged(|data| what = store.damage_one(data, &mut random));
        assert_eq!(
            store.serve(&what, &copy),
            Outcome::Whole,
            "case {n}: {what}"
        );
    }
    let (mut whole, mut refused) = (0, 0);
    for _ in 0..count("DAMAGE_DOUBLE", 20) {
        let mut what = String::new();
        let copy = store.damaged(|data| {
            let first = store.damage_one(data, &mut random);
            what = format!("{first} and {}", store.damage_one(data, &mut random));
        });
        match store.serve(&what, &copy) {
            Outcome::Whole => whole += 1,
            Outcome::Refused => refused += 1,
        }
    }
    println!("two damaged files: {whole} served whole, {refused} refused by name");
}
