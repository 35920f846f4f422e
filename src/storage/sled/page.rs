//! One page of a collection, read from the engine.

use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::engine::{CollectionId, Engine, EngineError, Keyspace};
use super::holder::Holder;
use super::store::ListPage;
use super::value;
use crate::record::{Record, RecordId, Revision, Slice};

/// How many bytes of records are read between two looks at other requests; a longer page is read off the event loops.
const PAGE_BYTES_MAX: usize = 1 << 20;

/// Why a page could not be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum PageError {
    /// One of its records is not what was written; beside a writer it may only have been overtaken.
    #[error("record {id} is damaged")]
    Damaged {
        /// Its key.
        id: String,
    },
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// Reads a page; `None` if it is longer than [`PAGE_BYTES_MAX`]. What it shows is of one moment only if nothing was applied
/// meanwhile, which the caller finds out.
pub(super) fn read(
    engine: &dyn Engine,
    holder: &Holder,
    collection: CollectionId,
    slice: Slice,
) -> Result<Option<ListPage>, PageError> {
    let figures = holder.figures.get(collection.0);
    let mut page = ListPage {
        records: Vec::new(),
        total: figures.map_or(0, |f| f.records.load(Ordering::SeqCst)),
        seq: figures.map_or(0, |f| f.applied.load(Ordering::SeqCst)),
    };
    if slice.limit() == 0 {
        return Ok(Some(page));
    }
    let mut skip = slice.start();
    let (mut wrong, mut bytes) = (None, 0);
    engine.scan(Keyspace::Records(collection), &[], &mut |key, value| {
        if skip > 0 {
            skip -= 1;
            return true;
        }
        match record(engine, collection, key, value) {
            Ok(record) => {
                bytes += record.json.len();
                page.records.push(record);
            }
            Err(error) => wrong = Some(error),
        }
        wrong.is_none() && bytes <= PAGE_BYTES_MAX && page.records.len() < slice.limit()
    })?;
    match wrong {
        Some(error) => Err(error),
        None => Ok((bytes <= PAGE_BYTES_MAX).then_some(page)),
    }
}

/// The record of a key and its value.
pub(super) fn record(
    engine: &dyn Engine,
    collection: CollectionId,
    key: &[u8],
    value: &[u8],
) -> Result<Record, PageError> {
    let value = Bytes::copy_from_slice(value);
    let id = RecordId::from_key(key);
    let found = value::whole(engine, None, collection, key, &value)?;
    match (id, found) {
        (Some(id), Ok(envelope)) => Ok(Record {
            id,
            revision: Revision(envelope.seq),
            json: envelope.json,
        }),
        _ => Err(PageError::Damaged {
            id: String::from_utf8_lossy(key).into_owned(),
        }),
    }
}
