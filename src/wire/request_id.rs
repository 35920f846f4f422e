//! The name of a request: on its answer, in its problem, in its line of the access log, and in the log.
//!
//! It is always ours. One that a client chose could be another request's, or be made to look like it in the log.

// Decision: Request ids are made by the server.

use std::cell::{Cell, RefCell};
use std::fmt;

use actix_web::http::header::{HeaderName, HeaderValue};
use bytes::Bytes;

/// The header that carries it.
pub(crate) static X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Digits that are a life's, by chance.
const LIFE_DIGITS: usize = 16;
/// Digits that count the requests of the life.
const COUNT_DIGITS: usize = 12;
const DIGITS: usize = LIFE_DIGITS + COUNT_DIGITS;
/// Names that are made at a time, so that a request costs no allocation.
const BATCH: u64 = 64;
const HEX: &[u8; 16] = b"0123456789abcdef";

/// The name of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RequestId(Bytes);

impl RequestId {
    /// The name as a header's value, shared.
    pub(crate) fn value(&self) -> Option<HeaderValue> {
        HeaderValue::from_maybe_shared(self.0.clone()).ok()
    }

    /// The name: hexadecimal digits.
    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Names for the requests of one life of one handler.
#[derive(Debug)]
pub(crate) struct RequestIds {
    life: [u8; LIFE_DIGITS],
    next: Cell<u64>,
    batch: RefCell<Bytes>,
}

impl RequestIds {
    /// Names that no other life gives.
    pub(crate) fn new() -> Self {
        // The second half of it is by chance.
        let (_, chance) = uuid::Uuid::now_v7().as_u64_pair();
        let mut life = [0; LIFE_DIGITS];
        write_hex(&mut life, chance);
        Self {
            life,
            next: Cell::new(0),
            batch: RefCell::default(),
        }
    }

    /// A name that was never given before.
    pub(crate) fn next(&self) -> RequestId {
        let mut batch = self.batch.borrow_mut();
        if batch.len() < DIGITS {
            *batch = self.make();
        }
        let digits = DIGITS.min(batch.len());
        RequestId(batch.split_to(digits))
    }

    fn make(&self) -> Bytes {
        let first = self.next.get();
        self.next.set(first.wrapping_add(BATCH));
        let mut names = Vec::with_capacity(DIGITS * 64);
        for count in first..first.wrapping_add(BATCH) {
            let mut digits = [0; COUNT_DIGITS];
            write_hex(&mut digits, count);
            names.extend_from_slice(&self.life);
            names.extend_from_slice(&digits);
        }
        Bytes::from(names)
    }
}

/// The last digits of a number.
fn write_hex(digits: &mut [u8], number: u64) {
    let mut rest = number;
    for digit in digits.iter_mut().rev() {
        let low = usize::try_from(rest & 0xf).unwrap_or(0);
        *digit = HEX.get(low).copied().unwrap_or(b'0');
        rest >>= 4;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_are_all_different_and_fit_a_header() {
        let (ids, others) = (RequestIds::new(), RequestIds::new());
        let mut seen = HashSet::new();
        for _ in 0..1000 {
            for id in [ids.next(), others.next()] {
                assert_eq!(id.as_str().len(), DIGITS);
                assert_eq!(id.value().unwrap(), id.as_str());
                assert!(seen.insert(id.as_str().to_owned()), "{id}");
            }
        }
    }

    #[test]
    fn a_number_is_written_with_its_last_digits() {
        let mut digits = [0; 4];
        write_hex(&mut digits, 0x1_2a3f);
        assert_eq!(&digits, b"2a3f");
    }
}
