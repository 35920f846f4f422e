//! Backups and restores of a store whose files the test writes itself, compared with a model of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use bytes::Bytes;

use super::*;
use crate::storage::Untold;
use crate::storage::journal::{
    FrameSync, Journal, JournalChange, JournalEffect, JournalEnd, Mark, Marks, MarksFound,
    Snapshot, SnapshotWriter, StoreId,
};
use crate::supervision::MessageId;

pub(in crate::storage) const STORE: StoreId = StoreId(0xabcd);
const CHANGES: u64 = 300;
/// The change after which the store has a snapshot, and its journal begins.
const SNAPSHOT: u64 = 100;
/// The time of change `n` is `START_MS + 10 * n`.
const START_MS: u64 = 1_700_000_000_000;

/// The records by key, with their revisions.
pub(in crate::storage) type Model = BTreeMap<Vec<u8>, (u64, Bytes)>;

fn change(seq: u64, random: &mut fastrand::Rng) -> JournalChange {
    let text = format!(
        "{{\"n\":{seq},\"filling\":\"{}\"}}",
        "x".repeat(random.usize(..900))
    );
    let put = JournalEffect::Put {
        created_ms: 1,
        json: Bytes::from(text),
    };
    JournalChange {
        seq,
        at_ms: START_MS + 10 * seq,
        message: MessageId(u128::from(seq)),
        collection: "books".to_owned(),
        key: vec![b'a' + random.u8(..20)],
        effect: if random.u8(..4) == 0 {
            JournalEffect::Delete
        } else {
            put
        },
        by: None,
    }
}

pub(in crate::storage) fn apply(model: &mut Model, change: &JournalChange) {
    match &change.effect {
        JournalEffect::Put { json, .. } => {
            model.insert(change.key.clone(), (change.seq, json.clone()));
        }
        JournalEffect::Delete | JournalEffect::Numbers { .. } => {
            model.remove(&change.key);
        }
    }
}

/// Writes a store, and returns what it has after each change.
fn store(data: &Path, random: &mut fastrand::Rng) -> Vec<Model> {
    let changes: Vec<_> = (1..=CHANGES).map(|seq| change(seq, random)).collect();
    let mut models = vec![Model::new()];
    for change in &changes {
        let mut model = models.last().unwrap().clone();
        apply(&mut model, change);
        models.push(model);
    }
    let mut snapshot = SnapshotWriter::begin(&data.join("snapshots"), STORE).unwrap();
    for (key, (seq, json)) in &models[usize::try_from(SNAPSHOT).unwrap()] {
        let original = &changes[usize::try_from(*seq).unwrap() - 1];
        assert_eq!((key, &original.key), (&original.key, key));
        let created_ms = 1;
        let effect = JournalEffect::Put {
            created_ms,
            json: json.clone(),
        };
        snapshot
            .add(JournalChange {
                effect,
                ..original.clone()
            })
            .unwrap();
    }
    let snapshot = snapshot.finish(SNAPSHOT).unwrap();
    let written =
        std::time::UNIX_EPOCH + std::time::Duration::from_millis(START_MS + 10 * SNAPSHOT);
    fs::File::open(snapshot.path())
        .unwrap()
        .set_modified(written)
        .unwrap();
    let end = JournalEnd {
        last: SNAPSHOT,
        ..JournalEnd::default()
    };
    let mut journal = Journal::open(&data.join("journal"), STORE, &end).unwrap();
    for group in changes[usize::try_from(SNAPSHOT).unwrap()..].chunks(7) {
        journal.prepare(group, false).unwrap();
        journal
            .append(group.last().unwrap().seq, FrameSync::Synced)
            .unwrap();
    }
    let mark = Mark {
        store: STORE,
        branch: 0,
        boot: 1,
        acknowledged: CHANGES,
        clean: true,
    };
    Marks::open(data).unwrap().write_both(&mark).unwrap();
    models
}

