//! The commands that change a resource, and the decision on what each does to a record. Pure: the store carries it out.
//!
//! [`batch`] decides on several commands together; [`request_key`] recognises a request that was carried out before.

mod batch;
mod command_error;
mod conditions;
mod request_key;

pub(crate) use batch::{Atomicity, try_batch};
pub(crate) use command_error::{CommandError, NewRecordError};
pub(crate) use conditions::{Conditions, Tags};
pub(crate) use request_key::{KeyFault, KeyVerdict, NamedRequest, RequestKey};

use bytes::Bytes;

use super::Record;
use super::id::{ID_NUMBER_MAX, IdScheme, RecordId};
use super::object::{self, JsonObject};
use super::patch::RecordPatch;
use super::query::ListQuery;
use super::schema::{NewValues, RuleViolation, Schema};

/// The most records that one example may delete.
pub(crate) const MATCHING_MAX: usize = 1000;
/// The most records that a deletion may delete or change because they refer to what it deletes.
pub(crate) const REFERRING_MAX: usize = 1000;
/// The most bytes that those have together which it changes.
pub(crate) const REFERRING_BYTES_MAX: usize = 16 << 20;

/// The most bytes that the records of one batch may have after it.
pub(crate) const BATCH_BYTES_MAX: usize = 64 << 20;

/// A change that a client asks for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum WriteCommand {
    /// Creates a record. No other record may have its id.
    Create {
        id: RecordId,
        /// The text, the id included.
        json: Bytes,
    },
    /// Creates a record whose id is the next number.
    CreateNumbered {
        /// The text without the id, as [`JsonObject::without_id`] makes it.
        members: String,
    },
    /// Replaces the text of a record.
    Replace {
        id: RecordId,
        /// The new text, the id included.
        json: Bytes,
        absent: Absent,
    },
    /// Patches a record.
    Patch {
        id: RecordId,
        patch: RecordPatch,
        absent: Absent,
        /// The longest that the text may become, unless it is longer already: otherwise patches could make it grow without end.
        bytes_max: usize,
    },
    /// Deletes a record.
    Delete { id: RecordId },
    /// Changes all records that match.
    Matching {
        filter: RecordFilter,
        change: MatchingChange,
        /// If more match, none is changed.
        most: usize,
    },
}

/// The records that a command is about.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum RecordFilter {
    /// Those that have the members of this example.
    Example(JsonObject),
    /// Those that match the conditions of this query.
    Query(Box<ListQuery>),
}

impl RecordFilter {
    fn matches(&self, record: &Record) -> Result<bool, CommandError> {
        let object = JsonObject::parse(&record.json).map_err(|_| CommandError::Damaged)?;
        Ok(match self {
            Self::Example(example) => object.is_like(example),
            Self::Query(query) => query.matches(object.members()),
        })
    }
}

/// The change of all records that match.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum MatchingChange {
    Delete,
    Patch {
        patch: RecordPatch,
        /// As for a patch of one record.
        bytes_max: usize,
    },
}

/// The result of a write to a record that does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Absent {
    /// It is refused.
    Refuse,
    /// It creates the record.
    Create,
}

impl WriteCommand {
    /// The id of the one record that it names.
    pub(crate) fn id(&self) -> Option<&RecordId> {
        match self {
            Self::Create { id, .. }
            | Self::Replace { id, .. }
            | Self::Patch { id, .. }
            | Self::Delete { id } => Some(id),
            Self::CreateNumbered { .. } | Self::Matching { .. } => None,
        }
    }

    /// Whether it is about all records that match.
    pub(crate) fn has_filter(&self) -> bool {
        matches!(self, Self::Matching { .. })
    }

    /// Whether it leaves fewer records than before.
    pub(crate) fn deletes(&self) -> bool {
        match self {
            Self::Delete { .. } => true,
            Self::Matching { change, .. } => *change == MatchingChange::Delete,
            Self::Create { .. }
            | Self::CreateNumbered { .. }
            | Self::Replace { .. }
            | Self::Patch { .. } => false,
        }
    }

