//! Reads JSON whose objects have each name only once.
//!
//! RFC 8259 section 4 leaves open what a repeated name means, and readers differ. What the client meant can't be known, so
//! the whole text is refused: otherwise one of the two values would be dropped.

// Decision: A name that occurs twice in a body is refused.
// Decision: A number is kept or refused.

use std::fmt;

use memchr::memchr2;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::object::BodyError;

/// The most levels of arrays and objects in a value that is read.
pub(super) const DEPTH_MAX: usize = 127;

/// Reads what a client sends to be kept: refuses numbers that would not keep their value.
pub(super) fn read(text: &[u8]) -> Result<Value, BodyError> {
    if text.trim_ascii().is_empty() {
        return Err(BodyError::Empty);
    }
    let value = parse(text).map_err(|error| {
        let inexact = error.to_string().starts_with(OUT_OF_RANGE);
        let inexact = inexact.then(|| exact(text).err()).flatten();
        inexact.unwrap_or_else(|| BodyError::syntax(&error))
    })?;
    exact(text)?;
    Ok(value)
}

/// The beginning of the text with which `serde_json` refuses a number that is larger than any `f64`.
const OUT_OF_RANGE: &str = "number out of range";

/// Reads a value. Refuses one that has an object with the same name twice, or that is nested deeper than [`DEPTH_MAX`].
pub(super) fn parse(text: &[u8]) -> Result<Value, serde_json::Error> {
    serde_json::from_slice(text).map(|UniqueNames(value)| value)
}

/// Refuses a text that has a number which would not keep its value: a whole number beyond 64 bits, or one that the nearest
/// `f64` does not give back when it is printed with as many digits.
fn exact(text: &[u8]) -> Result<(), BodyError> {
    let mut rest = text;
    while let Some(byte) = rest.first() {
        let length = match byte {
            b'"' => string_bytes(rest),
            b'-' | b'0'..=b'9' => {
                let length = rest.iter().take_while(|byte| is_of_number(**byte));
                let (number, _) = rest.split_at(length.count());
                if !is_short(number) && !is_kept(number) {
                    let number = String::from_utf8_lossy(number).into_owned();
                    return Err(BodyError::Number { number });
                }
                number.len()
            }
            _ => 1,
        };
        rest = rest.get(length..).unwrap_or_default();
    }
    Ok(())
}

/// An `f64` keeps so many digits of any number that is neither very large nor very small.
const DIGITS_SHORT: usize = 15;
/// No `f64` needs more digits to be told from all others.
const DIGITS_MAX: usize = 17;

/// Whether a number is kept in any case.
fn is_short(number: &[u8]) -> bool {
    number.len() <= DIGITS_SHORT && !number.iter().any(|byte| b"eE".contains(byte))
}

/// The length of the string that begins a text. One without an end is longer than the text.
pub(super) fn string_bytes(text: &[u8]) -> usize {
    let mut at = 1;
    while let Some(found) = text.get(at..).and_then(|rest| memchr2(b'"', b'\\', rest)) {
        at += found;
        if text.get(at) == Some(&b'"') {
            return at + 1;
        }
        at += 2;
    }
    text.len() + 1
}

fn is_of_number(byte: u8) -> bool {
    byte.is_ascii_digit() || b"+-.eE".contains(&byte)
}

/// Whether a number has the same value when it is read. What is no number at all is refused elsewhere.
fn is_kept(number: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(number) else {
        return true;
    };
    let Ok(nearest) = text.parse::<f64>() else {
        return true;
    };
    let whole = !text.contains(['.', 'e', 'E']);
    if whole && (text.parse::<u64>().is_ok() || text.parse::<i64>().is_ok()) {
        return true;
    }
    let written = decimal(text);
    let Some((_, digits, _)) = written.as_ref().filter(|_| nearest.is_finite()) else {
        return false;
    };
    // The shortest way to write it is what programs send, and not always the one that is nearest with as many digits.
    if written == decimal(&format!("{nearest:e}")) {
        return true;
    }
    let places = digits.len().saturating_sub(1);
    let has_few = !whole && digits.len() <= DIGITS_MAX;
    has_few && written == decimal(&format!("{nearest:.places$e}"))
}

