//! Conditional requests (RFC 9110 section 13), for files and records alike.

use std::str::FromStr as _;
use std::time::SystemTime;

use actix_web::HttpRequest;
use actix_web::http::header::{
    self, EntityTag, Header, HeaderName, HttpDate, IfMatch, IfNoneMatch,
};

use crate::record::{Conditions, Revision, Tags};

/// The result of the conditions of a GET or HEAD.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Evaluated {
    /// The answer is what it would be without conditions.
    Proceed,
    /// The client has this representation already: 304.
    NotModified,
    /// 412.
    Failed,
}

/// Evaluates the conditions of a GET or HEAD in the order of section 13.2.2, for a representation with this entity tag.
pub(super) fn evaluate(
    request: &HttpRequest,
    etag: &[u8],
    modified: Option<SystemTime>,
) -> Evaluated {
    let headers = request.headers();
    let date = |name| Some((date(request, name)?, modified?));
    if headers.contains_key(header::IF_MATCH) {
        let holds = match IfMatch::parse(request) {
            Ok(IfMatch::Any) => true,
            Ok(IfMatch::Items(tags)) => lists(&tags, etag, EntityTag::strong_eq),
            Err(_) => false,
        };
        if !holds {
            return Evaluated::Failed;
        }
    } else if let Some((since, modified)) = date(header::IF_UNMODIFIED_SINCE)
        && modified > since
    {
        return Evaluated::Failed;
    }
    let known = match headers.get(header::IF_NONE_MATCH) {
        // Most clients send the one tag that they were sent.
        Some(tag) if tag.as_bytes() == etag => true,
        Some(_) => match IfNoneMatch::parse(request) {
            Ok(IfNoneMatch::Any) => true,
            Ok(IfNoneMatch::Items(tags)) => lists(&tags, etag, EntityTag::weak_eq),
            Err(_) => false,
        },
        None => date(header::IF_MODIFIED_SINCE).is_some_and(|(since, modified)| modified <= since),
    };
    if known {
        Evaluated::NotModified
    } else {
        Evaluated::Proceed
    }
}

fn lists(tags: &[EntityTag], etag: &[u8], eq: fn(&EntityTag, &EntityTag) -> bool) -> bool {
    let own = std::str::from_utf8(etag).ok();
    let own = own.and_then(|etag| EntityTag::from_str(etag).ok());
    own.is_some_and(|own| tags.iter().any(|tag| eq(tag, &own)))
}

/// The date of a field that is there once. Twice it is no date, and ignored (section 13.1.3).
fn date(request: &HttpRequest, name: HeaderName) -> Option<SystemTime> {
    let mut values = request.headers().get_all(name);
    let value = values.next().filter(|_| values.next().is_none())?;
    let date = HttpDate::from_str(value.to_str().ok()?).ok()?;
    Some(date.into())
}

/// The conditions of a request to a record, for the store to compare. What is no tag of a revision matches nothing.
pub(super) fn conditions(request: &HttpRequest) -> Conditions {
    let headers = request.headers();
    let revisions = |tags: Vec<EntityTag>| Tags::OneOf(tags.iter().filter_map(revision).collect());
    let if_match = || match IfMatch::parse(request) {
        Ok(IfMatch::Any) => Tags::Any,
        // Section 13.1.1: a weak tag never matches.
        Ok(IfMatch::Items(tags)) => revisions(tags.into_iter().filter(|tag| !tag.weak).collect()),
        Err(_) => Tags::OneOf(Vec::new()),
    };
    let if_none_match = || match IfNoneMatch::parse(request) {
        Ok(IfNoneMatch::Any) => Tags::Any,
        Ok(IfNoneMatch::Items(tags)) => revisions(tags),
        Err(_) => Tags::OneOf(Vec::new()),
    };
    Conditions {
        if_match: headers.contains_key(header::IF_MATCH).then(if_match),
        if_none_match: headers
            .contains_key(header::IF_NONE_MATCH)
            .then(if_none_match),
    }
}

