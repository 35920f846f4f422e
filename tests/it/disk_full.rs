//! A full disk: writes are answered 507, acknowledged records can still be read, and writes work again once there is room,
//! whether the daemon filled the disk or another program did, slowly or to the last byte at once.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::client::{self, Client};
use crate::daemon::{TestDaemon, metric, restarts};
use crate::disk::{self, Disk};

/// How soon writes must work again once there is room.
const RETURN: Duration = Duration::from_secs(5);
/// More writes than any of these disks has room for.
const WRITES: u64 = 100_000;

/// A client that posts records until the disk is full, and keeps those that were acknowledged.
struct FillingClient {
    client: Client,
    acked: BTreeMap<String, Value>,
    number: u64,
    /// Writes whose outcome nobody knows.
    unknown: usize,
}

impl FillingClient {
    fn new(daemon: &TestDaemon) -> Self {
        Self {
            client: Client::connect(daemon.public()).unwrap(),
            acked: BTreeMap::new(),
            number: 0,
            unknown: 0,
        }
    }

    /// Posts one record; returns the status and, if it was refused, the problem's code.
    fn post(&mut self) -> (u16, String) {
        self.number += 1;
        let length = [50, 500, 3_000, 20_000][usize::try_from(self.number % 4).unwrap()];
        let record = json!({ "number": self.number, "filling": "x".repeat(length) });
        let answer = self.client.post("/books", &record).unwrap();
        let body = answer.json();
        if answer.status == 201 {
            let location = answer.location().unwrap().to_owned();
            self.acked.insert(location, body);
            return (201, String::new());
        }
        let code = body["code"].as_str().unwrap().to_owned();
        self.unknown += usize::from(code == "outcome_unknown");
        (answer.status, code)
    }

    /// Posts records until the answer is not 201.
    fn fill(&mut self) -> (u16, String) {
        for _ in 0..WRITES {
            let answer = self.post();
            if answer.0 != 201 {
                return answer;
            }
        }
        panic!("{WRITES} writes did not fill the disk");
    }

    /// Deletes a record, which makes room and must work without any.
    #[track_caller]
    fn delete_one(&mut self) {
        let (path, promised) = self.acked.pop_first().unwrap();
        let deleted = self.client.send("DELETE", &path, &[], None).unwrap();
        assert_eq!(deleted.expect(200).json(), promised);
        self.client.get(&path).unwrap().expect(404);
    }

    #[track_caller]
    fn check(&mut self) {
        assert!(self.acked.len() > 100, "{} records", self.acked.len());
        for (path, promised) in &self.acked {
            let found = self.client.get(path).unwrap().expect(200);
            assert_eq!(found.json(), *promised, "{path}");
        }
        let list = self.client.get("/books?_end=5").unwrap().expect(200);
        let total: usize = list.header("x-total-count").unwrap().parse().unwrap();
        let most = self.acked.len() + self.unknown;
        assert!(
            (self.acked.len()..=most).contains(&total),
            "{total} of {most}"
        );
    }

