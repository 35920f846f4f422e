//! Reads which bytes of a file a client asks for (`Range`, RFC 9110 section 14.2). Pure.

// Decision: A client never gets more than the file by asking for parts.

use std::ops::Range;

/// The most ranges of one request that are sent. A request for more gets the whole file.
pub(crate) const RANGES_MAX: usize = 64;

/// The bytes that a `Range` field asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum WantedBytes {
    /// All: the field says nothing that could be sent as a part, and is ignored.
    All,
    /// All, because the field asks for more ranges than [`RANGES_MAX`], or for more bytes than the file has.
    TooMany,
    /// None that the file has.
    Beyond,
    /// These ranges, in the order of the request. None is empty.
    Parts(Vec<Range<u64>>),
}

/// The bytes that the value of a `Range` field means for a file of this length.
///
/// An empty file has no parts: it is sent whole.
pub(super) fn wanted(field: &[u8], length: u64) -> WantedBytes {
    let Some((unit, specs)) = split_at_byte(field, b'=') else {
        return WantedBytes::All;
    };
    if length == 0 || !unit.eq_ignore_ascii_case(b"bytes") {
        return WantedBytes::All;
    }
    let specs = specs.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    let mut specs = specs.filter(|spec| !spec.is_empty()).peekable();
    if specs.peek().is_none() {
        return WantedBytes::All;
    }
    let mut parts = Vec::new();
    let mut sum = 0_u64;
    for (index, spec) in specs.enumerate() {
        if index >= RANGES_MAX {
            return WantedBytes::TooMany;
        }
        let Some(part) = part(spec, length) else {
            return WantedBytes::All;
        };
        if !part.is_empty() {
            sum = sum.saturating_add(part.end - part.start);
            parts.push(part);
        }
    }
    if sum > length {
        WantedBytes::TooMany
    } else if parts.is_empty() {
        WantedBytes::Beyond
    } else {
        WantedBytes::Parts(parts)
    }
}

/// One range as the bytes that the file has of it, which may be none; `None` if it is not one.
fn part(spec: &[u8], length: u64) -> Option<Range<u64>> {
    let (first, last) = split_at_byte(spec, b'-')?;
    if first.is_empty() {
        let suffix = number(last)?;
        return Some(length.saturating_sub(suffix)..length);
    }
    let first = number(first)?;
    if last.is_empty() {
        return Some(first.min(length)..length);
    }
    let last = number(last)?;
    (first <= last).then(|| first.min(length)..last.saturating_add(1).min(length))
}

/// A number in digits. One that is too large for this machine is larger than any file.
fn number(digits: &[u8]) -> Option<u64> {
    let plain = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    plain.then(|| {
        digits.iter().fold(0_u64, |number, digit| {
            number
                .saturating_mul(10)
                .saturating_add(u64::from(digit - b'0'))
        })
    })
}

fn split_at_byte(bytes: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let place = memchr::memchr(at, bytes)?;
    let (before, rest) = bytes.split_at_checked(place)?;
    Some((before, rest.get(1..)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::WantedBytes::{All, Beyond, TooMany};
    use super::*;

    fn one(part: Range<u64>) -> WantedBytes {
        WantedBytes::Parts(vec![part])
    }

    fn parts<const N: usize>(parts: [Range<u64>; N]) -> WantedBytes {
        WantedBytes::Parts(parts.to_vec())
    }

    #[test]
    fn ranges_mean_what_the_rfc_says() {
        for (field, expected) in [
            ("bytes=0-0", one(0..1)),
            ("bytes=0-499", one(0..500)),
            ("bytes=500-", one(500..1000)),
            ("bytes=-500", one(500..1000)),
            ("bytes=-1", one(999..1000)),
            ("bytes=-2000", one(0..1000)),
            ("bytes=0-", one(0..1000)),
            ("bytes=999-2000", one(999..1000)),
            ("bytes=0-99999999999999999999999", one(0..1000)),
            ("BYTES=1-2", one(1..3)),
            ("bytes=0-0,-1", parts([0..1, 999..1000])),
            ("bytes= 0-0 ,\t5-6 , ,", parts([0..1, 5..7])),
            ("bytes=500-600,0-10", parts([500..601, 0..11])),
            ("bytes=0-0,1000-1001", one(0..1)),
            ("bytes=1000-", Beyond),
            ("bytes=1000-1001,2000-", Beyond),
            ("bytes=-0", Beyond),
            ("bytes=99999999999999999999999-", Beyond),
            ("bytes=", All),
            ("bytes=,", All),
            ("bytes", All),
            ("bytes=5", All),
            ("bytes=-", All),
            ("bytes=2-1", All),
            ("bytes=0-1,2-1", All),
            ("bytes=0-1,x", All),
            ("bytes=+1-2", All),
            ("bytes=1--2", All),
            ("bytes =0-1", All),
            ("books=0-1", All),
            ("", All),
            ("bytes=0-,0-", TooMany),
            ("bytes=0-999,999-", TooMany),
        ] {
            assert_eq!(wanted(field.as_bytes(), 1000), expected, "{field:?}");
        }
    }

    #[test]
    fn an_empty_file_is_sent_whole() {
        for field in ["bytes=0-", "bytes=-1", "bytes=0-0"] {
            assert_eq!(wanted(field.as_bytes(), 0), All);
        }
    }

    #[test]
    fn there_are_as_many_ranges_as_may_be_and_no_more() {
        let ranges = |count: u64| {
            let each = (0..count).map(|n| format!("{0}-{0}", 2 * n));
            format!("bytes={}", each.collect::<Vec<_>>().join(","))
        };
        let most = crate::num::as_u64(RANGES_MAX);
        let WantedBytes::Parts(parts) = wanted(ranges(most).as_bytes(), 1000) else {
            panic!("so many may be")
        };
        assert_eq!(parts.len(), RANGES_MAX);
        assert_eq!(wanted(ranges(most + 1).as_bytes(), 1000), TooMany);
    }

    proptest! {
        #[test]
        fn parts_are_within_the_file_and_not_longer_than_it(
            field in "(bytes=)?[0-9,-]{0,30}",
            length in prop_oneof![0_u64..50, Just(u64::MAX)],
        ) {
            if let WantedBytes::Parts(parts) = wanted(field.as_bytes(), length) {
                prop_assert!(!parts.is_empty());
                prop_assert!(parts.iter().all(|part| part.start < part.end && part.end <= length));
                let sum = parts.iter().fold(0, |sum: u64, part| sum.saturating_add(part.end - part.start));
                prop_assert!(sum <= length);
            }
        }
    }
}
