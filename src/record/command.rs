//! What a client wants to change in a resource, and what that does to a record. Pure: the store carries it out.
//!
//! [`batch`] says what becomes of several commands, and [`request_key`] which request was carried out before.

mod batch;
mod request_key;

pub(crate) use batch::{Atomicity, try_batch};
pub(crate) use request_key::{KeyFault, KeyVerdict, NamedRequest, RequestKey};

use bytes::Bytes;

use super::id::{ID_NUMBER_MAX, IdError, IdScheme, RecordId};
use super::object::{self, JsonObject};
use super::patch::{PatchFault, RecordPatch};
use super::query::ListQuery;
use super::schema::{NewValues, RuleViolation, Schema};
use super::{Record, Revision};

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
        /// How long the text may become, unless it is longer already: otherwise patches could make it grow without end.
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

/// The entity tags in a condition, as they were sent, or as the revisions that they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Tags<T = Revision> {
    /// `*`: any record.
    Any,
    /// One of these. Tags that are no revision's are left out of revisions, since they match nothing.
    OneOf(Vec<T>),
}

impl Tags {
    fn matches(&self, current: Option<Revision>) -> bool {
        match (self, current) {
            (_, None) => false,
            (Self::Any, Some(_)) => true,
            (Self::OneOf(tags), Some(current)) => tags.contains(&current),
        }
    }
}

/// What a write depends on (RFC 9110 section 13.1). The store checks it and writes in one step.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Conditions {
    /// `If-Match`
    pub(crate) if_match: Option<Tags>,
    /// `If-None-Match`
    pub(crate) if_none_match: Option<Tags>,
}

impl Conditions {
    /// Whether a record of this revision (`None`: no record) meets them.
    pub(crate) fn hold(&self, current: Option<Revision>) -> bool {
        let matches = |tags: &Tags| tags.matches(current);
        self.if_match.as_ref().is_none_or(matches)
            && !self.if_none_match.as_ref().is_some_and(matches)
    }
}

/// The reason for refusing a command.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(crate) enum CommandError {
    #[error("there is no record with this id")]
    Absent,
    #[error("a record with the id {id} exists already")]
    Duplicate { id: RecordId },
    /// Another record has the values that no two records may have.
    #[error("{fields}: the record {id} has the same already, and no two records may")]
    Taken {
        /// The names of the fields.
        fields: String,
        id: RecordId,
    },
    /// A record refers to the one that is to be deleted.
    #[error(
        "the record {id} of {resource} refers to it by {field}; delete that record or change it first"
    )]
    Referenced {
        resource: String,
        field: String,
        id: RecordId,
    },
    /// Too many records would be deleted or changed.
    #[error(
        "more than {REFERRING_MAX} records or {} MiB refer to it; delete or change some of them first",
        REFERRING_BYTES_MAX >> 20
    )]
    TooManyReferring,
    /// The records that refer to a record can't be found yet.
    #[error(
        "the index of {field} in {resource} is being built, by which the records that refer to this one are found; try again"
    )]
    IndexIncomplete { resource: String, field: String },
    /// A condition does not hold; the record has this revision, or there is none.
    #[error("the record is not in the state that the request depends on")]
    Precondition { current: Option<Revision> },
    #[error("the record is not valid")]
    Invalid(Vec<RuleViolation>),
    /// The patch gives the record another id.
    #[error("the record {id} can't get another id; delete it and create another one")]
    OtherId { id: RecordId },
    /// The patch can't be applied to the record.
    #[error(transparent)]
    Patch(#[from] PatchFault),
    /// One of the records that match can't be changed.
    #[error("record {id}: {error}")]
    OfRecord {
        id: RecordId,
        error: Box<CommandError>,
    },
    /// More records match than the client allows to be changed.
    #[error(
        "more than {most} records match, so none was changed; say more precisely which, or allow more"
    )]
    TooManyMatches { most: usize },
    /// All changes together would be too long for one group.
    #[error("the changes together have more than {} MiB; change fewer records at once", BATCH_BYTES_MAX >> 20)]
    TooMuch,
    /// The answer could not be kept for another request of the same name.
    #[error(
        "{bytes} bytes of its answer would have to be kept for the Idempotency-Key, and there is no room for them (storage.answers_bytes); change fewer records at once, or send it without the key"
    )]
    AnswerTooLong { bytes: u64 },
    /// The patched record would be too long.
    #[error("the record would have more than {bytes_max} bytes")]
    TooLong { bytes_max: usize },
    /// The stored text is not a JSON object.
    #[error("the stored record is damaged")]
    Damaged,
    /// It could be done, and was not, since another command of its batch was refused.
    #[error("it was not done, since another operation of the batch was refused")]
    Cancelled,
    /// Another request had the same name, or the same one asked for something else.
    #[error(
        "this Idempotency-Key was sent with another request; send a new key with each new request"
    )]
    KeyReused,
    /// No request could name the record that it would create.
    #[error(
        "the kind of the resource's ids was changed while the request was under way, and it was not done; try again"
    )]
    Overtaken,
}

/// The reason why a body can't become a record.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(crate) enum NewRecordError {
    #[error(transparent)]
    Id(#[from] IdError),
    #[error("the record is not valid")]
    Invalid(Vec<RuleViolation>),
}

impl WriteCommand {
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

    /// The command that creates a record with these members. Its id is the client's, or else as `ids` says.
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
    let decision = decide_sent(command, conditions, schema, id, current, new)?;
    let Decision::Put(text) = &decision else {
        return Ok(decision);
    };
    if !schema.has_own() {
        return Ok(decision);
    }
    let mut object = stored(text)?;
    let old = current.map(|record| stored(&record.json)).transpose()?;
    let created_ms = current.map(|record| record.created_ms);
    schema
        .complete(&mut object, old.as_ref(), created_ms, new)
        .map_err(CommandError::Invalid)?;
    Ok(Decision::Put(object.text(id)))
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
