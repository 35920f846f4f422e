//! The published snapshot: what is in memory, by root and path.
//!
//! A table never changes. The child makes a new one for each change and publishes it; readers keep the one they have
//! loaded as long as they like. The map is split into shards, so that a change copies one shard's pointers and not all.

use std::collections::HashMap;
use std::sync::Arc;

use fnv::FnvBuildHasher;

use super::entry::Entry;
use super::fingerprint::hash;
use super::root::RootId;
use crate::num::as_usize;

/// Into how many maps a root's entries are split: a change copies one of them.
const SHARDS: usize = 64;

/// The hash has no key against chosen collisions: only paths of files which exist become keys.
type Shard = HashMap<Arc<str>, Arc<Entry>, FnvBuildHasher>;

/// A key of the whole table: the root and the safe path below it.
pub(crate) type Key = (RootId, Arc<str>);

/// One immutable state of the cache. Cloning copies pointers.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    roots: Vec<Arc<[Arc<Shard>]>>,
}

impl Table {
    /// Nothing, for this many roots.
    pub(crate) fn empty(roots: usize) -> Self {
        let shards: Arc<[Arc<Shard>]> = (0..SHARDS).map(|_| Arc::default()).collect();
        Self {
            roots: vec![shards; roots],
        }
    }

    /// The entry at `path`, without an allocation.
    pub(crate) fn get(&self, root: RootId, path: &str) -> Option<&Arc<Entry>> {
        self.roots.get(root.0)?.get(shard_of(path))?.get(path)
    }

    /// The table with `entry` at `key`, or, with `None`, without any.
    #[must_use]
    pub(crate) fn with(&self, key: &Key, entry: Option<Arc<Entry>>) -> Self {
        let mut table = self.clone();
        let (root, path) = key;
        if let Some(shards) = table.roots.get_mut(root.0) {
            let mut next: Vec<Arc<Shard>> = shards.to_vec();
            if let Some(shard) = next.get_mut(shard_of(path)) {
                let shard = Arc::make_mut(shard);
                match entry {
                    Some(entry) => drop(shard.insert(Arc::clone(path), entry)),
                    None => drop(shard.remove(path)),
                }
            }
            *shards = next.into();
        }
        table
    }

    /// Everything in it, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Key, &Arc<Entry>)> {
        self.roots.iter().enumerate().flat_map(|(root, shards)| {
            let entries = shards.iter().flat_map(|shard| shard.iter());
            entries.map(move |(path, entry)| ((RootId(root), Arc::clone(path)), entry))
        })
    }
}

fn shard_of(path: &str) -> usize {
    // The upper half: the maps themselves use the lower bits.
    as_usize(hash(path.as_bytes()) >> 32) % SHARDS
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    use super::*;

    fn entry(content: &str) -> Arc<Entry> {
        Arc::new(Entry::page(content))
    }

    #[test]
    fn a_table_that_somebody_holds_does_not_change() {
        let key = (RootId(1), Arc::from("/a"));
        let before = Table::empty(2);
        let after = before.with(&key, Some(entry("1")));
        assert!(before.get(key.0, "/a").is_none());
        assert_eq!(after.get(key.0, "/a").unwrap().bytes(), "1");
        assert!(after.get(RootId(0), "/a").is_none(), "roots are apart");
        assert!(
            after.get(RootId(7), "/a").is_none(),
            "an unknown root has nothing"
        );
        let gone = after.with(&key, None);
        assert!(gone.get(key.0, "/a").is_none());
        assert_eq!(after.iter().count(), 1);
        assert_eq!(gone.iter().count(), 0);
    }

    proptest! {
        #[test]
        fn it_behaves_like_a_map(
            steps in prop::collection::vec((0_usize..3, "/[a-f]{0,2}", prop::option::of("[a-z]{1,4}")), 0..60)
        ) {
            let mut model = BTreeMap::new();
            let mut table = Table::empty(3);
            for (root, path, content) in steps {
                let key: Key = (RootId(root), Arc::from(path));
                table = table.with(&key, content.as_deref().map(entry));
                match content {
                    Some(content) => drop(model.insert(key, content)),
                    None => drop(model.remove(&key)),
                }
            }
            let seen: BTreeMap<Key, String> = table
                .iter()
                .map(|(key, entry)| (key, String::from_utf8_lossy(entry.bytes()).into_owned()))
                .collect();
            for (key, content) in &model {
                prop_assert_eq!(table.get(key.0, &key.1).unwrap().bytes(), content.as_bytes());
            }
            prop_assert_eq!(seen, model);
        }
    }
}
