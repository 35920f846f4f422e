//! Records as values: ids, revisions, JSON objects, rules, queries, and what a write does to them. Pure: nothing here knows
//! a store or HTTP.
//!
//! Order of reading: `id` and `object` (what a record is), `compare` (when values are equal or less), `schema` (its rules),
//! `patch` and `command` (writes), `query` and `selection` (reads), `encoding` and `index` (how records are found by their values).

mod command;
mod compare;
mod encoding;
mod id;
mod index;
mod json;
mod members;
mod nearest;
mod object;
mod owner;
mod patch;
mod query;
mod schema;
mod selection;
mod slice;
#[cfg(test)]
mod tests;

pub(crate) use command::{
    Absent, Atomicity, BATCH_BYTES_MAX, CommandError, Conditions, Decision, KeyFault, KeyVerdict,
    MATCHING_MAX, MatchingChange, NamedRequest, NewRecordError, REFERRING_BYTES_MAX, REFERRING_MAX,
    RecordFilter, RequestKey, Tags, WriteCommand, decide, try_batch,
};
pub(crate) use compare::ExactNumber;
pub(crate) use encoding::{EncodedRange, after_all};
pub use id::IdScheme;
pub(crate) use id::{CHOSEN_NUMBER_MAX, ID_BYTES_MAX, ID_NUMBER_MAX, IdError, RecordId};
pub(crate) use index::{EntryIdentity, IndexSection};
pub use index::{IndexColumn, RecordIndex};
pub(crate) use nearest::nearest;
pub(crate) use object::{BodyError, JsonObject};
pub(crate) use owner::RecordOwner;
pub(crate) use patch::{PatchFault, RecordPatch};
pub(crate) use query::{
    By, FEED_BYTES_MAX, FeedPosition, FeedQuery, FieldRanges, FilterParameter, FilterTest,
    HISTORY_PARAMETERS, Handling, HistoryQuery, IndexableQuery, ListQuery, ParameterValue,
    Position, QueryError, QueryParameter, RecordShape, WantedIndexes, filter_parameters,
};
pub(crate) use schema::Declared;
pub(crate) use schema::NewValues;
pub(crate) use schema::RuleViolation;
pub use schema::{
    Bounds, DefaultValue, Field, FieldSource, FieldType, ObjectFields, OnDelete, Pattern,
    Reference, Schema,
};
pub(crate) use selection::{Example, RecordSink, SELECTED_BYTES_MAX, Selection};
pub(crate) use slice::Slice;

use std::time::{Duration, UNIX_EPOCH};

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
    /// The times of its creation and of its last write, in milliseconds since 1970.
    pub(crate) created_ms: u64,
    pub(crate) changed_ms: u64,
    /// The JSON text as it is served, `"id"` included.
    pub(crate) json: Bytes,
}

/// The members that a client gets on request, and that the store alone gives a value.
pub(crate) const META: [&str; 3] = ["_created", "_changed", "_revision"];

impl Record {
    /// A text of it with the times and the revision as its last members.
    fn with_meta(&self, text: &[u8]) -> Bytes {
        let [created, changed, revision] = META;
        let text = text.strip_suffix(b"}").unwrap_or(text);
        let meta = format!(
            ",\"{created}\":\"{}\",\"{changed}\":\"{}\",\"{revision}\":{}}}",
            moment_text(self.created_ms),
            moment_text(self.changed_ms),
            self.revision.0
        );
        [text, meta.as_bytes()].concat().into()
    }
}

impl Revision {
    /// The strong entity tag of a record in the store of this mark.
    pub(crate) fn etag(self, mark: &str) -> String {
        format!("\"{}-{mark}\"", self.0)
    }
}

/// The time of a change that is made now to a record that was created then, if there was one: a change has a later time than
/// the creation.
pub(crate) fn time_of_change(now_ms: u64, created_ms: Option<u64>) -> u64 {
    now_ms.max(created_ms.map_or(0, |created_ms| created_ms + 1))
}

/// A time in milliseconds since 1970, as RFC 3339 writes it. It has no years after 9999.
pub(crate) fn moment_text(ms: u64) -> String {
    const LAST: u64 = 253_402_300_799_999;
    let moment = UNIX_EPOCH + Duration::from_millis(ms.min(LAST));
    humantime::format_rfc3339_millis(moment).to_string()
}
