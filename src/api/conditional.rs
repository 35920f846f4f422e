//! Conditional requests (RFC 9110 section 13), for files and records alike.

use std::time::SystemTime;

use actix_web::http::StatusCode;
use actix_web::http::header::{self, EntityTag, HeaderMap, HeaderName, from_comma_delimited};
use bytes::Bytes;

use super::answer::{Answered, empty, set};
use super::refused::failed_condition;
use crate::record::{Conditions, Revision, Tags};
use crate::wire::Response;

/// The result of the conditions of a GET or HEAD.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Evaluated {
    /// The answer is what it would be without conditions.
    Proceed,
    /// The client has this representation already: 304.
    NotModified,
    /// 412.
    Failed,
}

/// The answer to a GET or HEAD with this entity tag: `whole`, unless the conditions of the request want another one.
pub(super) fn answer(
    headers: &HeaderMap,
    etag: impl Into<Bytes>,
    modified: Option<SystemTime>,
    whole: impl FnOnce() -> Response,
) -> Answered {
    answer_unless(headers, etag, modified, || Ok(whole()))
}

/// The same, where `whole` may find out that there is no such answer.
pub(super) fn answer_unless(
    headers: &HeaderMap,
    etag: impl Into<Bytes>,
    modified: Option<SystemTime>,
    whole: impl FnOnce() -> Answered,
) -> Answered {
    let etag = etag.into();
    let mut response = match evaluate(headers, &etag, modified) {
        Evaluated::Proceed => whole()?,
        Evaluated::NotModified => empty(StatusCode::NOT_MODIFIED),
        Evaluated::Failed => return Err(failed_condition(&String::from_utf8_lossy(&etag))),
    };
    set(&mut response, header::ETAG, etag);
    Ok(response)
}

/// Whether `If-Range` lets a range be sent (RFC 9110 section 13.1.5): it is not there, or names the representation by this strong
/// entity tag, or by the very date of its last modification. That date names one state only if the file was left alone for some time
/// (`settled`).
pub(super) fn range_holds(
    headers: &HeaderMap,
    etag: &[u8],
    last_modified: &[u8],
    settled: bool,
) -> bool {
    let mut validators = headers.get_all(header::IF_RANGE);
    let Some(validator) = validators.next() else {
        return true;
    };
    let validator = validator.as_bytes().trim_ascii();
    let same_tag = validator == etag && !etag.starts_with(b"W/");
    let same_date = settled && validator == last_modified;
    validators.next().is_none() && (same_tag || same_date)
}

/// Evaluates the conditions of a GET or HEAD in the order of section 13.2.2, for a representation with this entity tag.
fn evaluate(headers: &HeaderMap, etag: &[u8], modified: Option<SystemTime>) -> Evaluated {
    let lists = |name, equal: fn(&EntityTag, &EntityTag) -> bool| {
        // Most clients send the one tag that they were sent. A weak one is not equal by itself.
        if headers.get(&name)? == etag && !etag.starts_with(b"W/") {
            return Some(true);
        }
        let own = std::str::from_utf8(etag).ok();
        let own = own.and_then(|etag| etag.parse::<EntityTag>().ok());
        Some(match listed(headers, &name)? {
            Tags::Any => true,
            Tags::OneOf(tags) => own.is_some_and(|own| tags.iter().any(|tag| equal(tag, &own))),
        })
    };
    let modified_since = |name| Some(modified? > date(headers, name)?);
    let holds = lists(header::IF_MATCH, EntityTag::strong_eq)
        .or_else(|| modified_since(header::IF_UNMODIFIED_SINCE).map(|modified| !modified));
    if holds == Some(false) {
        return Evaluated::Failed;
    }
    let known = lists(header::IF_NONE_MATCH, EntityTag::weak_eq)
        .or_else(|| modified_since(header::IF_MODIFIED_SINCE).map(|modified| !modified));
    if known == Some(true) {
        Evaluated::NotModified
    } else {
        Evaluated::Proceed
    }
}

/// The entity tags that `If-Match` or `If-None-Match` lists, if it is there. A list that can't be read has none.
fn listed(headers: &HeaderMap, name: &HeaderName) -> Option<Tags<EntityTag>> {
    if headers.get(name)?.as_bytes().trim_ascii() == b"*" {
        return Some(Tags::Any);
    }
    let tags = from_comma_delimited(headers.get_all(name));
    Some(Tags::OneOf(tags.unwrap_or_default()))
}

