//! The log of changes: its entries, their format, and how a stretch of it is read. Integers are big-endian.
//!
//! ```text
//! key:   sequence u64
//! entry: version u8 | kind u8 | message id u128 | at ms u64 | length of name u8 | resource's name | record's id
//! ```

use parking_lot::Mutex;

use super::engine::{Engine, EngineError, Keyspace};
use super::read_error::ReadError;
use super::stored_record::{Damaged, Fields};
use crate::num::as_u8;
use crate::record::RecordId;
use crate::storage::{Change, ChangeKind};
use crate::supervision::MessageId;

const VERSION: u8 = 1;

/// One entry of the log of changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LogEntry {
    pub(super) kind: ChangeKind,
    pub(super) message: MessageId,
    pub(super) at_ms: u64,
    pub(super) collection: String,
    pub(super) id: Vec<u8>,
}

impl LogEntry {
    pub(super) fn encode(&self) -> Vec<u8> {
        let kind = match self.kind {
            ChangeKind::Put => 1,
            ChangeKind::Delete => 2,
        };
        // The settings bound the names of resources.
        let name_bytes = as_u8(self.collection.len());
        let name = self
            .collection
            .as_bytes()
            .get(..name_bytes.into())
            .unwrap_or_default();
        let mut out = vec![VERSION, kind];
        out.extend_from_slice(&self.message.to_be_bytes());
        out.extend_from_slice(&self.at_ms.to_be_bytes());
        out.push(name_bytes);
        out.extend_from_slice(name);
        out.extend_from_slice(&self.id);
        out
    }

    pub(super) fn decode(value: &[u8]) -> Result<Self, Damaged> {
        let mut fields = Fields(value);
        if fields.u8()? != VERSION {
            return Err(Damaged);
        }
        let kind = match fields.u8()? {
            1 => ChangeKind::Put,
            2 => ChangeKind::Delete,
            _ => return Err(Damaged),
        };
        let message = MessageId(u128::from_be_bytes(fields.take()?));
        let at_ms = fields.u64()?;
        let name_bytes = usize::from(fields.u8()?);
        let (name, id) = fields.0.split_at_checked(name_bytes).ok_or(Damaged)?;
        let collection = String::from_utf8(name.to_vec()).map_err(|_| Damaged)?;
        Ok(Self {
            kind,
            message,
            at_ms,
            collection,
            id: id.to_vec(),
        })
    }
}

/// The first changes after the last two handovers of new writes to the writer, the older first. The log of changes keeps the entries from
/// there on: if the writer dies, they tell which of those writes were committed.
#[derive(Debug)]
pub(super) struct Handovers(Mutex<[u64; 2]>);

impl Default for Handovers {
    fn default() -> Self {
        Self(Mutex::new([u64::MAX; 2]))
    }
}

impl Handovers {
    /// Notes another one, whose first change is `first` if it has any.
    pub(super) fn add(&self, first: u64) {
        let mut known = self.0.lock();
        let [_, last] = *known;
        *known = [last, first];
    }

    /// The first change whose entry may be asked for.
    pub(super) fn needed_from(&self) -> u64 {
        let [before, last] = *self.0.lock();
        before.min(last)
    }
}

/// The key of a change in the log of changes, from its number.
pub(super) fn seq_key(seq: u64) -> [u8; 8] {
    seq.to_be_bytes()
}

/// The number that is a key of the log of changes, or a value in `meta`.
pub(super) fn seq_of(bytes: &[u8]) -> Result<u64, Damaged> {
    bytes
        .try_into()
        .map(u64::from_be_bytes)
        .map_err(|_| Damaged)
}

/// Reads the entries from change `from` on, `most` of them at most, with their numbers.
pub(super) fn entries(
    engine: &dyn Engine,
    from: u64,
    most: usize,
) -> Result<Vec<(u64, LogEntry)>, ReadError> {
    let mut entries = Vec::new();
    let mut damaged = None;
    engine.scan(Keyspace::Log, &seq_key(from), &mut |key, value| {
        if entries.len() == most {
            return false;
        }
        match seq_of(key).and_then(|seq| Ok((seq, LogEntry::decode(value)?))) {
            Ok(entry) => entries.push(entry),
            Err(Damaged) => damaged = Some(ReadError::damaged("an entry of the log")),
        }
        damaged.is_none()
    })?;
    damaged.map_or(Ok(entries), Err)
}

/// The number of the oldest change that is still in the log of changes.
pub(super) fn first(engine: &dyn Engine) -> Result<Option<u64>, EngineError> {
    let mut first = None;
    engine.scan(Keyspace::Log, &[], &mut |key, _| {
        first = seq_of(key).ok();
        false
    })?;
    Ok(first)
}

/// The change that an entry stands for; `None` for an entry that only keeps a number from being given again.
pub(super) fn change((seq, entry): (u64, LogEntry)) -> Option<Change> {
    Some(Change {
        seq,
        id: RecordId::from_key(&entry.id)?,
        collection: entry.collection,
        message: entry.message,
        kind: entry.kind,
        at_ms: entry.at_ms,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_entries_of_the_last_two_handovers_are_needed() {
        let handovers = Handovers::default();
        let needed = [7, 7, 90].map(|first| {
            handovers.add(first);
            handovers.needed_from()
        });
        assert_eq!(needed, [7, 7, 7]);
        handovers.add(95);
        assert_eq!(handovers.needed_from(), 90);
    }

    #[test]
    fn an_entry_is_read_as_it_was_written() {
        let entry = LogEntry {
            kind: ChangeKind::Delete,
            message: MessageId(u128::MAX - 5),
            at_ms: 3,
            collection: "books".to_owned(),
            id: b"x".to_vec(),
        };
        assert_eq!(LogEntry::decode(&entry.encode()), Ok(entry));
        assert_eq!(LogEntry::decode(&[1, 9]), Err(Damaged));
    }
}
