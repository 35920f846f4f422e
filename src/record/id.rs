//! Record ids: their form, their keys in the store, and where they come from.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use super::compare::ExactNumber;
use crate::num::as_u64;

/// The length of the longest id, in bytes.
pub(crate) const ID_BYTES_MAX: usize = 128;
/// The largest number that is an id. Every JSON reader can represent it exactly (RFC 8259 section 6).
pub(crate) const ID_NUMBER_MAX: u64 = (1 << 53) - 1;
// Decision: The largest numbers are the server's.
/// The largest number that a client may choose for a new record. Those above are only given by the server, or come with an import.
pub(crate) const CHOSEN_NUMBER_MAX: u64 = ID_NUMBER_MAX - (1 << 40);
/// The first byte of a number's key. No text id begins with it.
const NUMBER_MARK: u8 = 1;

/// A record's name within its resource.
///
/// Ids are ordered as the keys in the store are: numbers by value, then texts.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum RecordId {
    /// Up to [`ID_NUMBER_MAX`]; the store gives those from 1 on.
    Number(u64),
    /// 1 to [`ID_BYTES_MAX`] of the characters that need no escape in a URL (RFC 3986 section 2.3: letters, digits, `-`, `.`,
    /// `_`, `~`). It does not begin with `_`, which is reserved, or with `.`. Made by [`RecordId::parse`].
    Text(Arc<str>),
}

/// The source of the ids of a resource.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IdScheme {
    /// The client's, or else a UUID of version 7.
    #[default]
    #[serde(rename = "uuidv7")]
    Uuid,
    /// The client's, or else the next number (1, 2, 3), without gaps for failed writes.
    Sequence,
    /// Always the client's.
    Client,
}

/// The error of a value that is not an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum IdError {
    #[error("an id must not be empty")]
    Empty,
    #[error("an id has at most {ID_BYTES_MAX} bytes")]
    TooLong,
    #[error("an id must not begin with _ or .")]
    Reserved,
    #[error("an id consists of letters, digits, - . _ and ~")]
    Character,
    #[error("the id must be a string; a resource with id = \"sequence\" takes numbers, too")]
    Type,
    #[error("the id must be a string or a whole number from 0 to {ID_NUMBER_MAX}")]
    Number,
}

impl RecordId {
    /// Reads a text id.
    pub(crate) fn parse(text: &str) -> Result<Self, IdError> {
        Self::check(text).map(|()| Self::Text(Arc::from(text)))
    }

    /// Checks a text id.
    fn check(text: &str) -> Result<(), IdError> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~');
        match text.as_bytes() {
            [] => Err(IdError::Empty),
            bytes if bytes.len() > ID_BYTES_MAX => Err(IdError::TooLong),
            [b'_' | b'.', ..] => Err(IdError::Reserved),
            bytes if !bytes.iter().all(|b| plain(*b)) => Err(IdError::Character),
            _ => Ok(()),
        }
    }

    /// The id that is a UUID. Those of version 7 (RFC 9562 section 5.7) sort by time.
    pub(crate) fn from_uuid(uuid: uuid::Uuid) -> Self {
        Self::Text(Arc::from(uuid.hyphenated().to_string()))
    }

    /// Whether only the server gives it.
    pub(super) fn is_reserved(&self) -> bool {
        matches!(self, Self::Number(number) if *number > CHOSEN_NUMBER_MAX)
    }

    /// The key in the store. No two ids have the same one.
    pub(crate) fn key(&self) -> Cow<'_, [u8]> {
        match self {
            Self::Number(number) => {
                Cow::Owned([&[NUMBER_MARK][..], &number.to_be_bytes()].concat())
            }
            Self::Text(text) => Cow::Borrowed(text.as_bytes()),
        }
    }

    /// Whether this is the key of an id.
    pub(crate) fn is_key(key: &[u8]) -> bool {
        match key {
            [NUMBER_MARK, number @ ..] => number.len() == size_of::<u64>(),
            text => std::str::from_utf8(text).is_ok_and(|text| Self::check(text).is_ok()),
        }
    }

    /// The id of a key; `None` if no id has this key.
    pub(crate) fn from_key(key: &[u8]) -> Option<Self> {
        match key {
            [NUMBER_MARK, number @ ..] => {
                Some(Self::Number(u64::from_be_bytes(number.try_into().ok()?)))
            }
            text => Self::parse(std::str::from_utf8(text).ok()?).ok(),
        }
    }
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => f.write_str(text),
        }
    }
}

