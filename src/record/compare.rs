//! The one way in which values are compared: filters, the order of lists, indexes, examples and bounds all use it.
//!
//! The order of values is that of [`Scalar`]: `false`, `true`, numbers, moments, texts, then what has no order of its own
//! (arrays and objects), null, and last what is missing. Numbers are compared exactly, whether they are written as whole
//! numbers or not, and there is one zero; texts are compared by their Unicode scalar values.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;

use serde_json::{Number, Value};

use super::schema::{FieldType, moment};
use crate::num::as_usize;

/// From here on `f64` leaves whole numbers out: 2^53.
const EXACT_BELOW: f64 = 9_007_199_254_740_992.0;
/// The largest `f64` that is the nearest one of a whole number of 64 bits: 2^64.
const WHOLE_MAX: f64 = 18_446_744_073_709_551_616.0;

/// A value as it is compared. The order of the variants is the order of the kinds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scalar<'a> {
    Boolean(bool),
    Number(ExactNumber),
    /// A date and time of a field that is declared as one, in nanoseconds since 1970.
    Moment(i128),
    Text(Cow<'a, str>),
    /// An array or an object, or a value that is none of the declared type's.
    Unordered,
    Null,
    Missing,
}

impl<'a> Scalar<'a> {
    /// The value of a field of this type; `None`: of any type.
    pub(crate) fn of(value: Option<&'a Value>, kind: Option<&FieldType>) -> Self {
        match value {
            None => Self::Missing,
            Some(Value::Null) => Self::Null,
            Some(Value::Bool(value)) => Self::Boolean(*value),
            Some(Value::Number(number)) => {
                ExactNumber::of(number).map_or(Self::Unordered, Self::Number)
            }
            Some(Value::String(text)) if kind == Some(&FieldType::DateTime) => {
                moment(text).map_or(Self::Unordered, Self::Moment)
            }
            Some(Value::String(text)) => Self::Text(Cow::Borrowed(text)),
            Some(Value::Array(_) | Value::Object(_)) => Self::Unordered,
        }
    }

    pub(crate) fn into_owned(self) -> Scalar<'static> {
        match self {
            Self::Boolean(value) => Scalar::Boolean(value),
            Self::Number(number) => Scalar::Number(number),
            Self::Moment(moment) => Scalar::Moment(moment),
            Self::Text(text) => Scalar::Text(Cow::Owned(text.into_owned())),
            Self::Unordered => Scalar::Unordered,
            Self::Null => Scalar::Null,
            Self::Missing => Scalar::Missing,
        }
    }

    /// Whether two values are of one kind, so that one can be said to be less than the other.
    pub(crate) fn is_comparable_with(&self, other: &Scalar<'_>) -> bool {
        use Scalar::{Boolean, Moment, Number, Text};
        matches!(
            (self, other),
            (Boolean(_), Boolean(_))
                | (Number(_), Number(_))
                | (Moment(_), Moment(_))
                | (Text(_), Text(_))
        )
    }
}

/// A number of JSON, as it is compared: the nearest `f64`, and where whole numbers share one, the exact value.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ExactNumber {
    /// Finite, and never a negative zero.
    near: f64,
    /// 0 where `near` is less than 2^53 or more than 2^64: no other number has this `near`.
    exact: i128,
}

impl ExactNumber {
    pub(crate) fn of(number: &Number) -> Option<Self> {
        let near = number.as_f64()?;
        let whole = || {
            let signed = number.as_i64().map(i128::from);
            signed.or(number.as_u64().map(i128::from))
        };
        Self::new(near, whole)
    }

    pub(crate) fn from_f64(number: f64) -> Option<Self> {
        Self::new(number, || None)
    }

