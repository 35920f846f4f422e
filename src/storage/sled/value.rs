//! A record in the trees: its envelope, and the chunks of a long body.
//!
//! sled writes a page that has grown over 128 KiB into a file of its own, which is slow and fragile. So a body that does
//! not fit into [`INLINE_BYTES`] with its envelope is cut into chunks of [`CHUNK_BYTES`], each a value by itself. A
//! chunk's key names the write that made it:
//!
//! ```text
//! id | 0 u8 | sequence u64 | number u32
//! ```
//!
//! A text id has no zero byte, and the keys of numbers are all of one length, so the chunks of one id are exactly the keys
//! that begin with it and the zero. New chunks are
//! applied before the envelope that needs them, and old ones go after it: a group that was cut off in between leaves
//! chunks too many, never too few, and [`recovery`](super::recovery) removes them.

use bytes::{Bytes, BytesMut};

use super::engine::{CollectionId, Engine, EngineError, Group, Keyspace};
use super::envelope::{Body, Damaged, Envelope, Head};

/// The longest value that is kept in one piece, envelope and body together.
pub(crate) const INLINE_BYTES: usize = 4096;
/// The length of a chunk; the last one of a body may be shorter. Part of the format.
pub(crate) const CHUNK_BYTES: usize = 4096;

/// What a write finds before it: the chunks that must go with the version they belong to.
#[derive(Debug)]
pub(crate) struct Before {
    collection: CollectionId,
    id: Vec<u8>,
    chunks: Vec<Vec<u8>>,
}

impl Before {
    /// Looks at what `group`, and under it `engine`, has of this id. All reading of a write is done here, so that what
    /// follows can't fail half way.
    pub(crate) fn look(
        engine: &dyn Engine,
        group: &Group,
        collection: CollectionId,
        id: &[u8],
    ) -> Result<Self, EngineError> {
        let value = get(engine, Some(group), Keyspace::Records(collection), id)?;
        // A damaged envelope does not tell whether it has chunks: then they are looked for.
        let inline =
            value.is_none_or(|value| Head::decode(&value).is_ok_and(|head| !head.chunked()));
        let mut chunks = Vec::new();
        if !inline {
            let prefix = prefix(id);
            let staged = group.keys_from(Keyspace::Chunks(collection), &prefix);
            chunks.extend(
                staged
                    .take_while(|key| key.starts_with(&prefix))
                    .map(<[u8]>::to_vec),
            );
            engine.scan(Keyspace::Chunks(collection), &prefix, &mut |key, _| {
                let same = key.starts_with(&prefix);
                if same && group.get(Keyspace::OldChunks(collection), key).is_none() {
                    chunks.push(key.to_vec());
                }
                same
            })?;
        }
        Ok(Self {
            collection,
            id: id.to_vec(),
            chunks,
        })
    }

    /// Stages `envelope` in its place.
    pub(crate) fn put(self, group: &mut Group, envelope: &Envelope) {
        let (collection, seq) = (self.collection, envelope.seq);
        if Envelope::inline_bytes(&envelope.json) <= INLINE_BYTES {
            let value = envelope.encode();
            group.put(Keyspace::Records(collection), self.id.as_slice(), value);
        } else {
            for (n, chunk) in (0_u32..).zip(envelope.json.chunks(CHUNK_BYTES)) {
                let key = chunk_key(&self.id, seq, n);
                group.put(Keyspace::Chunks(collection), key, chunk.to_vec());
            }
            let value = envelope.encode_chunked();
            group.put(Keyspace::Records(collection), self.id.as_slice(), value);
        }
        self.sweep(group);
    }

    /// Stages its removal.
    pub(crate) fn remove(self, group: &mut Group) {
        group.remove(Keyspace::Records(self.collection), self.id.as_slice());
        self.sweep(group);
    }

    fn sweep(self, group: &mut Group) {
        for key in self.chunks {
            group.remove(Keyspace::OldChunks(self.collection), key);
        }
    }
}

/// The record of this id as `group`, if there is one, and under it `engine` have it.
///
/// Beside a writer a record may be replaced between the look at its envelope and the look at its chunks: it is damaged
/// only if its envelope is still the same after what did not fit.
pub(crate) fn read(
    engine: &dyn Engine,
    group: Option<&Group>,
    collection: CollectionId,
    id: &[u8],
) -> Result<Option<Result<Envelope, Damaged>>, EngineError> {
    let look = || get(engine, group, Keyspace::Records(collection), id);
    let mut value = look()?;
    while let Some(found) = value {
        if let Ok(envelope) = whole(engine, group, collection, id, &found)? {
            return Ok(Some(Ok(envelope)));
        }
        let again = look()?;
        if again.as_ref() == Some(&found) {
            return Ok(Some(Err(Damaged)));
        }
        value = again;
    }
    Ok(None)
}

/// The record whose envelope is `value`.
pub(crate) fn whole(
    engine: &dyn Engine,
    group: Option<&Group>,
    collection: CollectionId,
    id: &[u8],
    value: &Bytes,
) -> Result<Result<Envelope, Damaged>, EngineError> {
    let Ok(head) = Head::decode(value) else {
        return Ok(Err(Damaged));
    };
    let json = match &head.body {
        Body::Inline(json) => json.clone(),
        Body::Chunked { bytes } => {
            let Ok(bytes) = usize::try_from(*bytes) else {
                return Ok(Err(Damaged));
            };
            let mut json = BytesMut::new();
            for n in 0_u32.. {
                if json.len() >= bytes {
                    break;
                }
                let key = chunk_key(id, head.seq, n);
                match get(engine, group, Keyspace::Chunks(collection), &key)? {
                    // An empty chunk is none, and would never end.
                    Some(chunk) if !chunk.is_empty() => json.extend_from_slice(&chunk),
                    Some(_) | None => return Ok(Err(Damaged)),
                }
            }
            if json.len() != bytes {
                return Ok(Err(Damaged));
            }
            json.freeze()
        }
    };
    Ok(head.with_body(json))
}

/// The chunks in the engine that no envelope of `id` needs, once it has the one of `seq`.
pub(crate) fn strays(
    engine: &dyn Engine,
    collection: CollectionId,
    id: &[u8],
    seq: Option<u64>,
) -> Result<Vec<Vec<u8>>, EngineError> {
    let prefix = prefix(id);
    let kept = seq.map(|seq| [prefix.as_slice(), &seq.to_be_bytes()].concat());
    let mut strays = Vec::new();
    engine.scan(Keyspace::Chunks(collection), &prefix, &mut |key, _| {
        let same = key.starts_with(&prefix);
        if same && !kept.as_ref().is_some_and(|kept| key.starts_with(kept)) {
            strays.push(key.to_vec());
        }
        same
    })?;
    Ok(strays)
}

fn get(
    engine: &dyn Engine,
    group: Option<&Group>,
    tree: Keyspace,
    key: &[u8],
) -> Result<Option<Bytes>, EngineError> {
    match group.and_then(|group| group.get(tree, key)) {
        Some(staged) => Ok(staged.map(Bytes::copy_from_slice)),
        None => engine.get(tree, key),
    }
}

fn prefix(id: &[u8]) -> Vec<u8> {
    [id, &[0]].concat()
}

fn chunk_key(id: &[u8], seq: u64, n: u32) -> Vec<u8> {
    [id, &[0], &seq.to_be_bytes(), &n.to_be_bytes()].concat()
}
