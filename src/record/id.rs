//! A record's name.

use std::fmt;
use std::sync::Arc;

/// The longest id, in bytes.
pub const ID_BYTES_MAX: usize = 128;

/// A record's name within its resource: 1 to [`ID_BYTES_MAX`] of the characters that need no escape in a URL
/// (RFC 3986 section 2.3: letters, digits, `-`, `.`, `_`, `~`), not beginning with `_`, which is reserved, nor with `.`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordId(Arc<str>);

/// Why a text is no id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Nothing.
    #[error("an id must not be empty")]
    Empty,
    /// Too long.
    #[error("an id has at most {ID_BYTES_MAX} bytes")]
    TooLong,
    /// A leading `_` or `.`.
    #[error("an id must not begin with _ or .")]
    Reserved,
    /// A character that would need an escape.
    #[error("an id consists of letters, digits, - . _ and ~")]
    Character,
}

impl RecordId {
    /// Takes a text for an id.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~');
        match text.as_bytes() {
            [] => Err(IdError::Empty),
            bytes if bytes.len() > ID_BYTES_MAX => Err(IdError::TooLong),
            [b'_' | b'.', ..] => Err(IdError::Reserved),
            bytes if !bytes.iter().all(|b| plain(*b)) => Err(IdError::Character),
            _ => Ok(Self(Arc::from(text))),
        }
    }

    /// An id made of a UUID; of version 7 (RFC 9562 section 5.7) it sorts by time.
    pub fn from_uuid(uuid: uuid::Uuid) -> Self {
        Self(Arc::from(uuid.hyphenated().to_string()))
    }

    /// As a text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// As a key.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_need_no_escape_in_a_url() {
        for good in ["1", "a-b_c.d~e", "0190-x"] {
            assert_eq!(RecordId::parse(good).unwrap().as_str(), good);
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
    fn an_id_made_of_a_uuid_is_one() {
        let id = RecordId::from_uuid(uuid::Uuid::now_v7());
        assert_eq!(RecordId::parse(id.as_str()), Ok(id));
    }
}
