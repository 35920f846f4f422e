//! Answers a query in the way that the planner has chosen.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::Instant;

use super::message::StoreMessage;
use super::page;
use super::reader_state::OpenEngine;
use super::store::{SledStore, record};
use crate::record::{ListQuery, Record, RecordId, Selection, Slice};
use crate::storage::plan::Plan;
use crate::storage::{CollectionId, ListPage, StoreError};

/// How often a page is read while groups are applied, before the writer is asked to read it between two groups.
const PAGE_TRIES: u32 = 3;
/// The number of records read by id without a pause for other requests.
const PICK_RECORDS_MAX: usize = 32;

/// The number of queries for each kind of plan.
#[derive(Debug, Default)]
pub(super) struct QueryCounts {
    pages: AtomicU64,
    picks: AtomicU64,
    scans: AtomicU64,
    refused_histories: AtomicU64,
}

impl QueryCounts {
    pub(super) fn refuse_history(&self) {
        count(&self.refused_histories);
    }

    pub(super) fn refused_histories(&self) -> u64 {
        self.refused_histories.load(Ordering::Relaxed)
    }

    pub(super) fn read(&self) -> [(&'static str, u64); 3] {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        [
            ("page", read(&self.pages)),
            ("ids", read(&self.picks)),
            ("scan", read(&self.scans)),
        ]
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl SledStore {
    /// Finds the page that a query asks for.
    pub(super) async fn find(
        &self,
        collection: CollectionId,
        query: &ListQuery,
    ) -> Result<ListPage, StoreError> {
        let ids = self.holder.known.load().ids(collection);
        let (selection, seq) = match Plan::of(query, ids) {
            Plan::Page(slice) => {
                if let Some(page) = self.page(collection, slice).await? {
                    count(&self.queries.pages);
                    return Ok(page);
                }
                self.select(collection, query).await?
            }
            Plan::Pick(ids) => {
                count(&self.queries.picks);
                self.pick(collection, ids, query).await?
            }
            Plan::Scan => self.select(collection, query).await?,
        };
        let selected = selection.finish().ok_or(StoreError::TooLarge)?;
        Ok(ListPage {
            records: selected.records,
            total: selected.total,
            more: selected.more,
            seq,
        })
    }

    async fn select(
        &self,
        collection: CollectionId,
        query: &ListQuery,
    ) -> Result<(Selection, u64), StoreError> {
        count(&self.queries.scans);
        let from = query.first_id();
        let selection = Selection::new(query.clone());
        self.scan_from(collection, from, selection, Selection::visit)
            .await
    }

    /// A page in the order of ids, of one moment; `None` if it is too long to be read without a pause.
    async fn page(
        &self,
        collection: CollectionId,
        slice: Slice,
    ) -> Result<Option<ListPage>, StoreError> {
        let readers = &self.holder.readers;
        let quick = self.read(|open| {
            for _ in 0..PAGE_TRIES {
                let read = || page::read(&*open.engine, readers, collection, slice);
                if let Some(page) = readers.between_groups(open, read) {
                    return Ok(Some(page?));
                }
                std::thread::yield_now();
            }
            Ok(None)
        });
        if let Some(page) = quick.await? {
            return Ok(page);
        }
        if self.stuck().is_some() {
            // The writer waits for the disk, so it neither answers nor applies a group.
            let read =
                |open: &OpenEngine| Ok(page::read(&*open.engine, readers, collection, slice)?);
            return self.between_groups(read, self.deadline_from_now()).await;
        }
        self.ask(|reply| StoreMessage::Page {
            collection,
            slice,
            reply,
        })
        .await
    }

    /// Selects among the records of these ids. The records between two pauses are of one moment.
    async fn pick(
        &self,
        collection: CollectionId,
        ids: Vec<RecordId>,
        query: &ListQuery,
    ) -> Result<(Selection, u64), StoreError> {
        let deadline = self.deadline_from_now();
        let mut selection = Selection::new(query.clone());
        let mut seq = None;
        for ids in ids.chunks(PICK_RECORDS_MAX) {
            let (records, at) = self.several(collection, ids, deadline).await?;
            seq.get_or_insert(at);
            if !records.into_iter().all(|record| selection.visit(record)) {
                break;
            }
            tokio::task::yield_now().await;
        }
        let seq = match seq {
            Some(seq) => seq,
            None => self.several(collection, &[], deadline).await?.1,
        };
        Ok((selection, seq))
    }

    /// The records of these ids at one moment, and the resource's last change at that moment.
    async fn several(
        &self,
        collection: CollectionId,
        ids: &[RecordId],
        deadline: Instant,
    ) -> Result<(Vec<Record>, u64), StoreError> {
        let look = |open: &OpenEngine| {
            let seq = self.holder.readers.tally(collection).seq;
            let records = ids.iter().map(|id| record(open, collection, id));
            let records = records.filter_map(Result::transpose);
            let records = records.collect::<Result<_, _>>();
            records.map(|records| (records, seq))
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
