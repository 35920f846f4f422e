//! Records as values: ids, revisions, JSON objects, slices of lists. Pure; nothing here knows a store or HTTP.

mod command;
mod id;
mod json;
mod nearest;
mod object;
mod query;
mod schema;
mod selection;
mod slice;
#[cfg(test)]
mod tests;

pub use command::{Absent, Command, Conditions, Effect, MATCHING_MAX, Refusal, Tags, decide};
pub use id::{ID_BYTES_MAX, ID_NUMBER_MAX, IdError, IdScheme, RecordId};
pub(crate) use nearest::nearest;
pub use object::{BodyError, JsonObject};
pub use query::{Handling, ListQuery, QueryError};

pub use schema::{Field, FieldType, Pattern, PatternError, Rule, Schema, Violation};
pub use selection::{Example, SELECTED_BYTES_MAX, Selection, TooLarge, Visitor};
pub use slice::{PAGE_RECORDS_MAX, Slice};

use bytes::Bytes;

/// The number of a record's last write in the store's sequence. It never repeats, not even when a record is deleted and
/// made again, so it serves as a strong validator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Revision(pub u64);

/// One item of a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its name within the resource.
    pub id: RecordId,
    /// Its version.
    pub revision: Revision,
    /// The JSON text as it is served, `"id"` included.
    pub json: Bytes,
}
