use std::sync::Arc;

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

/// Keys that come and go, and how many blocks are counted before each.
fn changes() -> impl Strategy<Value = Vec<(u16, bool, usize)>> {
    let change = (0_u16..900, prop::bool::weighted(0.8), 0_usize..2);
    prop::collection::vec(change, 0..1_200)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn counts_are_those_of_a_look_at_each_key(before in 0_u16..900, changes in changes()) {
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
        for (n, added, blocks) in changes {
            for _ in 0..blocks {
                count_block(&engine, &keys(), &mut counts.lock()).unwrap();
            }
            let added = added && !expected.contains(&n);
            if !added && !expected.contains(&n) {
                continue;
            }
            let mut group = Group::default();
            if added {
                expected.insert(n);
                group.put(OF, key(n), Vec::new());
            } else {
                expected.remove(&n);
                group.remove(OF, key(n));
            }
            engine.commit(&group).unwrap();
            count_change(&engine, &keys(), &mut counts.lock(), &key(n), added).unwrap();
        }
        while !counts.lock().are_complete() {
            count_block(&engine, &keys(), &mut counts.lock()).unwrap();
        }
        let sum: u32 = counts.lock().counts.iter().sum();
        prop_assert_eq!(usize::try_from(sum).unwrap(), expected.len());
        prop_assert!(counts.lock().counts.iter().all(|count| *count <= BLOCK_KEYS_MAX));
        let ordered = OrderedKeys { engine: &engine, of: keys(), counts: Some(&counts) };
        let in_order: Vec<_> = expected.iter().copied().collect();
        for from in (0..900).step_by(97) {
            let first = in_order.partition_point(|n| *n < from);
            prop_assert_eq!(ordered.rank(&key(from)).unwrap(), Some(as_u64(first)));
            for to in (from..900).step_by(211) {
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
