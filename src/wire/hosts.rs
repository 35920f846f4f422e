//! Checks the host name of a request, and whether a page of another site sent it.
//!
//! Any page in a browser can send requests to a server on the same machine. Two checks stop it: on a loopback
//! listener the `Host` must be a name of this machine (else a page could give its own name our address, "DNS rebinding"),
//! and a request that may change something must not come from another site.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use actix_web::dev::RequestHead;
use actix_web::http::header;
use actix_web::http::uri::Authority;

use super::incoming::Incoming;
use super::problem::{Code, Problem};
use super::tls::Speaks;
use crate::settings::{RoutePlace, Settings, UnknownHosts};

/// The client of a connection, and the kind of listener that accepted it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Peer {
    /// The client's address; a unix socket has none.
    pub address: Option<SocketAddr>,
    /// Whether the listener has a loopback address, so that only programs of this machine reach it.
    pub loopback: bool,
    /// The protocol of the listener.
    pub speaks: Speaks,
    /// The address of the client that a proxy has named before anything else.
    pub named: Option<IpAddr>,
}

/// The names of this server.
#[derive(Debug, Default)]
pub(crate) struct Hosts {
    /// The machine's own name.
    machine: String,
    /// `server.hosts`, and the hosts of routes.
    configured: Vec<String>,
    /// `server.unknown_hosts`.
    unknown: UnknownHosts,
}

impl Hosts {
    /// The machine's name and those of the settings.
    pub(crate) fn new(settings: &Settings) -> Self {
        let uname = rustix::system::uname();
        let routes = settings.routes.keys();
        let of_routes = routes.filter_map(|key| RoutePlace::of(key).host);
        let of_routes: BTreeSet<_> = of_routes.map(str::to_owned).collect();
        let configured = settings.server.hosts.iter().cloned();
        Self {
            machine: uname.nodename().to_string_lossy().into_owned(),
            configured: configured.chain(of_routes).collect(),
            unknown: settings.server.unknown_hosts,
        }
    }

    /// Refuses a request for a host that is neither this machine nor in `server.hosts`. A request without a host is served:
    /// browsers always send one.
    pub(super) fn check(&self, head: &RequestHead) -> Result<(), Problem> {
        authority(head).map_or(Ok(()), |authority| self.known(authority))
    }

    /// Whether a request is refused if its host is not known, by a listener of this kind.
    pub(crate) fn must_be_known(&self, on_loopback: bool) -> bool {
        on_loopback || self.unknown == UnknownHosts::Refuse
    }

    /// The same names, for a listener that answers whatever the host is.
    pub(crate) fn serving_unknown(self) -> Self {
        let unknown = UnknownHosts::Serve;
        Self { unknown, ..self }
    }

    /// Refuses an authority, such as `example.org:80`, whose host is neither this machine nor in `server.hosts`.
    pub(crate) fn known(&self, authority: &str) -> Result<(), Problem> {
        let host = host(authority);
        if self.is_local(host) || self.is_configured(host) {
            return Ok(());
        }
        let detail = format!(
            "{host:?} is not a name of this machine; if clients may use it, add it to server.hosts"
        );
        Err(Problem::new(Code::Misdirected).detail(detail))
    }

    // Decision: Links begin with the scheme that a proxy names.
    /// The beginning of the address that the client used, such as `http://example.org:80`, if the request named a host that is
    /// this machine or in `server.hosts`. A proxy that speaks TLS for us says so in `X-Forwarded-Proto`.
    pub(crate) fn base(&self, request: &Incoming) -> Option<String> {
        self.base_of(request.head(), request.link.speaks)
    }

    fn base_of(&self, head: &RequestHead, speaks: Speaks) -> Option<String> {
        let own = head.uri.authority().map(Authority::as_str);
        let named = || head.headers.get(header::HOST)?.to_str().ok();
        let authority: Authority = own.or_else(named)?.parse().ok()?;
        self.known(authority.as_str()).ok()?;
        let speaks = if is_forwarded_https(head) {
            Speaks::Https
        } else {
            speaks
        };
        Some(format!("{}://{authority}", speaks.scheme()))
    }

