//! The records that a command with a filter is about.
//!
//! They are looked for before the writer gets the batch, since that may take long. The writer decides: it looks at each of
//! them, and at all that the batch has changed before the command, as they are then.

// Decision: A filter of a change is compared again by the writer.

use std::collections::BTreeSet;

use super::scan::ScanSource;
use super::staging::Staging;
use super::store::SledStore;
use crate::num::as_u64;
use crate::record::{CommandError, Example, ListQuery, RecordFilter, RecordId, WriteCommand};
use crate::storage::journal::JournalEffect;
use crate::storage::{CollectionId, FoundIds, StoreError, Unserved, Write};

/// The most records that the commands of one batch look at: the writer does nothing else meanwhile.
const LOOKS_MAX: usize = 100_000;

impl SledStore {
    /// Finds the records that each of these commands may be about.
    pub(super) async fn matching(&self, writes: &[Write]) -> Result<Vec<FoundIds>, StoreError> {
        let mut all: Vec<FoundIds> = Vec::with_capacity(writes.len());
        for write in writes {
            let WriteCommand::Matching { filter, most, .. } = &write.command else {
                all.push(FoundIds::NONE);
                continue;
            };
            let before = named(write.collection, writes.iter().zip(&all));
            // So many may match now and not match any more when it is the command's turn.
            let ids = self.found(write, filter, most + before.len()).await?;
            let ids = ids.filter(|ids| {
                let others = ids.iter().filter(|id| !before.contains(id));
                others.count() <= *most
            });
            all.push(ids.map_or(FoundIds::TooMany, FoundIds::Ids));
        }
        Ok(all)
    }

    /// The ids of the records that match now; `None` if there are more than `most`.
    async fn found(
        &self,
        write: &Write,
        filter: &RecordFilter,
        most: usize,
    ) -> Result<Option<Vec<RecordId>>, StoreError> {
        let example = match filter {
            RecordFilter::Example(example) => example,
            RecordFilter::Query(query) => {
                let query = ListQuery::clone(query).first(most);
                let page = self.find(write.collection, &query).await?;
                let found = page.total.unwrap_or_default();
                if found > as_u64(most) {
                    return Ok(None);
                }
                if found > as_u64(page.records.len()) {
                    return Err(StoreError::TooLarge);
                }
                let ids = page.records.into_iter().map(|record| record.id);
                return Ok(Some(ids.collect()));
            }
        };
        let collection = write.collection;
        let mut like = Example::new(example.clone(), most);
        let query = ListQuery::covering(example, &write.schema).first(most);
        let look = self.look_for(collection, &query).await?;
        let why = if let Some(why) = look.unserved() {
            why.clone()
        } else {
            let page = self.answer(collection, &query, look).await?;
            if page.total == Some(as_u64(page.records.len())) {
                page.records.into_iter().all(|record| like.visit(record));
                return Ok(like.finish());
            }
            // Many records match the query and not the example.
            Unserved::default()
        };
        let all = (ScanSource::From(None), why);
        let (like, _) = self.scan(collection, all, like).await?;
        Ok(like.finish())
    }
}

/// The records of a resource that these commands may change.
fn named<'a>(
    collection: CollectionId,
    commands: impl Iterator<Item = (&'a Write, &'a FoundIds)>,
) -> BTreeSet<RecordId> {
    let commands = commands.filter(|(write, _)| write.collection == collection);
    let ids = commands.flat_map(|(write, found)| write.command.id().into_iter().chain(found.ids()));
    ids.cloned().collect()
}

/// The records that a command looks at when it is its turn: of one with a filter those that were found, and those that the
/// commands before it in its batch have changed. `looks` counts them for the whole batch.
pub(super) fn looked_at(
    staging: &Staging<'_>,
    write: &Write,
    found: &FoundIds,
    is_alone: bool,
    looks: &mut usize,
) -> Result<Vec<RecordId>, CommandError> {
    let WriteCommand::Matching { most, .. } = write.command else {
        return Ok(write.command.id().cloned().into_iter().collect());
    };
    let FoundIds::Ids(ids) = found else {
        return Err(CommandError::TooManyMatches { most });
    };
    if is_alone {
        return Ok(ids.clone());
    }
    // The group of a batch of several has nothing else.
    let name = staging.name(write.collection);
    let changed = staging.changes.iter().filter(|change| {
        change.collection == name && matches!(change.effect, JournalEffect::Put { .. })
    });
    let changed = changed.filter_map(|change| RecordId::from_key(&change.key));
    let ids: BTreeSet<_> = ids.iter().cloned().chain(changed).collect();
    *looks = looks.saturating_add(ids.len());
    if *looks > LOOKS_MAX {
        return Err(CommandError::TooManyLooks { most: LOOKS_MAX });
    }
    Ok(ids.into_iter().collect())
}
