//! A view that holds much more than what lives, or that is damaged: another one is made beside it and takes its place, while
//! readers and writers go on.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize};

use futures_util::future::join_all;

use super::super::built_view::{AFTER_SWAP, BEFORE_SWAP};
use super::super::snapshots;
use super::*;

/// Bytes that do not compress, and are different for each `n`.
fn noise(n: u64, bytes: usize) -> String {
    let mut state = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from_digit(u32::try_from(state % 36).unwrap(), 36).unwrap()
    };
    (0..bytes).map(|_| next()).collect()
}

/// Writes that go into one group, so that a busy disk does not make the test long.
const AT_ONCE: usize = 64;

async fn fill(running: &Running, count: u64) -> Vec<Record> {
    let mut made = Vec::new();
    let numbers: Vec<_> = (0..count).collect();
    for numbers in numbers.chunks(AT_ONCE) {
        let create = |n: &u64| {
            let text = format!("{{\"n\":{n},\"noise\":\"{}\"}}", noise(*n, 3_000));
            let object = JsonObject::parse(text.as_bytes()).unwrap();
            running.store.create(BOOKS, object, None)
        };
        let created = join_all(numbers.iter().map(create)).await;
        made.extend(created.into_iter().map(Result::unwrap));
    }
    made
}

async fn delete(running: &Running, records: &[Record]) {
    for records in records.chunks(AT_ONCE) {
        let delete = |record: &Record| {
            let id = record.id.clone();
            async move { running.store.delete(BOOKS, &id).await }
        };
        let deleted = join_all(records.iter().map(delete)).await;
        let deleted = deleted.into_iter().map(|deleted| deleted.unwrap().unwrap());
        assert_eq!(deleted.collect::<Vec<_>>(), records);
    }
}

fn held(running: &Running) -> u64 {
    running
        .store
        .holder
        .files
        .data
        .bytes()
        .map(|(_, bytes)| bytes)
        .sum()
}

async fn wait_until(running: &Running, what: &str, there: impl Fn() -> bool) {
    let begun = tokio::time::Instant::now();
    while !there() {
        let parts = || running.store.holder.files.data.bytes().collect::<Vec<_>>();
        let told = || format!("{:?}, {} compactions", parts(), compactions(running));
        assert!(
            begun.elapsed() < Duration::from_secs(30),
            "never: {what}: {}",
            told()
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn compactions(running: &Running) -> u64 {
    running.store.compactor.counts.compactions.get()
}

#[test]
fn deleting_gives_disk_back_and_no_reader_or_writer_is_refused_meanwhile() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let running = Running::on_sled(folder.path(), &Faults::none()).await;
        let made = fill(&running, 1_500).await;
        let before = held(&running);
        assert!(before > 5_000_000, "{before}");
        let (kept, deleted) = made.split_at(20);
        let (stop, lists) = (AtomicBool::new(false), AtomicUsize::new(0));
        let read = async {
            while !stop.load(Ordering::Relaxed) {
                let record = running.store.get(BOOKS, &kept[3].id).await.unwrap();
                assert_eq!(record.as_ref(), Some(&kept[3]));
                let query = ListQuery::parse("n=7", &Schema::default(), Handling::Lenient);
                let page = running.store.query(BOOKS, &query.unwrap()).await.unwrap();
                assert_eq!(page.records, kept[7..8]);
                lists.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let shrink = async {
            delete(&running, deleted).await;
            wait_until(&running, "the store has shrunk", || {
                compactions(&running) > 0 && held(&running) < 3_000_000
            })
            .await;
            let many = || lists.load(Ordering::Relaxed) > 10;
            wait_until(&running, "lists were read", many).await;
            stop.store(true, Ordering::Relaxed);
        };
        futures_util::future::join(read, shrink).await;
        let after = running.all().await;
        assert_eq!(after, kept);
        let next = running.store.create(BOOKS, book(1), None).await.unwrap();
        assert!(next.revision.0 > 2 * 1_500 - 20);
        running.stop().await;
        let running = Running::on_sled(folder.path(), &Faults::none()).await;
        assert_eq!(running.all().await.len(), kept.len() + 1);
        assert!(folder.path().join("view").exists());
        assert!(!folder.path().join("view-next").exists());
        running.stop().await;
    });
}

#[test]
fn a_panic_beside_the_swap_loses_nothing() {
    for point in [BEFORE_SWAP, AFTER_SWAP] {
        run(async move {
            let folder = tempfile::tempdir().unwrap();
            let faults = Faults::armed();
            let running = Running::on_sled(folder.path(), &faults).await;
            faults.arm(point, 1);
            let made = fill(&running, 1_200).await;
            let (kept, deleted) = made.split_at(20);
            delete(&running, deleted).await;
            wait_until(&running, "the panic", || faults.points()[point] == 0).await;
            wait_until(&running, "the store has shrunk", || {
                held(&running) < 3_000_000
            })
            .await;
            assert_eq!(running.all().await, kept, "{point}");
            running.store.create(BOOKS, book(1), None).await.unwrap();
            running.stop().await;
            let running = Running::on_sled(folder.path(), &Faults::none()).await;
            assert_eq!(running.all().await.len(), 21, "{point}");
            running.stop().await;
        });
    }
}

#[test]
fn a_store_that_is_not_written_keeps_no_snapshot_of_what_was_removed() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let running = Running::on_sled(folder.path(), &Faults::none()).await;
        let holder = &running.store.holder;
        let made = fill(&running, 400).await;
        // One has all records, and another is not begun before most of them are gone.
        holder.no_snapshots().await;
        snapshots::make(holder);
        holder.no_snapshots().await;
        delete(&running, &made[20..]).await;
        snapshots::make(holder);
        wait_until(&running, "journal and snapshots hold little", || {
            !running.store.compactor.held(true).snapshot_is_due()
        })
        .await;
        assert_eq!(running.all().await, made[..20]);
        running.stop().await;
    });
}