    /// Whether a page of another site sent the request, as far as its browser tells. Clients that are no browsers tell
    /// nothing. A field that occurs twice, or that has an unknown value, is taken for that of another site.
    pub(super) fn is_cross_site(&self, head: &RequestHead, loopback: bool) -> bool {
        let text = |name: &str| {
            let mut values = head.headers.get_all(name);
            let value = values.next()?.to_str().ok();
            Some(value.filter(|_| values.next().is_none()).unwrap_or("?"))
        };
        match text("sec-fetch-site") {
            Some("same-origin" | "none") => false,
            Some("same-site") | None => text("origin").is_some_and(|origin| {
                let own = head.uri.authority().map(Authority::as_str);
                !self.is_own(origin, own.or(text("host")), loopback)
            }),
            Some(_) => true,
        }
    }

    /// Whether pages of this origin, such as `http://localhost:5173`, come from a server of this machine.
    pub(crate) fn is_local_origin(&self, origin: &str) -> bool {
        let authority = ["http://", "https://"].iter();
        let mut authority = authority.filter_map(|scheme| origin.strip_prefix(scheme));
        authority.any(|authority| self.is_local(host(authority)))
    }

    /// Whether a page of this origin is served here. The scheme is not compared: a proxy may speak TLS for us.
    fn is_own(&self, origin: &str, own: Option<&str>, loopback: bool) -> bool {
        let Some((_, authority)) = origin.split_once("://") else {
            return false;
        };
        let (host, port) = (host(authority), port(authority));
        let same_port = || own.is_some_and(|own| self::port(own) == port);
        own.is_some_and(|own| own.eq_ignore_ascii_case(authority))
            || self.is_configured(host)
            || loopback && self.is_local(host) && same_port()
    }

    fn is_local(&self, host: &str) -> bool {
        let name = host.strip_suffix('.').unwrap_or(host);
        let domain = name.rsplit('.').next().unwrap_or_default();
        let address: Option<IpAddr> = host.parse().ok();
        address.is_some_and(|address| address.to_canonical().is_loopback())
            || domain.eq_ignore_ascii_case("localhost")
            || !name.is_empty() && name.eq_ignore_ascii_case(&self.machine)
    }

    fn is_configured(&self, host: &str) -> bool {
        let name = host.strip_suffix('.').unwrap_or(host);
        let mut configured = self.configured.iter();
        configured.any(|known| self::host(known).eq_ignore_ascii_case(name))
    }
}

/// The authority that a request is for, such as `example.org:80`. That of an absolute target counts alone (RFC 9112 section 3.2.2).
pub(super) fn authority(head: &RequestHead) -> Option<&str> {
    let named = head.headers.get(header::HOST);
    let named = named.map(|value| value.to_str().unwrap_or("?"));
    head.uri.authority().map(Authority::as_str).or(named)
}

/// Whether a proxy says that its client speaks TLS.
pub(super) fn is_forwarded_https(head: &RequestHead) -> bool {
    let forwarded = head.headers.get("x-forwarded-proto");
    let forwarded = forwarded.and_then(|value| value.to_str().ok()?.split(',').next());
    forwarded.is_some_and(|scheme| scheme.trim().eq_ignore_ascii_case("https"))
}

/// The host of an authority such as `example.org:80` or `[::1]:80`, without brackets.
pub(crate) fn host(authority: &str) -> &str {
    match authority.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map_or(authority, |(host, _)| host),
        None => authority
            .split_once(':')
            .map_or(authority, |(host, _)| host),
    }
}