impl IdScheme {
    /// The name in the settings.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Uuid => "uuidv7",
            Self::Sequence => "sequence",
            Self::Client => "client",
        }
    }

    /// Whether a path can name the record of this id.
    pub(crate) fn reaches(self, id: &RecordId) -> bool {
        self.parse(&id.to_string()).as_ref() == Ok(id)
    }

    /// Reads the id in a path.
    pub(crate) fn parse(self, text: &str) -> Result<RecordId, IdError> {
        match (self, text.parse::<u64>()) {
            // `007` is not another way to write 7: one record, one URL.
            (Self::Sequence, Ok(number))
                if number.to_string() == text && number <= ID_NUMBER_MAX =>
            {
                Ok(RecordId::Number(number))
            }
            _ => RecordId::parse(text),
        }
    }

    /// Reads an `id` member.
    pub(crate) fn of_member(self, member: &Value) -> Result<RecordId, IdError> {
        match (self, member) {
            (_, Value::String(text)) => self.parse(text),
            // `1.0` is a whole number, as in JSON Schema.
            (Self::Sequence, Value::Number(number)) => {
                let whole = ExactNumber::of(number).and_then(ExactNumber::count);
                match whole.map(as_u64) {
                    Some(number) if number <= ID_NUMBER_MAX => Ok(RecordId::Number(number)),
                    _ => Err(IdError::Number),
                }
            }
            (Self::Sequence, _) => Err(IdError::Number),
            (Self::Uuid | Self::Client, _) => Err(IdError::Type),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_need_no_escape_in_a_url() {
        for good in ["1", "a-b_c.d~e", "0190-x"] {
            assert_eq!(RecordId::parse(good).unwrap().to_string(), good);
        }
        for (bad, why) in [
            ("", IdError::Empty),
            ("_x", IdError::Reserved),
            ("..", IdError::Reserved),
            ("a/b", IdError::Character),
            ("a b", IdError::Character),
            ("\u{e4}", IdError::Character),
        ] {
            assert_eq!(RecordId::parse(bad), Err(why), "{bad:?}");
        }
        assert_eq!(RecordId::parse(&"x".repeat(129)), Err(IdError::TooLong));
    }

    #[test]
    fn a_uuid_is_a_valid_id() {
        let id = RecordId::from_uuid(uuid::Uuid::now_v7());
        assert_eq!(RecordId::parse(&id.to_string()), Ok(id));
    }

    #[test]
    fn a_key_leads_back_to_its_id_and_sorts_like_it() {
        let text = |text| RecordId::parse(text).unwrap();
        let ids = [
            RecordId::Number(2),
            RecordId::Number(10),
            RecordId::Number(300),
            text("1"),
            text("a"),
            text("ab"),
        ];
        assert!(ids.is_sorted());
        assert!(ids.is_sorted_by_key(|id| id.key().into_owned()));
        for id in ids {
            assert!(RecordId::is_key(&id.key()));
            assert_eq!(RecordId::from_key(&id.key()), Some(id));
        }
        for none in [&b""[..], b"\x01", b"\x01123456789", b"a/b", b"\xff"] {
            assert!(!RecordId::is_key(none));
            assert_eq!(RecordId::from_key(none), None, "{none:?}");
        }
    }

    #[test]
    fn a_number_is_an_id_only_where_ids_are_counted() {
        let one = RecordId::Number(1);
        assert_eq!(IdScheme::Sequence.parse("1"), Ok(one.clone()));
        for written in [Value::from(1), 1.0.into()] {
            assert_eq!(IdScheme::Sequence.of_member(&written), Ok(one.clone()));
        }
        let zero = IdScheme::Sequence.of_member(&Value::from(-0.0));
        assert_eq!(zero, Ok(RecordId::Number(0)));
        assert_eq!(IdScheme::Sequence.parse("01"), RecordId::parse("01"));
        assert_eq!(IdScheme::Uuid.parse("1"), RecordId::parse("1"));
        assert_eq!(
            IdScheme::Uuid.of_member(&Value::from(1)),
            Err(IdError::Type)
        );
        for wrong in [
            Value::from(1.5),
            (-1).into(),
            (ID_NUMBER_MAX + 1).into(),
            1e300.into(),
            true.into(),
        ] {
            assert_eq!(IdScheme::Sequence.of_member(&wrong), Err(IdError::Number));
        }
    }
}