fn revision(tag: &EntityTag) -> Option<Revision> {
    let number: u64 = tag.tag().parse().ok()?;
    // `"007"` is not the tag that was sent.
    (number.to_string() == tag.tag()).then_some(Revision(number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;
    use std::time::Duration;

    fn asked(fields: &[(&str, &str)]) -> HttpRequest {
        let mut request = TestRequest::default();
        for field in fields {
            request = request.append_header(*field);
        }
        request.to_http_request()
    }

    fn at(seconds: u64) -> String {
        httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
    }

    #[test]
    fn conditions_are_evaluated_in_the_order_of_the_rfc() {
        let (old, now, new) = (&*at(999), &*at(1_000), &*at(1_001));
        let (im, inm) = ("if-match", "if-none-match");
        let (ims, ius) = ("if-modified-since", "if-unmodified-since");
        let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
        for (fields, verdict) in [
            (&[][..], Evaluated::Proceed),
            (&[(inm, "\"a\"")], Evaluated::NotModified),
            (&[(inm, "W/\"a\"")], Evaluated::NotModified),
            (&[(inm, "\"b\", \"a\"")], Evaluated::NotModified),
            (&[(inm, "\"b\""), (inm, "\"a\"")], Evaluated::NotModified),
            (&[(inm, "*")], Evaluated::NotModified),
            (&[(inm, "\"b\"")], Evaluated::Proceed),
            (&[(inm, "a")], Evaluated::Proceed),
            (&[(ims, now)], Evaluated::NotModified),
            (&[(ims, new)], Evaluated::NotModified),
            (&[(ims, old)], Evaluated::Proceed),
            (&[(ims, "yesterday")], Evaluated::Proceed),
            (&[(ims, now), (ims, now)], Evaluated::Proceed),
            (&[(inm, "\"b\""), (ims, now)], Evaluated::Proceed),
            (&[(im, "\"a\"")], Evaluated::Proceed),
            (&[(im, "*")], Evaluated::Proceed),
            (&[(im, "\"b\", \"a\"")], Evaluated::Proceed),
            (&[(im, "\"b\"")], Evaluated::Failed),
            (&[(im, "W/\"a\"")], Evaluated::Failed),
            (&[(im, "")], Evaluated::Failed),
            (&[(ius, now)], Evaluated::Proceed),
            (&[(ius, old)], Evaluated::Failed),
            (&[(ius, old), (ius, old)], Evaluated::Proceed),
            (&[(ius, "yesterday")], Evaluated::Proceed),
            (&[(im, "\"a\""), (ius, old)], Evaluated::Proceed),
            (&[(im, "\"b\""), (inm, "\"a\"")], Evaluated::Failed),
            (&[(im, "\"a\""), (inm, "\"a\"")], Evaluated::NotModified),
            (&[(ius, old), (ims, now)], Evaluated::Failed),
        ] {
            let found = evaluate(&asked(fields), b"\"a\"", Some(modified));
            assert_eq!(found, verdict, "{fields:?}");
        }
        let weak = |field| evaluate(&asked(&[(field, "W/\"5\"")]), b"W/\"5\"", None);
        assert_eq!(weak(inm), Evaluated::NotModified);
        assert_eq!(weak(im), Evaluated::Failed, "a weak tag is never strong");
        let undated = evaluate(&asked(&[(ius, old), (ims, now)]), b"\"a\"", None);
        assert_eq!(undated, Evaluated::Proceed);
    }

    #[test]
    fn if_match_of_a_change_compares_strongly() {
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
            let fields: Vec<_> = values.iter().map(|value| ("if-match", *value)).collect();
            let conditions = conditions(&asked(&fields));
            assert_eq!(conditions.hold(Some(Revision(7))), holds, "{values:?}");
            assert_eq!(conditions.hold(None), values.is_empty(), "{values:?}");
        }
    }

    #[test]
    fn if_none_match_of_a_change_compares_weakly() {
        for (value, holds) in [
            ("\"7\"", false),
            ("W/\"7\"", false),
            ("\"1\" , W/\"7\"", false),
            ("*", false),
            ("\"8\"", true),
            ("x", true),
        ] {
            let conditions = conditions(&asked(&[("if-none-match", value)]));
            assert_eq!(conditions.hold(Some(Revision(7))), holds, "{value}");
            assert!(conditions.hold(None), "{value}");
        }
    }
}
