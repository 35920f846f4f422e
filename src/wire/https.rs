//! The rules of an edition for answers over TLS, and for those without it that send clients there.

use actix_web::HttpResponse;
use actix_web::body::BoxBody;
use actix_web::dev::RequestHead;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderValue};
use actix_web::http::uri::Authority;

use super::hosts::{host, is_forwarded_https};
use super::incoming::{Incoming, Response};
use super::problem::{Code, Problem};
use super::tls::Speaks;
use crate::settings::{Listen, TlsSettings};

/// The place of what an authority of certificates asks for, to see who has a name (RFC 8555 section 8.3). It asks without TLS.
const CHALLENGES: &str = "/.well-known/acme-challenge/";
/// The port that no address names.
const HTTPS_PORT: u16 = 443;

/// The rules of an edition about TLS.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct HttpsRules {
    /// The port to which clients without TLS are sent, if they are.
    redirect_port: Option<u16>,
    /// `Strict-Transport-Security` of answers over TLS.
    hsts: Option<HeaderValue>,
}

impl HttpsRules {
    /// Those of the settings.
    pub(crate) fn new(tls: &TlsSettings) -> Self {
        let listens = tls.listen.iter().find_map(|listen| match listen {
            Listen::Tcp(at) => Some(at.port()).filter(|port| *port != 0),
            Listen::Unix(_) | Listen::Inherited(_) => None,
        });
        let port = tls.redirect_port.or(listens).unwrap_or(HTTPS_PORT);
        let hsts = tls.hsts.as_ref();
        Self {
            redirect_port: tls.redirect_http.then_some(port),
            hsts: hsts.and_then(|hsts| HeaderValue::from_str(hsts).ok()),
        }
    }

    /// The answer that sends a client to TLS, if its request came without. A proxy that speaks TLS for its client says so.
    pub(super) fn elsewhere(&self, request: &Incoming) -> Option<Response> {
        let port = self.redirect_port?;
        let link = &request.link;
        let clear = link.speaks == Speaks::Http && link.on_net;
        if !clear || request.path().starts_with(CHALLENGES) || is_forwarded_https(request.head()) {
            return None;
        }
        let Some(location) = location(request.head(), port) else {
            let detail = "this address sends clients to https alone, and the request names no host";
            let problem = Problem::new(Code::MalformedRequest).detail(detail);
            return Some(problem.response(request));
        };
        let mut response =
            HttpResponse::with_body(StatusCode::PERMANENT_REDIRECT, BoxBody::new(()));
        response.headers_mut().insert(header::LOCATION, location);
        Some(response)
    }

    /// Adds what answers over TLS have.
    pub(super) fn add(&self, speaks: Speaks, response: &mut Response) {
        if let (Speaks::Https, Some(hsts)) = (speaks, &self.hsts) {
            let headers = response.headers_mut();
            // A route may say something else.
            if !headers.contains_key(header::STRICT_TRANSPORT_SECURITY) {
                headers.insert(header::STRICT_TRANSPORT_SECURITY, hsts.clone());
            }
        }
    }
}

/// The address of a request at https; `None` if it names no host.
fn location(head: &RequestHead, port: u16) -> Option<HeaderValue> {
    let own = head.uri.authority().map(Authority::as_str);
    let named = || head.headers.get(header::HOST)?.to_str().ok();
    let authority: Authority = own.or_else(named)?.parse().ok()?;
    let host = host(authority.as_str());
    let target = head.uri.path_and_query();
    let target = target.map_or("/", |target| target.as_str());
    // A target that is no path, as of OPTIONS *, leads to the server as a whole.
    let target = if target.starts_with('/') { target } else { "/" };
    let host = if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_owned()
    };
    let port = match port {
        HTTPS_PORT => String::new(),
        port => format!(":{port}"),
    };
    HeaderValue::try_from(format!("https://{host}{port}{target}")).ok()
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn the_address_at_https_has_the_same_host_and_path() {
        for (host, target, port, expected) in [
            (
                "example.org",
                "/a?b=%20",
                443,
                "https://example.org/a?b=%20",
            ),
            ("example.org:80", "/", 443, "https://example.org/"),
            ("example.org:80", "/a", 8443, "https://example.org:8443/a"),
            ("[::1]:80", "/a", 8443, "https://[::1]:8443/a"),
            ("example.org", "*", 443, "https://example.org/"),
            ("example.org", "//a", 443, "https://example.org//a"),
        ] {
            let request = TestRequest::with_uri(target).insert_header((header::HOST, host));
            let found = location(request.to_http_request().head(), port).unwrap();
            assert_eq!(found, expected);
        }
        for host in ["", "a b", "user@"] {
            let request = TestRequest::default().insert_header((header::HOST, host));
            assert_eq!(
                location(request.to_http_request().head(), 443),
                None,
                "{host}"
            );
        }
    }
}