/// The date of a field that is there once. Twice it is no date, and ignored (section 13.1.3).
fn date(headers: &HeaderMap, name: HeaderName) -> Option<SystemTime> {
    let mut values = headers.get_all(name);
    let value = values.next().filter(|_| values.next().is_none())?;
    httpdate::parse_http_date(value.to_str().ok()?).ok()
}

/// The strong entity tag of a record in the store of this mark.
pub(super) fn etag(revision: Revision, mark: &str) -> String {
    revision.etag(mark)
}

/// The conditions of a request to a record in the store of this mark, for the store to compare. A tag that is not a
/// revision's, or is another store's, matches nothing.
pub(super) fn conditions(headers: &HeaderMap, mark: &str) -> Conditions {
    let revisions = |name, weak_matches: bool| match listed(headers, &name)? {
        Tags::Any => Some(Tags::Any),
        Tags::OneOf(tags) => {
            let tags = tags.iter().filter(|tag| weak_matches || !tag.weak);
            let revisions = tags.filter_map(|tag| revision(tag, mark));
            Some(Tags::OneOf(revisions.collect()))
        }
    };
    Conditions {
        // Section 13.1.1: a weak tag never matches.
        if_match: revisions(header::IF_MATCH, false),
        if_none_match: revisions(header::IF_NONE_MATCH, true),
        owner: None,
    }
}

fn revision(tag: &EntityTag, mark: &str) -> Option<Revision> {
    let sent = tag.tag().strip_suffix(mark)?.strip_suffix('-')?;
    let number: u64 = sent.parse().ok()?;
    // `"007-k3x9q2"` is not the tag that was sent.
    (number.to_string() == sent).then_some(Revision(number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn asked(fields: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(name.parse().unwrap(), value.parse().unwrap());
        }
        headers
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
    fn a_range_is_sent_only_of_the_representation_that_if_range_names() {
        let (date, other) = (&*at(1_000), &*at(1_001));
        let name = "if-range";
        for (fields, settled, holds) in [
            (&[][..], true, true),
            (&[(name, "\"a\"")], true, true),
            (&[(name, "\"a\"")], false, true),
            (&[(name, "\"b\"")], true, false),
            (&[(name, "W/\"a\"")], true, false),
            (&[(name, "*")], true, false),
            (&[(name, "")], true, false),
            (&[(name, "\"a\", \"b\"")], true, false),
            (&[(name, "\"a\""), (name, "\"a\"")], true, false),
            (&[(name, date)], true, true),
            (&[(name, date)], false, false),
            (&[(name, other)], true, false),
        ] {
            let holds_for =
                |etag: &[u8]| range_holds(&asked(fields), etag, date.as_bytes(), settled);
            assert_eq!(holds_for(b"\"a\""), holds, "{fields:?} {settled}");
        }
        let weak = asked(&[(name, "W/\"a\"")]);
        assert!(!range_holds(&weak, b"W/\"a\"", date.as_bytes(), false));
    }

    #[test]
    fn if_match_of_a_change_compares_strongly() {
        for (values, holds) in [
            (&["\"7-a\""][..], true),
            (&["\"6-a\", \"7-a\""], true),
            (&["\"6-a\"", "\"7-a\""], true),
            (&["*"], true),
            (&["W/\"7-a\""], false),
            (&["\"07-a\""], false),
            (&["7-a"], false),
            (&["\"8-a\""], false),
            (&["\"7\""], false),
            (&["\"7a\""], false),
            (&["\"7-\""], false),
            (&["\"7-b\""], false),
            (&["\"7-b-a\""], false),
            (&[""], false),
            (&[], true),
        ] {
            let fields: Vec<_> = values.iter().map(|value| ("if-match", *value)).collect();
            let conditions = conditions(&asked(&fields), "a");
            assert_eq!(conditions.hold(Some(Revision(7))), holds, "{values:?}");
            assert_eq!(conditions.hold(None), values.is_empty(), "{values:?}");
        }
    }

    #[test]
    fn if_none_match_of_a_change_compares_weakly() {
        for (value, holds) in [
            ("\"7-a\"", false),
            ("W/\"7-a\"", false),
            ("\"1-a\" , W/\"7-a\"", false),
            ("*", false),
            ("\"8-a\"", true),
            ("\"7\"", true),
            ("\"7-b\"", true),
            ("x", true),
        ] {
            let conditions = conditions(&asked(&[("if-none-match", value)]), "a");
            assert_eq!(conditions.hold(Some(Revision(7))), holds, "{value}");
            assert!(conditions.hold(None), "{value}");
        }
    }
}
