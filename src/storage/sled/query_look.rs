//! Looks for the page of a query in the view, as far as that takes no long time.

use super::checked::Tally;
use super::holder::Holder;
use super::index_reading::{IndexReader, WalkedPage};
use super::index_sets::gather;
use super::page::{self, OrderedRecords, PageRead};
use super::planning::{PartReaders, with_facts};
use super::query_counts::QueryPlan;
use super::reader_state::OpenEngine;
use crate::num::as_u64;
use crate::record::{ListQuery, Record, RecordId, Slice};
use crate::storage::plan::{IndexSet, Plan, PlanFacts};
use crate::storage::{CollectionId, ListPage, StoreError, Unserved};

/// The number of records read by id without a pause for other requests.
pub(super) const PICK_RECORDS_MAX: usize = 32;

/// The most records that an index may name to be looked at without a thread of their own.
pub(super) const GATHER_RECORDS_MAX: usize = 1_024;

/// The result of a look at the view for a query.
#[derive(Debug)]
pub(super) enum QueryLook {
    /// The page.
    Page { page: ListPage, plan: QueryPlan },
    /// All records that matched are among these, after the resource's last change `seq`.
    Among {
        ids: Vec<RecordId>,
        seq: u64,
        plan: QueryPlan,
    },
    /// The records of the page, which are too long to be read at once.
    Walked {
        page: WalkedPage,
        plan: QueryPlan,
        seq: u64,
    },
    /// All records that match are among those of this set, whose indexes have these names.
    Set {
        names: Vec<String>,
        set: IndexSet,
        why: Unserved,
    },
    /// Only a look at all records can tell.
    Unknown(Unserved),
}

impl QueryLook {
    /// The reason why all records have to be looked at, if they have to.
    pub(super) fn unserved(&self) -> Option<&Unserved> {
        match self {
            Self::Unknown(why) => Some(why),
            Self::Page { .. } | Self::Among { .. } | Self::Walked { .. } | Self::Set { .. } => None,
        }
    }
}

/// Looks for the page of a query, as far as that takes no long time. The caller makes sure that no group is applied meanwhile.
pub(super) fn look(
    open: &OpenEngine,
    holder: &Holder,
    collection: CollectionId,
    query: &ListQuery,
) -> Result<QueryLook, StoreError> {
    with_facts(open, holder, collection, |facts, reader| {
        look_by(
            open,
            holder.readers.tally(collection),
            collection,
            query,
            (facts, reader),
        )
    })
}

/// The same by what the planner knows.
fn look_by(
    open: &OpenEngine,
    tally: Tally,
    collection: CollectionId,
    query: &ListQuery,
    (facts, reader): (&PlanFacts<'_>, &PartReaders<'_>),
) -> Result<QueryLook, StoreError> {
    let unserved = || Unserved::new(query, facts.indexes);
    let set = match Plan::of(query, facts) {
        Plan::Page { slice, descending } => {
            let catalog = open.indexes.load();
            let records = OrderedRecords {
                engine: &*open.engine,
                collection,
                counts: catalog.records(collection),
            };
            return in_order(&records, tally, query, (slice, descending));
        }
        Plan::Pick(ids) => {
            let plan = QueryPlan::Ids;
            let seq = tally.seq;
            return Ok(QueryLook::Among { ids, seq, plan });
        }
        Plan::Scan => return Ok(QueryLook::Unknown(unserved())),
        Plan::Walk(part) => {
            let Some(reader) = reader(&part) else {
                return Ok(QueryLook::Unknown(unserved()));
            };
            if let Some(walked) = reader.page(&part, query, tally.records)? {
                return walked.read(&reader, query, tally.seq);
            }
            if !part.searched {
                return Ok(QueryLook::Unknown(unserved()));
            }
            IndexSet::Part(part)
        }
        Plan::Gather(set) => set,
    };
    let (plan, seq) = (QueryPlan::Index, tally.seq);
    if let Some(ids) = gather(&set, reader, GATHER_RECORDS_MAX)? {
        return Ok(QueryLook::Among { ids, seq, plan });
    }
    let names = facts.indexes.iter().map(|index| index.name()).collect();
    let why = unserved();
    Ok(QueryLook::Set { names, set, why })
}

/// The page of a query for all records in the order of ids, or in the reverse.
fn in_order(
    records: &OrderedRecords<'_>,
    tally: Tally,
    query: &ListQuery,
    (slice, descending): (Slice, bool),
) -> Result<QueryLook, StoreError> {
    let (plan, seq) = (QueryPlan::Page, tally.seq);
    let after = query.after().map(|position| &position.id);
    Ok(
        match page::read(records, tally, slice, after, descending)? {
            PageRead::Page(mut page) => {
                page.looked = as_u64(page.records.len());
                page.total = page.total.filter(|_| query.wants_total());
                QueryLook::Page { page, plan }
            }
            PageRead::Long(page) => QueryLook::Walked { page, plan, seq },
            PageRead::Unknown => QueryLook::Unknown(Unserved::default()),
        },
    )
}

impl WalkedPage {
    /// Reads the records of the page, unless they are too many bytes to be read at once.
    fn read(
        self,
        reader: &IndexReader<'_>,
        query: &ListQuery,
        seq: u64,
    ) -> Result<QueryLook, StoreError> {
        let plan = QueryPlan::Index;
        let (mut records, mut bytes) = (Vec::with_capacity(self.ids.len()), 0);
        for chunk in self.ids.chunks(PICK_RECORDS_MAX) {
            for record in reader.records(chunk)? {
                bytes += record.json.len();
                records.push(record);
            }
            if bytes > page::PAGE_BYTES_MAX {
                let page = self;
                return Ok(QueryLook::Walked { page, plan, seq });
            }
        }
        let page = self.of(records, query, seq);
        Ok(QueryLook::Page { page, plan })
    }

    /// The page with these records.
    pub(super) fn of(&self, records: Vec<Record>, query: &ListQuery, seq: u64) -> ListPage {
        let end = self.start.saturating_add(as_u64(self.ids.len()));
        ListPage {
            records,
            more: self.total > end,
            total: query.wants_total().then_some(self.total),
            seq,
            looked: as_u64(self.ids.len()),
        }
    }
}
