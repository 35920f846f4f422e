//! Stores that are refused: whatever the reason is, the folder is left as it is.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use super::super::database::SledEngine;
use super::super::engine::{Engine as _, Group};
use super::opening::{Damage, flip, make, no_marks, segments, unclean, used};
use super::*;
use crate::storage::journal::FRAME_VERSION;

/// The content of all files below a folder, without the lock and the note that a process runs.
fn content(data: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![data.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if ["lock", "running"]
                .iter()
                .any(|name| path == data.join(name))
            {
                continue;
            }
            let kind = fs::symlink_metadata(&path).unwrap();
            if kind.is_dir() {
                folders.push(path.clone());
            }
            let bytes = kind.is_file().then(|| fs::read(&path).unwrap());
            found.insert(path, bytes);
        }
    }
    found
}

/// The start refuses the store with this text, and the folder stays as it is.
#[track_caller]
pub(super) fn assert_refused(data: &Path, told: &str) {
    let before = content(data);
    let (store, _spec) = on_sled(data, &Faults::none());
    let opened = store.holder.wait_open(Duration::from_secs(20), &|| true);
    assert!(opened.is_none(), "{told}");
    let refusal = store.holder.refusal().unwrap().text;
    assert!(refusal.contains(told), "{told}: {refusal}");
    store.close();
    let after = content(data);
    let changed = |path: &&PathBuf| before.get(*path) != after.get(*path);
    let changed: Vec<_> = before.keys().chain(after.keys()).filter(changed).collect();
    assert!(changed.is_empty(), "{told}: {changed:?}");
}

/// Leaves what a killed process leaves of a second view and of a snapshot.
fn leave_unfinished(data: &Path) {
    for folder in ["view-next", "view-old", "snapshots"] {
        fs::create_dir_all(data.join(folder)).unwrap();
        fs::write(data.join(folder).join("unfinished"), "a part").unwrap();
    }
    fs::write(data.join("view-next-unfinished"), "").unwrap();
}

fn damage_the_end(data: &Path) {
    let last = segments(data).pop().unwrap();
    flip(&last, used(&last) - 5);
}

const LOST: &str = "were acknowledged, and no copy has them";

/// Ways to damage a store, each with the text that its refusal has.
const REFUSED: [Damage; 10] = [
    (LOST, |data| {
        fs::remove_dir_all(data.join("view")).unwrap();
        damage_the_end(data);
    }),
    (LOST, |data| {
        // sled is shown a view that it takes for damaged.
        flip(&data.join("view/conf"), 3);
        damage_the_end(data);
    }),
    (LOST, |data| {
        let view = fs::read(data.join("view/db")).unwrap();
        fs::write(data.join("view/db"), vec![0x5a; view.len()]).unwrap();
        flip(&segments(data)[1], 3_000);
    }),
    (LOST, |data| {
        fs::remove_dir_all(data.join("view")).unwrap();
        fs::write(data.join("view"), "no folder").unwrap();
        flip(&segments(data)[1], 3_000);
    }),
    (LOST, |data| {
        for folder in ["view", "journal"] {
            fs::remove_dir_all(data.join(folder)).unwrap();
            fs::write(data.join(folder), "no folder").unwrap();
        }
    }),
    (LOST, |data| {
        // Only the view has the first records, and cannot read one of them.
        fs::remove_file(&segments(data)[0]).unwrap();
        damage_a_record(data);
    }),
    ("and perhaps later ones", |data| {
        no_marks(data);
        damage_the_end(data);
    }),
    ("neither the file marks nor the journal", |data| {
        no_marks(data);
        fs::remove_dir_all(data.join("journal")).unwrap();
    }),
    ("neither the file marks nor the journal", |data| {
        no_marks(data);
        for folder in ["view", "journal"] {
            fs::remove_dir_all(data.join(folder)).unwrap();
            fs::write(data.join(folder), "no folder").unwrap();
        }
    }),
    ("run the newer release", |data| {
        newer(&segments(data)[0]);
    }),
];

fn damage_a_record(data: &Path) {
    let engine = SledEngine::open(&data.join("view"), 8 << 20, &names()).unwrap();
    let mut first = Vec::new();
    let mut visit = |key: &[u8], _: &[u8]| {
        first = key.to_vec();
        false
    };
    let records = Keyspace::Records(BOOKS);
    engine.scan(records, &[], &mut visit).unwrap();
    let mut group = Group::default();
    group.put(records, first, b"damaged".to_vec());
    engine.commit(&group).unwrap();
    engine.flush().unwrap();
}

/// Gives the first frame of a segment the version of a newer release.
fn newer(segment: &Path) {
    let mut content = fs::read(segment).unwrap();
    // Behind the head of the segment; the frame's own head ends with its check sum and four zeros.
    let head = &mut content[64..64 + 48];
    head[4] = FRAME_VERSION + 1;
    let sum = crc32c::crc32c(&head[..40]);
    head[40..44].copy_from_slice(&sum.to_be_bytes());
    fs::write(segment, content).unwrap();
}

#[test]
fn a_refusal_changes_nothing_after_a_stop_in_order_or_a_kill() {
    for (told, damage) in REFUSED {
        for killed in [false, true] {
            run(async move {
                let folder = tempfile::tempdir().unwrap();
                make(folder.path()).await;
                if killed {
                    unclean(folder.path());
                    leave_unfinished(folder.path());
                }
                damage(folder.path());
                assert_refused(folder.path(), told);
                // Nor does another attempt.
                assert_refused(folder.path(), told);
            });
        }
    }
}

#[test]
fn an_old_store_that_lacks_changes_is_refused_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let old = SledEngine::open(&folder.path().join("sled"), 1 << 20, &names()).unwrap();
    let mut group = Group::default();
    for (key, value) in [
        ("schema", 2_u32.to_be_bytes().to_vec()),
        ("last_seq", 20_u64.to_be_bytes().to_vec()),
    ] {
        group.put(Keyspace::Meta, key.as_bytes(), value);
    }
    old.commit(&group).unwrap();
    old.flush().unwrap();
    drop(old);
    let seq = 25_u64.to_be_bytes();
    let mark = [&seq[..], &crc32fast::hash(&seq).to_be_bytes()].concat();
    fs::write(folder.path().join("sled.acknowledged"), mark).unwrap();
    assert_refused(folder.path(), "but change 25 was acknowledged");
}
