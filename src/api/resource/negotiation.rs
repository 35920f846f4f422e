//! Wishes of a client: `Accept` (RFC 9110 section 12.5.1), `Prefer` (RFC 7240), and features of a later release.

use actix_web::http::Method;
use actix_web::http::header::{HeaderMap, HeaderName};

use super::dialect::JSON;
use crate::record::{Handling, ListQuery};
use crate::wire::{Code, Problem, wish};

/// Refuses a client that takes no JSON, before anything is done for it.
pub(super) fn must_take_json(headers: &HeaderMap) -> Result<(), Problem> {
    if wish(headers, JSON).weight > 0 {
        return Ok(());
    }
    let detail =
        "this resource answers with application/json, which the request's Accept leaves out";
    Err(Problem::new(Code::NotAcceptable).detail(detail))
}

/// Refuses parameters that ask for a part of a record or for more than it: these features come with a later release, and a
/// client that sends one relies on it.
pub(super) fn refuse_later(method: &Method, query: &str) -> Result<(), Problem> {
    Ok(ListQuery::refuse_shape(
        query,
        matches!(*method, Method::GET | Method::HEAD),
    )?)
}

/// The treatment of unknown names that a request prefers.
pub(super) fn handling(headers: &HeaderMap) -> Handling {
    if prefers(headers, "handling", "lenient") {
        Handling::Lenient
    } else {
        Handling::Strict
    }
}

/// Whether the request prefers `name=value` (RFC 7240 section 2).
pub(crate) fn prefers(headers: &HeaderMap, name: &str, value: &str) -> bool {
    preferences(headers).any(|(sent, of)| {
        sent.eq_ignore_ascii_case(name.as_bytes()) && of.eq_ignore_ascii_case(value.as_bytes())
    })
}

/// The value of the preference of this name, if the request has it.
pub(super) fn value_of<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut sent = preferences(headers);
    let (_, value) = sent.find(|(sent, _)| sent.eq_ignore_ascii_case(name.as_bytes()))?;
    std::str::from_utf8(value).ok()
}

/// All preferences that have a value.
fn preferences(headers: &HeaderMap) -> impl Iterator<Item = (&[u8], &[u8])> {
    let prefer = headers.get_all(HeaderName::from_static("prefer"));
    let parts = prefer.flat_map(|value| value.as_bytes().split(|byte| b",;".contains(byte)));
    parts.filter_map(|part| {
        let mut sides = part.splitn(2, |byte| *byte == b'=').map(<[u8]>::trim_ascii);
        Some((unquoted(sides.next()?), unquoted(sides.next()?)))
    })
}

/// `"x"` means the same as `x`.
fn unquoted(text: &[u8]) -> &[u8] {
    let inside = text.strip_prefix(b"\"");
    inside
        .and_then(|text| text.strip_suffix(b"\""))
        .unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &'static str, values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(HeaderName::from_static(name), value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn a_preference_is_found_among_others_however_it_is_written() {
        for (values, found) in [
            (&["return=minimal"][..], true),
            (&["respond-async, return=minimal"], true),
            (&["Return = \"minimal\"; x=1"], true),
            (&["wait=5", "return=minimal"], true),
            (&["return=representation"], false),
            (&["return"], false),
            (&["return=minimals"], false),
            (&[], false),
        ] {
            let headers = headers("prefer", values);
            assert_eq!(prefers(&headers, "return", "minimal"), found, "{values:?}");
        }
    }
}
