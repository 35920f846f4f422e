//! The rules for a request's head that the h2 library leaves to its user. Pure.

use actix_web::http::Method;
use actix_web::http::header::{self, HeaderName, HeaderValue};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery};
use http::{HeaderMap, Uri};

use super::super::http1::{FIELDS_MAX, Fault, expects_continue, is_host, may_be_trailer};

/// Checks a head of at most `limit` bytes; `ends` if no body follows.
pub(super) fn check(head: &Parts, limit: usize, ends: bool) -> Result<(), Fault> {
    if head.method == Method::CONNECT {
        return Err(Fault::Tunnel);
    }
    if head_bytes(&head.uri, &head.headers) > limit {
        return Err(Fault::HeadTooLarge);
    }
    check_number(&head.headers)?;
    let blank = |value: &HeaderValue| value.as_bytes().trim_ascii().len() < value.len();
    if head.headers.values().any(blank) {
        return Err(Fault::FieldValue);
    }
    check_path(head)?;
    check_host(head)?;
    let lengths = head.headers.get_all(header::CONTENT_LENGTH);
    let number = |length: &HeaderValue| {
        !length.is_empty() && length.as_bytes().iter().all(u8::is_ascii_digit)
    };
    if !lengths.iter().all(number) {
        return Err(Fault::LengthInvalid);
    }
    let mut lengths = lengths.iter();
    // The library compares the length with the body, if there is one.
    let zero = |length: &HeaderValue| length.as_bytes().iter().all(|digit| *digit == b'0');
    if ends && lengths.next().is_some_and(|length| !zero(length)) {
        return Err(Fault::LengthDiffers);
    }
    if lengths.count() > usize::from(!ends) {
        return Err(Fault::LengthTwice);
    }
    for value in head.headers.get_all(header::EXPECT) {
        expects_continue(value.as_bytes())?;
    }
    Ok(())
}

/// The target in memory of its own, not in that of what the library has read.
pub(super) fn own_target(uri: Uri) -> Uri {
    let mut parts = uri.clone().into_parts();
    let copied = parts.authority.map(|authority| {
        let copy = Authority::try_from(authority.as_str());
        copy.unwrap_or(authority)
    });
    parts.authority = copied;
    let copied = parts.path_and_query.map(|target| {
        let copy = PathAndQuery::try_from(target.as_str());
        copy.unwrap_or(target)
    });
    parts.path_and_query = copied;
    Uri::from_parts(parts).unwrap_or(uri)
}

/// The length of a head, as far as it is kept.
pub(super) fn head_bytes(uri: &Uri, headers: &HeaderMap) -> usize {
    let target = uri.path_and_query();
    let target = target.map_or(0, |target| target.as_str().len());
    let fields = headers.iter();
    let fields = fields.map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len());
    target + fields.sum::<usize>()
}

/// Checks trailers. The library drops those whose names begin with a colon before anybody sees them.
pub(super) fn check_trailers(trailers: &HeaderMap) -> Result<(), Fault> {
    check_number(trailers)?;
    let may_be = |name: &HeaderName| may_be_trailer(name.as_str().as_bytes());
    if trailers.keys().all(may_be) {
        Ok(())
    } else {
        Err(Fault::Trailer)
    }
}

/// Checks the number of headers, or of trailers. Browsers split a Cookie header into many (RFC 9113 section 8.2.3), which count
/// as one.
fn check_number(fields: &HeaderMap) -> Result<(), Fault> {
    let cookies = fields.get_all(header::COOKIE).iter().count();
    if fields.len() - cookies + cookies.min(1) > FIELDS_MAX {
        return Err(Fault::TooManyFields);
    }
    Ok(())
}

/// A path begins with a slash; `*` alone stands for the server as a whole (RFC 9113 section 8.3.1).
fn check_path(head: &Parts) -> Result<(), Fault> {
    match head.uri.path_and_query().map_or("", |path| path.as_str()) {
        "*" if head.method == Method::OPTIONS => Ok(()),
        path if path.starts_with('/') => Ok(()),
        _ => Err(Fault::Target),
    }
}