/// A number as its sign, its digits without zeros at either end, and the exponent of the first digit. Zero has no digits.
fn decimal(text: &str) -> Option<(bool, String, i64)> {
    let negative = text.starts_with('-');
    let (digits, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let exponent: i64 = exponent.parse().ok()?;
    let digits = digits.trim_start_matches('-');
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all = format!("{whole}{fraction}");
    let zeros = all.len() - all.trim_start_matches('0').len();
    let digits = all.trim_matches('0').to_owned();
    if digits.is_empty() {
        return Some((false, digits, 0));
    }
    let first = i64::try_from(whole.len()).ok()? - i64::try_from(zeros).ok()?;
    Some((negative, digits, first.checked_add(exponent)?))
}

struct UniqueNames(Value);

impl<'de> Deserialize<'de> for UniqueNames {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueReader).map(Self)
    }
}

struct ValueReader;

impl<'de> Visitor<'de> for ValueReader {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::from(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::from(number))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Value, E> {
        let number = Number::from_f64(number).ok_or_else(|| E::custom("number out of range"))?;
        Ok(Value::Number(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::from(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(UniqueNames(item)) = items.next_element()? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            if object.contains_key(&name) {
                return Err(A::Error::custom(format_args!("{name:?} is there twice")));
            }
            let UniqueNames(value) = members.next_value()?;
            object.insert(name, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_without_repeated_names_is_read_as_serde_json_reads_it() {
        let text = r#"{"a": [1, -2, 1.5, true, null, "x", {}], "b": {"a": 18446744073709551615}, "\u00e4": "\n"}"#;
        let expected: Value = serde_json::from_str(text).unwrap();
        assert_eq!(parse(text.as_bytes()).unwrap(), expected);
    }

    #[test]
    fn a_number_is_kept_or_refused() {
        for kept in [
            "0",
            "-0",
            "-0.0000000000000000000000000",
            "18446744073709551615",
            "-9223372036854775808",
            "100000000000000000000",
            "123456789012345680000",
            "1.50000000000000000000000000",
            "0.10000000000000001",
            "0.30000000000000004",
            "1e300",
            "1.7976931348623157e308",
            "12345678901234567E-10",
            "9007199254740992.0",
            "9007199254740994.0",
            "123456789012345.6",
            "1E5",
            "-2.50e-7",
            "5e-324",
            // 2^-24, as every program writes it: the digits that are left out are exactly one half.
            "-5.960464477539063e-08",
            "4.9406564584124654e-324",
            "2.2250738585072014e-308",
            "0e-400",
            "\"123456789012345678901234567890\"",
            "{\"a\\\"123456789012345678901\":[\"\\\\\",1]}",
        ] {
            assert_eq!(exact(kept.as_bytes()), Ok(()), "{kept}");
        }
        for changed in [
            "18446744073709551616",
            "-9223372036854775809",
            "123456789012345678901",
            "0.123456789012345678",
            "3.14159265358979323846264338327950288",
            "1234567890.1234567890123",
            "1.234567890123456789e20",
            "9007199254740993.0",
            "-9007199254740993.0",
            "9007199254740993e0",
            "900719925474099.3e1",
            "1e-400",
            "-1e-400",
            "3e-324",
            "1e400",
            "-1e400",
            "1e99999999999999999999",
            "1e-99999999999999999999",
        ] {
            let text = format!("{{\"a\":[\"x\",{changed}]}}");
            let number = changed.to_owned();
            assert_eq!(
                read(text.as_bytes()),
                Err(BodyError::Number { number }),
                "{changed}"
            );
        }
    }

    #[test]
    fn the_first_fault_of_a_text_is_told() {
        for text in ["1e400]", "[1e400,]", "{\"a\":1e-400", "1e-400 x"] {
            let error = read(text.as_bytes()).unwrap_err();
            let number_first = text.contains("1e400");
            assert_eq!(
                matches!(error, BodyError::Number { .. }),
                number_first,
                "{text}: {error}"
            );
        }
    }

    #[test]
    fn a_value_may_have_a_bounded_depth() {
        let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        assert!(parse(nested(DEPTH_MAX).as_bytes()).is_ok());
        assert!(parse(nested(DEPTH_MAX + 1).as_bytes()).is_err());
    }

    #[test]
    fn a_repeated_name_is_refused_however_deep() {
        for text in [r#"{"a": 1, "a": 1}"#, r#"[{"b": {"a": 1, "\u0061": 2}}]"#] {
            let error = parse(text.as_bytes()).unwrap_err().to_string();
            assert!(
                error.starts_with("\"a\" is there twice at line 1"),
                "{error}"
            );
        }
    }
}
