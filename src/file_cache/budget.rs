//! Chooses the entries that stay in memory within a budget of bytes, by the "clock" (second chance) algorithm. Pure.
//!
//! A reader marks what it serves, without a lock. When room is needed, the oldest entry is looked at: one with a mark
//! loses the mark and becomes the youngest, one without is evicted. That keeps what is asked for often, at one bit for
//! each entry; an exact order of use would need a write to shared memory at each hit. (This is why no cache of a library
//! is used here: `quick_cache` and `moka` take a lock, or record the access, at each hit.)

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

/// The bytes that an entry counts for beside its content: header values, keys, pointers in the table. It also bounds the *number* of
/// entries, since empty files are not free.
pub(crate) const ENTRY_OVERHEAD_BYTES: usize = 1024;

/// The bytes that an entry with this much content counts for.
pub(crate) fn cost(content_bytes: usize) -> usize {
    content_bytes.saturating_add(ENTRY_OVERHEAD_BYTES)
}

/// The entries that are kept, by age.
#[derive(Debug)]
pub(crate) struct Budget<K> {
    pub(crate) limit_bytes: usize,
    /// The cost of everything kept; never more than the limit, once there was room made for it.
    pub(crate) used_bytes: usize,
    /// By the turn in which they were admitted or last spared: the oldest first.
    by_age: BTreeMap<u64, K>,
    kept: HashMap<K, Kept>,
    next_turn: u64,
}

#[derive(Debug, Clone, Copy)]
struct Kept {
    turn: u64,
    cost: usize,
}

impl<K: Clone + Eq + Hash> Budget<K> {
    pub(crate) fn new(limit_bytes: usize) -> Self {
        Self {
            limit_bytes,
            used_bytes: 0,
            by_age: BTreeMap::new(),
            kept: HashMap::new(),
            next_turn: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.kept.len()
    }

    /// Keeps `key`, which must not be kept yet, at `cost`, and returns what was evicted for it. `None` if it costs more than
    /// the whole budget: then nothing changes. `take_mark` says whether an entry was used since the last such question.
    pub(crate) fn admit(
        &mut self,
        key: K,
        cost: usize,
        take_mark: impl FnMut(&K) -> bool,
    ) -> Option<Vec<K>> {
        if cost > self.limit_bytes {
            return None;
        }
        let evicted = self.make_room(cost, take_mark);
        self.used_bytes += cost;
        self.kept.insert(key.clone(), Kept { turn: 0, cost });
        self.place(key);
        Some(evicted)
    }

    /// Evicts until there is room for `cost`, which is not more than the whole budget.
    pub(crate) fn make_room(
        &mut self,
        cost: usize,
        mut take_mark: impl FnMut(&K) -> bool,
    ) -> Vec<K> {
        let mut evicted = Vec::new();
        // Readers go on marking; after two rounds no entry is spared any more, so this always ends.
        let mut chances = self.kept.len().saturating_mul(2);
        while self.used_bytes > self.limit_bytes.saturating_sub(cost) {
            let Some((_, oldest)) = self.by_age.pop_first() else {
                break;
            };
            if chances > 0 && take_mark(&oldest) {
                self.place(oldest);
            } else {
                self.remove(&oldest);
                evicted.push(oldest);
            }
            chances = chances.saturating_sub(1);
        }
        evicted
    }

    /// Makes `key`, which is kept, the youngest.
    fn place(&mut self, key: K) {
        if let Some(kept) = self.kept.get_mut(&key) {
            kept.turn = self.next_turn;
            self.by_age.insert(self.next_turn, key);
            self.next_turn += 1;
        }
    }

    /// Forgets `key`, if it is kept.
    pub(crate) fn remove(&mut self, key: &K) {
        if let Some(kept) = self.kept.remove(key) {
            self.by_age.remove(&kept.turn);
            self.used_bytes -= kept.cost;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn kept(budget: &Budget<u8>) -> Vec<u8> {
        budget.by_age.values().copied().collect()
    }

    #[test]
    fn the_oldest_goes_first_unless_it_was_used() {
        let mut budget = Budget::new(30);
        for key in 1..=3 {
            assert_eq!(budget.admit(key, 10, |_| false), Some(vec![]));
        }
        assert_eq!(budget.admit(4, 10, |key| *key == 1), Some(vec![2]));
        assert_eq!(kept(&budget), [3, 1, 4]);
        assert_eq!(budget.used_bytes, 30);
    }

    #[test]
    fn a_large_one_sends_several_away() {
        let mut budget = Budget::new(30);
        for key in 1..=3 {
            budget.admit(key, 10, |_| false);
        }
        assert_eq!(budget.admit(4, 25, |_| false), Some(vec![1, 2, 3]));
    }

    #[test]
    fn what_exceeds_the_budget_changes_nothing() {
        let mut budget = Budget::new(30);
        budget.admit(1, 30, |_| false);
        assert_eq!(budget.admit(2, 31, |_| false), None);
        assert_eq!(kept(&budget), [1]);
    }

    #[test]
    fn it_ends_even_if_everything_is_in_use_all_the_time() {
        let mut budget = Budget::new(30);
        for key in 1..=3 {
            budget.admit(key, 10, |_| true);
        }
        assert_eq!(budget.admit(4, 10, |_| true), Some(vec![1]));
    }

    #[test]
    fn what_is_forgotten_makes_room() {
        let mut budget = Budget::new(20);
        budget.admit(1, 10, |_| false);
        budget.admit(2, 10, |_| false);
        budget.remove(&1);
        budget.remove(&9);
        assert_eq!(budget.used_bytes, 10);
        assert_eq!(budget.admit(3, 10, |_| false), Some(vec![]));
        assert_eq!(kept(&budget), [2, 3]);
    }

    proptest! {
        #[test]
        fn the_sum_never_exceeds_the_limit_and_is_exact(
            limit in 0_usize..200,
            steps in prop::collection::vec((any::<bool>(), 0_u8..20, 0_usize..120, any::<u32>()), 0..100)
        ) {
            let mut budget = Budget::new(limit);
            let mut model: BTreeSet<u8> = BTreeSet::new();
            for (admit, key, cost, marks) in steps {
                budget.remove(&key);
                model.remove(&key);
                if admit {
                    match budget.admit(key, cost, |key| marks >> (key % 32) & 1 == 1) {
                        Some(evicted) => {
                            for gone in evicted {
                                prop_assert!(model.remove(&gone), "evicted what was not kept");
                            }
                            model.insert(key);
                        }
                        None => prop_assert!(cost > limit),
                    }
                }
                prop_assert!(budget.used_bytes <= limit);
                prop_assert_eq!(budget.used_bytes, budget.kept.values().map(|kept| kept.cost).sum::<usize>());
                prop_assert_eq!(kept(&budget).into_iter().collect::<BTreeSet<_>>(), model.clone());
                prop_assert_eq!(budget.len(), model.len());
            }
        }
    }
}
