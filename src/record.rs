//! Records as values: ids, revisions, JSON objects, slices of lists. Pure; nothing here knows a store or HTTP.

mod id;
mod object;
mod slice;

pub use id::{ID_BYTES_MAX, IdError, RecordId};
pub use object::{BodyError, JsonObject};
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