/// The records of a store that was restored.
pub(in crate::storage) fn restored(data: &Path) -> (Mark, Model) {
    let MarksFound::Found { mark, .. } = Marks::read(data).unwrap() else {
        panic!("no marks");
    };
    assert_ne!(mark.store, STORE, "a restored store has an id of its own");
    let snapshots = Snapshot::find(&data.join("snapshots"), mark.store).unwrap();
    assert_eq!(snapshots.len(), 1);
    assert_eq!(snapshots[0].seq, mark.acknowledged);
    let mut model = Model::new();
    let read = snapshots[0].read::<JournalError>(|changes| {
        for change in &changes {
            apply(&mut model, change);
        }
        Ok(())
    });
    read.unwrap();
    (mark, model)
}

fn backup(data: &Path) -> (Vec<u8>, Manifest) {
    let mut backup = Vec::new();
    let manifest = BackupPlan::of(data, &Untold::default())
        .unwrap()
        .write(&mut backup, &Untold::default())
        .unwrap();
    (backup, manifest)
}

#[test]
fn a_store_can_be_had_as_it_was_after_any_change() {
    let mut random = fastrand::Rng::with_seed(11);
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let models = store(&data, &mut random);
    let (backup, manifest) = backup(&data);
    assert_eq!((manifest.first, manifest.last), (SNAPSHOT, CHANGES));
    assert_eq!(
        manifest.records(),
        u64::try_from(models.last().unwrap().len()).unwrap()
    );
    assert_eq!(verify_backup(&mut backup.as_slice()).unwrap(), manifest);
    for round in 0..50 {
        let moment = random.u64(SNAPSHOT..=CHANGES);
        let at = match round % 3 {
            0 => Moment::Change(moment),
            1 => Moment::Time(START_MS + 10 * moment),
            // Between two changes.
            _ => Moment::Time(START_MS + 10 * moment + 9),
        };
        for from_folder in [false, true] {
            let into = folder.path().join(format!("into-{round}-{from_folder}"));
            let told = if from_folder {
                restore_folder(&data, at, &into).unwrap()
            } else {
                restore_backup(&mut backup.as_slice(), at, &into).unwrap()
            };
            let (mark, model) = restored(&into);
            assert_eq!((mark.acknowledged, told.last), (moment, moment), "{at:?}");
            assert_eq!(told.last_ms, START_MS + 10 * moment);
            assert_eq!(model, models[usize::try_from(moment).unwrap()], "{at:?}");
            assert_eq!(told.records(), u64::try_from(model.len()).unwrap());
            assert!(!into.join("restoring").exists());
        }
    }
}

#[test]
fn what_is_not_there_is_not_restored_and_the_answer_says_what_is() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    store(&data, &mut fastrand::Rng::with_seed(12));
    let (backup, _) = backup(&data);
    let into = folder.path().join("into");
    for at in [
        Moment::Change(SNAPSHOT - 1),
        Moment::Change(CHANGES + 1),
        Moment::Time(START_MS),
    ] {
        let refused = restore_backup(&mut backup.as_slice(), at, &into).unwrap_err();
        let text = refused.to_string();
        assert!(
            text.contains("has the changes 100 to 300, of 2023-11-14T22:13:21"),
            "{at:?}: {text}"
        );
        assert!(!into.exists());
        let refused = restore_folder(&data, at, &into).unwrap_err();
        let text = refused.to_string();
        assert!(
            text.contains("has the changes 100 to 300, of 2023-11-14T22:13:21"),
            "{at:?}: {text}"
        );
        assert!(!refused.is_damage() && !into.exists());
    }
    restore_backup(&mut backup.as_slice(), Moment::Latest, &into).unwrap();
    let again = restore_backup(&mut backup.as_slice(), Moment::Latest, &into).unwrap_err();
    assert!(matches!(again, BackupError::HasStore(_)), "{again}");
    let again = restore_folder(&into, Moment::Latest, &data).unwrap_err();
    assert!(matches!(again, BackupError::HasStore(_)), "{again}");
    assert!(matches!(
        BackupPlan::of(folder.path(), &Untold::default()).unwrap_err(),
        BackupError::NoStore(_)
    ));
}

