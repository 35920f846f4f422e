//! Stores that are opened again: after any one of their files was damaged, removed or replaced, and after a crash.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use super::super::checked::Checked;
use super::super::data_check::check_data;
use super::super::database::SledEngine;
use super::super::engine::Engine as _;
use super::super::replay::Replay;
use super::compaction::copy;
use super::*;
use crate::incidents::IncidentKind;
use crate::record::Record;
use crate::storage::journal::{
    JournalChange, JournalEffect, MARK_FILES, Marks, MarksFound, StoreId,
};
use crate::supervision::MessageId;

/// The number of records that are made: enough for several segments.
const RECORDS: u32 = 150;

/// Makes a store with records, some of them replaced and deleted, and stops it.
pub(super) async fn make(folder: &Path) -> Vec<Record> {
    let running = Running::on_sled(folder, &Faults::none()).await;
    for n in 0..RECORDS {
        let text = format!("{{\"n\":{n},\"filling\":\"{}\"}}", "x".repeat(300));
        let object = JsonObject::parse(text.as_bytes()).unwrap();
        let made = running.store.create(BOOKS, object, None).await.unwrap();
        if n % 10 == 0 {
            running.store.delete(BOOKS, &made.id).await.unwrap();
        }
    }
    let records = running.all().await;
    running.stop().await;
    records
}

/// The daemon was killed: the store was not closed in order.
pub(super) fn unclean(folder: &Path) {
    let MarksFound::Found { mut mark, .. } = Marks::read(folder).unwrap() else {
        panic!("no marks");
    };
    mark.clean = false;
    Marks::open(folder).unwrap().write_both(&mark).unwrap();
}

pub(super) fn segments(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder.join("journal")).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "journal"));
    paths.sort();
    paths
}

/// The end of what was written into a segment.
pub(super) fn used(path: &Path) -> u64 {
    let content = fs::read(path).unwrap();
    let end = content.iter().rposition(|byte| *byte != 0).unwrap();
    u64::try_from(end + 1).unwrap()
}

pub(super) async fn wait_for_snapshot(folder: &Path) {
    let snapshots = folder.join("snapshots");
    let made = || {
        let mut names = fs::read_dir(&snapshots).into_iter().flatten().flatten();
        names.any(|entry| entry.path().extension().is_some())
    };
    while !made() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(super) fn flip(path: &Path, at: u64) {
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
}

pub(super) fn no_marks(data: &Path) {
    for name in MARK_FILES {
        fs::remove_file(data.join(name)).unwrap();
    }
}

/// A name, and what is done to the files of a store.
pub(super) type Damage = (&'static str, fn(&Path));

/// Kinds of damage to a store that was not closed in order.
const DAMAGES: [Damage; 14] = [
    ("nothing", |_| {}),
    ("the view is gone", |data| {
        fs::remove_dir_all(data.join("view")).unwrap();
    }),
    ("the view is cut", |data| {
        let file = OpenOptions::new()
            .write(true)
            .open(data.join("view/db"))
            .unwrap();
        file.set_len(file.metadata().unwrap().len() / 2).unwrap();
    }),
    ("the view's head is damaged", |data| {
        flip(&data.join("view/conf"), 3);
    }),
    ("a mark is damaged", |data| {
        flip(&data.join("marks"), 20);
    }),
    ("the marks are gone", |data| {
        fs::remove_file(data.join("marks")).unwrap();
    }),
    ("the copy of the marks is gone", |data| {
        fs::remove_file(data.join("marks-copy")).unwrap();
    }),
    ("all marks are gone", no_marks),
    ("the marks are another store's", |data| {
        let MarksFound::Found { mut mark, .. } = Marks::read(data).unwrap() else {
            panic!("no marks");
        };
        mark.store = StoreId::random();
        Marks::open(data).unwrap().write_both(&mark).unwrap();
    }),
    ("a bit of the first segment", |data| {
        flip(&segments(data)[0], 3_000);
    }),
    ("the first segment is gone", |data| {
        fs::remove_file(&segments(data)[0]).unwrap();
    }),
    ("the head of the last segment", |data| {
        flip(segments(data).last().unwrap(), 9);
    }),
    ("the last change", |data| {
        let last = segments(data).pop().unwrap();
        flip(&last, used(&last) - 5);
    }),
    ("the whole journal is gone", |data| {
        let journal = data.join("journal");
        while journal.exists() {
            // A thread may still make room in it.
            drop(fs::remove_dir_all(&journal));
        }
    }),
];

#[test]
fn any_one_damage_is_healed_from_the_other_copy() {
    for (name, damage) in DAMAGES {
        run(async move {
            let folder = tempfile::tempdir().unwrap();
            let records = make(folder.path()).await;
            assert!(segments(folder.path()).len() > 2);
            unclean(folder.path());
            damage(folder.path());
            let checked = check_data(folder.path(), 1 << 20).unwrap();
            // sled may take what is left of a file for an earlier moment.
            let unseen = [
                "nothing",
                "the view is gone",
                "the view is cut",
                "the copy of the marks is gone",
            ];
            let is_found = !unseen.contains(&name);
            assert!(
                !is_found || checked.mends == Some(true),
                "{name}: {checked:?}"
            );
            assert!(
                name != "nothing" || checked.findings.is_empty(),
                "{checked:?}"
            );
            for time in 0..2 {
                let running = Running::on_sled(folder.path(), &Faults::none()).await;
                assert_eq!(running.store.trouble(), None, "{name}, open {time}");
                assert_eq!(running.all().await, records, "{name}, open {time}");
                let next = running.store.create(BOOKS, book(7), None).await.unwrap();
                assert!(records.iter().all(|record| record.revision < next.revision));
                running.store.delete(BOOKS, &next.id).await.unwrap();
                if time == 0 && name.contains("first segment") {
                    // Nothing needed it, but scrubbing finds it.
                    wait_for_snapshot(folder.path()).await;
                }
                running.stop().await;
                if time == 0 {
                    // The healed store has two copies again.
                    fs::remove_dir_all(folder.path().join("view")).unwrap();
                }
            }
        });
    }
}

/// A process that is killed takes what it has in memory with it. After a moment, the journal is not the only copy of anything.
#[test]
fn soon_after_the_last_change_a_killed_daemon_leaves_two_copies() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let running = Running::on_sled(folder.path(), &Faults::none()).await;
        for n in 0..20 {
            running.store.create(BOOKS, book(n), None).await.unwrap();
        }
        let records = running.all().await;
        loop {
            // The files as the kernel has them, without the journal.
            let killed = tempfile::tempdir().unwrap();
            let (from, to) = (folder.path(), killed.path());
            copy(&from.join("view"), &to.join("view"));
            fs::copy(from.join("marks"), to.join("marks")).unwrap();
            let left = Running::on_sled(killed.path(), &Faults::none()).await;
            if left.store.trouble().is_none() {
                assert_eq!(left.all().await, records);
                left.stop().await;
                break;
            }
            left.stop().await;
        }
        running.stop().await;
    });
}

