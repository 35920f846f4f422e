//! The conditions of a request to a record (RFC 9110 section 13.1), read for whoever compares them.

use actix_web::http::header::{self, HeaderMap, HeaderName};

use crate::record::{Conditions, Revision, Tags};

/// `If-Match` and `If-None-Match` of a request. What is no tag of a revision matches nothing.
pub(super) fn conditions(headers: &HeaderMap) -> Conditions {
    Conditions {
        // 13.1.1: strong comparison, so a weak tag never matches.
        if_match: tags(headers, header::IF_MATCH, false),
        // 13.1.2: weak comparison.
        if_none_match: tags(headers, header::IF_NONE_MATCH, true),
    }
}

fn tags(headers: &HeaderMap, name: HeaderName, weak: bool) -> Option<Tags> {
    let mut found = None;
    for value in headers.get_all(name) {
        let Tags::OneOf(all) = found.get_or_insert_with(|| Tags::OneOf(Vec::new())) else {
            break;
        };
        let mut any = false;
        for tag in value.as_bytes().split(|byte| *byte == b',') {
            match tag.trim_ascii() {
                b"*" => any = true,
                tag => all.extend(revision(tag, weak)),
            }
        }
        if any {
            found = Some(Tags::Any);
        }
    }
    found
}

fn revision(tag: &[u8], weak: bool) -> Option<Revision> {
    let tag = match tag.strip_prefix(b"W/") {
        Some(tag) if weak => tag,
        Some(_) => return None,
        None => tag,
    };
    let text = tag.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    let text = std::str::from_utf8(text).ok()?;
    let number: u64 = text.parse().ok()?;
    // `"007"` is not the tag that was sent.
    (number.to_string() == text).then_some(Revision(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(name: HeaderName, values: &[&str]) -> Conditions {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name.clone(), value.parse().unwrap());
        }
        conditions(&headers)
    }

    #[test]
    fn if_match_compares_strongly() {
        for (values, holds) in [
            (&["\"7\""][..], true),
            (&["\"6\", \"7\""], true),
            (&["\"6\"", "\"7\""], true),
            (&["*"], true),
            (&["W/\"7\""], false),
            (&["\"07\""], false),
            (&["7"], false),
            (&["\"8\""], false),
            (&[""], false),
            (&[], true),
        ] {
            let conditions = asked(header::IF_MATCH, values);
            assert_eq!(conditions.hold(Some(Revision(7))), holds, "{values:?}");
            assert_eq!(conditions.hold(None), values.is_empty(), "{values:?}");
        }
    }

    #[test]
    fn if_none_match_compares_weakly() {
        for (value, holds) in [
            ("\"7\"", false),
            ("W/\"7\"", false),
            ("\"1\" , W/\"7\"", false),
            ("*", false),
            ("\"8\"", true),
            ("x", true),
        ] {
            let conditions = asked(header::IF_NONE_MATCH, &[value]);
            assert_eq!(conditions.hold(Some(Revision(7))), holds, "{value}");
            assert!(conditions.hold(None), "{value}");
        }
    }
}
