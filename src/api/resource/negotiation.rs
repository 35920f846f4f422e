//! What a client would like to have: `Accept` (RFC 9110 section 12.5.1) and `Prefer` (RFC 7240).

use actix_web::http::header::{self, HeaderMap, HeaderName};

use crate::wire::{Code, Problem};

/// Refuses a client that takes no JSON, before anything is done for it. One that says nothing takes everything.
pub(super) fn must_take_json(headers: &HeaderMap) -> Result<(), Problem> {
    let mut best = None;
    for value in headers.get_all(header::ACCEPT) {
        // What most clients say.
        if value == "*/*" {
            return Ok(());
        }
        let ranges = value.as_bytes().split(|byte| *byte == b',');
        for range in ranges.filter(|range| !range.trim_ascii().is_empty()) {
            let named = specificity(range).map(|named| (named, !is_zero(range)));
            best = best.max(Some(named.unwrap_or_default()));
        }
    }
    match best {
        // The range that names it most closely decides.
        None | Some((_, true)) => Ok(()),
        Some((_, false)) => Err(Problem::new(Code::NotAcceptable)
            .detail("what is here is application/json, which the request's Accept leaves out")),
    }
}

/// How closely a media range names JSON; `None`: not at all.
fn specificity(range: &[u8]) -> Option<u8> {
    let named = range.split(|byte| *byte == b';').next()?.trim_ascii();
    let ranges: [(u8, &[u8]); 3] = [(3, b"application/json"), (2, b"application/*"), (1, b"*/*")];
    let is = |known: &[u8]| named.eq_ignore_ascii_case(known);
    let found = ranges.into_iter().find(|(_, known)| is(known));
    found.map(|(specificity, _)| specificity)
}

/// Whether its weight is zero: "not acceptable".
fn is_zero(range: &[u8]) -> bool {
    let parameters = range.split(|byte| *byte == b';').skip(1);
    let mut weights = parameters.filter_map(|parameter| {
        let (name, value) = parameter.trim_ascii().split_at_checked(2)?;
        name.eq_ignore_ascii_case(b"q=").then_some(value)
    });
    weights.any(|weight| weight.starts_with(b"0") && weight.iter().all(|b| b"0.".contains(b)))
}

/// Whether the request prefers `name=value` (RFC 7240 section 2).
pub(super) fn prefers(headers: &HeaderMap, name: &str, value: &str) -> bool {
    let prefer = headers.get_all(HeaderName::from_static("prefer"));
    let mut parts = prefer.flat_map(|value| value.as_bytes().split(|byte| b",;".contains(byte)));
    parts.any(|part| {
        let mut sides = part.splitn(2, |byte| *byte == b'=').map(<[u8]>::trim_ascii);
        let is = |side: Option<&[u8]>, wanted: &str| {
            side.is_some_and(|side| unquoted(side).eq_ignore_ascii_case(wanted.as_bytes()))
        };
        is(sides.next(), name) && is(sides.next(), value)
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
    fn who_takes_json_in_any_way_gets_it() {
        for (values, takes) in [
            (&[][..], true),
            (&["*/*"], true),
            (&["text/html, application/xhtml+xml, */*;q=0.8"], true),
            (&["Application/JSON"], true),
            (&["application/*;q=0.1"], true),
            (&["text/html", "application/json; q=0.5"], true),
            (&["*/*;q=0, application/json"], true),
            (&["text/html"], false),
            (&[""], true),
            (&["application/json;q=0"], false),
            (&["*/*, application/json;q=0.000"], false),
            (&["application/xml, text/*"], false),
        ] {
            let taken = must_take_json(&headers("accept", values)).is_ok();
            assert_eq!(taken, takes, "{values:?}");
        }
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
