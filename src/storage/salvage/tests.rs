//! Tests that salvage stores whose files are damaged at random places, and compare the result with what is whole in them by a
//! look at the bytes that were changed.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;

use bytes::Bytes;

use super::*;
use crate::storage::backup::tests::{STORE, restored};
use crate::storage::journal::{
    FrameSync, Journal, JournalChange, JournalEffect, JournalEnd, JournalFiles, MARK_FILES, Mark,
    Marks, Snapshot, SnapshotWriter,
};
use crate::supervision::MessageId;

const CHANGES: u64 = 700;
/// The changes after which there are snapshots. The journal begins behind the first one.
const SNAPSHOTS: [u64; 2] = [400, 500];
const KEYS: u32 = 260;

fn change(seq: u64, random: &mut fastrand::Rng) -> JournalChange {
    let filling: String = (0..random.usize(..6_000))
        .map(|_| random.alphanumeric())
        .collect();
    let put = JournalEffect::Put {
        created_ms: 1,
        json: Bytes::from(format!("{{\"n\":{seq},\"filling\":\"{filling}\"}}")),
    };
    JournalChange {
        seq,
        at_ms: seq,
        message: MessageId(u128::from(seq)),
        collection: "books".to_owned(),
        key: format!("k{}", random.u32(..KEYS)).into_bytes(),
        effect: if random.u8(..5) == 0 {
            JournalEffect::Delete
        } else {
            put
        },
        by: None,
    }
}

/// A file of a store as it was written.
struct Original {
    path: PathBuf,
    bytes: Vec<u8>,
    /// The places and the changes of its frames.
    frames: Vec<(Range<usize>, Vec<JournalChange>)>,
    /// The last change, if it is a snapshot.
    snapshot: Option<u64>,
}

fn places(bytes: &[u8]) -> Vec<Range<usize>> {
    let mut at = 64;
    let mut places = Vec::new();
    while bytes.get(at..at + 4) == Some(b"PRNF") {
        let body = bytes[at + 8..at + 12].try_into().map(u32::from_be_bytes);
        let end = at + 48 + usize::try_from(body.unwrap()).unwrap();
        places.push(at..end);
        at = end;
    }
    places
}

/// Writes a store. Returns its files.
fn store(data: &Path, random: &mut fastrand::Rng) -> Vec<Original> {
    let changes: Vec<_> = (1..=CHANGES).map(|seq| change(seq, random)).collect();
    for last in SNAPSHOTS {
        let mut live = BTreeMap::new();
        for change in changes.iter().take(usize::try_from(last).unwrap()) {
            live.remove(&change.key);
            if matches!(change.effect, JournalEffect::Put { .. }) {
                live.insert(change.key.clone(), change.clone());
            }
        }
        let mut out = SnapshotWriter::begin(&data.join("snapshots"), STORE).unwrap();
        for change in live.into_values() {
            out.add(change).unwrap();
        }
        out.finish(last).unwrap();
    }
    let end = JournalEnd {
        last: SNAPSHOTS[0],
        ..JournalEnd::default()
    };
    let mut journal = Journal::open(&data.join("journal"), STORE, &end).unwrap();
    for group in changes[usize::try_from(SNAPSHOTS[0]).unwrap()..].chunks(3) {
        journal.prepare(group, false).unwrap();
        let last = group.last().unwrap().seq;
        journal.append(last, FrameSync::Synced).unwrap();
    }
    let mark = Mark {
        store: STORE,
        branch: 0,
        boot: 1,
        acknowledged: CHANGES,
        clean: true,
    };
    Marks::open(data).unwrap().write_both(&mark).unwrap();
    let mut originals = Vec::new();
    for snapshot in Snapshot::find(&data.join("snapshots"), STORE).unwrap() {
        let mut frames = Vec::new();
        let read = snapshot.read::<JournalError>(|changes| {
            frames.push(changes);
            Ok(())
        });
        read.unwrap();
        // The last frame has no changes.
        frames.push(Vec::new());
        let bytes = fs::read(snapshot.path()).unwrap();
        originals.push(Original {
            path: snapshot.path().to_owned(),
            frames: places(&bytes).into_iter().zip(frames).collect(),
            bytes,
            snapshot: Some(snapshot.seq),
        });
    }
    let mut frames = Vec::new();
    let files = JournalFiles::find(&data.join("journal"), STORE).unwrap();
    let read = files.read::<JournalError>(SNAPSHOTS[0], |changes| {
        frames.push(changes);
        Ok(())
    });
    read.unwrap();
    let mut frames = frames.into_iter();
    for number in 1..=files.last_number() {
        let path = files.path_of(number);
        let bytes = fs::read(&path).unwrap();
        originals.push(Original {
            frames: places(&bytes).into_iter().zip(&mut frames).collect(),
            path,
            bytes,
            snapshot: None,
        });
    }
    assert!(frames.next().is_none());
    originals
}

fn damage(path: &Path, random: &mut fastrand::Rng) {
    let Ok(mut bytes) = fs::read(path) else {
        return;
    };
    if bytes.is_empty() {
        return;
    }
    let begin = random.usize(..bytes.len());
    match random.u8(..8) {
        0 => return fs::remove_file(path).unwrap(),
        1 => bytes.truncate(begin),
        2 => {
            let end = (begin + random.usize(1..9_000)).min(bytes.len());
            bytes[begin..end].fill(0);
        }
        3 => {
            let end = (begin + random.usize(1..9_000)).min(bytes.len());
            bytes[begin..end].fill_with(|| random.u8(..));
        }
        _ => bytes[begin] ^= 1 << random.u8(..8),
    }
    fs::write(path, bytes).unwrap();
}

