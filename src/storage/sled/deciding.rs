//! The decision of a command: what it does to the records that it names, and to those that refer to them.

use super::declaring::PutRecord;
use super::read_error::ReadError;
use super::staging::{Staging, WriteTarget};
use super::unique::OwnValues;
use super::writer::Writer;
use crate::record::{BATCH_BYTES_MAX, CommandError, Decision, decide};
use crate::storage::{CollectionId, Write};

/// The effect of a command on one record.
pub(super) struct Decided {
    pub(super) collection: CollectionId,
    pub(super) target: WriteTarget,
    pub(super) decision: Decision,
    /// Whether the command names it; else it refers to one that the command deletes.
    pub(super) is_named: bool,
}

impl Writer {
    /// Decides what a command does to each record that it is about.
    pub(super) fn decide(
        &self,
        staging: &Staging<'_>,
        write: &Write,
        targets: Vec<WriteTarget>,
    ) -> Result<Result<Vec<Decided>, CommandError>, ReadError> {
        let (collection, schema) = (write.collection, &write.schema);
        let known = self.holder.resources.known.load();
        let unique = known.indexes(collection).unwrap_or_default();
        let mut decided = Vec::with_capacity(targets.len());
        let mut own = OwnValues::beside(staging.group.bytes());
        for target in targets {
            let current = target.current.as_ref();
            let decision = match decide(
                &write.command,
                &write.conditions,
                schema,
                &target.id,
                current,
                &staging.new_values(),
            ) {
                Ok(decision) => decision,
                Err(error) => return Ok(Err(error)),
            };
            if let Decision::Put(json) = &decision {
                let put = PutRecord {
                    creates: current.is_none(),
                    collection,
                    schema,
                    id: &target.id,
                    json,
                };
                if let Err(error) = self.holder.judge(&put) {
                    return Ok(Err(error));
                }
                let taken = staging.taken(collection, unique, &target.id, json)?;
                let refusal = taken.or_else(|| own.refusal(unique, &target.id, json));
                if let Some(refusal) = refusal {
                    return Ok(Err(refusal));
                }
                if let Some(dangling) = staging.dangling(&known, collection, &target, json)? {
                    return Ok(Err(dangling));
                }
            }
            decided.push(Decided {
                collection,
                target,
                decision,
                is_named: true,
            });
        }
        let deleted = decided.iter().filter(|it| it.decision == Decision::Remove);
        let deleted = deleted.map(|it| (it.collection, it.target.id.clone()));
        let mut all = match staging.effects(&known, deleted.collect())? {
            Ok(effects) => effects,
            Err(refusal) => return Ok(Err(refusal)),
        };
        for it in &all {
            if let (Decision::Put(json), Some(schema)) = (&it.decision, known.schema(it.collection))
            {
                let put = PutRecord {
                    creates: false,
                    collection: it.collection,
                    schema,
                    id: &it.target.id,
                    json,
                };
                if let Err(error) = self.holder.judge(&put) {
                    return Ok(Err(error));
                }
            }
        }
        all.extend(decided);
        let put = all.iter().map(|it| it.decision.put_bytes()).sum::<usize>();
        let fits = staging.group.bytes() + put <= BATCH_BYTES_MAX;
        Ok(fits.then_some(all).ok_or(CommandError::TooMuch))
    }
}