#[test]
fn no_byte_of_a_backup_can_change_unseen() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut random = fastrand::Rng::with_seed(13);
    store(&data, &mut random);
    let (backup, _) = backup(&data);
    for _ in 0..400 {
        let mut damaged = backup.clone();
        let place = random.usize(..damaged.len());
        damaged[place] ^= 1 << random.u8(..8);
        let error = verify_backup(&mut damaged.as_slice()).unwrap_err();
        assert!(error.is_damage(), "byte {place}: {error}");
        let cut = &backup[..random.usize(..backup.len())];
        let error = verify_backup(&mut &*cut).unwrap_err();
        assert!(error.is_damage(), "cut at {}: {error}", cut.len());
    }
    let into = folder.path().join("into");
    let mut damaged = backup.clone();
    *damaged.last_mut().unwrap() ^= 1;
    restore_backup(&mut damaged.as_slice(), Moment::Latest, &into).unwrap_err();
    assert!(!into.exists());
}

#[test]
fn a_store_that_was_restored_and_never_used_is_restored_again() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let models = store(&data, &mut fastrand::Rng::with_seed(17));
    let first = folder.path().join("first");
    restore_folder(&data, Moment::Change(200), &first).unwrap();
    let (mark, model) = restored(&first);
    let written = Snapshot::find(&first.join("snapshots"), mark.store).unwrap();
    let written = written[0].written_ms().unwrap();
    let mut told = Vec::new();
    for (round, at) in [
        Moment::Latest,
        Moment::Change(200),
        Moment::Time(written),
        Moment::Time(written - 1),
        Moment::Change(199),
        Moment::Change(201),
    ]
    .into_iter()
    .enumerate()
    {
        let into = folder.path().join(format!("above-{round}/second"));
        match restore_folder(&first, at, &into) {
            Ok(manifest) => {
                assert_eq!((manifest.last, restored(&into).1), (200, model.clone()));
            }
            Err(refused) => {
                let text = refused.to_string();
                assert!(text.contains("has the changes 200 to 200"), "{text}");
                told.push(at);
                assert!(!into.exists() && !into.parent().unwrap().exists());
            }
        }
    }
    let refused = [
        Moment::Time(written - 1),
        Moment::Change(199),
        Moment::Change(201),
    ];
    assert_eq!(told, refused);
    assert_eq!(model, models[200]);
}

#[test]
fn a_moment_before_the_first_change_is_refused_with_the_times_that_there_are() {
    let folder = tempfile::tempdir().unwrap();
    let [data, into] = ["data", "into"].map(|name| folder.path().join(name));
    let mut random = fastrand::Rng::with_seed(18);
    let changes: Vec<_> = (1..=30).map(|seq| change(seq, &mut random)).collect();
    let end = JournalEnd::default();
    let mut journal = Journal::open(&data.join("journal"), STORE, &end).unwrap();
    journal.prepare(&changes, false).unwrap();
    journal.append(30, FrameSync::Synced).unwrap();
    for at in [
        Moment::Time(START_MS),
        Moment::Change(0),
        Moment::Change(31),
    ] {
        let refused = restore_folder(&data, at, &into).unwrap_err().to_string();
        let expected =
            "has the changes 1 to 30, of 2023-11-14T22:13:20.010Z to 2023-11-14T22:13:20.300Z";
        assert!(refused.contains(expected), "{at:?}: {refused}");
    }
    let before = START_MS + 10 * 5 - 1;
    let restored = restore_folder(&data, Moment::Time(before), &into).unwrap();
    assert_eq!(restored.last, 4);
}

