//! A record in its keyspaces: its value, and the chunks of a long body.
//!
//! sled writes a page that has grown over 128 KiB into a file of its own, which is slow and fragile. So a body that is not
//! stored [in one piece](StoredRecord::is_inline) is cut into chunks of [`CHUNK_BYTES`], each a value of its own. The key of
//! a chunk names the write that made it:
//!
//! ```text
//! id | 0 u8 | sequence u64 | number u32
//! ```
//!
//! A text id has no zero byte, and the keys of numbers are all of one length, so the chunks of one id are exactly the keys
//! that begin with the id and the zero. New chunks are applied before the record that needs them, and old ones are removed
//! after it, so that a reader beside the writer finds them.

// Decision: Long bodies are stored in chunks.

use bytes::{Bytes, BytesMut};

use super::engine::{Engine, EngineError, Group, Keyspace};
use super::read_error::ReadError;
use super::stored_record::{Damaged, HEAD_BYTES, StoredRecord};
use crate::num::as_usize;
use crate::storage::CollectionId;

/// The length of a chunk; the last one of a body may be shorter. Part of the format.
pub(super) const CHUNK_BYTES: usize = 4096;

/// The stored version that a write replaces: an id, and the chunks that are removed with it.
#[derive(Debug)]
pub(super) struct Before {
    collection: CollectionId,
    id: Vec<u8>,
    chunks: Vec<Vec<u8>>,
}

impl Before {
    /// Looks up the chunks that `group`, and below it `engine`, have of this id, whose record is `current`. A write does all
    /// its reading before it stages anything, so that it can't fail half way.
    pub(super) fn look(
        engine: &dyn Engine,
        group: &Group,
        collection: CollectionId,
        id: &[u8],
        current: Option<&StoredRecord>,
    ) -> Result<Self, EngineError> {
        let mut chunks = Vec::new();
        if current.is_some_and(|current| !current.is_inline()) {
            let prefix = prefix(id);
            let staged = group.keys_from(Keyspace::Chunks(collection), &prefix);
            chunks.extend(
                staged
                    .take_while(|key| key.starts_with(&prefix))
                    .map(<[u8]>::to_vec),
            );
            let removed = Keyspace::OldChunks(collection);
            scan_prefix(engine, collection, &prefix, |key| {
                if group.get(removed, key).is_none() {
                    chunks.push(key.to_vec());
                }
            })?;
        }
        Ok(Self {
            collection,
            id: id.to_vec(),
            chunks,
        })
    }

    /// Stages `record` in its place.
    pub(super) fn put(self, group: &mut Group, record: &StoredRecord) {
        let (collection, seq) = (self.collection, record.seq);
        let value = if record.is_inline() {
            record.encode()
        } else {
            for (n, chunk) in (0_u32..).zip(record.json.chunks(CHUNK_BYTES)) {
                let key = chunk_key(&self.id, seq, n);
                group.put(Keyspace::Chunks(collection), key, chunk.to_vec());
            }
            record.encode_chunked()
        };
        group.put(Keyspace::Records(collection), self.id.as_slice(), value);
        self.remove_chunks(group);
    }

    /// Stages its removal.
    pub(super) fn remove(self, group: &mut Group) {
        group.remove(Keyspace::Records(self.collection), self.id.as_slice());
        self.remove_chunks(group);
    }

    fn remove_chunks(self, group: &mut Group) {
        for key in self.chunks {
            group.remove(Keyspace::OldChunks(self.collection), key);
        }
    }
}

/// The record of this id as `group`, if there is one, and below it `engine` have it.
///
/// Beside a writer, a record may be replaced after its value was read and before its chunks are. So it counts as damaged
/// only if it was not written again meanwhile.
pub(super) fn read(
    engine: &dyn Engine,
    group: Option<&Group>,
    collection: CollectionId,
    id: &[u8],
) -> Result<Option<StoredRecord>, ReadError> {
    let look = || get(engine, group, Keyspace::Records(collection), id);
    while let Some(value) = look()? {
        let head = value.first_chunk::<HEAD_BYTES>().copied();
        let same = |now: Bytes| now.first_chunk() == head.as_ref();
        match whole(engine, group, collection, id, value) {
            Err(damaged @ ReadError::Damaged { .. }) => {
                if look()?.is_some_and(same) {
                    return Err(damaged);
                }
            }
            read => return read.map(Some),
        }
    }
    Ok(None)
}

/// The record of this id whose value is `value`.
pub(super) fn whole(
    engine: &dyn Engine,
    group: Option<&Group>,
    collection: CollectionId,
    id: &[u8],
    value: Bytes,
) -> Result<StoredRecord, ReadError> {
    let chunks = |seq, bytes| {
        let bytes = as_usize(bytes);
        let mut json = BytesMut::new();
        for n in 0_u32.. {
            if json.len() >= bytes {
                break;
            }
            let key = chunk_key(id, seq, n);
            match get(engine, group, Keyspace::Chunks(collection), &key)? {
                // With empty chunks this would never end, and no write makes one.
                Some(chunk) if !chunk.is_empty() => json.extend_from_slice(&chunk),
                Some(_) | None => return Err(Damaged.into()),
            }
        }
        if json.len() == bytes {
            Ok(json.freeze())
        } else {
            Err(Damaged.into())
        }
    };
    StoredRecord::decode(value, chunks).map_err(|error: ReadError| error.of_record(id))
}

/// Visits the keys of the chunks that begin with `prefix`.
fn scan_prefix(
    engine: &dyn Engine,
    collection: CollectionId,
    prefix: &[u8],
    mut visit: impl FnMut(&[u8]),
) -> Result<(), EngineError> {
    engine.scan(Keyspace::Chunks(collection), prefix, &mut |key, _| {
        let same = key.starts_with(prefix);
        if same {
            visit(key);
        }
        same
    })
}

/// The value at a key as `group`, if there is one, and below it `engine` have it.
pub(super) fn get(
    engine: &dyn Engine,
    group: Option<&Group>,
    keyspace: Keyspace,
    key: &[u8],
) -> Result<Option<Bytes>, EngineError> {
    match group.and_then(|group| group.get(keyspace, key)) {
        Some(staged) => Ok(staged.map(Bytes::copy_from_slice)),
        None => engine.get(keyspace, key),
    }
}

fn prefix(id: &[u8]) -> Vec<u8> {
    [id, &[0]].concat()
}

fn chunk_key(id: &[u8], seq: u64, n: u32) -> Vec<u8> {
    [id, &[0], &seq.to_be_bytes(), &n.to_be_bytes()].concat()
}
