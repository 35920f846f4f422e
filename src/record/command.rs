//! What a client wants done to a resource, and what becomes of it. Pure: whoever holds the store carries it out.

use bytes::Bytes;

use super::id::RecordId;
use super::object::JsonObject;
use super::schema::{Schema, Violation};
use super::{Record, Revision};

/// The most records one example may delete.
pub(crate) const MATCHING_MAX: usize = 1000;

/// A write.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Command {
    /// Makes a record of this id, which must be free.
    Create {
        /// Its id.
        id: RecordId,
        /// Its text, the id included.
        json: Bytes,
    },
    /// Makes a record with the next number for its id.
    CreateNext {
        /// Its members.
        object: JsonObject,
    },
    /// Puts a text in the place of a record.
    Replace {
        /// Which.
        id: RecordId,
        /// The new text, the id included.
        json: Bytes,
        /// If there is none.
        absent: Absent,
    },
    /// Merges a patch into a record (RFC 7396).
    Merge {
        /// Which.
        id: RecordId,
        /// The patch.
        patch: JsonObject,
        /// If there is none.
        absent: Absent,
        /// How long the text may become, unless it is that long already: patches that add up have no other bound.
        bytes_max: usize,
    },
    /// Removes a record.
    Delete {
        /// Which.
        id: RecordId,
    },
    /// Removes those of these records that are still equal to the example in all its members.
    DeleteMatching {
        /// Which: [`MATCHING_MAX`] at most.
        ids: Vec<RecordId>,
        /// What they are compared with.
        example: JsonObject,
    },
}

/// What a write to a record does if there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Absent {
    /// Nothing.
    Refuse,
    /// Makes it.
    Create,
}

/// Entity tags a client has named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Tags {
    /// `*`: any there is.
    Any,
    /// One of these. Tags that can't be of a revision are left out: they match nothing.
    OneOf(Vec<Revision>),
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

/// What a write depends on (RFC 9110 section 13.1). The check and the write are one step.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Conditions {
    /// `If-Match`
    pub if_match: Option<Tags>,
    /// `If-None-Match`
    pub if_none_match: Option<Tags>,
}

impl Conditions {
    /// Whether a record of this revision (`None`: no record) meets them.
    pub(crate) fn hold(&self, current: Option<Revision>) -> bool {
        self.if_match
            .as_ref()
            .is_none_or(|tags| tags.matches(current))
            && !self
                .if_none_match
                .as_ref()
                .is_some_and(|tags| tags.matches(current))
    }
}

/// Why a write is not done.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(crate) enum Refusal {
    /// There is no such record.
    #[error("there is no record of this id")]
    Absent,
    /// There is one.
    #[error("there is a record with the id {id} already")]
    Duplicate {
        /// Its id.
        id: RecordId,
    },
    /// A condition does not hold.
    #[error("the record is not in the state that the request depends on")]
    Precondition {
        /// The record's revision; `None` if there is no record.
        current: Option<Revision>,
    },
    /// The record would break its rules.
    #[error("the record is not valid")]
    Invalid(Vec<Violation>),
    /// The patched record would be too long.
    #[error("the record would have more than {bytes_max} bytes")]
    TooLong {
        /// How many it may have.
        bytes_max: usize,
    },
    /// What is stored is no JSON object.
    #[error("the stored record is damaged")]
    Damaged,
}

/// What is to be done to one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Effect {
    /// It has this text now.
    Put(Bytes),
    /// It is gone.
    Remove,
    /// Nothing.
    None,
}

/// What a command does to the record of `id`, which is `current` now.
pub(crate) fn decide(
    command: &Command,
    conditions: &Conditions,
    schema: &Schema,
    id: &RecordId,
    current: Option<&Record>,
) -> Result<Effect, Refusal> {
    let revision = current.map(|record| record.revision);
    if !conditions.hold(revision) {
        return Err(Refusal::Precondition { current: revision });
    }
    match (command, current) {
        (Command::Create { .. } | Command::CreateNext { .. }, Some(_)) => {
            Err(Refusal::Duplicate { id: id.clone() })
        }
        (Command::Replace { absent, .. } | Command::Merge { absent, .. }, None)
            if *absent == Absent::Refuse =>
        {
            Err(Refusal::Absent)
        }
        (Command::Create { json, .. } | Command::Replace { json, .. }, _) => {
            Ok(Effect::Put(json.clone()))
        }
        (Command::CreateNext { object }, None) => Ok(Effect::Put(object.text(id))),
        (
            Command::Merge {
                patch, bytes_max, ..
            },
            _,
        ) => {
            let mut object = match current {
                Some(record) => JsonObject::parse(&record.json).map_err(|_| Refusal::Damaged)?,
                None => JsonObject::default(),
            };
            object.remove_id();
            object.merge(patch);
            object.remove_id();
            schema.check(&mut object).map_err(Refusal::Invalid)?;
            let text = object.text(id);
            let bytes_max = current.map_or(*bytes_max, |record| record.json.len().max(*bytes_max));
            if text.len() > bytes_max {
                return Err(Refusal::TooLong { bytes_max });
            }
            Ok(Effect::Put(text))
        }
        (Command::Delete { .. }, None) => Err(Refusal::Absent),
        (Command::Delete { .. }, Some(_)) => Ok(Effect::Remove),
        (Command::DeleteMatching { .. }, None) => Ok(Effect::None),
        (Command::DeleteMatching { example, .. }, Some(record)) => {
            let object = JsonObject::parse(&record.json).map_err(|_| Refusal::Damaged)?;
            Ok(if object.is_like(example) {
                Effect::Remove
            } else {
                Effect::None
            })
        }
    }
}
