//! The changes of all resources in order, as feeds read them: the newest from memory, older ones from the journal.
//!
//! The writer hands each group over as one [`ChangesPage`], which all readers share. While nobody follows, it hands over
//! nothing. A reader that is behind what is kept reads the journal, and what it has read is kept for a while, since many
//! readers come back at the same place after a restart.

// Decision: A feed is read, not sent.

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use parking_lot::Mutex;

use super::journal::{JournalChange, JournalEffect};
use crate::record::{Record, RecordId, Revision};

/// The most bytes of the newest changes and their texts that are kept in memory, and the newest group.
const RECENT_BYTES_MAX: usize = 4 << 20;
/// The bytes that a text has beside the record and half as much for the lines of it; a larger text is not kept.
const TEXT_BYTES: usize = 160;
/// The most groups of them.
const RECENT_PAGES_MAX: usize = 4096;
/// The most bytes of a page that is read from the journal, and one frame more.
pub(super) const PAST_BYTES_MAX: usize = 1 << 20;
/// The most pages from the journal that are kept.
const PAST_PAGES_MAX: usize = 4;

/// A stretch of changes without a gap.
#[derive(Debug)]
pub(crate) struct ChangesPage {
    first: u64,
    last: u64,
    bytes: usize,
    changes: Vec<FeedChange>,
}

/// One change of one record.
#[derive(Debug)]
pub(crate) struct FeedChange {
    change: JournalChange,
    kind: Option<FeedKind>,
    /// `None` in it is a text that is too large to be kept.
    text: OnceLock<Option<Bytes>>,
}

/// The effect of a change on a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FeedKind {
    Create,
    Update,
    Delete,
}

/// The result of a look for the changes after one.
#[derive(Debug, Clone)]
pub(crate) enum FeedStep {
    /// The changes that follow, and maybe some before.
    Page(Arc<ChangesPage>),
    /// There are none yet.
    UpToDate,
    /// They are not in memory: the journal may have them.
    Past,
    /// Not all of them are kept, or the store never had the change.
    Gone,
}

impl ChangesPage {
    /// A page of these changes, which are not none.
    pub(super) fn new(changes: Vec<JournalChange>) -> Option<Arc<Self>> {
        Self::behind(0, changes)
    }

    /// A page of those of these changes that follow `after`, which are not none. By those before it, updates of the same
    /// moment are known.
    pub(super) fn behind(after: u64, changes: Vec<JournalChange>) -> Option<Arc<Self>> {
        let kinds = kinds(&changes);
        let changes = changes.into_iter().zip(kinds);
        let changes = changes.filter(|(change, _)| change.seq > after);
        let changes = changes.map(|(change, kind)| FeedChange {
            change,
            kind,
            text: OnceLock::new(),
        });
        let changes: Vec<_> = changes.collect();
        let kept = |of: &FeedChange| of.change.bytes() + text_room(&of.change);
        Some(Arc::new(Self {
            first: changes.first()?.seq(),
            last: changes.last()?.seq(),
            bytes: changes.iter().map(kept).sum(),
            changes,
        }))
    }

    /// A page of books that were created, by number and text.
    #[cfg(test)]
    pub(crate) fn of_books(books: &[(u64, &str)]) -> Arc<Self> {
        let changes = books.iter().map(|(seq, json)| JournalChange {
            seq: *seq,
            at_ms: seq * 1000,
            message: crate::supervision::MessageId(0),
            collection: "books".to_owned(),
            key: b"dune".to_vec(),
            effect: JournalEffect::Put {
                created_ms: seq * 1000,
                json: Bytes::copy_from_slice(json.as_bytes()),
            },
            by: None,
        });
        Self::new(changes.collect()).unwrap()
    }

    /// The number of its last change.
    pub(crate) fn last(&self) -> u64 {
        self.last
    }

    /// Its changes after this one.
    pub(crate) fn after(&self, seq: u64) -> impl Iterator<Item = &FeedChange> {
        let begin = self.changes.partition_point(|of| of.change.seq <= seq);
        let changes = self.changes.get(begin..).unwrap_or_default();
        let of_records = |of: &&FeedChange| of.kind().is_some();
        changes.iter().filter(of_records)
    }

