//! One page of a collection, read from the engine.

use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::engine::{CollectionId, Engine, EngineError, Tree};
use super::envelope::Envelope;
use super::holder::Holder;
use super::store::ListPage;
use crate::record::{Record, RecordId, Revision, Slice};

/// Reads a page. What it shows is of one moment only if nothing was applied meanwhile, which the caller finds out.
pub(super) fn read(
    engine: &dyn Engine,
    holder: &Holder,
    collection: CollectionId,
    slice: Slice,
) -> Result<ListPage, EngineError> {
    let figures = holder.figures.get(collection.0);
    let mut page = ListPage {
        records: Vec::new(),
        total: figures.map_or(0, |f| f.records.load(Ordering::SeqCst)),
        seq: figures.map_or(0, |f| f.applied.load(Ordering::SeqCst)),
    };
    if slice.limit() == 0 {
        return Ok(page);
    }
    let mut skip = slice.start();
    let mut wrong = None;
    engine.scan(Tree::Records(collection), &[], &mut |key, value| {
        if skip > 0 {
            skip -= 1;
            return true;
        }
        match record(key, value) {
            Some(record) => page.records.push(record),
            None => wrong = Some(String::from_utf8_lossy(key).into_owned()),
        }
        wrong.is_none() && page.records.len() < slice.limit()
    })?;
    match wrong {
        Some(id) => Err(EngineError::Failed(format!("record {id} is damaged"))),
        None => Ok(page),
    }
}

fn record(key: &[u8], value: &[u8]) -> Option<Record> {
    let id = RecordId::parse(std::str::from_utf8(key).ok()?).ok()?;
    let envelope = Envelope::decode(&Bytes::copy_from_slice(value)).ok()?;
    Some(Record {
        id,
        revision: Revision(envelope.seq),
        json: envelope.json,
    })
}
