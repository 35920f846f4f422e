//! Conditional requests: RFC 9110 section 13, as far as reading goes.

use std::time::SystemTime;

use actix_web::http::header::{self, HeaderMap};

/// Whether the client has this representation already: a 304 then.
///
/// `If-None-Match` (13.1.2) compares weakly, and where it is present `If-Modified-Since` (13.1.3) is not looked at.
pub(crate) fn not_modified(headers: &HeaderMap, etag: &[u8], modified: Option<SystemTime>) -> bool {
    if let Some(first) = headers.get(header::IF_NONE_MATCH) {
        let mut all = headers.get_all(header::IF_NONE_MATCH);
        return first.as_bytes() == etag || all.any(|value| lists(value.as_bytes(), etag));
    }
    let since = headers
        .get(header::IF_MODIFIED_SINCE)
        .and_then(|value| value.to_str().ok());
    match (
        since.and_then(|text| httpdate::parse_http_date(text).ok()),
        modified,
    ) {
        (Some(since), Some(modified)) => modified <= since,
        (None, _) | (_, None) => false,
    }
}

/// Whether a list of entity tags has this one, or is `*`.
fn lists(list: &[u8], etag: &[u8]) -> bool {
    let opaque = |tag: &[u8]| tag.strip_prefix(b"W/").unwrap_or(tag).to_vec();
    let wanted = opaque(etag);
    // A comma inside a tag's quotes would split it; then it does not match, which costs a full answer and nothing else.
    list.split(|byte| *byte == b',')
        .map(<[u8]>::trim_ascii)
        .any(|tag| tag == b"*" || opaque(tag) == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn asked(name: header::HeaderName, value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        headers
    }

    #[test]
    fn an_entity_tag_is_found_in_a_list_and_compared_weakly() {
        let none_match = |value| asked(header::IF_NONE_MATCH, value);
        for (list, matches) in [
            ("\"a\"", true),
            ("W/\"a\"", true),
            ("\"b\", \"a\"", true),
            ("*", true),
            ("\"b\"", false),
            ("a", false),
        ] {
            assert_eq!(
                not_modified(&none_match(list), b"\"a\"", None),
                matches,
                "{list}"
            );
            assert_eq!(
                not_modified(&none_match(list), b"W/\"a\"", None),
                matches,
                "{list}"
            );
        }
    }

    #[test]
    fn a_date_counts_only_without_an_entity_tag() {
        let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
        let at = |seconds| {
            httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
        };
        let since = |seconds| asked(header::IF_MODIFIED_SINCE, &at(seconds));
        assert!(not_modified(&since(1_000), b"\"a\"", Some(modified)));
        assert!(!not_modified(&since(999), b"\"a\"", Some(modified)));
        let mut both = since(1_000);
        both.insert(header::IF_NONE_MATCH, "\"b\"".parse().unwrap());
        assert!(!not_modified(&both, b"\"a\"", Some(modified)));
    }
}
