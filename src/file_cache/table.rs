//! The published snapshot: what is in memory of one root, by path.
//!
//! A table never changes. The child makes a new one for each change and publishes it; readers keep the one they have
//! loaded as long as they like. The map is split into shards, so that a change copies one shard's pointers and not all.

use std::collections::HashMap;
use std::sync::Arc;

use fnv::FnvBuildHasher;

use super::entry::Entry;
use super::fingerprint::hash;
use crate::num::as_usize;

/// Into how many maps the entries are split: a change copies one of them.
const SHARDS: usize = 64;

/// The hash has no key against chosen collisions: only paths of files which exist become keys.
type Shard = HashMap<Arc<str>, Arc<Entry>, FnvBuildHasher>;

/// One immutable state of what is in memory of a root.
#[derive(Debug)]
pub(crate) struct Table(Vec<Arc<Shard>>);

impl Table {
    /// Nothing.
    pub(crate) fn empty() -> Self {
        Self(vec![Arc::default(); SHARDS])
    }

    /// The entry at `path`, without an allocation.
    pub(crate) fn get(&self, path: &str) -> Option<&Arc<Entry>> {
        self.0.get(shard_of(path))?.get(path)
    }

    /// The table with `entry` at the safe path `path`, or, with `None`, without any.
    #[must_use]
    pub(crate) fn with(&self, path: &Arc<str>, entry: Option<Arc<Entry>>) -> Self {
        let mut shards = self.0.clone();
        if let Some(shard) = shards.get_mut(shard_of(path)) {
            let shard = Arc::make_mut(shard);
            match entry {
                Some(entry) => drop(shard.insert(Arc::clone(path), entry)),
                None => drop(shard.remove(path)),
            }
        }
        Self(shards)
    }

    /// Everything in it, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<Entry>)> {
        self.0.iter().flat_map(|shard| shard.iter())
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
        let path = Arc::from("/a");
        let before = Table::empty();
        let after = before.with(&path, Some(entry("1")));
        assert!(before.get("/a").is_none());
        assert_eq!(after.get("/a").unwrap().bytes(), "1");
        let gone = after.with(&path, None);
        assert!(gone.get("/a").is_none());
        assert_eq!(after.iter().count(), 1);
        assert_eq!(gone.iter().count(), 0);
    }

    proptest! {
        #[test]
        fn it_behaves_like_a_map(
            steps in prop::collection::vec(("/[a-f]{0,2}", prop::option::of("[a-z]{1,4}")), 0..60)
        ) {
            let mut model = BTreeMap::new();
            let mut table = Table::empty();
            for (path, content) in steps {
                let path: Arc<str> = Arc::from(path);
                table = table.with(&path, content.as_deref().map(entry));
                match content {
                    Some(content) => drop(model.insert(path, content)),
                    None => drop(model.remove(&path)),
                }
            }
            let seen: BTreeMap<Arc<str>, String> = table
                .iter()
                .map(|(path, entry)| (Arc::clone(path), String::from_utf8_lossy(entry.bytes()).into_owned()))
                .collect();
            for (path, content) in &model {
                prop_assert_eq!(table.get(path).unwrap().bytes(), content.as_bytes());
            }
            prop_assert_eq!(seen, model);
        }
    }
}
