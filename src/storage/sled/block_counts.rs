//! Counts the keys before a given key without reading each of them: sorted keys are counted in blocks.
//!
//! The counts are in memory only. They are made in the background when a view was opened, from the first key on, and the
//! writer keeps those that are there.

// Decision: Keys are counted in blocks, in memory.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use super::engine::{Engine, EngineError, Keyspace};
use super::index_catalog::IndexCatalog;
use crate::num::as_u64;
use crate::storage::CollectionId;

/// A block that has more keys is divided.
const BLOCK_KEYS_MAX: u32 = 64;
/// So few keys are counted one by one.
const FEW_KEYS: usize = 128;
/// So few keys are skipped one by one: about as many as are skipped in a block that is found by its count.
const FEW_SKIPPED: u64 = 24;
/// As many are counted one by one while there are no counts.
const WALKED_KEYS: usize = 2_000;

/// The counts of so many blocks are summed up at a time.
const SUMMED_BLOCKS: usize = 64;
/// The bytes that a key takes besides its own.
const KEY_BYTES: u64 = 8;

/// The keys that are counted: those of a keyspace that begin with the same bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct CountedKeys {
    pub(super) keyspace: Keyspace,
    pub(super) beginning: Vec<u8>,
}

impl CountedKeys {
    /// The keys of the records of a resource.
    pub(super) fn records(collection: CollectionId) -> Self {
        Self {
            keyspace: Keyspace::Records(collection),
            beginning: Vec::new(),
        }
    }
}

/// The number of keys in each block.
#[derive(Debug, Default)]
pub(super) struct BlockCounts {
    /// The first key of each block; that of the first one counts as the least.
    firsts: Vec<Box<[u8]>>,
    counts: Vec<u32>,
    /// Keys from this one on are not counted yet; `None` once all are.
    rest: Option<Vec<u8>>,
    begun: bool,
}

impl BlockCounts {
    /// Whether all keys are counted.
    pub(super) fn are_complete(&self) -> bool {
        self.begun && self.rest.is_none()
    }

    /// About how many bytes the counted keys take: the first key of a block stands for all of it.
    pub(super) fn bytes(&self) -> u64 {
        let blocks = self.firsts.iter().zip(&self.counts);
        let bytes =
            blocks.map(|(first, count)| u64::from(*count) * (as_u64(first.len()) + KEY_BYTES));
        bytes.sum()
    }

    #[cfg(test)]
    pub(super) fn total(&self) -> u64 {
        self.counts.iter().copied().map(u64::from).sum()
    }

    /// The key from which on keys are to be counted next; `None` if all are.
    pub(super) fn next(&self, of: &CountedKeys) -> Option<Vec<u8>> {
        if self.begun {
            self.rest.clone()
        } else {
            Some(of.beginning.clone())
        }
    }

    /// Adds the `count` keys that come next, from `first` on. `rest` is the key after them, if there are more.
    fn add_block(&mut self, first: &[u8], count: u32, rest: Option<Vec<u8>>) {
        self.begun = true;
        if count > 0 {
            self.firsts.push(first.into());
            self.counts.push(count);
        }
        self.rest = rest;
    }

    /// The block that a key belongs to.
    fn block_of(&self, key: &[u8]) -> usize {
        let after = self.firsts.partition_point(|first| **first <= *key);
        after.saturating_sub(1)
    }

    /// Whether this key is counted.
    fn has(&self, key: &[u8]) -> bool {
        self.begun && self.rest.as_deref().is_none_or(|rest| key < rest)
    }

    /// Counts keys that were added or removed together. Whether a block is too long after that.
    fn count(&mut self, moves: &BTreeMap<Vec<u8>, bool>) -> bool {
        let mut counted = moves.iter().filter(|(key, _)| self.has(key));
        let first = counted.find(|(_, added)| **added);
        if self.firsts.is_empty()
            && let Some((first, _)) = first
        {
            self.firsts.push(first.as_slice().into());
            self.counts.push(0);
        }
        let mut changes = BTreeMap::<_, (u32, u32)>::new();
        for (key, added) in moves.iter().filter(|(key, _)| self.has(key)) {
            let (more, fewer) = changes.entry(self.block_of(key)).or_default();
            *(if *added { more } else { fewer }) += 1;
        }
        let (mut is_long, mut is_empty) = (false, false);
        for (block, (more, fewer)) in changes {
            if let Some(count) = self.counts.get_mut(block) {
                *count = (*count + more).saturating_sub(fewer);
                is_long |= *count > BLOCK_KEYS_MAX;
                is_empty |= *count == 0;
            }
        }
        if is_empty {
            let mut counts = self.counts.iter();
            self.firsts
                .retain(|_| counts.next().is_some_and(|count| *count > 0));
            self.counts.retain(|count| *count > 0);
        }
        is_long
    }

