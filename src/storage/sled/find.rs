//! Answers a query in the way that the planner has chosen.

use std::collections::BTreeSet;

use tokio::time::Instant;

use super::message::StoreMessage;
use super::query_counts::QueryPlan;
use super::query_look::{PICK_RECORDS_MAX, QueryLook, look};
use super::reader_state::OpenEngine;
use super::scan::ScanSource;
use super::store::{SledStore, record};
use crate::record::{Declared, ListQuery, Record, RecordId, Schema, Selection};
use crate::storage::{CollectionId, ListPage, ScanLimit, StoreError, Unserved};

/// The most times that a page is read while groups are applied, before the writer is asked to read it between two groups.
const PAGE_TRIES: u32 = 3;

impl SledStore {
    /// Finds the page that a query asks for.
    pub(super) async fn find(
        &self,
        collection: CollectionId,
        query: &ListQuery,
    ) -> Result<ListPage, StoreError> {
        if self
            .holder
            .resources
            .known
            .load()
            .name(collection)
            .is_none()
        {
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
                self.scan(collection, among, selection).await?
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
        self.scan(collection, (source, why), selection).await
    }

    /// Counts a scan for each field that an index would have to have.
    fn count_scan(&self, collection: CollectionId, fields: &[String]) {
        let known = self.holder.resources.known.load();
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
