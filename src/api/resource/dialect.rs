//! The methods and media types that a resource accepts, according to its settings.

use actix_web::http::header::{self, HeaderMap, HeaderName};

use crate::record::{JsonObject, RuleViolation};
use crate::settings::ResourceSettings;
use crate::wire::Problem;

/// The media type of every answer that is no problem, and of every body that may be sent.
pub(crate) const JSON: &str = "application/json";
/// The media type of a patch (RFC 7396 section 4).
const MERGE_PATCH: &str = "application/merge-patch+json";
/// Where it says which bodies POST takes (the LDP's section 7.1), and which PATCH takes (RFC 5789 section 3.1). For other
/// methods there is `Accept` (RFC 9110 section 15.5.16).
pub(super) const ACCEPT_POST: &str = "accept-post";
pub(super) const ACCEPT_PATCH: &str = "accept-patch";

impl ResourceSettings {
    /// The methods that are allowed on the resource as a whole.
    pub(super) fn collection_methods(&self) -> &'static str {
        if self.delete_matching {
            "GET, HEAD, POST, DELETE, OPTIONS"
        } else {
            "GET, HEAD, POST, OPTIONS"
        }
    }

    /// The media types of a body, as a list.
    pub(super) fn accepted(&self) -> String {
        let mut accepted = JSON.to_owned();
        for media_type in &self.accept {
            accepted.push_str(", ");
            accepted.push_str(media_type);
        }
        accepted
    }

    /// The media types of a patch, as a list.
    pub(super) fn accepted_patch(&self) -> String {
        format!("{MERGE_PATCH}, {}", self.accepted())
    }

    /// Whether a body of this kind is read.
    fn reads(&self, headers: &HeaderMap) -> bool {
        media_type(headers).is_some_and(|sent| {
            let mut accepted = self.accept.iter().map(String::as_str);
            sent.eq_ignore_ascii_case(JSON)
                || accepted.any(|known| sent.eq_ignore_ascii_case(known))
        })
    }

    /// Whether a patch of this kind is read.
    fn reads_patch(&self, headers: &HeaderMap) -> bool {
        let merge = |sent: &str| sent.eq_ignore_ascii_case(MERGE_PATCH);
        media_type(headers).is_some_and(merge) || self.reads(headers)
    }

    /// Refuses a POST of another kind.
    pub(super) fn must_read_post(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let accept_post = HeaderName::from_static(ACCEPT_POST);
        refuse_unless(self.reads(headers), accept_post, || self.accepted())
    }

    /// Refuses another body of another kind.
    pub(super) fn must_read(&self, headers: &HeaderMap) -> Result<(), Problem> {
        refuse_unless(self.reads(headers), header::ACCEPT, || self.accepted())
    }

    /// Refuses a patch of another kind.
    pub(super) fn must_read_patch(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let accept_patch = HeaderName::from_static(ACCEPT_PATCH);
        refuse_unless(self.reads_patch(headers), accept_patch, || {
            self.accepted_patch()
        })
    }

    /// Fills in what has a default, and finds every rule that is broken.
    pub(super) fn check(&self, object: &mut JsonObject) -> Result<(), Vec<RuleViolation>> {
        object.remove_id();
        self.schema.check(object)
    }
}

fn refuse_unless(
    read: bool,
    name: HeaderName,
    accepted: impl Fn() -> String,
) -> Result<(), Problem> {
    if read {
        Ok(())
    } else {
        Err(Problem::unsupported(name, accepted()))
    }
}

/// The declared kind of a body, whatever its parameters.
fn media_type(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    value.split(';').next().map(str::trim)
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
        for read in ["application/json", "Text/Plain; charset=utf-8"] {
            assert!(dialect.reads(&of(read)), "{read}");
            assert!(!plain.reads(&of("text/plain")));
        }
        for not in ["application/jsonp", "text", ""] {
            assert!(!dialect.reads(&of(not)), "{not}");
        }
        assert!(!dialect.reads(&HeaderMap::new()));
        let patch = of("application/merge-patch+json");
        assert!(dialect.reads_patch(&patch) && !dialect.reads(&patch));
        assert_eq!(dialect.accepted(), "application/json, text/plain");
    }
}