    /// The last block that is too long, among the first `blocks` ones.
    fn too_long(&self, of: &CountedKeys, blocks: usize) -> Option<LongBlock> {
        let mut counts = self.counts.iter().take(blocks);
        let block = counts.rposition(|count| *count > BLOCK_KEYS_MAX)?;
        // A key before the first block belongs to it, too.
        let first = self.firsts.get(block).filter(|_| block > 0);
        let next = self.firsts.get(block + 1).map(|next| &**next);
        Some(LongBlock {
            block,
            from: first.map_or_else(|| of.beginning.clone(), |first| first.to_vec()),
            end: next.or(self.rest.as_deref()).map(<[u8]>::to_vec),
        })
    }

    /// Puts others in the place of a block: their first keys and counts.
    fn divide(&mut self, block: usize, into: Vec<(Box<[u8]>, u32)>) {
        let (firsts, counts): (Vec<_>, Vec<_>) = into.into_iter().unzip();
        if block < self.counts.len() {
            self.firsts.splice(block..=block, firsts);
            self.counts.splice(block..=block, counts);
        }
    }

    /// The beginning of the block that a key belongs to; `None` if there are no keys.
    fn block_with(&self, key: &[u8]) -> Option<BlockStart> {
        let block = self.block_of(key);
        let first = self.firsts.get(block)?.to_vec();
        let before = self.counts.iter().take(block).copied().map(u64::from).sum();
        Some(BlockStart { first, before })
    }

    /// The beginning of the block that has the key of this position; `None` if there are not so many keys.
    fn block_at(&self, position: u64) -> Option<BlockStart> {
        let (mut block, mut before) = (0, 0);
        for counts in self.counts.chunks(SUMMED_BLOCKS) {
            let sum: u64 = counts.iter().copied().map(u64::from).sum();
            if position < before + sum {
                break;
            }
            before += sum;
            block += counts.len();
        }
        for (first, count) in self.firsts.iter().zip(&self.counts).skip(block) {
            let count = u64::from(*count);
            if position < before + count {
                let first = first.to_vec();
                return Some(BlockStart { first, before });
            }
            before += count;
        }
        None
    }
}

/// The first key of a block, and the number of keys before it.
struct BlockStart {
    first: Vec<u8>,
    before: u64,
}

impl BlockStart {
    /// The key from which on its keys are read: a key before the first block belongs to it, too.
    fn from<'a>(&'a self, of: &'a CountedKeys) -> &'a [u8] {
        if self.before == 0 {
            &of.beginning
        } else {
            &self.first
        }
    }
}

/// A block that is too long: its keys are those from `from` up to and without `end`.
struct LongBlock {
    block: usize,
    from: Vec<u8>,
    end: Option<Vec<u8>>,
}

/// Counts the keys that come next, a block of them. Called by one thread, while no group is applied: it reads keys between two
/// looks at the counts, which are not locked meanwhile.
pub(super) fn count_block(
    engine: &dyn Engine,
    of: &CountedKeys,
    counts: &Mutex<BlockCounts>,
) -> Result<(), EngineError> {
    let next = counts.lock().next(of);
    let Some(from) = next else {
        return Ok(());
    };
    let (mut first, mut rest, mut count) = (Vec::new(), None, 0);
    engine.scan(of.keyspace, &from, &mut |key, _| {
        if !key.starts_with(&of.beginning) {
            return false;
        }
        if count == BLOCK_KEYS_MAX / 2 {
            rest = Some(key.to_vec());
            return false;
        }
        if count == 0 {
            first = key.to_vec();
        }
        count += 1;
        true
    })?;
    counts.lock().add_block(&first, count, rest);
    Ok(())
}

/// The keys that a group adds and removes, among those that are counted.
#[derive(Debug, Default)]
pub(super) struct KeyMoves(BTreeMap<CountedKeys, BTreeMap<Vec<u8>, bool>>);

impl KeyMoves {
    /// Notes that a key is added, or removed.
    pub(super) fn add(&mut self, of: CountedKeys, key: Vec<u8>, added: bool) {
        let moves = self.0.entry(of).or_default();
        // Added and removed by the same group: nothing changes.
        if moves.get(&key) == Some(&!added) {
            moves.remove(&key);
        } else {
            moves.insert(key, added);
        }
    }

    /// Counts them, once the engine has them. Readers wait for none of what is read meanwhile.
    pub(super) fn apply(&self, engine: &dyn Engine, catalog: &IndexCatalog) {
        for (of, moves) in &self.0 {
            if let Some(counts) = catalog.counts(of) {
                count_moves(engine, of, counts, moves);
            }
        }
    }
}

/// Counts keys that were added to the engine or removed from it together. The engine has all of them. A block that can't be
/// read stays too long: the counts are right, and it is divided later.
fn count_moves(
    engine: &dyn Engine,
    of: &CountedKeys,
    counts: &Mutex<BlockCounts>,
    moves: &BTreeMap<Vec<u8>, bool>,
) {
    if !counts.lock().count(moves) {
        return;
    }
    let mut blocks = usize::MAX;
    loop {
        let long = counts.lock().too_long(of, blocks);
        let Some(long) = long else {
            return;
        };
        blocks = long.block;
        match blocks_within(engine, of, &long) {
            Ok(into) => counts.lock().divide(long.block, into),
            Err(error) => tracing::debug!(%error, "a block of keys was not divided"),
        }
    }
}