    /// Whether it has the change after this one.
    fn follows(&self, seq: u64) -> bool {
        self.first <= seq.saturating_add(1) && seq < self.last
    }
}

impl FeedChange {
    /// The number of the change.
    pub(crate) fn seq(&self) -> u64 {
        self.change.seq
    }

    /// The time of the change, in milliseconds since 1970.
    pub(crate) fn at_ms(&self) -> u64 {
        self.change.at_ms
    }

    /// The name of the resource.
    pub(crate) fn resource(&self) -> &str {
        &self.change.collection
    }

    /// Its effect on a record; `None` if it has none.
    pub(crate) fn kind(&self) -> Option<FeedKind> {
        self.kind
    }

    /// The id of the record.
    pub(crate) fn id(&self) -> Option<RecordId> {
        RecordId::from_key(&self.change.key)
    }

    /// The record after it; `None` if there is none.
    pub(crate) fn record(&self) -> Option<Record> {
        let JournalEffect::Put { created_ms, json } = &self.change.effect else {
            return None;
        };
        Some(Record {
            id: self.id()?,
            revision: Revision(self.change.seq),
            created_ms: *created_ms,
            changed_ms: self.change.at_ms,
            json: json.clone(),
        })
    }

    /// The bytes that it takes in the journal.
    pub(crate) fn bytes(&self) -> usize {
        self.change.bytes()
    }

    /// Its text for readers of whole records, which is made once for all of them, unless it is too large to be kept.
    pub(crate) fn text(&self, make: impl Fn() -> Bytes) -> Bytes {
        let mut own = None;
        let kept = self.text.get_or_init(|| {
            let text = own.insert(make());
            (text.len() <= text_room(&self.change)).then(|| text.clone())
        });
        kept.clone().or(own).unwrap_or_else(make)
    }
}

/// The effect of each of these changes on a record; `None` for one that has none.
///
/// A change has a later time than the creation of its record. In a journal of an old release it may have the same: there, the
/// first one creates.
fn kinds(changes: &[JournalChange]) -> Vec<Option<FeedKind>> {
    let (mut at_ms, mut created) = (0, BTreeSet::new());
    let kinds = changes.iter().map(|change| {
        if change.at_ms != at_ms {
            created.clear();
            at_ms = change.at_ms;
        }
        let record = (&*change.collection, &*change.key);
        match change.effect {
            JournalEffect::Put { created_ms, .. } if created_ms == at_ms => {
                let is_first = created.insert(record);
                Some(if is_first {
                    FeedKind::Create
                } else {
                    FeedKind::Update
                })
            }
            JournalEffect::Put { .. } => Some(FeedKind::Update),
            JournalEffect::Delete => {
                created.remove(&record);
                Some(FeedKind::Delete)
            }
            JournalEffect::Numbers { .. } => None,
        }
    });
    kinds.collect()
}

/// The bytes that are counted for the text of a change before it is made. A record of very short lines may need more.
fn text_room(change: &JournalChange) -> usize {
    let bytes = change.bytes();
    TEXT_BYTES + bytes + bytes / 2
}

/// The changes that are kept in memory.
#[derive(Debug, Default)]
pub(crate) struct RecentChanges {
    followers: AtomicUsize,
    kept: Mutex<KeptPages>,
}

#[derive(Debug, Default)]
struct KeptPages {
    /// The newest groups, without a gap.
    recent: VecDeque<Arc<ChangesPage>>,
    bytes: usize,
    /// Pages from the journal, the last one read first.
    past: VecDeque<Arc<ChangesPage>>,
}

/// Has the writer hand over its groups, until it is dropped.
#[derive(Debug)]
pub(crate) struct Following(Arc<RecentChanges>);

impl Drop for Following {
    fn drop(&mut self) {
        let mut kept = self.0.kept.lock();
        if self.0.followers.fetch_sub(1, Ordering::Relaxed) == 1 {
            *kept = KeptPages::default();
        }
    }
}

