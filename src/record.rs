//! Records as values: ids, revisions, JSON objects, rules, queries, and what a write does to them. Pure: nothing here knows
//! a store or HTTP.
//!
//! Order of reading: `id` and `object` (what a record is), `schema` (its rules), `command` (writes), `query` and
//! `selection` (reads).

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

pub(crate) use command::{
    Absent, CommandError, Conditions, Decision, MATCHING_MAX, NewRecordError, Tags, WriteCommand,
    decide,
};
pub use id::IdScheme;
pub(crate) use id::{IdError, RecordId};
pub(crate) use nearest::nearest;
pub(crate) use object::{BodyError, JsonObject};
pub(crate) use query::{Handling, ListQuery, QueryError};
pub(crate) use schema::RuleViolation;
pub use schema::{Bounds, Field, FieldType, Pattern, Schema};
pub(crate) use selection::{Example, SELECTED_BYTES_MAX, Selection};
pub(crate) use slice::Slice;

use bytes::Bytes;

/// The number of a record's last write in the store's sequence. It never repeats, not even when a record is deleted and
/// created again, so together with the mark of the store
/// it serves as a strong validator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Revision(pub(crate) u64);

/// One item of a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) id: RecordId,
    pub(crate) revision: Revision,
    /// The JSON text as it is served, `"id"` included.
    pub(crate) json: Bytes,
}
