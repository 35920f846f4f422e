//! Snapshots of a store that is in use, and the files that they make superfluous.

use std::fs;

use super::opening::{flip, segments, unclean, used};
use super::*;
use crate::storage::journal::{Marks, MarksFound, Snapshot};

fn snapshots(folder: &Path) -> Vec<Snapshot> {
    let MarksFound::Found { mark, .. } = Marks::read(folder).unwrap() else {
        panic!("no marks");
    };
    Snapshot::find(&folder.join("snapshots"), mark.store).unwrap()
}

/// The journal grows by far more than what lives: the same records are made and deleted again and again.
async fn churn(running: &Running, done: impl Fn() -> bool) {
    let text = |n: u32| format!("{{\"n\":{n},\"filling\":\"{}\"}}", "x".repeat(1_000));
    let object = |n: u32| JsonObject::parse(text(n).as_bytes()).unwrap();
    let mut n = 0;
    while !done() {
        let made = (0..20).map(|_| running.store.create(BOOKS, object(n), None));
        for record in futures_util::future::join_all(made).await {
            if n % 5 != 0 {
                let id = record.unwrap().id;
                running.store.delete(BOOKS, &id).await.unwrap();
            }
            n += 1;
        }
    }
}

#[test]
fn snapshots_are_made_beside_the_writer_and_bound_the_journal() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let snapshots = || snapshots(folder.path());
        let running = Running::on_sled(folder.path(), &Faults::none()).await;
        churn(&running, || snapshots().len() > 1).await;
        let records = running.all().await;
        running.stop().await;
        let journal: u64 = segments(folder.path())
            .iter()
            .map(|path| fs::metadata(path).unwrap().len())
            .sum();
        assert!(journal < 3 << 20, "{journal} bytes");
        // From the newest snapshot, and from the one before if the newest is damaged.
        for damaged in [false, true] {
            fs::remove_dir_all(DataFolder::new(folder.path()).found_view()).unwrap();
            unclean(folder.path());
            if damaged {
                flip(snapshots()[0].path(), 900);
            }
            let running = Running::on_sled(folder.path(), &Faults::none()).await;
            assert_eq!(running.all().await, records, "{damaged}");
            running.stop().await;
        }
    });
}

#[test]
fn damaged_files_are_moved_aside_when_they_are_superfluous() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let running = Running::on_sled(folder.path(), &Faults::none()).await;
        churn(&running, || snapshots(folder.path()).len() > 1).await;
        // A snapshot that is being made could remove the file that is damaged below.
        while !running.store.holder.journal.snapshotting.begin() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        running.stop().await;
        let old = snapshots(folder.path()).pop().unwrap().path().to_owned();
        let segment = segments(folder.path()).remove(0);
        let damaged = [&old, &segment].map(|path| {
            // A segment may be left early: the rest of it is zeros, which nobody reads.
            flip(path, used(path) / 2);
            (path.file_name().unwrap(), fs::read(path).unwrap())
        });
        let running = Running::on_sled(folder.path(), &Faults::none()).await;
        while old.exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        churn(&running, || !segment.exists()).await;
        running.stop().await;
        let entries = fs::read_dir(folder.path()).unwrap();
        let folders: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        for (name, content) in damaged {
            // If it is the only segment, the whole journal is moved aside with it.
            let paths = folders
                .iter()
                .flat_map(|path| [path.join(name), path.join("journal").join(name)]);
            let found = paths.filter_map(|path| fs::read(path).ok());
            assert!(found.eq([content]), "{}", name.display());
        }
    });
}

/// Else an index would still have a record that the group removes, and the look for it would take that for damage.
#[test]
fn a_group_is_shown_to_readers_of_one_record_only_while_readers_of_several_wait() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let running = Running::on_sled(folder.path(), &Faults::none()).await;
        running.store.create(BOOKS, book(1), None).await.unwrap();
        let holder = &running.store.holder;
        let (open, checked) = holder.engine.open().unwrap();
        let is_quiet = || holder.readers.between_groups(&open, || ()).is_some();
        assert!(is_quiet());
        let mut shown = false;
        holder.readers.group_begins(&checked, || {
            assert!(!is_quiet(), "the group was shown too early");
            shown = true;
        });
        assert!(shown && !is_quiet());
        holder.readers.group_ends();
        assert!(is_quiet());
        drop(open);
        running.stop().await;
    });
}

/// A writer that is never idle would otherwise keep every snapshot from being made.
#[test]
fn records_are_read_beside_a_writer_that_is_never_idle() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let running = Running::on_sled(folder.path(), &Faults::none()).await;
        let made = running.store.create(BOOKS, book(1), None).await.unwrap();
        let holder = &running.store.holder;
        let (open, checked) = holder.engine.open().unwrap();
        holder.readers.group_begins(&checked, || ());
        let chunk = |era| page::chunk(holder, era, BOOKS, &mut Vec::new()).unwrap();
        let found = chunk(open.era).expect("the store is open");
        assert_eq!(found[0].1.json, made.json);
        assert!(chunk(open.era + 1).is_none(), "another opening");
        open.unapplied.store(Some(Arc::default()));
        assert!(
            chunk(open.era).is_none(),
            "a group that was applied in part"
        );
        open.unapplied.store(None);
        holder.readers.group_ends();
        drop(open);
        running.stop().await;
    });
}