#[test]
fn a_refused_restore_leaves_a_folder_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let into = folder.path().join("into");
    let notes = into.join("notes");
    fs::create_dir(&into).unwrap();
    fs::write(&notes, "of someone").unwrap();
    restore_backup(&mut &b"no backup"[..], Moment::Latest, &into).unwrap_err();
    let left: Vec<_> = fs::read_dir(&into).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
    // A folder that is used stays, and so does its lock.
    let used = folder.path().join("used");
    let lock = crate::storage::journal::DataLock::take(&used).unwrap();
    restore_backup(&mut &b"no backup"[..], Moment::Latest, &used).unwrap_err();
    assert!(lock.is_of(&used));
}

#[test]
fn fuzz_a_damaged_backup_is_refused_without_a_panic() {
    let mut random = fastrand::Rng::with_seed(14);
    let folder = tempfile::tempdir().unwrap();
    store(folder.path(), &mut random);
    let (backup, _) = backup(folder.path());
    let cases = std::env::var("FUZZ_CASES").map_or(1_000, |cases| cases.parse().unwrap());
    // Each case reads a whole file: fewer cases than those of what is short.
    for _ in 0..cases / 500 + 300 {
        let mut bytes = backup.clone();
        let begin = random.usize(..bytes.len());
        let stretch = begin..(begin + random.usize(1..900)).min(bytes.len());
        match random.u8(..4) {
            0 => bytes[begin] ^= 1 << random.u8(..8),
            1 => bytes.truncate(begin),
            2 => bytes[begin..].fill_with(|| random.u8(..)),
            _ => {
                bytes.extend_from_within(stretch.clone());
                bytes.drain(stretch);
            }
        }
        // A stretch at the end that was moved is at its place again.
        assert!(bytes == backup || verify_backup(&mut bytes.as_slice()).is_err());
    }
}

#[test]
fn a_restore_that_was_cut_off_is_begun_again() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let models = store(&data, &mut fastrand::Rng::with_seed(15));
    let into = folder.path().join("into");
    let put = |path: &str| {
        let path = into.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, b"half").unwrap();
    };
    // While the snapshot is written; after it was moved, before the marks were.
    for left in [
        &["restoring/snapshots/unfinished"][..],
        &["snapshots/00000000000000000300.snapshot", "restoring/marks"],
    ] {
        for path in left {
            put(path);
        }
        restore_folder(&data, Moment::Latest, &into).unwrap();
        assert_eq!(restored(&into).1, *models.last().unwrap());
        fs::remove_dir_all(&into).unwrap();
    }
}

#[test]
fn a_damaged_copy_is_passed_over_if_another_one_has_everything() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let models = store(&data, &mut fastrand::Rng::with_seed(16));
    // A second snapshot at the end; then the first is damaged.
    let mut snapshot = SnapshotWriter::begin(&data.join("snapshots"), STORE).unwrap();
    for (key, (seq, json)) in models.last().unwrap() {
        let created_ms = 1;
        let mut random = fastrand::Rng::with_seed(0);
        let effect = JournalEffect::Put {
            created_ms,
            json: json.clone(),
        };
        let key = key.clone();
        snapshot
            .add(JournalChange {
                key,
                effect,
                ..change(*seq, &mut random)
            })
            .unwrap();
    }
    snapshot.finish(CHANGES).unwrap();
    let first = data.join("snapshots/00000000000000000100.snapshot");
    let mut bytes = fs::read(&first).unwrap();
    bytes[200] ^= 1;
    fs::write(&first, bytes).unwrap();
    let (backup, manifest) = backup(&data);
    assert_eq!((manifest.first, manifest.last), (CHANGES, CHANGES));
    let into = folder.path().join("into");
    restore_backup(&mut backup.as_slice(), Moment::Latest, &into).unwrap();
    assert_eq!(restored(&into).1, *models.last().unwrap());
    fs::remove_dir_all(data.join("snapshots")).unwrap();
    let refused = BackupPlan::of(&data, &Untold::default()).unwrap_err();
    assert!(refused.is_damage(), "{refused}");
}
