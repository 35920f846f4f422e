//! Answers a query in the way that the planner has chosen.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::checked::Tally;
use super::holder::Holder;
use super::index_reading::{IndexReader, WalkedPage};
use super::index_sets::gather;
use super::message::StoreMessage;
use super::page::{self, OrderedRecords, PageRead};
use super::planning::{PartReaders, with_facts};
use super::reader_state::OpenEngine;
use super::scan::{ScanLimitCounts, ScanSource};
use super::store::{SledStore, record};
use crate::num::as_u64;
use crate::record::{Declared, ListQuery, Record, RecordId, Schema, Selection, Slice};
use crate::storage::plan::{IndexSet, Plan, PlanFacts};
use crate::storage::{CollectionId, ListPage, ScanLimit, StoreError, Unserved};

/// How often a page is read while groups are applied, before the writer is asked to read it between two groups.
const PAGE_TRIES: u32 = 3;
/// The number of records read by id without a pause for other requests.
const PICK_RECORDS_MAX: usize = 32;

/// The most records that an index may name to be looked at without a thread of their own.
const GATHER_RECORDS_MAX: usize = 1_024;

/// The kind of a plan, as it is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum QueryPlan {
    Page,
    Ids,
    Index,
    Scan,
}

impl QueryPlan {
    const ALL: [Self; 4] = [Self::Page, Self::Ids, Self::Index, Self::Scan];

    fn name(self) -> &'static str {
        match self {
            Self::Page => "page",
            Self::Ids => "ids",
            Self::Index => "index",
            Self::Scan => "scan",
        }
    }
}

/// The number of queries for each kind of plan.
#[derive(Debug, Default)]
pub(super) struct QueryCounts {
    plans: [AtomicU64; QueryPlan::ALL.len()],
    refused_histories: AtomicU64,
    pub(super) limits: ScanLimitCounts,
    /// The number of scans, by resource and by a field that an index would have to have.
    pub(super) scans: Mutex<BTreeMap<(String, String), u64>>,
}

