//! The order of values as bytes, for indexes.
//!
//! The bytes of two values compare as the values do, and none are the beginning of another value's, so the bytes of several
//! values one after the other compare as the list of the values does:
//!
//! ```text
//! boolean   0x10 | 0 or 1
//! number    0x20 | the nearest f64, u64, its sign turned | the difference of the exact number from it + 0x8000, u16
//! moment    0x30 | nanoseconds since 1970, i128, its sign turned
//! text      0x40 | UTF-8, 0x00 written 0x00 0xff | 0x00 0x00, or 0x00 0x01 if it was cut after 256 bytes
//! unordered 0x50
//! null      0x60
//! missing   0x70
//! ```

use std::ops::Bound;

use super::compare::Scalar;
use crate::num::as_u16;

/// The bytes of a text that are part of an encoding; of two texts that begin with the same ones, the records decide.
const TEXT_BYTES_MAX: usize = 256;
const BOOLEAN: u8 = 0x10;
const NUMBER: u8 = 0x20;
const MOMENT: u8 = 0x30;
const TEXT: u8 = 0x40;
const UNORDERED: u8 = 0x50;
const NULL: u8 = 0x60;
const MISSING: u8 = 0x70;
/// Within a text: a zero byte, the end of the text, and the end of what is left of it.
const ZERO: [u8; 2] = [0, 0xff];
const END: [u8; 2] = [0, 0];
const CUT: [u8; 2] = [0, 1];
/// The difference of a whole number of 64 bits from its nearest `f64` is less than this.
const DIFFERENCE_MAX: i128 = 0x8000;

/// Adds the bytes of a value to `out`.
pub(super) fn encode(value: &Scalar<'_>, out: &mut Vec<u8>) {
    encode_up_to(TEXT_BYTES_MAX, value, out);
}

/// Adds the bytes of a value to `out` with the whole of a text, so that no other value has these bytes.
pub(super) fn encode_whole(value: &Scalar<'_>, out: &mut Vec<u8>) {
    encode_up_to(usize::MAX, value, out);
}

fn encode_up_to(text_bytes_max: usize, value: &Scalar<'_>, out: &mut Vec<u8>) {
    out.push(tag(value));
    match value {
        Scalar::Boolean(value) => out.push(u8::from(*value)),
        Scalar::Number(number) => {
            let (near, exact) = number.parts();
            let bits = near.to_bits();
            let negative = bits >> 63 == 1;
            out.extend((if negative { !bits } else { bits ^ (1 << 63) }).to_be_bytes());
            let whole = || format!("{near:.0}").parse::<i128>().ok();
            let difference = (exact != 0)
                .then(whole)
                .flatten()
                .map_or(0, |near| exact - near);
            let difference = as_u16(difference.saturating_add(DIFFERENCE_MAX));
            out.extend(difference.to_be_bytes());
        }
        Scalar::Moment(nanoseconds) => {
            let [first, rest @ ..] = nanoseconds.to_be_bytes();
            out.push(first ^ 0x80);
            out.extend(rest);
        }
        Scalar::Text(text) => {
            let kept = text.as_bytes().get(..text_bytes_max);
            for byte in kept.unwrap_or(text.as_bytes()) {
                match byte {
                    0 => out.extend(ZERO),
                    byte => out.push(*byte),
                }
            }
            let cut = text.len() > text_bytes_max;
            out.extend(if cut { CUT } else { END });
        }
        Scalar::Unordered | Scalar::Null | Scalar::Missing => {}
    }
}

/// Whether another value may have the same bytes.
fn is_cut(value: &Scalar<'_>) -> bool {
    matches!(value, Scalar::Text(text) if text.len() > TEXT_BYTES_MAX)
}

fn tag(value: &Scalar<'_>) -> u8 {
    match value {
        Scalar::Boolean(_) => BOOLEAN,
        Scalar::Number(_) => NUMBER,
        Scalar::Moment(_) => MOMENT,
        Scalar::Text(_) => TEXT,
        Scalar::Unordered => UNORDERED,
        Scalar::Null => NULL,
        Scalar::Missing => MISSING,
    }
}

/// Whether an encoding is that of a value which is there and has an order.
pub(super) fn has_order(bytes: &[u8]) -> bool {
    bytes.first().is_some_and(|tag| *tag < UNORDERED)
}

/// The end of the encoding that `bytes` begins with, and whether that text was cut; `None` if it is none.
pub(super) fn end_of_value(bytes: &[u8]) -> Option<(usize, bool)> {
    let length = match bytes.first()? {
        &BOOLEAN => 2,
        &NUMBER => 11,
        &MOMENT => 17,
        &UNORDERED | &NULL | &MISSING => 1,
        &TEXT => {
            let mut at = 1;
            loop {
                at += memchr::memchr(0, bytes.get(at..)?)?;
                match [*bytes.get(at)?, *bytes.get(at + 1)?] {
                    END => return Some((at + 2, false)),
                    CUT => return Some((at + 2, true)),
                    _ => at += 2,
                }
            }
        }
        _ => return None,
    };
    (bytes.len() >= length).then_some((length, false))
}

