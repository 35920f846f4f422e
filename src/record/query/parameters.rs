//! The parameters of a query: names and values.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use super::{PARAMETERS_MAX, QueryError};

/// The parameters of a query, decoded (`application/x-www-form-urlencoded`), in the order in which they were sent.
#[derive(Debug)]
pub(super) struct Parameters(Vec<(String, String)>);

impl Parameters {
    pub(super) fn parse(query: &str) -> Result<Self, QueryError> {
        let mut pairs = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            if pairs.len() == PARAMETERS_MAX {
                return Err(QueryError::TooMany);
            }
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            pairs.push((decode(name)?, decode(value)?));
        }
        Ok(Self(pairs))
    }

    /// `query` without the parameters of this name.
    pub(super) fn without(query: &str, name: &str) -> String {
        let kept = |pair: &&str| {
            let sent = pair.split_once('=').map_or(*pair, |(name, _)| name);
            !pair.is_empty() && decode(sent).as_deref() != Ok(name)
        };
        query.split('&').filter(kept).collect::<Vec<_>>().join("&")
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The value of a parameter that may be given only once.
    pub(super) fn once(&self, wanted: &'static str) -> Result<Option<&str>, QueryError> {
        let mut values = self.iter().filter(|(name, _)| *name == wanted);
        let value = values.next().map(|(_, value)| value);
        match values.next() {
            Some(_) => Err(QueryError::Repeated { name: wanted }),
            None => Ok(value),
        }
    }

    /// The value of such a parameter as a number that is at least `least`.
    pub(super) fn number(
        &self,
        name: &'static str,
        least: usize,
    ) -> Result<Option<usize>, QueryError> {
        let Some(text) = self.once(name)? else {
            return Ok(None);
        };
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text
            .parse()
            .ok()
            .filter(|number| digits && *number >= least);
        number.map(Some).ok_or(QueryError::Number { name, least })
    }
}

fn decode(text: &str) -> Result<String, QueryError> {
    let text = if text.contains('+') {
        Cow::Owned(text.replace('+', " "))
    } else {
        Cow::Borrowed(text)
    };
    // The library does not refuse a `%` without two digits.
    let mut escapes = text.split('%').skip(1);
    let is_escape = |rest: &str| {
        rest.as_bytes()
            .first_chunk::<2>()
            .is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    if !escapes.all(is_escape) {
        return Err(QueryError::Encoding);
    }
    let decoded = percent_decode_str(&text).decode_utf8();
    decoded
        .map(Cow::into_owned)
        .map_err(|_| QueryError::Encoding)
}