impl QueryCounts {
    pub(super) fn refuse_history(&self) {
        self.refused_histories.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn refused_histories(&self) -> u64 {
        self.refused_histories.load(Ordering::Relaxed)
    }

    fn count(&self, plan: QueryPlan) {
        let mut plans = QueryPlan::ALL.iter().zip(&self.plans);
        if let Some((_, count)) = plans.find(|(kind, _)| **kind == plan) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn read(&self) -> [(&'static str, u64); QueryPlan::ALL.len()] {
        let mut plans = QueryPlan::ALL.iter().zip(&self.plans);
        QueryPlan::ALL.map(|_| {
            let next = plans.next();
            next.map_or(("", 0), |(plan, count)| {
                (plan.name(), count.load(Ordering::Relaxed))
            })
        })
    }
}

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
                page.total = page
                    .total
                    .filter(|_| after.is_none() || query.wants_total());
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
    fn of(&self, records: Vec<Record>, query: &ListQuery, seq: u64) -> ListPage {
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

impl SledStore {
    /// Finds the page that a query asks for.
    pub(super) async fn find(
        &self,
        collection: CollectionId,
        query: &ListQuery,
    ) -> Result<ListPage, StoreError> {
        if self.holder.known.load().name(collection).is_none() {
            // It is proposed: the daemon asks for it before anybody else does.
            return Ok(ListPage::default());
        }
        let look = self.look_for(collection, query).await?;
        self.answer(collection, query, look).await
    }

    /// The page, after a look at the view.
    pub(super) async fn answer(
        &self,
        collection: CollectionId,
        query: &ListQuery,
        look: QueryLook,
    ) -> Result<ListPage, StoreError> {
        let (selection, seq) = match look {
            QueryLook::Page { page, plan } => {
                self.queries.count(plan);
                return Ok(page);
            }
            QueryLook::Walked { page, plan, seq } => {
                self.queries.count(plan);
                let (ids, of_page) = (page.ids.clone(), query.clone().of_page());
                let selection = self.pick(collection, ids, &of_page).await?;
                let selected = selection.finish().ok_or(StoreError::TooLarge)?;
                let page = page.of(selected.records, query, seq);
                let more = page.more || selected.more;
                return Ok(ListPage { more, ..page });
            }
            QueryLook::Among { ids, seq, plan } => {
                self.queries.count(plan);
                (self.pick(collection, ids, query).await?, seq)
            }
            QueryLook::Set { names, set, why } => {
                self.queries.count(QueryPlan::Index);
                let selection = Selection::new(query.clone());
                let among = (ScanSource::Set { names, set }, why);
                self.scan(collection, among, selection, Selection::visit)
                    .await?
            }
            QueryLook::Unknown(why) => self.select(collection, query, why).await?,
        };
        let selected = selection.finish().ok_or(StoreError::TooLarge)?;
        Ok(ListPage {
            records: selected.records,
            total: selected.total,
            more: selected.more,
            seq,
            looked: selected.looked,
        })
    }

    /// Looks for the page between two groups.
    pub(super) async fn look_for(
        &self,
        collection: CollectionId,
        query: &ListQuery,
    ) -> Result<QueryLook, StoreError> {
        let readers = &self.holder.readers;
        let quick = self.read(|open| {
            for _ in 0..PAGE_TRIES {
                let look = || look(open, &self.holder, collection, query);
                if let Some(found) = readers.between_groups(open, look) {
                    return found.map(Some);
                }
                std::thread::yield_now();
            }
            Ok(None)
        });
        if let Some(found) = quick.await? {
            return Ok(found);
        }
        if self.stuck().is_some() {
            // The writer waits for the disk, so it neither answers nor applies a group.
            let look = |open: &OpenEngine| look(open, &self.holder, collection, query);
            return self.between_groups(look, self.deadline_from_now()).await;
        }
        let query = Box::new(query.clone());
        self.ask(|reply| StoreMessage::Look {
            collection,
            query,
            reply,
        })
        .await
    }

    async fn select(
        &self,
        collection: CollectionId,
        query: &ListQuery,
        why: Unserved,
    ) -> Result<(Selection, u64), StoreError> {
        self.queries.count(QueryPlan::Scan);
        self.count_scan(collection, &why.wanted.0.concat());
        let most = self.holder.limits.now().scan_records;
        let sees_all = query.is_sorted() || query.wants_total();
        if sees_all && self.holder.readers.tally(collection).records > most {
            return Err(self.limited(why, ScanLimit::Records { most }));
        }
        let source = ScanSource::From(query.first_id().cloned());
        let selection = Selection::new(query.clone());
        self.scan(collection, (source, why), selection, Selection::visit)
            .await
    }

    /// Counts a scan for each field that an index would have to have.
    fn count_scan(&self, collection: CollectionId, fields: &[String]) {
        let known = self.holder.known.load();
        let Some(resource) = known.name(collection) else {
            return;
        };
        let schema = known.schema(collection);
        let names = schema.map(|schema| declared_names(schema, fields));
        let mut scans = self.queries.scans.lock();
        for name in names.unwrap_or_default() {
            *scans.entry((resource.to_owned(), name)).or_default() += 1;
        }
    }

    /// Selects among the records of these ids. The records between two pauses are of one moment.
    async fn pick(
        &self,
        collection: CollectionId,
        ids: Vec<RecordId>,
        query: &ListQuery,
    ) -> Result<Selection, StoreError> {
        let deadline = self.deadline_from_now();
        let mut selection = Selection::new(query.clone());
        for ids in ids.chunks(PICK_RECORDS_MAX) {
            let records = self.several(collection, ids, deadline).await?;
            if !records.into_iter().all(|record| selection.visit(record)) {
                break;
            }
            tokio::task::yield_now().await;
        }
        Ok(selection)
    }

    /// The records of these ids at one moment.
    async fn several(
        &self,
        collection: CollectionId,
        ids: &[RecordId],
        deadline: Instant,
    ) -> Result<Vec<Record>, StoreError> {
        let look = |open: &OpenEngine| {
            let records = ids.iter().map(|id| record(open, collection, id));
            records.filter_map(Result::transpose).collect()
        };
        self.between_groups(look, deadline).await
    }

    /// The result of `look` at a moment when no group was being applied.
    pub(super) async fn between_groups<T>(
        &self,
        look: impl Fn(&OpenEngine) -> Result<T, StoreError>,
        deadline: Instant,
    ) -> Result<T, StoreError> {
        let readers = &self.holder.readers;
        loop {
            let quick = self.read(|open| readers.between_groups(open, || look(open)).transpose());
            if let Some(found) = quick.await? {
                return Ok(found);
            }
            if Instant::now() >= deadline {
                return Err(StoreError::TooSlow);
            }
            tokio::task::yield_now().await;
        }
    }
}

/// The declared fields among these: a client may send any name, and each of them becomes a label of a metric. An item of an
/// array counts as the array; if no field is declared, the name is `other`.
fn declared_names(schema: &Schema, fields: &[String]) -> BTreeSet<String> {
    let declared = fields.iter().filter_map(|field| {
        let is_name = |part: &&str| !part.bytes().all(|byte| byte.is_ascii_digit());
        let path: Vec<_> = field.split('.').take_while(is_name).collect();
        let names: Vec<_> = path.iter().copied().map(str::to_owned).collect();
        matches!(schema.at(&names), Declared::Kind(_)).then(|| path.join("."))
    });
    let mut names: BTreeSet<_> = declared.collect();
    if names.is_empty() {
        names.insert("other".to_owned());
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Bounds, Field, FieldType};

    #[test]
    fn a_scan_is_counted_by_declared_fields() {
        let field = Field::new;
        let whole = || FieldType::Integer(Bounds::default());
        let tags = FieldType::Array {
            items: Some(Box::new(whole())),
            length: Bounds::default(),
        };
        let schema = Schema::from(vec![
            field("n", whole()),
            field("tags", tags),
            field(
                "o",
                FieldType::Object(Some(vec![field("p", whole())].into())),
            ),
            field("free", FieldType::Object(None)),
        ]);
        for (fields, names) in [
            (&["n"][..], &["n"][..]),
            (&["tags", "tags.1", "tags.00017", "tags.1.2"], &["tags"]),
            (&["o.p", "n", "unknown"], &["n", "o.p"]),
            (&["free.1", "free.x"], &["free"]),
            (&["free.x", "1", "", "n.x"], &["other"]),
        ] {
            let fields: Vec<_> = fields.iter().copied().map(str::to_owned).collect();
            let found: Vec<_> = declared_names(&schema, &fields).into_iter().collect();
            assert_eq!(found, names, "{fields:?}");
        }
        let any = declared_names(&Schema::Any, &["n".to_owned()]);
        assert_eq!(any.into_iter().collect::<Vec<_>>(), ["other"]);
    }
}
