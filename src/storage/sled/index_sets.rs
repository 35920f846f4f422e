//! Reads which records are in a set that several indexes name. The caller makes sure that no group is applied meanwhile.

use super::index_reading::IndexReader;
use super::read_error::ReadError;
use crate::record::RecordId;
use crate::storage::plan::{IndexPart, IndexSet};

/// The ids of the records of a set, sorted; `None` if more than `max` keys would be read, or if a part has no reader.
pub(super) fn gather<'a>(
    set: &IndexSet,
    reader: &dyn Fn(&IndexPart) -> Option<IndexReader<'a>>,
    max: usize,
) -> Result<Option<Vec<RecordId>>, ReadError> {
    let part = |part: &IndexPart, max| match reader(part) {
        Some(reader) => reader.gather(part, max),
        None => Ok(None),
    };
    match set {
        IndexSet::Part(only) => part(only, max),
        IndexSet::Both(one, other) => {
            let Some(mut ids) = part(one, max)? else {
                return Ok(None);
            };
            let Some(others) = part(other, max)? else {
                return Ok(None);
            };
            ids.retain(|id| others.binary_search(id).is_ok());
            Ok(Some(ids))
        }
        IndexSet::AnyOf(sets) => {
            let mut ids = Vec::new();
            for set in sets {
                let Some(more) = gather(set, reader, max)? else {
                    return Ok(None);
                };
                ids.extend(more);
                if ids.len() > max {
                    return Ok(None);
                }
            }
            ids.sort_unstable();
            ids.dedup();
            Ok(Some(ids))
        }
    }
}
