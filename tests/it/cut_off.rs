//! Long tasks on a store that are cut off at each call that changes the disk, by `kill -9` and by a power cut, or by a full disk: an
//! old format that is taken over, a backup, a restore, a salvage, an import, a view that is made again beside the one in use because
//! that is too large or damaged. Nothing is lost, and what is half is never taken for whole.

mod views;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::client::{self, Client};
use crate::daemon::{BINARY, TestDaemon};
use crate::damage::{copy_all, flip_in_the_middle};
use crate::disk::{self, Disk};
use crate::drills::strace_available;

/// The calls after which the disk is another, and each of which begins or ends a step. The process dies before one of them.
const STEPS: &str = "?mkdir,?mkdirat,?rename,?renameat,?renameat2,?unlink,?unlinkat,?rmdir,?ftruncate,?fallocate,fsync,fdatasync";
/// The same by kinds. strace counts for each thread: with these, and only for the files of a task, also the first calls of a
/// thread are reached that begins after others.
const KINDS: [&str; 5] = [
    "?mkdir,?mkdirat",
    "?rename,?renameat,?renameat2",
    "?unlink,?unlinkat,?rmdir",
    "?ftruncate,?fallocate",
    "fsync,fdatasync",
];
/// Those of which there are many.
const WRITES: &str = "write,pwrite64,?copy_file_range";
/// What is left free on a full disk, in bytes.
const FREE: [u64; 6] = [0, 16 << 10, 200 << 10, 1 << 20, 3 << 20, 17 << 20];
const RECORDS: usize = 300;
const ROWS: usize = 5_000;
const MIB: usize = 1 << 20;
const SETTINGS: &str = "[storage]\nreserve = \"0 B\"\n[resource.albums]\nid = \"sequence\"\n";

/// A task that can be cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LongTask {
    Migration,
    Backup,
    Restore,
    Salvage,
    Import,
    /// A snapshot is made, and from it another view, which takes the place of one that is too large.
    Compaction,
    /// Another view takes the place of one in which a record is damaged.
    Healing,
}

/// All records, by their paths.
type Records = BTreeMap<String, Value>;

/// What the tasks begin with; nothing changes it.
struct Given {
    folder: TempDir,
    records: Records,
    /// Those of the store of the old format.
    migrated: Records,
}

/// Where and how a process dies.
#[derive(Debug, Clone, Copy)]
struct Death {
    calls: &'static str,
    number: u32,
}

impl Death {
    /// The command line before that of the process. Without paths all calls count, else those on these.
    fn words(self, paths: &[PathBuf]) -> Vec<String> {
        let calls = self.calls;
        let inject = format!("inject={calls}:signal=KILL:when={}", self.number);
        let trace = format!("trace={calls}");
        let words = [
            "strace",
            "-f",
            "-qq",
            "-o",
            "/dev/null",
            "-e",
            &trace,
            "-e",
            &inject,
        ];
        let paths = paths.iter().flat_map(|path| ["-P", text(path)]);
        words.into_iter().chain(paths).map(str::to_owned).collect()
    }
}

/// Runs a command, which may die. None if it did.
fn run(death: Option<Death>, on: &Path, words: &[&str]) -> Option<Output> {
    let wrapper = death.map(|death| death.words(&[])).unwrap_or_default();
    let mut all = wrapper
        .iter()
        .map(std::ffi::OsStr::new)
        .chain([BINARY.as_ref()]);
    let mut command = Command::new(all.next().unwrap());
    command.args(all).args(words).current_dir(on);
    let output = command.output().unwrap();
    // strace ends as what it traces did.
    output.status.code().is_some().then_some(output)
}

