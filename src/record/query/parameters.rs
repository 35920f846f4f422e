//! The parameters of a query: names and values.

use std::borrow::Cow;

use super::error::SENT_CHARACTERS_MAX;
use super::{PARAMETERS_MAX, QueryError};
use crate::percent;

/// The parameters of a query, decoded (`application/x-www-form-urlencoded`), in the order in which they were sent.
#[derive(Debug)]
pub(super) struct Parameters<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Parameters<'a> {
    pub(super) fn parse(query: &'a str) -> Result<Self, QueryError> {
        let mut pairs = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            if pairs.len() == PARAMETERS_MAX {
                return Err(QueryError::TooMany);
            }
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = match decode(name)? {
                Cow::Borrowed(name) => Cow::Borrowed(repeated(name)),
                Cow::Owned(name) => Cow::Owned(repeated(&name).to_owned()),
            };
            pairs.push((name, decode(value)?));
        }
        Ok(Self(pairs))
    }

    /// `query` without the parameters of these names.
    pub(super) fn without(query: &str, names: &[&str]) -> String {
        let kept = |pair: &&str| {
            let sent = pair.split_once('=').map_or(*pair, |(name, _)| name);
            !pair.is_empty() && !decode(sent).is_ok_and(|name| names.contains(&&*name))
        };
        query.split('&').filter(kept).collect::<Vec<_>>().join("&")
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// The value of a parameter that may be given only once.
    pub(super) fn once(&self, wanted: &'static str) -> Result<Option<&str>, QueryError> {
        let mut values = self.iter().filter(|(name, _)| *name == wanted);
        let value = values.next().map(|(_, value)| value);
        match values.next() {
            Some(_) => Err(QueryError::Repeated {
                name: wanted.to_owned(),
            }),
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
        number.map(Some).ok_or_else(|| QueryError::Number {
            name,
            least,
            sent: text.chars().take(SENT_CHARACTERS_MAX).collect(),
        })
    }
}

/// `id[]` and `id[0]` are ways to write that `id` is repeated.
fn repeated(name: &str) -> &str {
    let inside = name
        .strip_suffix(']')
        .and_then(|name| name.rsplit_once('['));
    match inside {
        Some((repeated, index)) if index.bytes().all(|byte| byte.is_ascii_digit()) => repeated,
        Some(_) | None => name,
    }
}

fn decode(text: &str) -> Result<Cow<'_, str>, QueryError> {
    let decoded = if text.contains('+') {
        percent::decoded(&text.replace('+', " ")).map(|decoded| Cow::Owned(decoded.into_owned()))
    } else {
        percent::decoded(text)
    };
    decoded.ok_or(QueryError::Encoding)
}