impl RecentChanges {
    /// Has changes kept from now on.
    pub(crate) fn follow(self: &Arc<Self>) -> Following {
        self.followers.fetch_add(1, Ordering::Relaxed);
        Following(Arc::clone(self))
    }

    /// Takes a group that is on the disk.
    pub(super) fn add(&self, changes: Vec<JournalChange>) {
        if self.followers.load(Ordering::Relaxed) == 0 {
            return;
        }
        let Some(page) = ChangesPage::new(changes) else {
            return;
        };
        let mut kept = self.kept.lock();
        if self.followers.load(Ordering::Relaxed) == 0 {
            return;
        }
        let has_gap = |last: &Arc<ChangesPage>| last.last + 1 != page.first;
        if kept.recent.back().is_some_and(has_gap) {
            // What lies between went another way to the view, so the journal has it.
            kept.recent.clear();
            kept.bytes = 0;
        }
        kept.bytes += page.bytes;
        kept.recent.push_back(page);
        while kept.recent.len() > RECENT_PAGES_MAX
            || kept.recent.len() > 1 && kept.bytes > RECENT_BYTES_MAX
        {
            let oldest = kept.recent.pop_front();
            kept.bytes -= oldest.map_or(0, |page| page.bytes);
        }
    }

    /// Takes a page that was read from the journal.
    pub(super) fn add_past(&self, page: &Arc<ChangesPage>) {
        let mut kept = self.kept.lock();
        if self.followers.load(Ordering::Relaxed) > 0 {
            kept.past.push_front(Arc::clone(page));
            kept.past.truncate(PAST_PAGES_MAX);
        }
    }