    /// Reads a number that is written as in JSON.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let number: Number = serde_json::from_str(text).ok()?;
        // Of a whole number beyond 64 bits, it has the nearest `f64` only.
        Self::new(number.as_f64()?, || text.trim().parse().ok())
    }

    fn new(near: f64, whole: impl FnOnce() -> Option<i128>) -> Option<Self> {
        if !near.is_finite() {
            return None;
        }
        // A negative zero becomes the other one.
        let near = near + 0.0;
        let shared = (EXACT_BELOW..=WHOLE_MAX).contains(&near.abs());
        let exact = || whole().or_else(|| format!("{near:.0}").parse().ok());
        Some(Self {
            near,
            exact: if shared { exact()? } else { 0 },
        })
    }

    /// The nearest `f64`, and the exact value where several numbers share it, else 0: numbers are ordered by these two.
    pub(crate) fn parts(self) -> (f64, i128) {
        (self.near, self.exact)
    }

    /// The number as a whole number of 64 bits with a sign, if it is one.
    pub(crate) fn whole(self) -> Option<i64> {
        i64::try_from(self.integer()?).ok()
    }

    /// The number as one that counts something, if it is one.
    pub(crate) fn count(self) -> Option<usize> {
        usize::try_from(self.integer()?).ok()
    }

    /// The number as a whole number, if it is one between -2^64 and 2^64.
    fn integer(self) -> Option<i128> {
        if self.exact != 0 {
            return Some(self.exact);
        }
        let small = self.near.fract() == 0.0 && self.near.abs() < EXACT_BELOW;
        small.then(|| format!("{:.0}", self.near).parse().ok())?
    }
}

/// As JavaScript writes it, except that whole numbers of 64 bits keep all their digits.
impl fmt::Display for ExactNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.exact != 0 {
            return self.exact.fmt(f);
        }
        let scientific = format!("{:e}", self.near.abs());
        let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
        let digits = mantissa.replace('.', "");
        let point = 1 + exponent.parse::<i32>().unwrap_or_default();
        if self.near < 0.0 {
            f.write_str("-")?;
        }
        let at = as_usize(point.unsigned_abs().into());
        match point {
            1..=21 => match digits.split_at_checked(at) {
                Some((whole, "")) => f.write_str(whole),
                Some((whole, fraction)) => write!(f, "{whole}.{fraction}"),
                None => write!(f, "{digits:0<at$}"),
            },
            -5..=0 => write!(f, "0.{:0<at$}{digits}", ""),
            _ => write!(f, "{mantissa}e{:+}", point - 1),
        }
    }
}

impl PartialEq for ExactNumber {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for ExactNumber {}

impl PartialOrd for ExactNumber {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ExactNumber {
    fn cmp(&self, other: &Self) -> Ordering {
        let near = self.near.total_cmp(&other.near);
        near.then(self.exact.cmp(&other.exact))
    }
}

/// Whether two values of JSON are the same: numbers by their value, objects whatever the order of their members.
pub(crate) fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => ExactNumber::of(a) == ExactNumber::of(b),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            let mut members = a.iter();
            a.len() == b.len()
                && members.all(|(name, value)| b.get(name).is_some_and(|other| same(value, other)))
        }
        _ => a == b,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn number(value: Value) -> ExactNumber {
        let Value::Number(number) = value else {
            panic!("{value}")
        };
        ExactNumber::of(&number).unwrap()
    }

    #[test]
    fn values_are_ordered_by_their_kind_and_then_by_value() {
        let ordered = [
            json!(false),
            json!(true),
            json!(-1e300),
            json!(i64::MIN),
            json!(-9_007_199_254_740_993_i64),
            json!(-9_007_199_254_740_992.0),
            json!(-1.5),
            json!(-1),
            json!(0),
            json!(1e-300),
            json!(0.1),
            json!(1),
            json!(1.5),
            json!(2),
            json!(9_007_199_254_740_992_u64),
            json!(9_007_199_254_740_993_u64),
            json!(9_007_199_254_740_994.0),
            json!(9_223_372_036_854_775_807_i64),
            json!(9_223_372_036_854_775_808.0),
            json!(u64::MAX),
            json!(18_446_744_073_709_551_616.0),
            json!(1e20),
            json!(""),
            json!("10"),
            json!("9"),
            json!("a"),
            json!("a\u{0}"),
            json!("b"),
            json!("\u{ffff}"),
            json!("\u{1f600}"),
            json!([1]),
            Value::Null,
        ];
        for (a, one) in ordered.iter().enumerate() {
            for (b, other) in ordered.iter().enumerate() {
                let (left, right) = (Scalar::of(Some(one), None), Scalar::of(Some(other), None));
                assert_eq!(left.cmp(&right), a.cmp(&b), "{one} {other}");
                assert_eq!(same(one, other), a == b, "{one} {other}");
            }
            assert!(Scalar::of(Some(one), None) < Scalar::Missing);
        }
    }

