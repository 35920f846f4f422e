//! Which entries stay in memory: second chance ("clock"), within a budget of bytes. Pure.
//!
//! A reader marks what it serves, without a lock; the hand goes round from the oldest, takes the mark from what has one
//! and evicts what has none. That keeps what is asked for often, at one bit for each entry; an exact order of use would
//! need a write to shared memory at each hit.

use std::collections::VecDeque;

/// What an entry counts for beside its content: head values, keys, pointers in the table. It also bounds the *number* of
/// entries, since empty files are not free.
pub(crate) const ENTRY_OVERHEAD_BYTES: usize = 1024;

/// What an entry with this much content counts for.
pub(crate) fn cost(content_bytes: usize) -> usize {
    content_bytes.saturating_add(ENTRY_OVERHEAD_BYTES)
}

/// What became of an entry that asked to be kept.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Admission<K> {
    /// It is kept, and these have to go.
    Kept(Vec<K>),
    /// It is larger than the whole budget: nothing changes.
    TooLarge,
}

/// The ring of what is kept.
#[derive(Debug)]
pub(crate) struct Budget<K> {
    limit_bytes: usize,
    used_bytes: usize,
    /// From the hand on.
    ring: VecDeque<(K, usize)>,
}

impl<K: PartialEq> Budget<K> {
    pub(crate) fn new(limit_bytes: usize) -> Self {
        Self {
            limit_bytes,
            used_bytes: 0,
            ring: VecDeque::new(),
        }
    }

    /// What everything kept counts for; never more than the limit.
    pub(crate) fn used_bytes(&self) -> usize {
        self.used_bytes
    }

    pub(crate) fn len(&self) -> usize {
        self.ring.len()
    }

    /// Keeps `key`, which must not be kept yet, at `cost`. `take_mark` says whether an entry was used since it was last
    /// asked, and forgets it.
    pub(crate) fn admit(
        &mut self,
        key: K,
        cost: usize,
        mut take_mark: impl FnMut(&K) -> bool,
    ) -> Admission<K> {
        if cost > self.limit_bytes {
            return Admission::TooLarge;
        }
        let mut evicted = Vec::new();
        // Readers go on marking; after two rounds the hand no longer listens, so it always arrives.
        let mut chances = self.ring.len().saturating_mul(2);
        while self.used_bytes > self.limit_bytes - cost {
            let Some((oldest, size)) = self.ring.pop_front() else {
                break;
            };
            if chances > 0 && take_mark(&oldest) {
                self.ring.push_back((oldest, size));
            } else {
                self.used_bytes -= size;
                evicted.push(oldest);
            }
            chances = chances.saturating_sub(1);
        }
        self.used_bytes += cost;
        self.ring.push_back((key, cost));
        Admission::Kept(evicted)
    }

    /// Forgets `key`, if it is kept.
    pub(crate) fn remove(&mut self, key: &K) {
        if let Some(at) = self.ring.iter().position(|(kept, _)| kept == key)
            && let Some((_, size)) = self.ring.remove(at)
        {
            self.used_bytes -= size;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn kept(budget: &Budget<u8>) -> Vec<u8> {
        budget.ring.iter().map(|(key, _)| *key).collect()
    }

    #[test]
    fn the_oldest_goes_first_unless_it_was_used() {
        let mut budget = Budget::new(30);
        for key in 1..=3 {
            assert_eq!(budget.admit(key, 10, |_| false), Admission::Kept(vec![]));
        }
        assert_eq!(
            budget.admit(4, 10, |key| *key == 1),
            Admission::Kept(vec![2])
        );
        assert_eq!(kept(&budget), [3, 1, 4]);
        assert_eq!(budget.used_bytes(), 30);
    }

    #[test]
    fn a_large_one_sends_several_away() {
        let mut budget = Budget::new(30);
        for key in 1..=3 {
            budget.admit(key, 10, |_| false);
        }
        assert_eq!(
            budget.admit(4, 25, |_| false),
            Admission::Kept(vec![1, 2, 3])
        );
    }

    #[test]
    fn what_exceeds_the_budget_changes_nothing() {
        let mut budget = Budget::new(30);
        budget.admit(1, 30, |_| false);
        assert_eq!(budget.admit(2, 31, |_| false), Admission::TooLarge);
        assert_eq!(kept(&budget), [1]);
    }

    #[test]
    fn it_ends_even_if_everything_is_in_use_all_the_time() {
        let mut budget = Budget::new(30);
        for key in 1..=3 {
            budget.admit(key, 10, |_| true);
        }
        assert_eq!(budget.admit(4, 10, |_| true), Admission::Kept(vec![1]));
    }

    #[test]
    fn what_is_forgotten_makes_room() {
        let mut budget = Budget::new(20);
        budget.admit(1, 10, |_| false);
        budget.admit(2, 10, |_| false);
        budget.remove(&1);
        budget.remove(&9);
        assert_eq!(budget.used_bytes(), 10);
        assert_eq!(budget.admit(3, 10, |_| false), Admission::Kept(vec![]));
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
                        Admission::Kept(evicted) => {
                            for gone in evicted {
                                prop_assert!(model.remove(&gone), "evicted what was not kept");
                            }
                            model.insert(key);
                        }
                        Admission::TooLarge => prop_assert!(cost > limit),
                    }
                }
                prop_assert!(budget.used_bytes() <= limit);
                prop_assert_eq!(budget.used_bytes(), budget.ring.iter().map(|(_, size)| size).sum::<usize>());
                prop_assert_eq!(kept(&budget).into_iter().collect::<BTreeSet<_>>(), model.clone());
                prop_assert_eq!(budget.len(), model.len());
            }
        }
    }
}