/// Encodings from `from` up to and without `to`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct EncodedRange {
    pub(crate) from: Vec<u8>,
    /// No bytes: there is no end.
    pub(crate) to: Vec<u8>,
    /// Whether it is the range of a single encoding, which the values of further columns may follow.
    pub(crate) one: bool,
    /// Whether each value in it is wanted, so that no record has to be looked at.
    pub(crate) exact: bool,
}

impl EncodedRange {
    /// All values.
    pub(crate) fn all() -> Self {
        Self {
            from: Vec::new(),
            to: Vec::new(),
            one: true,
            exact: true,
        }
    }

    /// The values that are equal to this one.
    pub(super) fn of(value: &Scalar<'_>) -> Self {
        let mut from = Vec::new();
        encode(value, &mut from);
        Self {
            to: after_all(&from),
            from,
            one: true,
            exact: !is_cut(value),
        }
    }

    /// The values between these two, which are of one kind; `None` if there are none.
    pub(super) fn between(lower: Bound<&Scalar<'_>>, upper: Bound<&Scalar<'_>>) -> Option<Self> {
        let kind = match (lower, upper) {
            (Bound::Included(it) | Bound::Excluded(it), _)
            | (_, Bound::Included(it) | Bound::Excluded(it)) => tag(it),
            (Bound::Unbounded, Bound::Unbounded) => return None,
        };
        let mut exact = true;
        // Among texts that were cut at the same place, the records decide.
        let mut range = |value: &Scalar<'_>| {
            let range = Self::of(value);
            exact &= range.exact;
            range
        };
        let from = match lower {
            Bound::Included(value) => range(value).from,
            Bound::Excluded(value) if is_cut(value) => range(value).from,
            Bound::Excluded(value) => range(value).to,
            Bound::Unbounded => vec![kind],
        };
        let to = match upper {
            Bound::Included(value) => range(value).to,
            Bound::Excluded(value) if is_cut(value) => range(value).to,
            Bound::Excluded(value) => range(value).from,
            Bound::Unbounded => after_all(&[kind]),
        };
        let one = false;
        (from < to).then_some(Self {
            from,
            to,
            one,
            exact,
        })
    }

    /// Null and what is missing, or all else.
    pub(super) fn null(wanted: bool) -> Self {
        let (from, to) = if wanted {
            (vec![NULL], after_all(&[MISSING]))
        } else {
            (Vec::new(), vec![NULL])
        };
        Self {
            from,
            to,
            one: false,
            exact: true,
        }
    }

    /// The values that begin with this single one, and go on in that range.
    pub(crate) fn followed_by(&self, next: &Self) -> Self {
        Self {
            from: [self.from.as_slice(), &next.from].concat(),
            to: [self.from.as_slice(), &next.to].concat(),
            one: self.one && next.one,
            exact: self.exact && next.exact,
        }
    }
}

