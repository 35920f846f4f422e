//! The facts about a resource that the planner uses, and the cost of a query.

use tokio::time::Instant;

use super::holder::Holder;
use super::index_reading::IndexReader;
use super::reader_state::OpenEngine;
use super::store::SledStore;
use crate::record::ListQuery;
use crate::storage::plan::{IndexPart, Plan, PlanFacts};
use crate::storage::{CollectionId, QueryCost, StoreError};

/// Finds the reader of a part of an index.
pub(super) type PartReaders<'a> = dyn Fn(&IndexPart) -> Option<IndexReader<'a>> + 'a;

/// Shows to `look` what the planner knows of a resource. The caller makes sure that no group is applied meanwhile.
pub(super) fn with_facts<T>(
    open: &OpenEngine,
    holder: &Holder,
    collection: CollectionId,
    look: impl FnOnce(&PlanFacts<'_>, &PartReaders<'_>) -> T,
) -> T {
    let records = holder.readers.tally(collection).records;
    let catalog = open.indexes.load();
    let kept: Vec<_> = catalog
        .of(collection)
        .iter()
        .filter(|kept| kept.is_complete())
        .collect();
    let indexes: Vec<_> = kept.iter().map(|kept| &kept.index).collect();
    let reader = |part: &IndexPart| {
        let kept = kept.get(part.index)?;
        Some(IndexReader::new(open, collection, kept))
    };
    let size = |part: &IndexPart| {
        let size = reader(part).and_then(|reader| reader.size(part).ok()?);
        size.unwrap_or(records / 4)
    };
    let facts = PlanFacts {
        ids: holder.resources.known.load().ids(collection),
        indexes: &indexes,
        records,
        size: &size,
    };
    look(&facts, &reader)
}

impl SledStore {
    /// Finds the page of a query, and tells how, with what that was estimated to cost and what it cost.
    pub(super) async fn cost_of(
        &self,
        collection: CollectionId,
        query: &ListQuery,
    ) -> Result<QueryCost, StoreError> {
        let plan = |open: &OpenEngine| {
            let plan = |facts: &PlanFacts<'_>, _: &PartReaders<'_>| {
                let indexes = facts.indexes.iter().map(|index| (*index).clone()).collect();
                (Plan::with_cost(query, facts), indexes)
            };
            Ok(with_facts(open, &self.holder, collection, plan))
        };
        let deadline = self.deadline_from_now();
        let ((plan, estimated), indexes) = self.between_groups(plan, deadline).await?;
        let begun = Instant::now();
        let page = self.find(collection, query).await?;
        Ok(QueryCost {
            plan,
            indexes,
            estimated,
            took: begun.elapsed(),
            page,
        })
    }
}
