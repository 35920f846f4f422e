//! The reasons for refusing commands and new records.

use super::{BATCH_BYTES_MAX, REFERRING_BYTES_MAX, REFERRING_MAX};
use crate::record::Revision;
use crate::record::id::{IdError, RecordId};
use crate::record::patch::PatchFault;
use crate::record::schema::RuleViolation;

/// The reason for refusing a command.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(crate) enum CommandError {
    #[error("there is no record with this id")]
    Absent,
    #[error("a record with the id {id} exists already")]
    Duplicate { id: RecordId },
    /// Another record has the values that no two records may have.
    #[error("{fields}: the record {id} has the same value already, and it must be unique")]
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
    /// More records match than may be changed at once.
    #[error(
        "more than {most} records match, so none was changed; say more precisely which, or allow more"
    )]
    TooManyMatches { most: usize },
    /// The filters of a batch would have to be compared with too many records.
    #[error(
        "the filters of this batch would have to be compared with more than {most} records, which earlier operations change or the filters match; send several batches"
    )]
    TooManyLooks { most: usize },
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
