//! Keys of indexes as sled has them. sled 0.34.7 walks back wrongly where a key has four bytes 0xff in a row: it takes such a
//! run for the end of what precedes another key. So a zero follows each third byte 0xff in a row. That depends only on what is
//! before it, so the order of keys and what they begin with stay the same. Pure.

use std::borrow::Cow;

/// The most bytes 0xff in a row.
const RUN: usize = 3;

/// The key as sled has it.
pub(super) fn guarded(key: &[u8]) -> Cow<'_, [u8]> {
    if !key.windows(RUN).any(|run| run == [u8::MAX; RUN]) {
        return Cow::Borrowed(key);
    }
    let mut guarded = Vec::with_capacity(key.len() + key.len() / RUN);
    let mut run = 0;
    for &byte in key {
        guarded.push(byte);
        run = if byte == u8::MAX { run + 1 } else { 0 };
        if run == RUN {
            guarded.push(0);
            run = 0;
        }
    }
    Cow::Owned(guarded)
}

/// The key that sled has as `guarded`.
pub(super) fn plain(guarded: &[u8]) -> Cow<'_, [u8]> {
    if !guarded.windows(RUN).any(|run| run == [u8::MAX; RUN]) {
        return Cow::Borrowed(guarded);
    }
    let mut plain = Vec::with_capacity(guarded.len());
    let mut run = 0;
    for &byte in guarded {
        if run == RUN {
            run = 0;
            continue;
        }
        plain.push(byte);
        run = if byte == u8::MAX { run + 1 } else { 0 };
    }
    Cow::Owned(plain)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::super::database::SledEngine;
    use super::super::engine::{Engine, Group, Keyspace};
    use super::*;
    use crate::storage::CollectionId;

    /// Groups of eight bytes around their middle, of which those below it have long runs of 0xff.
    #[test]
    fn sled_walks_back_over_every_key() {
        const GROUPS: u64 = 48;
        const EACH: u64 = 130;
        let folder = tempfile::tempdir().unwrap();
        let engine = SledEngine::open(folder.path(), 1 << 20, &["a".to_owned()]).unwrap();
        let keyspace = Keyspace::Index(CollectionId(0));
        let key = |n: u64| {
            let group = u8::try_from(n / EACH).unwrap();
            let number = (1_u64 << 63) - EACH / 2 + n % EACH;
            [&[group][..], &number.to_be_bytes()].concat()
        };
        for n in 0..GROUPS * EACH {
            let mut group = Group::default();
            group.put(keyspace, key(n * 1387 % (GROUPS * EACH)), Vec::new());
            engine.commit(&group).unwrap();
        }
        let mut found = Vec::new();
        let visit = &mut |key: &[u8], _: &[u8]| {
            found.push(key.to_vec());
            true
        };
        engine.scan_back(keyspace, &[u8::MAX], visit).unwrap();
        let wanted = (0..GROUPS * EACH).rev().map(key);
        assert!(found.into_iter().eq(wanted));
    }

    fn key() -> impl Strategy<Value = Vec<u8>> {
        vec(prop_oneof![Just(0), Just(1), Just(0xfe), Just(0xff)], 0..16)
    }

    proptest! {
        #[test]
        fn keys_keep_their_order_and_have_no_long_runs(a in key(), b in key()) {
            let (of_a, of_b) = (guarded(&a), guarded(&b));
            prop_assert_eq!(of_a.cmp(&of_b), a.cmp(&b));
            prop_assert_eq!(of_b.starts_with(&of_a), b.starts_with(&a));
            prop_assert_eq!(&*plain(&of_a), &*a);
            prop_assert!(!of_a.windows(4).any(|run| run == [0xff; 4]));
        }
    }

    #[test]
    fn most_keys_stay_as_they_are() {
        assert!(matches!(guarded(&[1, 0xff, 0xff, 1]), Cow::Borrowed(_)));
        assert_eq!(
            &*guarded(&[0xff; 7]),
            &[255, 255, 255, 0, 255, 255, 255, 0, 255]
        );
    }
}
