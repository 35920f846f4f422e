//! The request that is asked about, as an operator writes it.

use actix_web::http::uri::Scheme;
use actix_web::http::{Method, Uri};

/// A request that is only asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AskedRequest {
    /// The method.
    pub(crate) method: Method,
    /// The host with its port, if the whole URL was written.
    pub(crate) authority: Option<String>,
    /// Whether it begins with `https://`; `None` if the URL was not written as a whole.
    pub(crate) over_tls: Option<bool>,
    /// The path as a client sends it.
    pub(crate) path: String,
    /// The query, without its `?`.
    pub(crate) query: String,
}

/// The error of a request that can't be asked about.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AskedError {
    #[error("{0:?} is not a method; write one such as GET")]
    Method(String),
    #[error(
        "{0:?} is not a URL; write a path as a client sends it, such as /a%20b?x=1, or http://HOST/PATH"
    )]
    Url(String),
}

impl AskedRequest {
    /// Reads a method as it is sent, and a path or a whole URL. What follows a `#` is not sent.
    pub(crate) fn parse(method: &str, url: &str) -> Result<Self, AskedError> {
        let sent = Method::from_bytes(method.as_bytes());
        let method = sent.map_err(|_| AskedError::Method(method.to_owned()))?;
        let sent = url.split('#').next().unwrap_or_default();
        let uri = sent.parse::<Uri>().ok();
        let uri = uri.filter(|uri| uri.path().starts_with('/'));
        let uri = uri.ok_or_else(|| AskedError::Url(url.to_owned()))?;
        Ok(Self {
            method,
            authority: uri.authority().map(ToString::to_string),
            over_tls: uri.scheme().map(|scheme| *scheme == Scheme::HTTPS),
            path: uri.path().to_owned(),
            query: uri.query().unwrap_or_default().to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_or_a_whole_url_is_read() {
        for (url, authority, path, query) in [
            ("/", None, "/", ""),
            ("/a%20b/?x=1&y#z", None, "/a%20b/", "x=1&y"),
            ("http://localhost:3000", Some("localhost:3000"), "/", ""),
            ("http://[::1]/a//b", Some("[::1]"), "/a//b", ""),
        ] {
            let asked = AskedRequest::parse("GET", url).unwrap();
            assert_eq!(asked.method, Method::GET);
            assert_eq!(asked.authority.as_deref(), authority, "{url}");
            assert_eq!((asked.path.as_str(), asked.query.as_str()), (path, query));
        }
        for url in ["", "books", "*", "/a b", "http://"] {
            let wrong = Err(AskedError::Url(url.to_owned()));
            assert_eq!(AskedRequest::parse("GET", url), wrong);
        }
        assert!(AskedRequest::parse("A B", "/").is_err());
        for (url, over_tls) in [
            ("/", None),
            ("http://a/", Some(false)),
            ("https://a", Some(true)),
        ] {
            assert_eq!(AskedRequest::parse("GET", url).unwrap().over_tls, over_tls);
        }
        let small = AskedRequest::parse("get", "/").unwrap();
        assert_ne!(small.method, Method::GET, "methods have capital letters");
    }
}