    #[test]
    fn a_number_is_equal_to_itself_however_it_is_written() {
        for equal in [
            ["0", "-0", "-0.0", "0e5"],
            ["1", "1.0", "10e-1", "100E-2"],
            ["1e16", "10000000000000000", "1.0e16", "10000000000000000.0"],
            [
                "9007199254740994",
                "9007199254740994.0",
                "9.007199254740994e15",
                "9007199254740994e0",
            ],
        ] {
            for (a, b) in equal.iter().flat_map(|a| equal.map(|b| (a, b))) {
                let parse = |text: &str| ExactNumber::parse(text).unwrap();
                assert_eq!(parse(a), parse(b), "{a} {b}");
                assert_eq!(parse(a).parts(), parse(b).parts(), "{a} {b}");
                assert_eq!(parse(a).to_string(), parse(b).to_string(), "{a} {b}");
                assert!(same(
                    &serde_json::from_str(a).unwrap(),
                    &serde_json::from_str(b).unwrap()
                ));
            }
        }
        let beyond = ["-9223372036854775809", "18446744073709551617"];
        let [less, more] = beyond.map(|text| ExactNumber::parse(text).unwrap());
        assert!(less < number(json!(i64::MIN)) && less.whole().is_none());
        assert!(more > number(json!(u64::MAX)) && more.count().is_none());
        for none in [
            "", "x", "NaN", "Infinity", "007", "+1", "1.", ".5", "0x10", "1e999",
        ] {
            assert_eq!(ExactNumber::parse(none), None, "{none}");
        }
    }

    #[test]
    fn a_number_is_written_as_javascript_writes_it() {
        for (value, text) in [
            (json!(-0.0), "0"),
            (json!(7), "7"),
            (json!(7.0), "7"),
            (json!(-120), "-120"),
            (json!(1.5), "1.5"),
            (json!(123.456), "123.456"),
            (json!(0.1), "0.1"),
            (json!(-0.001), "-0.001"),
            (json!(0.000_001), "0.000001"),
            (json!(0.000_000_1), "1e-7"),
            (json!(-2.5e-7), "-2.5e-7"),
            (json!(1e15), "1000000000000000"),
            (json!(1e20), "100000000000000000000"),
            (json!(1.5e20), "150000000000000000000"),
            (json!(1e21), "1e+21"),
            (json!(1.5e300), "1.5e+300"),
            (json!(9_007_199_254_740_993_u64), "9007199254740993"),
            (json!(u64::MAX), "18446744073709551615"),
        ] {
            assert_eq!(number(value.clone()).to_string(), text, "{value}");
        }
    }

    #[test]
    fn a_whole_number_is_one_however_it_is_written() {
        for (value, whole) in [
            (json!(2.0), Some(2)),
            (json!(-0.0), Some(0)),
            (json!(1e15), Some(1_000_000_000_000_000)),
            (json!(1e16), Some(10_000_000_000_000_000)),
            (json!(i64::MIN), Some(i64::MIN)),
            (json!(i64::MAX), Some(i64::MAX)),
            (json!(u64::MAX), None),
            (json!(1e19), None),
            (json!(1e300), None),
            (json!(1.5), None),
        ] {
            assert_eq!(number(value.clone()).whole(), whole, "{value}");
        }
    }

    #[test]
    fn a_text_is_a_moment_only_where_one_is_declared() {
        let text = json!("2026-11-24T16:00:00+01:00");
        let same = json!("2026-11-24T15:00:00Z");
        let kind = Some(&FieldType::DateTime);
        let of = |text| Scalar::of(Some(text), kind);
        assert_eq!(of(&text), of(&same));
        assert_ne!(Scalar::of(Some(&text), None), Scalar::of(Some(&same), None));
        assert_eq!(of(&json!("yesterday")), Scalar::Unordered);
    }
}