/// The daemon was killed before it handed its last changes over to the view, and the journal is damaged before them.
#[test]
fn changes_that_only_the_journal_has_are_read_behind_damage_too() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        make(folder.path()).await;
        let [view, before] = ["view", "view-before"].map(|name| folder.path().join(name));
        copy(&view, &before);
        let running = Running::on_sled(folder.path(), &Faults::none()).await;
        let begun = segments(folder.path()).pop().unwrap();
        let mut number = 0;
        while segments(folder.path()).pop().unwrap() == begun || number < 20 {
            running
                .store
                .create(BOOKS, book(number), None)
                .await
                .unwrap();
            number += 1;
        }
        let records = running.all().await;
        running.stop().await;
        fs::remove_dir_all(&view).unwrap();
        fs::rename(&before, &view).unwrap();
        unclean(folder.path());
        flip(&begun, 150);
        let checked = check_data(folder.path(), 1 << 20).unwrap();
        assert_eq!(checked.mends, Some(true), "{checked:?}");
        let running = Running::on_sled(folder.path(), &Faults::none()).await;
        assert_eq!(running.store.trouble(), None);
        assert_eq!(running.all().await, records);
        let incidents = running.store.holder.healing.incidents.all();
        let kinds: Vec<_> = incidents.iter().map(|incident| incident.kind).collect();
        assert_eq!(kinds, [IncidentKind::DamagedJournal]);
        running.stop().await;
        fs::remove_dir_all(&view).unwrap();
        let running = Running::on_sled(folder.path(), &Faults::none()).await;
        assert_eq!(running.all().await, records, "from the snapshot");
        running.stop().await;
    });
}

#[test]
fn a_torn_end_that_was_not_acknowledged_is_left_behind() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let records = make(folder.path()).await;
        let last = segments(folder.path()).pop().unwrap();
        let file = OpenOptions::new().write(true).open(&last).unwrap();
        file.write_all_at(b"PRNFhalf a frame", used(&last) + 4)
            .unwrap();
        unclean(folder.path());
        let running = Running::on_sled(folder.path(), &Faults::none()).await;
        assert_eq!(running.all().await, records);
        assert_eq!(
            segments(folder.path()).last().map(|path| *path > last),
            Some(true)
        );
        running.stop().await;
    });
}