fn said(output: &Output) -> String {
    String::from_utf8([output.stdout.as_slice(), &output.stderr].concat()).unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Whether the store is open; false if the daemon does not answer.
fn is_open(admin: SocketAddr) -> bool {
    let answer = Client::connect(admin).and_then(|mut client| client.get("/readyz/storage"));
    answer.is_ok_and(|answer| answer.status == 200)
}

/// All that a daemon serves.
fn served(daemon: &TestDaemon) -> Records {
    daemon.wait_until("the store is open", |daemon| is_open(daemon.admin()));
    let mut records = Records::new();
    let mut client = Client::connect(daemon.public()).unwrap();
    for resource in ["books", "albums"] {
        for page in 1.. {
            let path = format!("/{resource}?_page={page}&_limit=1000");
            let Value::Array(some) = client.get(&path).unwrap().expect(200).json() else {
                panic!("no array");
            };
            let last = some.len() < 1000;
            records.extend(some.into_iter().map(|record| {
                let id = record["id"].to_string();
                (format!("/{resource}/{}", id.trim_matches('"')), record)
            }));
            if last {
                break;
            }
        }
    }
    records
}

/// All records of a store, after another start of the machine if the power was cut.
fn records(data: &Path, power_cut: bool) -> Records {
    let mut daemon = TestDaemon::prepare_on(data, SETTINGS);
    if power_cut {
        daemon.boot_again();
    }
    daemon.restart();
    served(&daemon)
}

impl Given {
    fn make() -> Self {
        let folder = TempDir::new().unwrap();
        let data = folder.path().join("data");
        let mut daemon = TestDaemon::prepare_on(&data, SETTINGS);
        daemon.restart();
        let mut client = Client::connect(daemon.public()).unwrap();
        let mut all = Records::new();
        for n in 0..RECORDS {
            let filling: String = std::iter::repeat_with(fastrand::alphanumeric)
                .take(700)
                .collect();
            let made = client.post("/books", &json!({ "n": n, "filling": filling }));
            let made = made.unwrap().expect(201);
            all.insert(made.location().unwrap().to_owned(), made.json());
        }
        daemon.sigterm();
        daemon.wait_exit(Duration::from_secs(20));
        views::make_grown(&data, &folder.path().join("grown"));
        let some = all.values().next().unwrap()["filling"].as_str().unwrap();
        views::make_ill(&data, &folder.path().join("ill"), some);
        let backup = folder.path().join("a.backup");
        let config = daemon.config();
        let words = ["--config", text(&config), "backup", text(&backup)];
        let output = run(None, folder.path(), &words).unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        // Of the damaged store the view has all records.
        let damaged = folder.path().join("damaged");
        copy_all(&data, &damaged);
        for entry in fs::read_dir(damaged.join("journal")).unwrap() {
            flip_in_the_middle(&entry.unwrap().path());
        }
        let old = folder.path().join("old");
        fs::create_dir(&old).unwrap();
        let packed = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/fixtures/sled-only.tar.gz"
        );
        let mut tar = Command::new("tar");
        let unpacked = tar.args(["-xzf", packed, "-C", text(&old)]).status();
        assert!(unpacked.unwrap().success());
        let taken_over = folder.path().join("taken-over");
        copy_all(&old, &taken_over);
        let migrated = records(&taken_over, false);
        assert_eq!(migrated.len(), 6);
        let mut rows = String::new();
        for n in 0..ROWS {
            writeln!(rows, "{{\"n\":{n},\"filling\":\"{}\"}}", "x".repeat(200)).unwrap();
        }
        fs::write(folder.path().join("n.ndjson"), rows).unwrap();
        Self {
            folder,
            records: all,
            migrated,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

impl LongTask {
    const ALL: [Self; 7] = [
        Self::Migration,
        Self::Backup,
        Self::Restore,
        Self::Salvage,
        Self::Import,
        Self::Compaction,
        Self::Healing,
    ];

    fn disk_size(self) -> &'static str {
        if self == Self::Compaction {
            "800m"
        } else {
            "120m"
        }
    }

    /// Puts on the disk what the task begins with.
    fn prepare(self, given: &Given, on: &Path) {
        match self {
            Self::Migration => copy_all(&given.path("old"), &on.join("data")),
            Self::Backup => copy_all(&given.path("data"), &on.join("data")),
            Self::Import => drop(fs::copy(given.path("n.ndjson"), on.join("n.ndjson")).unwrap()),
            Self::Compaction => copy_all(&given.path("grown"), &on.join("data")),
            Self::Healing => copy_all(&given.path("ill"), &on.join("data")),
            Self::Restore | Self::Salvage => {}
        }
    }

    /// The words of the command line; none for a task of the daemon.
    fn command(self, given: &Given, on: &Path) -> Option<Vec<String>> {
        let [into, backup] = ["into", "a.backup"].map(|name| on.join(name));
        let [whole, damaged] = ["a.backup", "damaged"].map(|name| given.path(name));
        let words = match self {
            Self::Backup => vec!["backup", text(&backup)],
            Self::Restore => vec!["restore", text(&whole), "--into", text(&into)],
            Self::Salvage => vec!["salvage", text(&damaged), "--into", text(&into)],
            Self::Migration | Self::Import | Self::Compaction | Self::Healing => return None,
        };
        Some(words.into_iter().map(str::to_owned).collect())
    }

    /// Runs the task on a prepared disk. None if it died.
    fn run(self, given: &Given, on: &Path, death: Option<Death>) -> Option<Output> {
        if let Some(words) = self.command(given, on) {
            let words: Vec<_> = words.iter().map(String::as_str).collect();
            return run(death, on, &words);
        }
        let mut daemon = self.daemon(on, death);
        daemon.spawn();
        daemon.ready_or_ended().ok()?;
        let died = |daemon: &mut TestDaemon| {
            thread::sleep(Duration::from_millis(10));
            daemon.exited().is_some()
        };
        if self != Self::Import {
            while !self.is_done(&daemon) {
                if died(&mut daemon) {
                    return None;
                }
            }
            return Some(run(None, on, &["--version"]).unwrap());
        }
        let mut import = import(&daemon, on).spawn().unwrap();
        while import.try_wait().unwrap().is_none() {
            // Whatever ends the daemon ends the sender.
            if died(&mut daemon) {
                import.kill().unwrap();
                import.wait().unwrap();
                return None;
            }
        }
        Some(import.wait_with_output().unwrap())
    }

    /// Whether the daemon has done its task.
    fn is_done(self, daemon: &TestDaemon) -> bool {
        match self {
            Self::Compaction | Self::Healing => views::has_another(daemon),
            Self::Migration | Self::Backup | Self::Restore | Self::Salvage | Self::Import => {
                is_open(daemon.admin())
            }
        }
    }

    fn is_of_views(self) -> bool {
        matches!(self, Self::Compaction | Self::Healing)
    }

    /// The calls that it is cut off at, and by how much more each time.
    fn calls(self) -> Vec<(&'static str, u32)> {
        let steps = if self.is_of_views() {
            KINDS.to_vec()
        } else {
            vec![STEPS]
        };
        let steps = steps.into_iter().map(|calls| (calls, 1));
        steps.chain([(WRITES, 2)]).collect()
    }

    fn daemon(self, on: &Path, death: Option<Death>) -> TestDaemon {
        let mut daemon = TestDaemon::prepare_on(&on.join("data"), SETTINGS);
        if let Some(death) = death {
            let paths = if self.is_of_views() {
                views::paths(&on.join("data"))
            } else {
                Vec::new()
            };
            let mut words = death.words(&paths);
            // strace as a grandchild: the daemon's process is the one that is known here.
            words.insert(1, "-D".to_owned());
            let words: Vec<_> = words.iter().map(String::as_str).collect();
            daemon.run_under(&words);
        }
        daemon
    }

    /// Looks at what a task that was cut off has left, ends it, and looks at what comes out.
    fn end(self, given: &Given, on: &Path, power_cut: bool) {
        let end = || {
            let output = self.run(given, on, None).expect("nobody kills it");
            assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        };
        let into = on.join("into");
        match self {
            Self::Migration => {
                assert_eq!(records(&on.join("data"), power_cut), given.migrated);
                assert!(has_old_store(&on.join("data")), "the old store is gone");
            }
            Self::Backup => {
                let backup = on.join("a.backup");
                if backup.exists() {
                    check_backup(given, &backup);
                    fs::remove_file(&backup).unwrap();
                }
                end();
                check_backup(given, &backup);
                let names = fs::read_dir(on)
                    .unwrap()
                    .map(|entry| entry.unwrap().file_name());
                let mut names: Vec<_> = names.collect();
                names.retain(|name| name != "lost+found");
                names.sort();
                assert_eq!(names, ["a.backup", "data"], "something is left");
            }
            Self::Restore | Self::Salvage => {
                if !into.join("marks").exists() {
                    end();
                    assert!(!into.join("restoring").exists());
                }
                assert!(records(&into, power_cut) == given.records, "other records");
            }
            Self::Compaction | Self::Healing => {
                assert!(
                    records(&on.join("data"), power_cut) == given.records,
                    "other records"
                );
                views::check_end(self, on);
            }
            Self::Import => {
                if power_cut {
                    // The store is opened after another start of the machine.
                    records(&on.join("data"), true);
                }
                end();
                assert!(!on.join("n.ndjson.import").exists());
                let records = records(&on.join("data"), false);
                let mut numbers: Vec<_> = records
                    .values()
                    .map(|record| record["n"].as_u64().unwrap())
                    .collect();
                numbers.sort_unstable();
                let rows = u64::try_from(ROWS).unwrap();
                assert!(
                    numbers.iter().copied().eq(0..rows),
                    "{} records",
                    numbers.len()
                );
            }
        }
    }
}

/// An import whose file and state are on the disk.
fn import(daemon: &TestDaemon, on: &Path) -> Command {
    let mut import = Command::new(BINARY);
    import.args([
        "import",
        "books",
        "n.ndjson",
        "--admin",
        &daemon.admin().to_string(),
    ]);
    import.current_dir(on);
    import.stdout(Stdio::piped()).stderr(Stdio::piped());
    import
}

fn has_old_store(data: &Path) -> bool {
    let mut entries = fs::read_dir(data)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    data.join("sled").exists() || entries.any(|path| path.join("sled/db").exists())
}

/// Restores a backup and counts its records.
fn check_backup(given: &Given, backup: &Path) {
    let folder = TempDir::new().unwrap();
    let into = folder.path().join("into");
    let words = ["restore", text(backup), "--into", text(&into)];
    let output = run(None, given.folder.path(), &words).unwrap();
    let told = said(&output);
    let count = format!("{} records", given.records.len());
    assert!(output.status.success() && told.contains(&count), "{told}");
}

/// Cuts a task off at each of its calls. Returns how often.
fn cut_off_everywhere(task: LongTask, given: &Given) -> u32 {
    let mut deaths = 0;
    for (calls, step) in task.calls() {
        let mut number = 1;
        loop {
            let folder = TempDir::new().unwrap();
            let disk = Disk::make(folder.path(), task.disk_size());
            let on = disk.mount_point();
            task.prepare(given, on);
            disk.sync();
            if task.run(given, on, Some(Death { calls, number })).is_some() {
                break;
            }
            deaths += 1;
            {
                let cut = disk.cut(folder.path());
                task.end(given, cut.mount_point(), true);
            }
            task.end(given, on, false);
            // An import syncs for each parcel: after the first calls they are all the same.
            let step = if task == LongTask::Import { 2 } else { step };
            number = (number * step).max(number + 1);
        }
    }
    deaths
}

#[test]
#[ignore = "needs root, a loop device and strace: .ci/run runs it"]
fn tasks_that_are_killed_or_lose_the_power_at_each_of_their_calls_lose_nothing() {
    if !disk::available() || !strace_available() {
        return;
    }
    let given = Given::make();
    thread::scope(|scope| {
        let tasks = LongTask::ALL.map(|task| {
            let given = &given;
            (task, scope.spawn(move || cut_off_everywhere(task, given)))
        });
        for (task, thread) in tasks {
            let deaths = thread.join().unwrap();
            println!(
                "{task:?}: cut off {deaths} times by kill -9 and by a power cut, nothing lost"
            );
            assert!(deaths > 5, "{task:?}");
        }
    });
}

/// Fills a disk up to so many free bytes.
fn fill(on: &Path, free: u64) -> PathBuf {
    let filler = on.join("filler");
    let mut file = File::create(&filler).unwrap();
    while file.write_all(&vec![1; MIB]).is_ok() {}
    let length = file.metadata().unwrap().len();
    file.set_len(length.saturating_sub(free)).unwrap();
    filler
}

/// Runs a task on a disk with so much room. Returns whether that was too little.
fn on_a_full_disk(task: LongTask, given: &Given, free: u64) -> bool {
    let folder = TempDir::new().unwrap();
    let disk = Disk::tmpfs(folder.path(), task.disk_size());
    let on = disk.mount_point();
    task.prepare(given, on);
    if task.command(given, on).is_some() {
        let filler = fill(on, free);
        let output = task.run(given, on, None).expect("nobody kills it");
        fs::remove_file(filler).unwrap();
        let failed = !output.status.success();
        let told = said(&output);
        assert!(
            !failed || told.contains("No space left"),
            "{task:?}, {free} bytes: {told}"
        );
        assert!(
            !failed || !on.join("a.backup").exists() && !on.join("into").exists(),
            "{task:?}: it left something"
        );
        task.end(given, on, false);
        return failed;
    }
    let mut daemon = task.daemon(on, None);
    let is_import = task == LongTask::Import;
    let filler = (!is_import).then(|| fill(on, free));
    daemon.spawn();
    daemon.ready_or_ended().unwrap();
    let filler = filler.unwrap_or_else(|| fill(on, free));
    let mut importing = is_import.then(|| import(&daemon, on).spawn().unwrap());
    let refused = |daemon: &TestDaemon| {
        let told = [
            daemon.stderr(),
            client::get(daemon.admin(), "/readyz/storage").text(),
        ];
        let some = [
            "No space left",
            "writes are refused",
            "the disk has no room",
        ];
        told.iter()
            .any(|text| some.iter().any(|some| text.contains(some)))
    };
    let until = Instant::now() + Duration::from_secs(20);
    let failed = loop {
        assert!(
            Instant::now() < until,
            "{task:?}, {free} bytes: neither refused nor done"
        );
        let done = match &mut importing {
            Some(import) => import.try_wait().unwrap().is_some(),
            None => task.is_done(&daemon),
        };
        if refused(&daemon) || done {
            break !done;
        }
        thread::sleep(Duration::from_millis(10));
    };
    if task.is_of_views() {
        // What could not be made takes no room.
        daemon.wait_until("nothing half is left", |_| {
            views::unfinished(&on.join("data")).is_empty()
        });
    }
    fs::remove_file(filler).unwrap();
    if let Some(importing) = importing {
        let output = importing.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
        assert_eq!(served(&daemon).len(), ROWS);
    } else if task.is_of_views() {
        assert!(
            served(&daemon) == given.records,
            "{free} bytes: other records"
        );
        drop(daemon);
        task.end(given, on, false);
    } else {
        assert_eq!(served(&daemon), given.migrated, "{free} bytes");
        assert!(has_old_store(&on.join("data")), "the old store is gone");
    }
    failed
}

#[test]
#[ignore = "needs root: .ci/run runs it"]
fn tasks_on_a_full_disk_say_so_and_lose_nothing() {
    if !disk::available() {
        return;
    }
    let given = Given::make();
    for task in LongTask::ALL {
        let failed = FREE
            .iter()
            .filter(|free| on_a_full_disk(task, &given, **free))
            .count();
        println!(
            "{task:?}: {failed} of {} full disks had no room for it",
            FREE.len()
        );
        assert!(failed > 0, "{task:?}");
    }
}