/// The first key of a block, and the number of its keys.
type CountedBlock = (Box<[u8]>, u32);

/// The blocks that the keys of a block make: their first keys and counts.
fn blocks_within(
    engine: &dyn Engine,
    of: &CountedKeys,
    LongBlock { from, end, .. }: &LongBlock,
) -> Result<Vec<CountedBlock>, EngineError> {
    let end = end.as_deref();
    let mut blocks: Vec<(Box<[u8]>, u32)> = Vec::new();
    engine.scan(of.keyspace, from, &mut |key, _| {
        if !key.starts_with(&of.beginning) || end.is_some_and(|end| key >= end) {
            return false;
        }
        match blocks.last_mut() {
            Some((_, count)) if *count < BLOCK_KEYS_MAX / 2 => *count += 1,
            _ => blocks.push((key.into(), 1)),
        }
        true
    })?;
    Ok(blocks)
}

/// Keys in order, with their counts, as far as there are some.
pub(super) struct OrderedKeys<'a> {
    pub(super) engine: &'a dyn Engine,
    pub(super) of: CountedKeys,
    pub(super) counts: Option<&'a Mutex<BlockCounts>>,
}

impl OrderedKeys<'_> {
    /// The number of keys from `from` up to and without `to`; `None` if they are too many to be counted one by one, and not
    /// counted in blocks yet.
    pub(super) fn count(&self, from: &[u8], to: &[u8]) -> Result<Option<u64>, EngineError> {
        let are_far = self.counts.is_some_and(|counts| {
            let counts = counts.lock();
            counts.are_complete() && counts.block_of(from) + 1 < counts.block_of(to)
        });
        if !are_far && let Some(few) = self.few(from, to, FEW_KEYS)? {
            return Ok(Some(few));
        }
        match (self.rank(from)?, self.rank(to)?) {
            (Some(from), Some(to)) => Ok(Some(to.saturating_sub(from))),
            _ => self.few(from, to, WALKED_KEYS),
        }
    }

    /// The key that `skip` keys after `from`, or after the first one behind it, if there are so many.
    pub(super) fn after(&self, from: &[u8], skip: u64) -> Result<KeyAfter, EngineError> {
        if skip > FEW_SKIPPED
            && let Some(rank) = self.rank(from)?
        {
            let found = self.at(rank + skip)?;
            return Ok(found.map_or(KeyAfter::None, KeyAfter::Key));
        }
        if skip > as_u64(WALKED_KEYS) {
            return Ok(KeyAfter::Unknown);
        }
        let (mut found, mut left) = (None, skip);
        self.scan(from, |key| {
            if left == 0 {
                found = Some(key.to_vec());
            }
            left = left.saturating_sub(1);
            found.is_none()
        })?;
        Ok(found.map_or(KeyAfter::None, KeyAfter::Key))
    }

    fn scan(&self, from: &[u8], mut visit: impl FnMut(&[u8]) -> bool) -> Result<(), EngineError> {
        let beginning = &self.of.beginning;
        self.engine.scan(self.of.keyspace, from, &mut |key, _| {
            key.starts_with(beginning) && visit(key)
        })
    }

    /// The number of these keys, if they are at most `max`.
    fn few(&self, from: &[u8], to: &[u8], max: usize) -> Result<Option<u64>, EngineError> {
        let mut count = 0;
        self.scan(from, |key| {
            let within = key < to;
            count += usize::from(within);
            within && count <= max
        })?;
        Ok((count <= max).then_some(as_u64(count)))
    }

    /// The number of keys before `key`; `None` unless all are counted.
    fn rank(&self, key: &[u8]) -> Result<Option<u64>, EngineError> {
        let Some(counts) = self.counts else {
            return Ok(None);
        };
        let block = {
            let counts = counts.lock();
            if !counts.are_complete() {
                return Ok(None);
            }
            if *key <= *self.of.beginning {
                return Ok(Some(0));
            }
            counts.block_with(key)
        };
        let Some(block) = block else {
            return Ok(Some(0));
        };
        let mut more = 0;
        self.scan(block.from(&self.of), |other| {
            more += u64::from(other < key);
            other < key
        })?;
        Ok(Some(block.before + more))
    }

    /// The key at a position, from 0 on, if there are so many.
    fn at(&self, position: u64) -> Result<Option<Vec<u8>>, EngineError> {
        let Some(counts) = self.counts else {
            return Ok(None);
        };
        let block = counts.lock().block_at(position);
        let Some(block) = block else {
            return Ok(None);
        };
        let (mut found, mut at) = (None, block.before);
        self.scan(block.from(&self.of), |key| {
            if at == position {
                found = Some(key.to_vec());
            }
            at += 1;
            found.is_none()
        })?;
        Ok(found)
    }
}

/// A key at a distance from another.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum KeyAfter {
    Key(Vec<u8>),
    /// There are not so many keys.
    None,
    /// It is too far away to be found without counts.
    Unknown,
}

#[cfg(test)]
mod tests;
