//! References between records. The writer is the only one that changes records, so what it finds here stays true until its
//! group is committed: a record that is referred to can't go between the check and the write.
//!
//! Two things are decided: whether the records that a new text refers to are there, and what becomes of the records that refer
//! to one that is deleted. The latter are found by the index that each reference has.

// Decision: The writer keeps references.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::deciding::Decided;
use super::index_catalog::KeptIndex;
use super::known::KnownResources;
use super::read_error::ReadError;
use super::staging::{Staging, WriteTarget};
use super::value;
use crate::record::{
    CommandError, Decision, JsonObject, OnDelete, REFERRING_BYTES_MAX, REFERRING_MAX, RecordId,
    RuleViolation, Schema,
};
use crate::storage::CollectionId;

/// A record, wherever it is.
pub(super) type RecordAddress = (CollectionId, RecordId);

/// The records that refer to those that a command deletes.
#[derive(Default)]
struct Referring {
    /// Those that are deleted, with those that the command names.
    removed: BTreeSet<RecordAddress>,
    /// Those whose effects have not been looked at.
    next: Vec<RecordAddress>,
    /// Those that are changed, with the fields that become null.
    changed: BTreeMap<RecordAddress, BTreeSet<String>>,
    /// Those that are in the way, unless they are deleted as well, with their fields.
    restricting: BTreeMap<RecordAddress, String>,
    /// Those that the command names.
    named: BTreeSet<RecordAddress>,
}

impl Referring {
    fn is_too_much(&self) -> bool {
        let more = self.removed.len() - self.named.len();
        more + self.changed.len() + self.restricting.len() > REFERRING_MAX
    }

    /// The refusal if some are in the way.
    fn refusal(&self, known: &KnownResources) -> Option<CommandError> {
        let mut restricting = self.restricting.iter();
        let in_the_way = restricting.find(|(place, _)| !self.removed.contains(place));
        in_the_way.map(|((collection, id), field)| CommandError::Referenced {
            resource: known.name(*collection).unwrap_or_default().to_owned(),
            field: field.clone(),
            id: id.clone(),
        })
    }
}