    /// The command that creates a record for a client, which leaves the largest numbers to the server.
    pub(crate) fn post(
        object: JsonObject,
        ids: IdScheme,
        schema: &Schema,
        new: &NewValues<'_>,
    ) -> Result<Self, NewRecordError> {
        let created = Self::create(object, ids, schema, new)?;
        if created.id().is_some_and(RecordId::is_reserved) {
            let violations = vec![RuleViolation::reserved_number()];
            return Err(NewRecordError::Invalid(violations));
        }
        Ok(created)
    }

    /// The command that creates a record with these members. Its id is the one that they have, or else as `ids` says.
    pub(crate) fn create(
        mut object: JsonObject,
        ids: IdScheme,
        schema: &Schema,
        new: &NewValues<'_>,
    ) -> Result<Self, NewRecordError> {
        let mut chosen = object.chosen_id(ids)?;
        if chosen.is_none() && ids == IdScheme::Uuid {
            chosen = Some(RecordId::from_uuid((new.uuid)()));
        }
        object.remove_id();
        let lacking = ids == IdScheme::Client && chosen.is_none();
        let of_id = lacking.then(RuleViolation::without_id);
        let of_members = schema.check(&mut object, new).err().unwrap_or_default();
        let violations: Vec<_> = of_id.into_iter().chain(of_members).collect();
        if !violations.is_empty() {
            return Err(NewRecordError::Invalid(violations));
        }
        let Some(id) = chosen else {
            let members = object.without_id();
            return Ok(Self::CreateNumbered { members });
        };
        let json = object.text(&id);
        Ok(Self::Create { id, json })
    }
}

/// The change that a command makes to one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Decision {
    /// The record gets this text.
    Put(Bytes),
    /// The record is removed.
    Remove,
    /// The record stays as it is.
    Keep,
}

impl Decision {
    /// The bytes of the new text.
    pub(crate) fn put_bytes(&self) -> usize {
        match self {
            Self::Put(text) => text.len(),
            Self::Remove | Self::Keep => 0,
        }
    }
}

// Decision: The daemon's own values are given by the writer.
/// Decides what a command does to the record of `id`, which is `current` now.
pub(crate) fn decide(
    command: &WriteCommand,
    conditions: &Conditions,
    schema: &Schema,
    id: &RecordId,
    current: Option<&Record>,
    new: &NewValues<'_>,
) -> Result<Decision, CommandError> {
    let owner = conditions.owner.as_deref();
    if let Some((owner, current)) = owner.zip(current)
        && !owner.owns(current)
        && let Some(decided) = of_another_client(command, id)
    {
        return decided;
    }
    let decision = decide_sent(command, conditions, schema, id, current, new)?;
    let Decision::Put(text) = &decision else {
        return Ok(decision);
    };
    if !schema.has_own() && owner.is_none() {
        return Ok(decision);
    }
    let mut object = stored(text)?;
    if let Some(owner) = owner {
        let signed = owner.sign(&mut object);
        signed.map_err(|violation| CommandError::Invalid(vec![violation]))?;
    }
    let old = current.map(|record| stored(&record.json)).transpose()?;
    let created_ms = current.map(|record| record.created_ms);
    schema
        .complete(&mut object, old.as_ref(), created_ms, new)
        .map_err(CommandError::Invalid)?;
    Ok(Decision::Put(object.text(id)))
}

/// The effect on a record of another client, as if it were not there, as far as its id is not needed.
fn of_another_client(
    command: &WriteCommand,
    id: &RecordId,
) -> Option<Result<Decision, CommandError>> {
    match command {
        // That the id is taken can't be hidden.
        WriteCommand::Create { .. } | WriteCommand::CreateNumbered { .. } => None,
        WriteCommand::Replace { absent, .. } | WriteCommand::Patch { absent, .. } => {
            Some(Err(match absent {
                Absent::Create => CommandError::Duplicate { id: id.clone() },
                Absent::Refuse => CommandError::Absent,
            }))
        }
        WriteCommand::Delete { .. } => Some(Err(CommandError::Absent)),
        WriteCommand::Matching { .. } => Some(Ok(Decision::Keep)),
    }
}

