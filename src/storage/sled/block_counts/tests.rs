use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;

use super::super::engine::Group;
use super::super::tests::memory::{Memory, MemoryEngine};
use super::*;

const OF: Keyspace = Keyspace::Index(CollectionId(0));

fn keys() -> CountedKeys {
    CountedKeys {
        keyspace: OF,
        beginning: vec![7],
    }
}

fn key(n: u16) -> Vec<u8> {
    [&[7], &n.to_be_bytes()[..]].concat()
}

/// Groups of keys that come and go, and how many blocks are counted before each group.
fn groups() -> impl Strategy<Value = Vec<(Vec<(u16, bool)>, usize)>> {
    let change = || (0_u16..KEYS, prop::bool::weighted(0.7));
    let spread = prop::collection::vec(change(), 0..200);
    let one = prop::collection::vec(change(), 1);
    let beside = (0_u16..KEYS, 1_u16..200, any::<bool>());
    let beside =
        beside.prop_map(|(from, count, added)| (from..from + count).map(|n| (n, added)).collect());
    let group = prop_oneof![spread, one, beside];
    prop::collection::vec((group, 0_usize..3), 0..40)
}

/// Keys of tests are numbers below this.
const KEYS: u16 = 1_800;

/// Applies a group of keys to the engine, and then to the counts.
fn apply(engine: &MemoryEngine, counts: &Mutex<BlockCounts>, keys_moved: &BTreeMap<Vec<u8>, bool>) {
    let mut group = Group::default();
    for (key, added) in keys_moved {
        if *added {
            group.put(OF, key.clone(), Vec::new());
        } else {
            group.remove(OF, key.clone());
        }
    }
    engine.commit(&group).unwrap();
    count_moves(engine, &keys(), counts, keys_moved);
}

/// So many blocks as a division makes, and these.
fn halves(count: usize, more: &[u32]) -> Vec<u32> {
    [&vec![BLOCK_KEYS_MAX / 2; count][..], more].concat()
}

fn count_all(engine: &MemoryEngine, counts: &Mutex<BlockCounts>) {
    while !counts.lock().are_complete() {
        count_block(engine, &keys(), counts).unwrap();
    }
}

#[test]
fn a_group_that_makes_a_block_too_long_is_counted_once() {
    let all = |numbers: &mut dyn Iterator<Item = u16>| numbers.map(|n| (key(n), true)).collect();
    for (before, group, blocks) in [
        // Before all others, behind them, and among them.
        (200..250, all(&mut (0..200)), halves(7, &[26])),
        (0..50, all(&mut (200..400)), halves(7, &[26])),
        (0..60, all(&mut (1_000..1_128)), halves(5, &[28])),
        (500..550, all(&mut (0..KEYS).step_by(9)), halves(7, &[20])),
    ] {
        let engine = MemoryEngine::new(Arc::<Memory>::default(), &[]);
        let counts = Mutex::new(BlockCounts::default());
        count_all(&engine, &counts);
        for n in before.clone() {
            apply(&engine, &counts, &BTreeMap::from([(key(n), true)]));
        }
        let mut group: BTreeMap<_, _> = group;
        group.retain(|key_moved, _| !before.clone().any(|n| key(n) == *key_moved));
        apply(&engine, &counts, &group);
        assert_eq!(counts.lock().counts, blocks);
        let total = as_u64(before.len() + group.len());
        assert_eq!(counts.lock().total(), total);
        assert_eq!(counts.lock().bytes(), total * (3 + KEY_BYTES));
    }
}

#[test]
fn nobody_waits_for_a_read_and_one_that_fails_leaves_the_counts_right() {
    let memory = Arc::<Memory>::default();
    let engine = MemoryEngine::new(Arc::clone(&memory), &[]);
    let counts = Arc::new(Mutex::new(BlockCounts::default()));
    let fails = Arc::new(AtomicBool::new(false));
    let (watched, failing) = (Arc::clone(&counts), Arc::clone(&fails));
    *memory.before_scan.lock() = Some(Box::new(move |_| {
        assert!(
            watched.try_lock().is_some(),
            "the counts are locked over a read"
        );
        let error = || EngineError::Failed("no scan today".to_owned());
        (!failing.load(Ordering::SeqCst))
            .then_some(())
            .ok_or_else(error)
    }));
    let add = |numbers: std::ops::Range<u16>| {
        let group = numbers.map(|n| (key(n), true)).collect();
        apply(&engine, &counts, &group);
    };
    count_all(&engine, &counts);
    add(0..50);
    fails.store(true, Ordering::SeqCst);
    add(50..400);
    assert_eq!(counts.lock().counts, [400], "the block was not divided");
    fails.store(false, Ordering::SeqCst);
    let ordered = OrderedKeys {
        engine: &engine,
        of: keys(),
        counts: Some(&counts),
    };
    assert_eq!(ordered.rank(&key(300)).unwrap(), Some(300));
    add(400..401);
    assert_eq!(counts.lock().counts, halves(12, &[17]));
    let found = ordered.after(&key(0), 300).unwrap();
    assert_eq!(found, KeyAfter::Key(key(300)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn counts_are_those_of_a_look_at_each_key(before in 0_u16..900, groups in groups()) {
        let engine = MemoryEngine::new(Arc::<Memory>::default(), &[]);
        let mut expected = std::collections::BTreeSet::new();
        let mut group = Group::default();
        // Of other indexes.
        group.put(OF, vec![6, 1], Vec::new());
        group.put(OF, vec![8], Vec::new());
        for n in (0..before).step_by(3) {
            group.put(OF, key(n), Vec::new());
            expected.insert(n);
        }
        engine.commit(&group).unwrap();
        let counts = Mutex::new(BlockCounts::default());
        for (changes, blocks) in groups {
            for _ in 0..blocks {
                count_block(&engine, &keys(), &counts).unwrap();
            }
            let mut moves = KeyMoves::default();
            for (n, added) in changes {
                let changed = if added { expected.insert(n) } else { expected.remove(&n) };
                if changed {
                    moves.add(keys(), key(n), added);
                }
            }
            apply(&engine, &counts, &moves.0.remove(&keys()).unwrap_or_default());
        }
        count_all(&engine, &counts);
        let sum: u32 = counts.lock().counts.iter().sum();
        prop_assert_eq!(usize::try_from(sum).unwrap(), expected.len());
        prop_assert!(counts.lock().counts.iter().all(|count| *count <= BLOCK_KEYS_MAX));
        let ordered = OrderedKeys { engine: &engine, of: keys(), counts: Some(&counts) };
        let in_order: Vec<_> = expected.iter().copied().collect();
        for from in (0..KEYS).step_by(97) {
            let first = in_order.partition_point(|n| *n < from);
            prop_assert_eq!(ordered.rank(&key(from)).unwrap(), Some(as_u64(first)));
            for to in (from..KEYS).step_by(211) {
                let count = in_order.partition_point(|n| *n < to) - first;
                prop_assert_eq!(ordered.count(&key(from), &key(to)).unwrap(), Some(as_u64(count)));
            }
            for skip in [0, 1, 127, 129, 400] {
                let found = in_order.get(first + skip).map_or(KeyAfter::None, |n| KeyAfter::Key(key(*n)));
                prop_assert_eq!(ordered.after(&key(from), as_u64(skip)).unwrap(), found);
            }
        }
    }
}