fn port(authority: &str) -> Option<&str> {
    let (_, port) = authority.rsplit_once(':')?;
    (!port.contains(']')).then_some(port)
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    fn hosts() -> Hosts {
        Hosts {
            machine: "garden".to_owned(),
            configured: vec!["example.org".to_owned(), "[fe80::1]".to_owned()],
            unknown: UnknownHosts::Serve,
        }
    }

    #[test]
    fn only_names_of_this_machine_and_configured_ones_are_answered() {
        for (host, known) in [
            ("localhost", true),
            ("LocalHost:3000", true),
            ("app.localhost:3000", true),
            ("localhost.", true),
            ("127.0.0.1:3000", true),
            ("127.8.9.1", true),
            ("[::1]:3000", true),
            ("[::1]", true),
            ("[::ffff:127.0.0.1]", true),
            ("garden", true),
            ("Garden:80", true),
            ("example.org", true),
            ("EXAMPLE.org:3000", true),
            ("[fe80::1]:80", true),
            ("evil.example", false),
            ("evil.example:3000", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("notlocalhost", false),
            ("10.0.0.1", false),
            ("0.0.0.0", false),
            ("[::2]", false),
            ("sub.example.org", false),
            ("", false),
            (".", false),
        ] {
            let request = TestRequest::default().insert_header((header::HOST, host));
            let answered = hosts().check(request.to_http_request().head());
            assert_eq!(answered.is_ok(), known, "{host}");
        }
        assert!(
            hosts()
                .check(TestRequest::default().to_http_request().head())
                .is_ok()
        );
        let absolute = TestRequest::with_uri("http://evil.example/");
        let absolute = absolute.insert_header((header::HOST, "localhost"));
        assert!(hosts().check(absolute.to_http_request().head()).is_err());
        let absolute = TestRequest::with_uri("http://localhost/");
        let absolute = absolute.insert_header((header::HOST, "evil.example"));
        assert!(hosts().check(absolute.to_http_request().head()).is_ok());
    }

    #[test]
    fn a_host_must_be_known_on_loopback_or_everywhere() {
        let lenient = hosts();
        assert!(lenient.must_be_known(true) && !lenient.must_be_known(false));
        let strict = Hosts {
            unknown: UnknownHosts::Refuse,
            ..hosts()
        };
        assert!(strict.must_be_known(true) && strict.must_be_known(false));
        assert!(!strict.serving_unknown().must_be_known(false));
        let mut settings = Settings::default();
        let route = settings.routes["/"].clone();
        settings
            .routes
            .insert("shop.example.org/".to_owned(), route);
        assert!(Hosts::new(&settings).known("shop.example.org:80").is_ok());
        assert!(Hosts::new(&settings).known("example.org").is_err());
    }

    #[test]
    fn links_begin_with_the_host_that_the_request_named_if_it_is_ours() {
        for (host, forwarded, base) in [
            ("localhost:3000", None, Some("http://localhost:3000")),
            ("example.org", Some("https"), Some("https://example.org")),
            (
                "example.org:80",
                Some("HTTPS, http"),
                Some("https://example.org:80"),
            ),
            ("example.org", Some("gopher"), Some("http://example.org")),
            ("evil.example", None, None),
            ("", None, None),
            ("localhost>; rel=x", None, None),
        ] {
            let request = TestRequest::default().insert_header((header::HOST, host));
            let request = match forwarded {
                Some(scheme) => request.insert_header(("x-forwarded-proto", scheme)),
                None => request,
            };
            let request = request.to_http_request();
            let found = hosts().base_of(request.head(), Speaks::Http);
            assert_eq!(found.as_deref(), base, "{host}");
            let over_tls = hosts().base_of(request.head(), Speaks::Https);
            let base = base.map(|base| base.replace("http:", "https:"));
            assert_eq!(over_tls, base, "{host}");
        }
    }

    #[test]
    fn a_request_is_cross_site_if_its_browser_says_so() {
        let (fetch, origin) = ("sec-fetch-site", "origin");
        for (headers, host, cross) in [
            (&[][..], "localhost:3000", false),
            (&[(fetch, "cross-site")], "localhost:3000", true),
            (&[(fetch, "same-origin")], "localhost:3000", false),
            (&[(fetch, "none")], "localhost:3000", false),
            (
                &[(origin, "http://localhost:3000")],
                "localhost:3000",
                false,
            ),
            (
                &[(origin, "http://127.0.0.1:3000")],
                "localhost:3000",
                false,
            ),
            (&[(origin, "http://localhost:5173")], "localhost:3000", true),
            (&[(origin, "https://evil.example")], "localhost:3000", true),
            (&[(origin, "null")], "localhost:3000", true),
            (&[(origin, "https://example.org")], "127.0.0.1:3000", false),
            (&[(origin, "https://site.example")], "site.example", false),
            (
                &[(origin, "https://site.example:8443")],
                "site.example",
                true,
            ),
            (
                &[(fetch, "same-site"), (origin, "http://a.site.example")],
                "site.example",
                true,
            ),
            (
                &[(fetch, "same-origin"), (origin, "https://site.example")],
                "127.0.0.1:3000",
                false,
            ),
        ] {
            let mut request = TestRequest::default().insert_header((header::HOST, host));
            for header in headers {
                request = request.insert_header(*header);
            }
            let found = hosts().is_cross_site(request.to_http_request().head(), true);
            assert_eq!(found, cross, "{headers:?} at {host}");
        }
    }
}
