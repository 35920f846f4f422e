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

pub(crate) use command::{Absent, Command, Conditions, Effect, Refusal, Tags, decide};
pub use id::IdScheme;
pub(crate) use id::{IdError, RecordId};
pub(crate) use nearest::nearest;
pub(crate) use object::{BodyError, JsonObject};
pub(crate) use query::{Handling, ListQuery, QueryError};
pub(crate) use schema::Violation;
pub use schema::{Field, FieldType, Pattern, PatternError, Schema};
pub(crate) use selection::{Example, Selection, TooLarge, Visitor};
pub(crate) use slice::Slice;

use bytes::Bytes;

/// The number of a record's last write in the store's sequence. It never repeats, not even when a record is deleted and
/// made again, so it serves as a strong validator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Revision(pub u64);

/// One item of a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    /// Its name within the resource.
    pub id: RecordId,
    /// Its version.
    pub revision: Revision,
    /// The JSON text as it is served, `"id"` included.
    pub json: Bytes,
}