fn check_host(head: &Parts) -> Result<(), Fault> {
    let mut hosts = head.headers.get_all(header::HOST).iter();
    let host = hosts.next().map(HeaderValue::as_bytes);
    if hosts.next().is_some() {
        return Err(Fault::HostTwice);
    }
    let authority = head.uri.authority();
    let authority = authority.map(|authority| authority.as_str().as_bytes());
    match (authority, host) {
        (None, None) => Err(Fault::HostMissing),
        (Some(name), _) | (None, Some(name)) if !is_host(name) => Err(Fault::HostInvalid),
        (Some(authority), Some(host)) if !authority.eq_ignore_ascii_case(host) => {
            Err(Fault::HostDiffers)
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn found(uri: &str, fields: &[(&str, &str)], ends: bool) -> Result<(), Fault> {
        let mut request = http::Request::builder().method("GET").uri(uri);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        check(&request.body(()).unwrap().into_parts().0, 1000, ends)
    }

    #[test]
    fn a_target_keeps_nothing_of_what_the_library_read() {
        for text in ["/", "*", "/a?b=c", "a.example:80", "https://a.example/b?c"] {
            let read = Bytes::copy_from_slice(text.as_bytes());
            let uri = Uri::from_maybe_shared(read.clone()).unwrap();
            assert!(!read.is_unique() || text.len() == 1, "{text} is shared");
            assert_eq!(own_target(uri).to_string(), text);
            assert!(read.is_unique(), "{text} is still shared");
        }
    }

    #[test]
    fn a_head_has_one_host_and_one_length_that_are_true() {
        let own = "http://a.example/";
        for (uri, fields, wanted) in [
            (own, &[][..], Ok(())),
            (own, &[("host", "A.example")], Ok(())),
            ("/", &[("host", "a.example:80")], Ok(())),
            ("/", &[], Err(Fault::HostMissing)),
            (own, &[("host", "b.example")], Err(Fault::HostDiffers)),
            ("/", &[("host", "a b/@c")], Err(Fault::HostInvalid)),
            ("http://user@a/", &[], Err(Fault::HostInvalid)),
            ("/", &[("host", "a"), ("host", "a")], Err(Fault::HostTwice)),
            (own, &[("content-length", "0")], Ok(())),
            (own, &[("content-length", "5")], Err(Fault::LengthDiffers)),
            (own, &[("content-length", "00")], Ok(())),
            (own, &[("content-length", "")], Err(Fault::LengthInvalid)),
            (own, &[("content-length", "0x0")], Err(Fault::LengthInvalid)),
            (own, &[("content-length", "+0")], Err(Fault::LengthInvalid)),
            (own, &[("x", " a")], Err(Fault::FieldValue)),
            (own, &[("x", "a\t")], Err(Fault::FieldValue)),
            (own, &[("x", "")], Ok(())),
            (own, &[("expect", "100-Continue")], Ok(())),
            (own, &[("expect", "miracles")], Err(Fault::Expectation)),
            (
                own,
                &[("expect", "100-continue"), ("expect", "x")],
                Err(Fault::Expectation),
            ),
        ] {
            assert_eq!(found(uri, fields, true), wanted, "{uri} {fields:?}");
        }
    }

    #[test]
    fn a_head_has_a_bound() {
        for (length, wanted) in [(900, Ok(())), (1000, Err(Fault::HeadTooLarge))] {
            let value = "a".repeat(length);
            assert_eq!(
                found("http://a/", &[("x", &value)], true),
                wanted,
                "{length}"
            );
        }
    }

    #[test]
    fn trailers_tell_nothing_about_the_message() {
        for (name, wanted) in [
            ("x-sum", Ok(())),
            ("content-length", Err(Fault::Trailer)),
            ("host", Err(Fault::Trailer)),
            ("content-encoding", Err(Fault::Trailer)),
            ("trailer", Err(Fault::Trailer)),
        ] {
            let mut trailers = HeaderMap::new();
            trailers.insert(name, HeaderValue::from_static("0"));
            assert_eq!(check_trailers(&trailers), wanted, "{name}");
        }
    }

    #[test]
    fn a_length_before_a_body_is_told_once() {
        let one = ("content-length", "5");
        assert_eq!(found("http://a/", &[one], false), Ok(()));
        let twice = found("http://a/", &[one, one], false);
        assert_eq!(twice, Err(Fault::LengthTwice));
        let zeros = [("content-length", "0"); 2];
        assert_eq!(found("http://a/", &zeros, true), Err(Fault::LengthTwice));
    }
}
