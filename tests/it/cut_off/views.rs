//! Stores whose view is made again beside the one in use: one that is too large, and one with a damaged record.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;

use super::{LongTask, RECORDS, SETTINGS, is_open, run, said, text};
use crate::client::Client;
use crate::daemon::TestDaemon;
use crate::damage::{copy_all, flip};

/// A view that holds more than this, and hardly anything that lives, is made again.
const LARGE_VIEW: u64 = 16 << 20;
/// Records that are removed again: so many that the journal and its snapshots are too large, too.
const REMOVED: usize = 340;
const REMOVED_BYTES: usize = 100_000;

/// On a busy machine, a search without an index takes longer than it may as shipped.
const PATIENCE: &str =
    "[limits]\nrequest_timeout = \"5m\"\n[supervision.children.storage]\ndeadline = \"5m\"\n";

/// Bytes that do not compress.
fn noise(bytes: usize) -> String {
    std::iter::repeat_with(fastrand::alphanumeric)
        .take(bytes)
        .collect()
}

fn stop(daemon: &mut TestDaemon) {
    daemon.sigterm();
    daemon.wait_exit(Duration::from_secs(20));
}

fn start(data: &Path) -> TestDaemon {
    let mut daemon = TestDaemon::prepare_on(data, &format!("{PATIENCE}{SETTINGS}"));
    daemon.restart();
    daemon.wait_until("the store is open", |daemon| is_open(daemon.admin()));
    daemon
}

/// Makes a store from another one, with a view, a journal and a snapshot that are much larger than its records.
pub(super) fn make_grown(from: &Path, data: &Path) {
    copy_all(from, data);
    let mut daemon = start(data);
    let mut client = Client::connect(daemon.public()).unwrap();
    for _ in 0..REMOVED {
        let record = json!({ "removed": true, "filling": noise(REMOVED_BYTES) });
        client.post("/books", &record).unwrap().expect(201);
    }
    daemon.wait_for_log("snapshot written");
    stop(&mut daemon);
    let mut daemon = start(data);
    let mut client = Client::connect(daemon.public()).unwrap();
    let removed = client.send(
        "DELETE",
        "/books?removed=true",
        &[("prefer", "max-affected=1000")],
        None,
    );
    removed.unwrap().expect(200);
    stop(&mut daemon);
    assert!(bytes_below(&data.join("view")) > LARGE_VIEW);
}

/// Makes a store from another one, with a damaged record in its view.
pub(super) fn make_ill(from: &Path, data: &Path, filling: &str) {
    copy_all(from, data);
    // What was written last is read when sled is opened, and damage there is met at once.
    stop(&mut start(data));
    let file = data.join("view/db");
    let content = fs::read(&file).unwrap();
    let filling = filling.as_bytes();
    let found = content.windows(filling.len());
    let places = found.enumerate().filter(|(_, bytes)| *bytes == filling);
    let places: Vec<_> = places.map(|(place, _)| place).collect();
    assert!(!places.is_empty());
    for place in places {
        flip(&file, u64::try_from(place).unwrap() * 8);
    }
}

fn bytes_below(folder: &Path) -> u64 {
    // A file may go at any moment.
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let bytes = entries.map(|entry| match entry.metadata() {
        Ok(found) if found.is_dir() => bytes_below(&entry.path()),
        Ok(found) => found.len(),
        Err(_) => 0,
    });
    bytes.sum()
}

/// The names in a data folder, and in the folders of the journal and the snapshots, of what was begun and not finished.
pub(super) fn unfinished(data: &Path) -> Vec<String> {
    let folders = [
        data.to_owned(),
        data.join("journal"),
        data.join("snapshots"),
    ];
    let entries = folders
        .iter()
        .flat_map(|folder| fs::read_dir(folder).into_iter().flatten());
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let two_views = data.join("view").exists() && data.join("view-next").exists();
    let is_half = |name: &String| {
        name == "new"
            || name == "view-old"
            || name.ends_with("unfinished")
            || name.starts_with("spare-")
            || name == "view-next" && two_views
    };
    names.filter(is_half).collect()
}

/// The files and folders that are changed while a view takes the place of another one.
pub(super) fn paths(data: &Path) -> Vec<PathBuf> {
    let views = ["view", "view-next", "view-old"].map(|view| data.join(view));
    let files = ["db", "conf", "blobs"];
    let files = views
        .iter()
        .flat_map(|view| files.map(|file| view.join(file)));
    let files: Vec<_> = files.collect();
    let snapshots = data.join("snapshots");
    let last = RECORDS + 2 * REMOVED;
    let names = [
        "unfinished".to_owned(),
        format!("{last:020}.snapshot"),
        format!("{last:019}.snapshot"),
    ];
    let copies = names.map(|name| snapshots.join(name));
    let segments = (1..8).map(|n| data.join(format!("journal/{n:012}.journal")));
    let others = [data.join("view-next-unfinished"), snapshots];
    let all = views.into_iter().chain(files).chain(copies);
    all.chain(segments).chain(others).collect()
}

/// Whether the view is not large any more, and nothing is left of the one before.
fn is_compacted(data: &Path) -> bool {
    bytes_below(&data.join("view")) + bytes_below(&data.join("view-next")) < LARGE_VIEW
        && !data.join("view-old").exists()
}

/// Whether a daemon has put another view in the place of the one that it found.
pub(super) fn has_another(daemon: &TestDaemon) -> bool {
    let told = daemon.stderr();
    // Where the damage is met at the start, the view is made again before the store is open.
    let at_start =
        |line: &str| line.contains("the view was made again") && line.contains("beside=false");
    told.contains("the view was compacted")
        || told.contains("the damaged view was replaced")
        || told.lines().any(at_start)
}

/// Has a daemon do what a task that was cut off did not, and looks whether anything is left of it.
pub(super) fn check_end(task: LongTask, on: &Path) {
    let data = on.join("data");
    let mut daemon = start(&data);
    if task == LongTask::Compaction {
        daemon.wait_until("the view was compacted", |_| is_compacted(&data));
    }
    // A stop may leave what was begun a moment before, which the next start removes.
    daemon.wait_until("nothing half is left", |_| unfinished(&data).is_empty());
    stop(&mut daemon);
    let config = daemon.config();
    let checked = run(None, on, &["--config", text(&config), "check", "--data"]).unwrap();
    assert_eq!(checked.status.code(), Some(0), "{}", said(&checked));
}