    /// The page with the change after this one.
    pub(super) fn page(&self, after: u64) -> Option<Arc<ChangesPage>> {
        let kept = self.kept.lock();
        let at = kept.recent.partition_point(|page| page.last <= after);
        let recent = kept.recent.get(at).filter(|page| page.follows(after));
        let past = || kept.past.iter().find(|page| page.follows(after));
        recent.or_else(past).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervision::MessageId;

    fn put(seq: u64, created_ms: u64) -> JournalChange {
        JournalChange {
            seq,
            at_ms: seq * 1000,
            message: MessageId(0),
            collection: "books".to_owned(),
            key: b"dune".to_vec(),
            effect: JournalEffect::Put {
                created_ms,
                json: Bytes::from_static(b"{}"),
            },
            by: None,
        }
    }

    fn group(seqs: std::ops::RangeInclusive<u64>) -> Vec<JournalChange> {
        seqs.map(|seq| put(seq, 0)).collect()
    }

    fn seqs(page: Option<Arc<ChangesPage>>, after: u64) -> Vec<u64> {
        let page = page.iter();
        page.flat_map(|page| page.after(after).map(FeedChange::seq))
            .collect()
    }

    #[test]
    fn nothing_is_kept_while_nobody_follows() {
        let recent = Arc::new(RecentChanges::default());
        recent.add(group(1..=3));
        assert!(recent.page(0).is_none());
        let one = recent.follow();
        let other = recent.follow();
        recent.add(group(4..=5));
        drop(one);
        assert_eq!(seqs(recent.page(3), 3), [4, 5]);
        assert_eq!(seqs(recent.page(4), 4), [5], "the rest of a group");
        assert!(recent.page(2).is_none(), "the change 3 is not there");
        assert!(recent.page(5).is_none(), "there is no later one");
        drop(other);
        assert!(recent.page(3).is_none());
    }

    #[test]
    fn a_group_behind_a_gap_takes_the_place_of_all_before_it() {
        let recent = Arc::new(RecentChanges::default());
        let _following = recent.follow();
        recent.add(group(1..=2));
        recent.add(group(3..=3));
        assert_eq!(seqs(recent.page(2), 2), [3]);
        recent.add(group(5..=6));
        assert!(recent.page(2).is_none());
        assert_eq!(seqs(recent.page(4), 4), [5, 6]);
        recent.add_past(&ChangesPage::new(group(1..=5)).unwrap());
        assert_eq!(seqs(recent.page(2), 2), [3, 4, 5]);
    }

    #[test]
    fn what_is_kept_is_bounded_in_groups_and_bytes() {
        let recent = Arc::new(RecentChanges::default());
        let _following = recent.follow();
        for seq in 1..=more_than_kept() {
            recent.add(group(seq..=seq));
        }
        assert!(recent.page(0).is_none(), "the oldest one is gone");
        assert_eq!(seqs(recent.page(1), 1), [2]);
        let mut large = put(more_than_kept() + 1, 0);
        large.key = vec![0; RECENT_BYTES_MAX];
        recent.add(vec![large]);
        assert!(recent.page(1).is_none());
        assert_eq!(recent.kept.lock().recent.len(), 1, "the newest one stays");
    }

    #[test]
    fn texts_are_counted_before_they_are_made_and_one_that_is_larger_is_not_kept() {
        let page = ChangesPage::new(group(1..=2)).unwrap();
        let change = page.after(0).next().unwrap();
        let room = text_room(&change.change);
        assert_eq!(page.bytes, 2 * (change.bytes() + room));
        for (bytes, made_for_two) in [(room, 1), (room + 1, 2)] {
            let page = ChangesPage::new(group(1..=1)).unwrap();
            let change = page.after(0).next().unwrap();
            let calls = std::cell::Cell::new(0);
            let make = || {
                calls.set(calls.get() + 1);
                Bytes::from(vec![b'x'; bytes])
            };
            assert_eq!(change.text(make).len(), bytes);
            assert_eq!(change.text(make).len(), bytes);
            assert_eq!(calls.get(), made_for_two, "{bytes}");
        }
    }

    fn more_than_kept() -> u64 {
        crate::num::as_u64(RECENT_PAGES_MAX) + 1
    }

    #[test]
    fn a_change_at_the_time_of_creation_creates() {
        let kind = |change| {
            let page = ChangesPage::new(vec![change]).unwrap();
            page.after(0).next().and_then(FeedChange::kind)
        };
        assert_eq!(kind(put(7, 7000)), Some(FeedKind::Create));
        assert_eq!(kind(put(7, 6999)), Some(FeedKind::Update));
        let deleted = JournalChange {
            effect: JournalEffect::Delete,
            ..put(7, 0)
        };
        assert_eq!(kind(deleted), Some(FeedKind::Delete));
        let numbers = JournalChange {
            effect: JournalEffect::Numbers { next: 8 },
            ..put(7, 0)
        };
        assert_eq!(kind(numbers), None, "it is no change of a record");
    }

    #[test]
    fn of_changes_at_the_time_of_creation_only_the_first_creates() {
        use FeedKind::{Create, Delete, Update};
        let at = |seq, at_ms, key: &str, effect: JournalEffect| JournalChange {
            seq,
            at_ms,
            key: key.as_bytes().to_vec(),
            effect,
            ..put(seq, 0)
        };
        let put = |seq, at_ms, key, created_ms| {
            let json = Bytes::from_static(b"{}");
            at(seq, at_ms, key, JournalEffect::Put { created_ms, json })
        };
        let changes = [
            put(1, 5, "dune", 5),
            put(2, 5, "emma", 5),
            put(3, 5, "dune", 5),
            at(4, 5, "dune", JournalEffect::Delete),
            put(5, 5, "dune", 5),
            put(6, 5, "emma", 5),
            put(7, 6, "emma", 5),
            put(8, 6, "sula", 6),
            JournalChange {
                collection: "films".to_owned(),
                ..put(9, 6, "sula", 6)
            },
        ];
        let told = [
            Create, Create, Update, Delete, Create, Update, Update, Create, Create,
        ];
        // A page may begin anywhere, after some changes that only help to know its own.
        for after in 0..8 {
            let page = ChangesPage::behind(crate::num::as_u64(after), changes.to_vec()).unwrap();
            let kinds: Vec<_> = page.after(0).filter_map(FeedChange::kind).collect();
            assert_eq!(kinds, told[after..], "after {after}");
        }
        assert!(ChangesPage::behind(9, changes.to_vec()).is_none());
    }
}