/// The same by what the client sent only.
fn decide_sent(
    command: &WriteCommand,
    conditions: &Conditions,
    schema: &Schema,
    id: &RecordId,
    current: Option<&Record>,
    new: &NewValues<'_>,
) -> Result<Decision, CommandError> {
    let revision = current.map(|record| record.revision);
    if !conditions.hold(revision) {
        return Err(CommandError::Precondition { current: revision });
    }
    match (command, current) {
        (WriteCommand::Create { .. } | WriteCommand::CreateNumbered { .. }, Some(_)) => {
            Err(CommandError::Duplicate { id: id.clone() })
        }
        (WriteCommand::CreateNumbered { members }, None) => {
            if *id > RecordId::Number(ID_NUMBER_MAX) {
                let violations = vec![RuleViolation::without_number()];
                return Err(CommandError::Invalid(violations));
            }
            Ok(Decision::Put(object::with_id(id, members)))
        }
        (WriteCommand::Replace { absent, .. } | WriteCommand::Patch { absent, .. }, None)
            if *absent == Absent::Refuse =>
        {
            Err(CommandError::Absent)
        }
        (WriteCommand::Create { json, .. }, None) | (WriteCommand::Replace { json, .. }, _) => {
            Ok(Decision::Put(json.clone()))
        }
        (
            WriteCommand::Patch {
                patch, bytes_max, ..
            },
            _,
        ) => patched(patch, schema, (id, current), *bytes_max, new).map(Decision::Put),
        (WriteCommand::Delete { .. }, None) => Err(CommandError::Absent),
        (WriteCommand::Delete { .. }, Some(_)) => Ok(Decision::Remove),
        (WriteCommand::Matching { .. }, None) => Ok(Decision::Keep),
        (WriteCommand::Matching { filter, change, .. }, Some(record)) => {
            if !filter.matches(record)? {
                return Ok(Decision::Keep);
            }
            match change {
                MatchingChange::Delete => Ok(Decision::Remove),
                MatchingChange::Patch { patch, bytes_max } => {
                    let patched = patched(patch, schema, (id, current), *bytes_max, new);
                    patched.map(Decision::Put).map_err(|error| {
                        let (id, error) = (id.clone(), Box::new(error));
                        CommandError::OfRecord { id, error }
                    })
                }
            }
        }
    }
}

// Decision: A change answers for what it changes.
/// The text of a record after a patch.
fn patched(
    patch: &RecordPatch,
    schema: &Schema,
    (id, current): (&RecordId, Option<&Record>),
    bytes_max: usize,
    new: &NewValues<'_>,
) -> Result<Bytes, CommandError> {
    let parse =
        |record: &Record| JsonObject::parse(&record.json).map_err(|_| CommandError::Damaged);
    let mut object = current.map_or_else(|| Ok(JsonObject::default()), parse)?;
    let before = object.members().get("id").cloned();
    let bytes_max = current.map_or(bytes_max, |record| record.json.len().max(bytes_max));
    let unknown = match patch {
        RecordPatch::Merge(patch) => schema.check_removed(patch, &object),
        RecordPatch::Operations(_) => Vec::new(),
    };
    if !unknown.is_empty() {
        return Err(CommandError::Invalid(unknown));
    }
    patch.apply(&mut object, bytes_max)?;
    let after = object.members().get("id");
    if before.is_some() && after.is_some() && after != before.as_ref() {
        return Err(CommandError::OtherId { id: id.clone() });
    }
    object.remove_id();
    if let Err(mut found) = schema.check(&mut object, new) {
        if let Some(record) = current {
            found = schema.made_by_change(found, stored(&record.json)?, &object);
        }
        if !found.is_empty() {
            return Err(CommandError::Invalid(found));
        }
    }
    let text = object.text(id);
    if text.len() > bytes_max {
        return Err(CommandError::TooLong { bytes_max });
    }
    Ok(text)
}

/// The members of a record without its id.
fn stored(text: &[u8]) -> Result<JsonObject, CommandError> {
    let mut object = JsonObject::parse(text).map_err(|_| CommandError::Damaged)?;
    object.remove_id();
    Ok(object)
}