/// The whole parts of the files: the newest change of each record, and the numbers of all changes that are known.
fn whole(originals: &[Original]) -> (BTreeMap<Vec<u8>, JournalChange>, Vec<bool>) {
    let mut newest = BTreeMap::<_, JournalChange>::new();
    let mut known = vec![false; usize::try_from(CHANGES).unwrap() + 1];
    for original in originals {
        let Ok(now) = fs::read(&original.path) else {
            continue;
        };
        if let Some(last) = original.snapshot
            && now == original.bytes
        {
            known[..=usize::try_from(last).unwrap()].fill(true);
        }
        for (place, changes) in &original.frames {
            if now.get(place.clone()) != original.bytes.get(place.clone()) {
                continue;
            }
            for change in changes {
                known[usize::try_from(change.seq).unwrap()] = true;
                let is_newer = |known: &JournalChange| known.seq < change.seq;
                if newest.get(&change.key).is_none_or(is_newer) {
                    newest.insert(change.key.clone(), change.clone());
                }
            }
        }
    }
    (newest, known)
}

#[test]
fn every_record_comes_out_whose_frame_is_whole_in_any_copy() {
    let seed = 31;
    let mut random = fastrand::Rng::with_seed(seed);
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let originals = store(&data, &mut random);
    let segments = originals.iter().filter(|file| file.snapshot.is_none());
    assert!(segments.count() > 5 && originals[0].frames.len() > 1);
    let (mut incomplete, mut named) = (0, 0);
    for round in 0..60 {
        for original in &originals {
            fs::write(&original.path, &original.bytes).unwrap();
        }
        for _ in 0..random.usize(..6) {
            damage(&random.choice(&originals).unwrap().path, &mut random);
        }
        let (newest, known) = whole(&originals);
        let into = folder.path().join(format!("into-{round}"));
        let told = salvage(std::slice::from_ref(&data), &into).unwrap();
        let (mark, model) = restored(&into);
        let expected = newest.iter().filter_map(|(key, change)| {
            let JournalEffect::Put { json, .. } = &change.effect else {
                return None;
            };
            Some((key.clone(), (change.seq, json.clone())))
        });
        assert_eq!(model, expected.collect(), "seed {seed}, round {round}");
        assert_eq!((mark.acknowledged, told.last), (CHANGES, CHANGES));
        let missing: Vec<_> = (1..=CHANGES)
            .filter(|seq| !known[usize::try_from(*seq).unwrap()])
            .collect();
        let stretches = told.missing.iter();
        let told_missing: Vec<_> = stretches.flat_map(|(first, last)| *first..=*last).collect();
        assert_eq!(told_missing, missing, "seed {seed}, round {round}");
        incomplete += usize::from(!missing.is_empty());
        named += told.lost.len();
        for lost in &told.lost {
            let newest = &newest.get(lost.id.as_bytes());
            let seq = newest.map_or(0, |newest| newest.seq);
            assert!(lost.change.unwrap() > seq, "{lost}");
            let put = newest.is_some_and(|one| matches!(one.effect, JournalEffect::Put { .. }));
            assert_eq!(lost.instead, put.then_some(seq), "{lost}");
        }
        fs::remove_dir_all(&into).unwrap();
    }
    assert!((10..60).contains(&incomplete), "{incomplete}");
    assert!(named > 10, "{named}");
}

#[test]
fn a_folder_of_another_store_or_in_use_or_with_a_store_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let [data, into] = ["data", "into"].map(|name| folder.path().join(name));
    store(&data, &mut fastrand::Rng::with_seed(32));
    salvage(std::slice::from_ref(&data), &into).unwrap();
    let refused = |from: &[&PathBuf], to: &Path| {
        let from: Vec<_> = from.iter().map(|path| (*path).clone()).collect();
        salvage(&from, to).unwrap_err()
    };
    let new = folder.path().join("new");
    let text = refused(&[&data, &into], &new).to_string();
    assert!(text.contains("is not of the store in"), "{text}");
    let text = refused(&[&data], &into).to_string();
    assert!(text.contains("has a store already"), "{text}");
    let lock = crate::storage::journal::DataLock::take(&data).unwrap();
    let error = refused(&[&data], &new);
    assert!(matches!(error, SalvageError::InUse { .. }), "{error}");
    drop(lock);
    let nothing = folder.path().to_owned();
    let error = refused(&[&nothing], &new);
    assert!(
        matches!(error, SalvageError::Store(BackupError::NoStore(_))),
        "{error}"
    );
    assert!(!new.exists());
}

#[test]
fn without_marks_the_store_is_known_by_its_files() {
    let folder = tempfile::tempdir().unwrap();
    let [data, into] = ["data", "into"].map(|name| folder.path().join(name));
    let originals = store(&data, &mut fastrand::Rng::with_seed(33));
    for name in MARK_FILES {
        fs::write(data.join(name), b"").unwrap();
    }
    for original in originals.iter().filter(|file| file.snapshot.is_none()) {
        let mut bytes = original.bytes.clone();
        bytes[20] ^= 1;
        fs::write(&original.path, bytes).unwrap();
    }
    let told = salvage(std::slice::from_ref(&data), &into).unwrap();
    assert_eq!((told.acknowledged, told.last), (None, CHANGES));
    assert_eq!(told.missing, []);
}
