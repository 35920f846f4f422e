//! A change of one record, and its bytes in the body of a frame. Pure.

use std::sync::Arc;

use bytes::Bytes;

use crate::num::{as_u8, as_u16, as_u32, as_usize};
use crate::supervision::MessageId;

/// The bytes of a change besides its name, key and text.
const CHANGE_BYTES: usize = 48;

const PUT: u8 = 1;
const DELETE: u8 = 2;
const NUMBERS: u8 = 3;
/// The bit of the kind that says that the name of a client follows. It is only in frames of version 2.
const HAS_CLIENT: u8 = 0x80;

/// One change of one record, with all that is needed to make it again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JournalChange {
    /// The number of the change.
    pub(crate) seq: u64,
    /// The time of the change, in milliseconds since 1970.
    pub(crate) at_ms: u64,
    /// The message that asked for it.
    pub(crate) message: MessageId,
    /// The name of the resource.
    pub(crate) collection: String,
    /// The record's id as a key.
    pub(crate) key: Vec<u8>,
    pub(crate) effect: JournalEffect,
    /// The client that asked for it, if it had to show who it is: `key:ci`, `basic:ann`, or `jwt:` and the subject of its token.
    pub(crate) by: Option<Arc<str>>,
}

impl JournalChange {
    /// The bytes that it takes in a frame.
    pub(crate) fn bytes(&self) -> usize {
        let json = match &self.effect {
            JournalEffect::Put { json, .. } => json.len(),
            JournalEffect::Delete | JournalEffect::Numbers { .. } => 0,
        };
        let by = self.by.as_ref().map_or(0, |by| by.len() + 1);
        CHANGE_BYTES + self.collection.len() + self.key.len() + json + by
    }
}

/// The effect of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum JournalEffect {
    /// The record has this text now.
    Put {
        /// The time of the record's creation, in milliseconds since 1970.
        created_ms: u64,
        json: Bytes,
    },
    /// The record was deleted.
    Delete,
    /// The resource gives this number, or a larger one, to its next record.
    Numbers { next: u64 },
}

/// Appends a change to the body of a frame.
///
/// Bodies, names and keys are bounded far below what the fields for their lengths can hold; if one were longer, the frame would
/// not be read back, and a write that can't be read back is not acknowledged.
pub(super) fn encode(out: &mut Vec<u8>, change: &JournalChange) {
    let (kind, number, json) = match &change.effect {
        JournalEffect::Put { created_ms, json } => (PUT, *created_ms, json.as_ref()),
        JournalEffect::Delete => (DELETE, 0, &[][..]),
        JournalEffect::Numbers { next } => (NUMBERS, *next, &[][..]),
    };
    let (name, key) = (change.collection.as_bytes(), change.key.as_slice());
    let by = change.by.as_deref();
    out.push(if by.is_some() {
        kind | HAS_CLIENT
    } else {
        kind
    });
    out.push(as_u8(name.len()));
    out.extend_from_slice(&as_u16(key.len()).to_be_bytes());
    out.extend_from_slice(&as_u32(json.len()).to_be_bytes());
    out.extend_from_slice(&change.seq.to_be_bytes());
    out.extend_from_slice(&change.at_ms.to_be_bytes());
    out.extend_from_slice(&number.to_be_bytes());
    out.extend_from_slice(&change.message.to_be_bytes());
    out.extend_from_slice(name);
    out.extend_from_slice(key);
    out.extend_from_slice(json);
    if let Some(by) = by {
        out.push(as_u8(by.len()));
        out.extend_from_slice(by.as_bytes());
    }
}

/// Reads fields one after the other.
pub(super) struct Cursor<'a>(pub(super) &'a [u8]);

impl<'a> Cursor<'a> {
    pub(super) fn slice(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.slice(N)?.try_into().ok()
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }
}

/// Reads the next change of the body that `cursor` is in; `None` if its fields don't fit together.
pub(super) fn decode(body: &Bytes, cursor: &mut Cursor<'_>) -> Option<JournalChange> {
    let kind = cursor.u8()?;
    let name_bytes = usize::from(cursor.u8()?);
    let key_bytes = usize::from(cursor.array().map(u16::from_be_bytes)?);
    let json_bytes = as_usize(u64::from(cursor.u32()?));
    let (seq, at_ms, number) = (cursor.u64()?, cursor.u64()?, cursor.u64()?);
    let message = MessageId(u128::from_be_bytes(cursor.array()?));
    let collection = std::str::from_utf8(cursor.slice(name_bytes)?)
        .ok()?
        .to_owned();
    let key = cursor.slice(key_bytes)?.to_vec();
    let json = cursor.slice(json_bytes)?;
    let by = if kind & HAS_CLIENT == 0 {
        None
    } else {
        let bytes = usize::from(cursor.u8()?);
        Some(std::str::from_utf8(cursor.slice(bytes)?).ok()?.into())
    };
    let effect = match kind & !HAS_CLIENT {
        PUT => JournalEffect::Put {
            created_ms: number,
            json: body.slice_ref(json),
        },
        DELETE => JournalEffect::Delete,
        NUMBERS => JournalEffect::Numbers { next: number },
        _ => return None,
    };
    Some(JournalChange {
        seq,
        at_ms,
        message,
        collection,
        key,
        effect,
        by,
    })
}