/// The least bytes that come after all those which begin with `beginning`. It begins with no byte 0xff.
pub(crate) fn after_all(beginning: &[u8]) -> Vec<u8> {
    let mut after = beginning.to_vec();
    while let Some(last) = after.pop() {
        if let Some(next) = last.checked_add(1) {
            after.push(next);
            break;
        }
    }
    after
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::cmp::Ordering;

    use proptest::prelude::*;
    use serde_json::{Number, Value, json};

    use super::*;

    fn encoded(values: &[Scalar<'_>]) -> Vec<u8> {
        let mut out = Vec::new();
        for value in values {
            encode(value, &mut out);
        }
        out
    }

    fn of(value: &Value) -> Scalar<'_> {
        Scalar::of(Some(value), None)
    }

    #[test]
    fn values_are_encoded_in_their_order() {
        let long = "x".repeat(TEXT_BYTES_MAX);
        let in_order = [
            json!(false),
            json!(true),
            json!(-1e300),
            json!(i64::MIN),
            json!(i64::MIN + 1),
            json!(-1.5),
            json!(-1),
            json!(-f64::MIN_POSITIVE),
            json!(0),
            json!(5e-324),
            json!(1),
            json!(9_007_199_254_740_992_i64),
            json!(9_007_199_254_740_993_i64),
            json!(9_007_199_254_740_994_i64),
            json!(i64::MAX - 1),
            json!(i64::MAX),
            json!(9_223_372_036_854_775_808_u64),
            json!(u64::MAX - 1),
            json!(u64::MAX),
            json!(1e300),
            json!(""),
            json!("\u{0}"),
            json!("\u{0}\u{0}"),
            json!("\u{1}"),
            json!("a"),
            json!("a\u{0}"),
            json!("a\u{0}b"),
            json!("aa"),
            json!("b"),
            json!(long),
            json!(format!("{long}y")),
            json!("\u{10ffff}"),
            json!([1]),
            json!(null),
        ];
        for (n, pair) in in_order.windows(2).enumerate() {
            let [a, b] = [&pair[0], &pair[1]].map(of);
            assert_eq!(a.cmp(&b), Ordering::Less, "{n}: {pair:?}");
            assert!(encoded(&[a]) < encoded(&[b]), "{n}: {pair:?}");
        }
        for (a, b) in [
            (json!(0), json!(-0.0)),
            (json!(2), json!(2.0)),
            (json!(10_000_000_000_000_000_i64), json!(1e16)),
            (json!(9_300_000_000_000_000_000_u64), json!(9.3e18)),
            (json!({}), json!([1])),
            (json!(format!("{long}y")), json!(format!("{long}z"))),
        ] {
            assert_eq!(encoded(&[of(&a)]), encoded(&[of(&b)]), "{a} {b}");
        }
    }

    fn numbers() -> impl Strategy<Value = Number> {
        prop_oneof![
            any::<i64>().prop_map(Number::from),
            any::<u64>().prop_map(Number::from),
            (-3_i64..3).prop_map(Number::from),
            ((1_u64 << 53) - 3..(1 << 53) + 3).prop_map(Number::from),
            any::<f64>().prop_filter_map("finite", Number::from_f64),
            (-3_i32..3).prop_filter_map("finite", |n| Number::from_f64(f64::from(n) / 2.0)),
        ]
    }

    fn values() -> impl Strategy<Value = Scalar<'static>> {
        let text = prop_oneof![
            "[\\x00\\x01a\u{ff}]{0,4}".prop_map(String::from),
            any::<String>(),
            (0_usize..3, "[a\\x00]{0,2}")
                .prop_map(|(n, end)| format!("{}{end}", "x".repeat(TEXT_BYTES_MAX - 1 + n))),
        ];
        let number = |number| Scalar::of(Some(&Value::Number(number)), None).into_owned();
        prop_oneof![
            any::<bool>().prop_map(Scalar::Boolean),
            numbers().prop_map(number),
            any::<i128>().prop_map(Scalar::Moment),
            (-3_i128..3).prop_map(Scalar::Moment),
            text.prop_map(|text| Scalar::Text(Cow::Owned(text))),
            Just(Scalar::Unordered),
            Just(Scalar::Null),
            Just(Scalar::Missing),
        ]
    }

    fn bound<'a>(value: &'a Scalar<'static>, kind: u8) -> Bound<&'a Scalar<'static>> {
        match kind {
            0 => Bound::Included(value),
            1 => Bound::Excluded(value),
            _ => Bound::Unbounded,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn encodings_compare_as_values_do(
            a in prop::collection::vec(values(), 2),
            b in prop::collection::vec(values(), 2),
        ) {
            let (one, other) = (encoded(&a), encoded(&b));
            if one == other {
                let cut = a.iter().any(is_cut);
                prop_assert!(a == b || cut);
            } else if !is_cut(&a[0]) || encoded(&a[..1]) != encoded(&b[..1]) {
                prop_assert_eq!(one.cmp(&other), a.cmp(&b));
            }
        }

        #[test]
        fn an_encoding_tells_where_it_ends(a in values(), b in values()) {
            let alone = encoded(std::slice::from_ref(&a));
            let both = encoded(&[a.clone(), b]);
            prop_assert_eq!(end_of_value(&both), Some((alone.len(), is_cut(&a))));
            prop_assert_eq!(end_of_value(&alone[..alone.len() - 1]), None);
            let range = EncodedRange::of(&a);
            prop_assert!(range.from <= both && both < range.to);
        }

        #[test]
        fn a_range_has_the_values_between_its_bounds(
            values in prop::collection::vec(values(), 8), kinds in (0_u8..3, 0_u8..2),
        ) {
            let pairs = values.iter().flat_map(|one| values.iter().map(move |other| (one, other)));
            let pairs = pairs.filter(|(one, other)| one.is_comparable_with(other));
            for ((lower, upper), value) in pairs.flat_map(|pair| values.iter().map(move |it| (pair, it))) {
            let bounds = (bound(lower, kinds.0), bound(upper, kinds.1));
            let within = value.is_comparable_with(lower)
                && std::ops::RangeBounds::<Scalar<'_>>::contains(&bounds, value);
            let bytes = encoded(std::slice::from_ref(value));
            match EncodedRange::between(bounds.0, bounds.1) {
                None => prop_assert!(!within),
                Some(range) => {
                    let found = range.from <= bytes && bytes < range.to;
                    prop_assert!(found || !within);
                    prop_assert!(!found || within || !range.exact || is_cut(value));
                }
            }
            }
        }
    }

    #[test]
    fn bytes_after_all_others_with_a_beginning() {
        assert_eq!(after_all(&[0x20, 0x01]), [0x20, 0x02]);
        assert_eq!(after_all(&[0x20, 0xff, 0xff]), [0x21]);
    }
}
