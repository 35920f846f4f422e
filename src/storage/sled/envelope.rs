//! How a record and a change are written down. Integers are big-endian.
//!
//! ```text
//! record:  version u8 | flags u8 | sequence u64 | created ms u64 | updated ms u64 | crc32 u32 | JSON
//! chunked: the same with bit 0 of the flags set, and the length of the JSON as u64 in its place
//! change:  version u8 | what u8 | message id u128 | at ms u64 | length of name u8 | collection's name | record's id
//! ```
//!
//! The check sum covers everything before and after it, and the whole JSON wherever it is.

use bytes::Bytes;

use crate::supervision::MessageId;

const VERSION: u8 = 1;
const HEAD_BYTES: usize = 2 + 8 + 8 + 8 + 4;
const CRC_AT: usize = HEAD_BYTES - 4;
/// The flag of a body that is kept in chunks.
const CHUNKED: u8 = 1;

/// A record, wherever its parts are stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Envelope {
    pub(crate) seq: u64,
    pub(crate) created_ms: u64,
    pub(crate) updated_ms: u64,
    pub(crate) json: Bytes,
}

/// A value that is not what was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a stored value is damaged: its check sum or its form is wrong")]
pub(crate) struct Damaged;

impl Envelope {
    /// How long the value of a record is that is kept in one piece.
    pub(crate) fn inline_bytes(json: &[u8]) -> usize {
        HEAD_BYTES + json.len()
    }

    /// The value of a record that is kept in one piece.
    pub(crate) fn encode(&self) -> Vec<u8> {
        self.value(0, &[], &self.json)
    }

    /// The value of a record whose body is kept in chunks.
    pub(crate) fn encode_chunked(&self) -> Vec<u8> {
        let bytes = u64::try_from(self.json.len()).unwrap_or(u64::MAX);
        self.value(CHUNKED, &bytes.to_be_bytes(), &[])
    }

    fn value(&self, flags: u8, length: &[u8], json: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEAD_BYTES + length.len() + json.len());
        out.extend_from_slice(&[VERSION, flags]);
        out.extend_from_slice(&self.seq.to_be_bytes());
        out.extend_from_slice(&self.created_ms.to_be_bytes());
        out.extend_from_slice(&self.updated_ms.to_be_bytes());
        let crc = crc(&out, length, &self.json);
        out.extend_from_slice(&crc.to_be_bytes());
        out.extend_from_slice(length);
        out.extend_from_slice(json);
        out
    }
}

/// Where a body is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Body {
    Inline(Bytes),
    Chunked { bytes: u64 },
}

/// A record's value as it is read. Nothing of it is known to be true before [`with_body`](Self::with_body).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) seq: u64,
    pub(crate) body: Body,
    covered: Bytes,
    expected: u32,
    created_ms: u64,
    updated_ms: u64,
}

impl Head {
    pub(crate) fn decode(value: &Bytes) -> Result<Self, Damaged> {
        if value.len() < HEAD_BYTES {
            return Err(Damaged);
        }
        let (head, rest) = (value.slice(..HEAD_BYTES), value.slice(HEAD_BYTES..));
        let mut fields = Fields(&head);
        let (version, flags) = (fields.u8()?, fields.u8()?);
        let (seq, created_ms, updated_ms) = (fields.u64()?, fields.u64()?, fields.u64()?);
        let expected = u32::from_be_bytes(fields.take()?);
        let body = match (version, flags) {
            (VERSION, 0) => Body::Inline(rest),
            (VERSION, CHUNKED) => Body::Chunked {
                bytes: seq_of(&rest)?,
            },
            _ => return Err(Damaged),
        };
        Ok(Self {
            seq,
            body,
            covered: head.slice(..CRC_AT),
            expected,
            created_ms,
            updated_ms,
        })
    }

    pub(crate) fn chunked(&self) -> bool {
        matches!(self.body, Body::Chunked { .. })
    }

    /// The record, if `json` is the body it was written with.
    pub(crate) fn with_body(&self, json: Bytes) -> Result<Envelope, Damaged> {
        let found = match &self.body {
            Body::Inline(_) => crc(&self.covered, &[], &json),
            Body::Chunked { bytes } => crc(&self.covered, &bytes.to_be_bytes(), &json),
        };
        if found != self.expected {
            return Err(Damaged);
        }
        Ok(Envelope {
            seq: self.seq,
            created_ms: self.created_ms,
            updated_ms: self.updated_ms,
            json,
        })
    }
}