impl Staging<'_> {
    /// The refusal of a record that refers to others that are not there, as the group leaves it. What it referred to before
    /// is not looked at.
    pub(super) fn dangling(
        &self,
        known: &KnownResources,
        collection: CollectionId,
        target: &WriteTarget,
        json: &[u8],
    ) -> Result<Option<CommandError>, ReadError> {
        let Some(schema) = known.schema(collection) else {
            return Ok(None);
        };
        if schema.references().next().is_none() {
            return Ok(None);
        }
        let parse = |json: &[u8]| JsonObject::parse(json).unwrap_or_default();
        let (new, old) = (parse(json), target.current.as_ref());
        let old = old.map(|old| parse(&old.json)).unwrap_or_default();
        let mut found = Vec::new();
        for (field, reference) in schema.references() {
            let value = new.members().get(field);
            if value == old.members().get(field) {
                continue;
            }
            let Some(id) = value.and_then(|value| reference.id(value)) else {
                continue;
            };
            let Some(to) = known.id(&reference.to) else {
                continue;
            };
            let itself = to == collection && id == target.id;
            if !itself && !self.has(to, &id)? {
                found.push(RuleViolation::dangling(field, &reference.to, &id));
            }
        }
        Ok((!found.is_empty()).then_some(CommandError::Invalid(found)))
    }

    pub(super) fn has(&self, collection: CollectionId, id: &RecordId) -> Result<bool, ReadError> {
        let found = value::read(self.engine, Some(&self.group), collection, &id.key())?;
        Ok(found.is_some())
    }

    /// The effects on the records that refer to these, which a command deletes; or the refusal.
    pub(super) fn effects(
        &self,
        known: &KnownResources,
        deleted: Vec<RecordAddress>,
    ) -> Result<Result<Vec<Decided>, CommandError>, ReadError> {
        let mut referring = Referring {
            named: deleted.iter().cloned().collect(),
            removed: deleted.iter().cloned().collect(),
            next: deleted,
            ..Referring::default()
        };
        while let Some(place) = referring.next.pop() {
            if let Some(refusal) = self.look_for(known, &place, &mut referring)? {
                return Ok(Err(refusal));
            }
        }
        if let Some(refusal) = referring.refusal(known) {
            return Ok(Err(refusal));
        }
        let Referring {
            removed,
            changed,
            named,
            ..
        } = &referring;
        let mut decided = Vec::new();
        let mut bytes = 0;
        let changed = changed.iter().filter(|(place, _)| !removed.contains(place));
        for ((collection, id), fields) in changed {
            let target = self.target(*collection, id.clone())?;
            let schema = known.schema(*collection);
            let Some(text) = self.without(schema.map(AsRef::as_ref), &target, fields) else {
                continue;
            };
            bytes += text.len();
            if bytes > REFERRING_BYTES_MAX {
                return Ok(Err(CommandError::TooManyReferring));
            }
            decided.push(Decided {
                collection: *collection,
                target,
                decision: Decision::Put(text),
                is_named: false,
            });
        }
        for (collection, id) in removed.difference(named) {
            decided.push(Decided {
                collection: *collection,
                target: self.target(*collection, id.clone())?,
                decision: Decision::Remove,
                is_named: false,
            });
        }
        Ok(Ok(decided))
    }

    /// Looks for the records that refer to one that is deleted.
    fn look_for(
        &self,
        known: &KnownResources,
        (collection, id): &RecordAddress,
        referring: &mut Referring,
    ) -> Result<Option<CommandError>, ReadError> {
        let name = known.name(*collection).unwrap_or_default();
        for (from, field, on_delete) in known.references_to(name) {
            let refused = CommandError::IndexIncomplete {
                resource: known.name(from).unwrap_or_default().to_owned(),
                field: field.to_owned(),
            };
            let Some(kept) = self.indexes.named(from, field) else {
                return Ok(Some(refused));
            };
            if !kept.is_complete() {
                return Ok(Some(refused));
            }
            let Some(entry) = entry_of(kept, field, id) else {
                continue;
            };
            self.with_entry(from, kept, &entry, &mut |child| {
                let place = (from, child);
                match on_delete {
                    OnDelete::Restrict => {
                        referring.restricting.insert(place, field.to_owned());
                    }
                    OnDelete::SetNull => {
                        let fields = referring.changed.entry(place).or_default();
                        fields.insert(field.to_owned());
                    }
                    OnDelete::Cascade => {
                        if referring.removed.insert(place.clone()) {
                            referring.next.push(place);
                        }
                    }
                }
                Ok(!referring.is_too_much())
            })?;
            if referring.is_too_much() {
                let refusal = referring.refusal(known);
                return Ok(Some(refusal.unwrap_or(CommandError::TooManyReferring)));
            }
        }
        Ok(None)
    }

    /// The text of a record without the values of some fields; `None` if there is no such record.
    fn without(
        &self,
        schema: Option<&Schema>,
        target: &WriteTarget,
        fields: &BTreeSet<String>,
    ) -> Option<bytes::Bytes> {
        let current = target.current.as_ref()?;
        let old = JsonObject::parse(&current.json).ok()?;
        let mut object = old.clone();
        object.set_null(fields);
        if let Some(schema) = schema {
            let new = self.new_values();
            let created = Some(current.created_ms);
            // It has only lost references, so it breaks no rule of those that the client may not change.
            drop(schema.complete(&mut object, Some(&old), created, &new));
        }
        object.remove_id();
        Some(object.text(&target.id))
    }
}

/// The entry of the records whose `field` refers to this one, in the index of that field.
pub(super) fn entry_of(kept: &KeptIndex, field: &str, id: &RecordId) -> Option<Vec<u8>> {
    let value = match id {
        RecordId::Number(number) => Value::from(*number),
        RecordId::Text(text) => Value::from(&**text),
    };
    let members = Map::from_iter([(field.to_owned(), value)]);
    kept.index.entries(&members).pop_first()
}