#[test]
fn what_no_copy_has_is_refused_by_its_numbers_and_nothing_is_changed() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        make(folder.path()).await;
        unclean(folder.path());
        fs::remove_dir_all(folder.path().join("view")).unwrap();
        let last = segments(folder.path()).pop().unwrap();
        flip(&last, used(&last) - 5);
        refusals::assert_refused(folder.path(), "the changes 165 to 165 were acknowledged");
        let (store, _spec) = on_sled(folder.path(), &Faults::none());
        assert!(
            store
                .holder
                .wait_open(Duration::from_secs(20), &|| true)
                .is_none()
        );
        assert_eq!(store.refusal(), None, "the rest is served without it");
        let answer = store.get(BOOKS, &RecordId::Number(1)).await;
        let told = matches!(answer, Err(StoreError::Unready { .. }));
        assert!(told, "at once: {answer:?}");
    });
}

#[test]
fn a_folder_that_is_moved_away_is_not_replaced_by_an_empty_store() {
    run(async {
        let parent = tempfile::tempdir().unwrap();
        let (data, away) = (parent.path().join("data"), parent.path().join("away"));
        let running = Running::on_sled(&data, &Faults::none()).await;
        let first = running.store.create(BOOKS, book(1), None).await.unwrap();
        fs::rename(&data, &away).unwrap();
        let refused = running.store.create(BOOKS, book(2), None).await;
        assert!(
            matches!(refused, Err(StoreError::OutcomeUnknown)),
            "{refused:?}"
        );
        assert!(!running.store.ready());
        let trouble = running.store.trouble().unwrap();
        assert!(trouble.contains("put the folder back"), "{trouble}");
        assert!(!data.exists(), "nothing is made in its place");
        fs::rename(&away, &data).unwrap();
        let limit = Duration::from_secs(30);
        running
            .store
            .holder
            .wait_until_open(limit)
            .expect("it opens again by itself");
        let second = running.store.create(BOOKS, book(2), None).await.unwrap();
        assert_eq!(running.all().await, [first, second]);
        running.stop().await;
    });
}

#[test]
fn the_log_is_trimmed_to_its_length() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let memory = Arc::<Memory>::default();
        let mut short = settings(folder.path());
        short.storage.log_keep = 3000;
        let opener = MemoryOpener(Arc::clone(&memory));
        let incidents = incidents(folder.path());
        let made = with_engine(Box::new(opener), &short, &Faults::none(), &incidents);
        let running = Running::start(made).await;
        for n in 0..3100 {
            running.store.create(BOOKS, book(n), None).await.unwrap();
        }
        let trimmed = running.store.changes(0).await;
        assert_eq!(trimmed, Ok(Changes::Trimmed { first: 101 }));
        running.stop().await;
    });
}

/// The process was killed while the view was made again from a snapshot: what it has is not all there is.
#[test]
fn a_view_that_was_made_in_part_is_made_again() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let running = Running::on_sled(folder.path(), &Faults::none()).await;
        for n in 0..450 {
            let text = format!("{{\"n\":{n},\"filling\":\"{}\"}}", "x".repeat(4000));
            let object = JsonObject::parse(text.as_bytes()).unwrap();
            running.store.create(BOOKS, object, None).await.unwrap();
        }
        let made = running.all().await;
        let store = running.store.holder.look(|open| open.store).unwrap();
        running.stop().await;
        unclean(folder.path());
        let view = folder.path().join("view");
        fs::remove_dir_all(&view).unwrap();
        let names = names();
        let mut engine = SledEngine::open(&view, 16 << 20, &names).unwrap();
        let replay = Replay::new(&mut engine, store, Checked::default(), u64::MAX).unwrap();
        let mut replay = replay.of_snapshot();
        // The last record goes in first, so that the view claims to be further than it is.
        let changes = made.iter().skip(20).rev().map(|record| JournalChange {
            seq: record.revision.0,
            at_ms: 0,
            message: MessageId(1),
            collection: names[0].clone(),
            key: record.id.key().into_owned(),
            effect: JournalEffect::Put {
                created_ms: 0,
                json: record.json.clone(),
            },
            by: None,
        });
        replay.add(changes.collect()).unwrap();
        drop(replay);
        assert!(!engine.collections().is_empty());
        engine.flush().unwrap();
        drop(engine);
        let running = Running::on_sled(folder.path(), &Faults::none()).await;
        // On a busy machine the daemon starts before the view is made.
        while !running.store.ready() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(running.all().await == made, "records are missing");
        running.stop().await;
    });
}