fn crc(head: &[u8], length: &[u8], json: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(head);
    crc.update(length);
    crc.update(json);
    crc.finalize()
}

/// What a change did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    Put,
    Delete,
}

/// One entry of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) what: What,
    pub(crate) message: MessageId,
    pub(crate) at_ms: u64,
    pub(crate) collection: String,
    pub(crate) id: Vec<u8>,
}

impl Change {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let what = match self.what {
            What::Put => 1,
            What::Delete => 2,
        };
        // Names of collections are bounded by the settings.
        let name_bytes = u8::try_from(self.collection.len()).unwrap_or(u8::MAX);
        let name = self
            .collection
            .as_bytes()
            .get(..name_bytes.into())
            .unwrap_or_default();
        let mut out = vec![VERSION, what];
        out.extend_from_slice(&self.message.to_be_bytes());
        out.extend_from_slice(&self.at_ms.to_be_bytes());
        out.push(name_bytes);
        out.extend_from_slice(name);
        out.extend_from_slice(&self.id);
        out
    }

    pub(crate) fn decode(value: &[u8]) -> Result<Self, Damaged> {
        let mut fields = Fields(value);
        if fields.u8()? != VERSION {
            return Err(Damaged);
        }
        let what = match fields.u8()? {
            1 => What::Put,
            2 => What::Delete,
            _ => return Err(Damaged),
        };
        let message = MessageId(u128::from_be_bytes(fields.take()?));
        let at_ms = fields.u64()?;
        let name_bytes = usize::from(fields.u8()?);
        let (name, id) = fields.0.split_at_checked(name_bytes).ok_or(Damaged)?;
        let collection = String::from_utf8(name.to_vec()).map_err(|_| Damaged)?;
        Ok(Self {
            what,
            message,
            at_ms,
            collection,
            id: id.to_vec(),
        })
    }
}

/// A sequence number as a key of the log.
pub(crate) fn seq_key(seq: u64) -> [u8; 8] {
    seq.to_be_bytes()
}

/// A key of the log, or a number of `meta`.
pub(crate) fn seq_of(bytes: &[u8]) -> Result<u64, Damaged> {
    bytes
        .try_into()
        .map(u64::from_be_bytes)
        .map_err(|_| Damaged)
}

struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Damaged> {
        let (field, rest) = self.0.split_first_chunk::<N>().ok_or(Damaged)?;
        self.0 = rest;
        Ok(*field)
    }

    fn u8(&mut self) -> Result<u8, Damaged> {
        let [byte] = self.take()?;
        Ok(byte)
    }

    fn u64(&mut self) -> Result<u64, Damaged> {
        self.take().map(u64::from_be_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(value: Vec<u8>, chunks: &Bytes) -> Result<Envelope, Damaged> {
        let head = Head::decode(&Bytes::from(value))?;
        let json = match &head.body {
            Body::Inline(json) => json.clone(),
            Body::Chunked { .. } => chunks.clone(),
        };
        head.with_body(json)
    }

    #[test]
    fn any_flipped_bit_of_a_record_is_noticed() {
        let json = Bytes::from_static(br#"{"id":"1","title":"Dune"}"#);
        let envelope = Envelope {
            seq: 7,
            created_ms: 1,
            updated_ms: 2,
            json: json.clone(),
        };
        for good in [envelope.encode(), envelope.encode_chunked()] {
            assert_eq!(decode(good.clone(), &json), Ok(envelope.clone()));
            for bit in 0..good.len() * 8 {
                let mut bad = good.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(decode(bad, &json), Err(Damaged), "bit {bit}");
            }
            for cut in 0..good.len() {
                assert_eq!(decode(good[..cut].to_vec(), &json), Err(Damaged));
            }
        }
        let other = Bytes::from_static(b"{}");
        assert_eq!(decode(envelope.encode_chunked(), &other), Err(Damaged));
    }

    #[test]
    fn a_change_is_read_as_it_was_written() {
        let change = Change {
            what: What::Delete,
            message: MessageId(u128::MAX - 5),
            at_ms: 3,
            collection: "books".to_owned(),
            id: b"x".to_vec(),
        };
        assert_eq!(Change::decode(&change.encode()), Ok(change));
        assert_eq!(Change::decode(&[1, 9]), Err(Damaged));
    }
}
