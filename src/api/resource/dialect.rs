//! The methods and media types that a resource accepts, according to its settings.

use actix_web::http::header::{self, HeaderMap, HeaderName};

use super::many::NDJSON;
use crate::record::{JsonObject, NewValues, RuleViolation};
use crate::settings::ResourceSettings;
use crate::storage::unix_ms;
use crate::wire::Problem;

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
pub(super) fn media_type(headers: &HeaderMap) -> Option<&str> {
    let sent = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    sent.split(';').next().map(str::trim)
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

    /// Refuses a body of another media type, whatever the parameters of the type.
    pub(super) fn must_read(&self, body: BodyOf, headers: &HeaderMap) -> Result<(), Problem> {
        let sent = media_type(headers);
        let is = |known: &str| sent.is_some_and(|sent| sent.eq_ignore_ascii_case(known));
        if self.media_types(body).any(is) {
            return Ok(());
        }
        Err(Problem::unsupported(body.field(), self.accepted(body)))
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
