//! The format of a stored record. Integers are big-endian.
//!
//! ```text
//! record:  version u8 | flags u8 | sequence u64 | created ms u64 | updated ms u64 | crc32 u32 | JSON
//! chunked: the same with bit 0 of the flags set, and the length of the JSON as u64 in the place of the JSON
//! ```
//!
//! The check sum covers all other fields and the whole JSON, wherever that is stored.

use bytes::{Buf as _, Bytes};

use super::log::seq_of;
use crate::num::as_u64;
use crate::record::{Record, RecordId, Revision};

const VERSION: u8 = 1;
/// The length of the fields before the JSON.
pub(super) const HEAD_BYTES: usize = 2 + 8 + 8 + 8 + 4;
const CRC_AT: usize = HEAD_BYTES - 4;
/// The longest value that is stored in one piece.
const INLINE_BYTES: usize = 4096;
/// The flag of a record whose body is stored in chunks.
const CHUNKED: u8 = 1;

/// A record with all that is stored of it. [`value`](super::value) says where the parts are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StoredRecord {
    pub(super) seq: u64,
    pub(super) created_ms: u64,
    pub(super) updated_ms: u64,
    pub(super) json: Bytes,
}

/// A stored value is not what was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a stored value is damaged: its check sum or its form is wrong")]
pub(super) struct Damaged;

impl StoredRecord {
    /// Whether the record is stored in one piece, and not in chunks.
    pub(super) fn is_inline(&self) -> bool {
        HEAD_BYTES + self.json.len() <= INLINE_BYTES
    }

    /// The record of this id, without what only the store needs.
    pub(super) fn into_record(self, id: RecordId) -> Record {
        Record {
            id,
            revision: Revision(self.seq),
            created_ms: self.created_ms,
            changed_ms: self.updated_ms,
            json: self.json,
        }
    }

    /// The value of a record that is stored in one piece.
    pub(super) fn encode(&self) -> Vec<u8> {
        self.value(0, &[], &self.json)
    }

    /// The value of a record whose body is stored in chunks.
    pub(super) fn encode_chunked(&self) -> Vec<u8> {
        let bytes = as_u64(self.json.len());
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

    /// The change that put the record of a value, and its time, without a look at its text.
    pub(super) fn moment(value: &[u8]) -> Option<(u64, u64)> {
        let mut fields = Fields(value.get(2..HEAD_BYTES)?);
        let (seq, _, updated_ms) = (fields.u64().ok()?, fields.u64().ok()?, fields.u64().ok()?);
        Some((seq, updated_ms))
    }

    /// The text of a value that is stored in one piece, as it lies there; `None` if it is stored in chunks.
    pub(super) fn text(value: &[u8]) -> Result<Option<&[u8]>, Damaged> {
        let (head, rest) = value.split_first_chunk::<HEAD_BYTES>().ok_or(Damaged)?;
        let [VERSION, 0, ..] = head else {
            return Ok(None);
        };
        let expected = head.last_chunk().copied().map(u32::from_be_bytes);
        if expected != Some(crc(head, &[], rest)) {
            return Err(Damaged);
        }
        Ok(Some(rest))
    }

    /// The record of a value. `chunks` is called for a record whose body is stored in chunks, with its sequence number and
    /// the length of the body.
    pub(super) fn decode<E: From<Damaged>>(
        mut value: Bytes,
        chunks: impl FnOnce(u64, u64) -> Result<Bytes, E>,
    ) -> Result<Self, E> {
        let (head, rest) = value.split_first_chunk::<HEAD_BYTES>().ok_or(Damaged)?;
        let head = *head;
        let mut fields = Fields(&head);
        let (version, flags) = (fields.u8()?, fields.u8()?);
        let (seq, created_ms, updated_ms) = (fields.u64()?, fields.u64()?, fields.u64()?);
        let expected = u32::from_be_bytes(fields.take()?);
        let (json, found) = match (version, flags) {
            (VERSION, 0) => {
                value.advance(HEAD_BYTES);
                let found = crc(&head, &[], &value);
                (value, found)
            }
            (VERSION, CHUNKED) => {
                let json = chunks(seq, seq_of(rest)?)?;
                let found = crc(&head, rest, &json);
                (json, found)
            }
            _ => return Err(Damaged.into()),
        };
        if found != expected {
            return Err(Damaged.into());
        }
        Ok(Self {
            seq,
            created_ms,
            updated_ms,
            json,
        })
    }
}

/// The check sum of a record. Of `head`, the last field is left out, since it is the check sum.
fn crc(head: &[u8], length: &[u8], json: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(head.get(..CRC_AT).unwrap_or(head));
    crc.update(length);
    crc.update(json);
    crc.finalize()
}

/// Reads one field after the other.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl Fields<'_> {
    pub(super) fn take<const N: usize>(&mut self) -> Result<[u8; N], Damaged> {
        let (field, rest) = self.0.split_first_chunk::<N>().ok_or(Damaged)?;
        self.0 = rest;
        Ok(*field)
    }

    pub(super) fn u8(&mut self) -> Result<u8, Damaged> {
        let [byte] = self.take()?;
        Ok(byte)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Damaged> {
        self.take().map(u64::from_be_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(value: Vec<u8>, chunks: &Bytes) -> Result<StoredRecord, Damaged> {
        StoredRecord::decode(Bytes::from(value), |_, _| Ok(chunks.clone()))
    }

    #[test]
    fn any_flipped_bit_of_a_record_is_noticed() {
        let json = Bytes::from_static(br#"{"id":"1","title":"Dune"}"#);
        let record = StoredRecord {
            seq: 7,
            created_ms: 1,
            updated_ms: 2,
            json: json.clone(),
        };
        for good in [record.encode(), record.encode_chunked()] {
            assert_eq!(decode(good.clone(), &json), Ok(record.clone()));
            let in_one = (good == record.encode()).then_some(&json[..]);
            assert_eq!(StoredRecord::text(&good), Ok(in_one));
            for bit in 0..good.len() * 8 {
                let mut bad = good.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                // What is not whole in one piece is read as if it were in chunks.
                let text = StoredRecord::text(&bad);
                assert!(matches!(text, Err(Damaged) | Ok(None)), "bit {bit}");
                assert_eq!(decode(bad, &json), Err(Damaged), "bit {bit}");
            }
            for cut in 0..good.len() {
                assert_eq!(decode(good[..cut].to_vec(), &json), Err(Damaged));
            }
        }
        let other = Bytes::from_static(b"{}");
        assert_eq!(decode(record.encode_chunked(), &other), Err(Damaged));
    }
}