    #[track_caller]
    fn wait_until_writes_work(&mut self) {
        let begun = Instant::now();
        loop {
            let (status, code) = self.post();
            if status == 201 {
                println!("writes work again after {:?}", begun.elapsed());
                return;
            }
            assert!(begun.elapsed() < RETURN, "{status} {code}");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Fills the rest of the disk with zeros.
fn fill_to_the_last_byte(path: &Path) {
    let mut file = File::create(path).unwrap();
    for size in [1 << 20, 4096, 1] {
        let zeros = vec![0; size];
        while file.write_all(&zeros).is_ok() {}
    }
    // Blocks that the file system allocates late must be allocated before the daemon writes.
    drop(file.sync_all());
}

/// Waits until the store is told to be as it is: without room, with what to do, or ready again. Nobody writes meanwhile.
#[track_caller]
fn wait_until_told(daemon: &TestDaemon, full: bool) {
    daemon.wait_until("the room is told of", |daemon| {
        let told = client::get(daemon.admin(), "/readyz/storage");
        let text = told.text();
        (told.status == 503) == full
            && full == (text.contains("room") && text.contains("delete records"))
    });
    let told = metric(&daemon.metrics(), "perennial_storage_full", "");
    assert_eq!(told, Some(f64::from(u8::from(full))));
    client::get(daemon.admin(), "/readyz?exclude=storage").expect(200);
}

/// Looks whether the shortage that is over is an incident.
#[track_caller]
fn is_an_incident(daemon: &TestDaemon) {
    let told = client::get(daemon.admin(), "/incidents").expect(200);
    assert!(told.text().contains("full_disk"), "{}", told.text());
}

fn start(disk: &Disk, reserve: &str) -> TestDaemon {
    let more = format!(
        "[storage]\nreserve = \"{reserve}\"\n[supervision]\nmax_restarts = {{ count = 5, within = \"30s\" }}\n"
    );
    let mut daemon = TestDaemon::prepare_on(&disk.data(), &more);
    daemon.restart();
    daemon
}

/// The daemon itself fills the disk up to `storage.reserve`.
fn test_fill_up_to_the_reserve(disk: &Disk) {
    let filler = disk.mount_point().join("filler");
    fs::write(&filler, vec![0; 16 << 20]).unwrap();
    let daemon = start(disk, "8 MiB");
    let mut client = FillingClient::new(&daemon);
    assert_eq!(client.fill(), (507, "disk_full".to_owned()));
    client.check();
    client.delete_one();
    wait_until_told(&daemon, true);
    let refused = metric(
        &daemon.metrics(),
        "perennial_storage_refused_writes_total",
        "",
    );
    assert_eq!(refused, Some(1.0));
    fs::remove_file(filler).unwrap();
    wait_until_told(&daemon, false);
    is_an_incident(&daemon);
    client.wait_until_writes_work();
    client.check();
    assert_eq!(restarts(&daemon.tree(), "writer"), 0);
}

/// The disk has bytes, but no room for another file: `statvfs` tells of bytes only.
fn test_no_free_inode(disk: &Disk) {
    let daemon = start(disk, "0 B");
    let mut client = FillingClient::new(&daemon);
    assert_eq!(client.post().0, 201);
    let filler = disk.mount_point().join("filler");
    fs::create_dir(&filler).unwrap();
    let mut count = 0;
    while File::create(filler.join(count.to_string())).is_ok() {
        count += 1;
    }
    assert_eq!(client.fill(), (507, "disk_full".to_owned()));
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(3) {
        assert_eq!(client.post().0, 507);
    }
    client.check();
    wait_until_told(&daemon, true);
    client.delete_one();
    fs::remove_dir_all(filler).unwrap();
    wait_until_told(&daemon, false);
    is_an_incident(&daemon);
    client.wait_until_writes_work();
    client.check();
    assert_eq!(restarts(&daemon.tree(), "writer"), 0);
    let told = daemon.stderr();
    for line in ["the disk has no room: ", "the disk has room again: "] {
        assert_eq!(told.matches(line).count(), 1, "{line}");
    }
}

/// Another program fills the disk to the last byte while a client writes.
fn test_fill_to_the_last_byte(disk: &Disk) {
    let mut daemon = start(disk, "0 B");
    let mut client = FillingClient::new(&daemon);
    for _ in 0..400 {
        assert_eq!(client.post().0, 201);
    }
    let filler = disk.mount_point().join("filler");
    fill_to_the_last_byte(&filler);
    let begun = Instant::now();
    let mut answer = client.post();
    while answer.0 == 201 && begun.elapsed() < RETURN {
        answer = client.post();
    }
    assert!([507, 503].contains(&answer.0), "{answer:?}");
    println!("a write on a disk without a free byte is answered {answer:?}");
    fs::remove_file(&filler).unwrap();
    client.wait_until_writes_work();
    client.check();
    daemon.sigterm();
    assert_eq!(daemon.wait_exit(Duration::from_secs(60)).code(), Some(0));
}

#[test]
#[ignore = "needs root and a loop device: .ci/run runs it"]
fn on_a_full_tmpfs_writes_are_refused_until_there_is_room() {
    if disk::available() {
        let folder = TempDir::new().unwrap();
        test_fill_up_to_the_reserve(&Disk::tmpfs(folder.path(), "48m"));
        let folder = TempDir::new().unwrap();
        test_fill_to_the_last_byte(&Disk::tmpfs(folder.path(), "48m"));
        let folder = TempDir::new().unwrap();
        test_no_free_inode(&Disk::tmpfs(folder.path(), "200m,nr_inodes=60"));
    }
}

#[test]
#[ignore = "needs root and a loop device: .ci/run runs it"]
fn on_a_full_disk_writes_are_refused_until_there_is_room() {
    if disk::available() {
        let folder = TempDir::new().unwrap();
        test_fill_up_to_the_reserve(&Disk::make(folder.path(), "64M"));
        let folder = TempDir::new().unwrap();
        test_fill_to_the_last_byte(&Disk::make(folder.path(), "64M"));
    }
}

/// With a ballast file, records can be read on a full disk even after the engine was reopened.
#[test]
#[ignore = "needs root and a loop device: .ci/run runs it"]
fn with_a_ballast_records_can_be_read_on_a_full_disk() {
    if !disk::available() {
        return;
    }
    let folder = TempDir::new().unwrap();
    let disk = Disk::make(folder.path(), "700M");
    let daemon = start(&disk, "16 MiB");
    let mut client = FillingClient::new(&daemon);
    for _ in 0..400 {
        assert_eq!(client.post().0, 201);
    }
    assert!(fs::metadata(disk.data().join("ballast")).unwrap().len() > 0);
    let filler = disk.mount_point().join("filler");
    fill_to_the_last_byte(&filler);
    let answer = client.post();
    assert_eq!(answer, (507, "disk_full".to_owned()));
    client.check();
    fs::remove_file(&filler).unwrap();
    client.wait_until_writes_work();
    client.check();
}