impl Holder {
    /// From here on no snapshot and no other view is made.
    pub(super) async fn no_snapshots(&self) {
        while !self.journal.snapshotting.begin() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

pub(super) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// A name, and what a process that was killed has left of a second view.
type Leftover = (&'static str, fn(&Path));

#[test]
fn what_a_killed_process_leaves_of_a_second_view_is_removed_or_used() {
    let leftovers: [Leftover; 5] = [
        ("one that is unfinished", |data| {
            fs::create_dir(data.join("view-next")).unwrap();
            fs::write(data.join("view-next/db"), "half").unwrap();
            fs::write(data.join("view-next-unfinished"), "").unwrap();
        }),
        ("one that is finished", |data| {
            copy(&data.join("view"), &data.join("view-next"));
        }),
        ("the old one is gone", |data| {
            fs::rename(data.join("view"), data.join("view-next")).unwrap();
        }),
        ("the first place is unfinished", |data| {
            fs::rename(data.join("view"), data.join("view-next")).unwrap();
            fs::create_dir(data.join("view")).unwrap();
            fs::write(data.join("view-unfinished"), "").unwrap();
        }),
        ("the old one is being removed", |data| {
            fs::create_dir(data.join("view-old")).unwrap();
        }),
    ];
    for (name, leave) in leftovers {
        run(async move {
            let folder = tempfile::tempdir().unwrap();
            let running = Running::on_sled(folder.path(), &Faults::none()).await;
            let made = fill(&running, 20).await;
            running.stop().await;
            leave(folder.path());
            let running = Running::on_sled(folder.path(), &Faults::none()).await;
            assert_eq!(running.all().await, made, "{name}");
            let names = fs::read_dir(folder.path()).unwrap();
            let names: Vec<PathBuf> = names.map(|entry| entry.unwrap().path()).collect();
            let views = names.iter().filter(|path| {
                path.file_name()
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .starts_with("view")
            });
            assert_eq!(views.count(), 1, "{name}: {names:?}");
            running.stop().await;
        });
    }
}
