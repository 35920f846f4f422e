//! The id of a request: on its answer, in its problem, in its line of the access log, and in the log.
//!
//! The server always makes it. An id that a client chose could be another request's, or forge lines of the log.

// Decision: Request ids are made by the server.

use std::cell::{Cell, RefCell};

use actix_web::http::header::{HeaderName, HeaderValue};
use bytes::Bytes;

use crate::num::as_usize;

/// The header that carries it.
pub(crate) static X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// 16 random digits of an incarnation of a handler, and 12 that count its requests.
const DIGITS: usize = 28;
/// Ids that are made at a time, so that a request costs no allocation.
const BATCH: usize = 64;

/// The id of one request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RequestId(Bytes);

impl RequestId {
    /// The id as a header's value, shared.
    pub(crate) fn value(&self) -> Option<HeaderValue> {
        let mut value = HeaderValue::from_maybe_shared(self.0.clone()).ok()?;
        // No other answer has it, so HTTP/2 must not keep it in its table of fields to refer to it.
        value.set_sensitive(true);
        Some(value)
    }

    /// The id: hexadecimal digits.
    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// Makes the ids of the requests that one incarnation of a handler serves.
#[derive(Debug)]
pub(crate) struct RequestIds {
    random: u64,
    next: Cell<u64>,
    batch: RefCell<Bytes>,
}

impl RequestIds {
    /// Ids that no other incarnation makes.
    pub(crate) fn new() -> Self {
        // Its second half is random.
        let (_, random) = uuid::Uuid::now_v7().as_u64_pair();
        Self {
            random,
            next: Cell::new(0),
            batch: RefCell::default(),
        }
    }

    /// The next id.
    pub(crate) fn next(&self) -> RequestId {
        let mut batch = self.batch.borrow_mut();
        if batch.len() < DIGITS {
            *batch = self.make();
        }
        let digits = DIGITS.min(batch.len());
        RequestId(batch.split_to(digits))
    }

    fn make(&self) -> Bytes {
        let mut ids = Vec::with_capacity(DIGITS * BATCH);
        for _ in 0..BATCH {
            let count = self.next.get();
            self.next.set((count + 1) & 0xffff_ffff_ffff);
            push_hex(&mut ids, self.random, 16);
            push_hex(&mut ids, count, 12);
        }
        Bytes::from(ids)
    }
}

/// Appends the last `digits` hexadecimal digits of `number`, much faster than the standard library formats them.
fn push_hex(to: &mut Vec<u8>, number: u64, digits: u32) {
    to.extend((0..digits).rev().map(|place| {
        let digit = as_usize(number >> (4 * place)) & 0xf;
        b"0123456789abcdef".get(digit).copied().unwrap_or_default()
    }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn digits_are_hexadecimal_and_padded() {
        let mut text = Vec::new();
        push_hex(&mut text, 0x1a2_b3c4, 12);
        push_hex(&mut text, u64::MAX, 16);
        assert_eq!(text, b"000001a2b3c4ffffffffffffffff");
    }

    #[test]
    fn ids_are_all_different_and_fit_a_header() {
        let (ids, others) = (RequestIds::new(), RequestIds::new());
        let mut seen = HashSet::new();
        for _ in 0..1000 {
            for id in [ids.next(), others.next()] {
                assert_eq!(id.as_str().len(), DIGITS);
                let value = id.value().unwrap();
                assert!(value == id.as_str() && value.is_sensitive());
                assert!(seen.insert(id.as_str().to_owned()), "{id:?}");
            }
        }
    }
}
