//! The methods and media types that a resource accepts, according to its settings.

use actix_web::http::header::{self, HeaderMap, HeaderName};
use bytes::Bytes;

use super::many::NDJSON;
use crate::record::{JsonObject, NewValues, RuleViolation};
use crate::settings::ResourceSettings;
use crate::storage::unix_ms;
use crate::wire::{Code, Problem};

/// The media type of every answer that is not a problem, and of bodies.
pub(crate) const JSON: &str = "application/json";
/// The media type of a list of operations (RFC 6902 section 6).
pub(crate) const JSON_PATCH: &str = "application/json-patch+json";
/// The media type of a patch (RFC 7396 section 4).
const MERGE_PATCH: &str = "application/merge-patch+json";

/// The requests whose bodies differ in the media types that they may have, and in the field that names those types.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyOf {
    /// `Accept-Post` (the LDP's section 7.1). Lines of JSON may be sent, too.
    Post,
    /// `Accept-Patch` (RFC 5789 section 3.1). Both kinds of patches may be sent, too.
    Patch,
    /// For other methods there is `Accept` (RFC 9110 section 15.5.16).
    Other,
}

impl BodyOf {
    /// The field of an answer that lists the media types.
    pub(crate) fn field(self) -> HeaderName {
        match self {
            Self::Post => HeaderName::from_static("accept-post"),
            Self::Patch => HeaderName::from_static("accept-patch"),
            Self::Other => header::ACCEPT,
        }
    }
}

/// The media type of a body, without its parameters.
pub(crate) fn media_type(headers: &HeaderMap) -> Option<&str> {
    let sent = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    sent.split(';').next().map(str::trim)
}

/// Refuses a body that is said to be in UTF-16 or UTF-32: JSON is sent as UTF-8 (RFC 8259 section 8.1). Any other charset that
/// is named is ignored, and the body is read as UTF-8; if it is none, it is no JSON.
pub(crate) fn must_be_utf_8(headers: &HeaderMap) -> Result<(), Problem> {
    let sent = headers.get(header::CONTENT_TYPE);
    let sent = sent.and_then(|sent| sent.to_str().ok()).unwrap_or_default();
    let mut parameters = sent.split(';').skip(1);
    let charset = parameters.find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        let is_charset = name.trim().eq_ignore_ascii_case("charset");
        is_charset.then(|| value.trim().trim_matches('"').to_ascii_lowercase())
    });
    match charset {
        Some(charset) if charset.starts_with("utf") && !["utf-8", "utf8"].contains(&&*charset) => {
            let detail = format!("JSON must be UTF-8, but the Content-Type says {charset}");
            Err(Problem::new(Code::UnsupportedMediaType).detail(detail))
        }
        Some(_) | None => Ok(()),
    }
}

/// The mark that some programs begin a text in UTF-8 with.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A body without the byte order mark that it may begin with (RFC 8259 section 8.1).
pub(crate) fn without_mark(body: Bytes) -> Bytes {
    if body.starts_with(BYTE_ORDER_MARK) {
        body.slice(BYTE_ORDER_MARK.len()..)
    } else {
        body
    }
}

/// Whether a body of JSON is an array.
pub(super) fn is_array(body: &[u8]) -> bool {
    let body = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body);
    body.trim_ascii_start().first() == Some(&b'[')
}

impl ResourceSettings {
    /// The media types that a body may have.
    pub(crate) fn media_types(&self, body: BodyOf) -> impl Iterator<Item = &str> {
        let (before, after): (&[&str], &[&str]) = match body {
            BodyOf::Patch => (&[MERGE_PATCH, JSON_PATCH], &[]),
            BodyOf::Post => (&[], &[NDJSON]),
            BodyOf::Other => (&[], &[]),
        };
        let declared = self.accept.iter().map(String::as_str);
        let all = before.iter().copied().chain([JSON]).chain(declared);
        all.chain(after.iter().copied())
    }

    /// The media types that a body may have, as a list.
    pub(crate) fn accepted(&self, body: BodyOf) -> String {
        self.media_types(body).collect::<Vec<_>>().join(", ")
    }

    /// Refuses a body of another media type.
    pub(super) fn must_read(&self, body: BodyOf, headers: &HeaderMap) -> Result<(), Problem> {
        let sent = media_type(headers);
        let is = |known: &str| sent.is_some_and(|sent| sent.eq_ignore_ascii_case(known));
        if self.media_types(body).any(is) {
            return must_be_utf_8(headers);
        }
        Err(Problem::unsupported(
            sent,
            body.field(),
            self.accepted(body),
        ))
    }

    /// Fills in what has a default, and finds every rule that is broken.
    pub(super) fn check(&self, object: &mut JsonObject) -> Result<(), Vec<RuleViolation>> {
        object.remove_id();
        self.schema.check(object, &NewValues::at(unix_ms()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_utf_8_with_or_without_a_mark() {
        for (media_type, is_read) in [
            ("application/json", true),
            ("application/json; charset=UTF-8", true),
            ("application/json;charset=\"utf8\"", true),
            ("text/plain; charset=ISO-8859-1", true),
            ("application/json; charset=utf-16", false),
            ("application/json; a=b; Charset=\"UTF-32LE\"", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, media_type.parse().unwrap());
            assert_eq!(must_be_utf_8(&headers).is_ok(), is_read, "{media_type}");
        }
        assert!(must_be_utf_8(&HeaderMap::new()).is_ok());
        for body in ["{}", "\u{feff}{}"] {
            assert_eq!(without_mark(Bytes::from(body)), "{}");
        }
        assert!(is_array(b" [") && is_array("\u{feff}[".as_bytes()) && !is_array(b"{"));
    }

    #[test]
    fn a_body_is_read_by_its_media_type_whatever_its_parameters() {
        let plain = ResourceSettings::at("/books");
        let dialect = ResourceSettings {
            accept: vec!["text/plain".to_owned()],
            ..plain.clone()
        };
        let of = |media_type: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, media_type.parse().unwrap());
            headers
        };
        let reads = |settings: &ResourceSettings, body, headers: &HeaderMap| {
            settings.must_read(body, headers).is_ok()
        };
        for read in ["application/json", "Text/Plain; charset=utf-8"] {
            assert!(reads(&dialect, BodyOf::Post, &of(read)), "{read}");
            assert!(!reads(&plain, BodyOf::Post, &of("text/plain")));
        }
        for not in ["application/jsonp", "text", ""] {
            assert!(!reads(&dialect, BodyOf::Post, &of(not)), "{not}");
        }
        assert!(!reads(&dialect, BodyOf::Post, &HeaderMap::new()));
        let patch = of("application/merge-patch+json");
        assert!(reads(&dialect, BodyOf::Patch, &patch));
        assert!(!reads(&dialect, BodyOf::Post, &patch));
        assert_eq!(
            dialect.accepted(BodyOf::Other),
            "application/json, text/plain"
        );
    }
}
