//! The address of a client behind proxies that are trusted (`server.trusted_proxies`). Pure.

use std::net::IpAddr;

use actix_web::http::header::{HeaderMap, HeaderName};

use crate::settings::{ForwardedHeader, ServerSettings, TrustedProxy};

/// The proxies that are trusted, and the header in which they name their clients.
#[derive(Debug, Default)]
pub(crate) struct ProxyRules {
    trusted: Vec<TrustedProxy>,
    header: ForwardedHeader,
    /// Whether their connections begin with a header of the PROXY protocol.
    protocol: bool,
}

impl ProxyRules {
    /// The rules of the settings.
    pub(crate) fn new(settings: &ServerSettings) -> Self {
        Self {
            trusted: settings.trusted_proxies.clone(),
            header: settings.forwarded,
            protocol: settings.proxy_protocol,
        }
    }

    /// Whether a connection from this address has to begin with a header of the PROXY protocol.
    pub(super) fn begins_with_header(&self, peer: Option<IpAddr>) -> bool {
        self.protocol && self.trusts(peer)
    }

    // Decision: The address of a client is read from the right.
    /// The address of a client that connected from `peer`; `None` if nobody who is trusted names another one. Each proxy adds the one
    /// that connected to it at the end of the list, so the list is read from there: up to the first address that is not trusted. What
    /// stands before that was written by whoever has that address.
    pub(super) fn client(&self, headers: &HeaderMap, peer: Option<IpAddr>) -> Option<IpAddr> {
        if self.trusted.is_empty() || !self.trusts(peer) {
            return None;
        }
        let mut client = None;
        for named in self.named(headers) {
            // The proxy that wrote it does not tell, or it is not the list of a proxy: the client is the last that is known.
            let Some(address) = named else { break };
            client = Some(address);
            if !self.trusts(client) {
                break;
            }
        }
        client
    }

    fn trusts(&self, address: Option<IpAddr>) -> bool {
        self.trusted.iter().any(|proxy| proxy.contains(address))
    }

    /// The addresses from the last one to the first; `None` where there is none.
    fn named<'h>(&self, headers: &'h HeaderMap) -> impl Iterator<Item = Option<IpAddr>> + 'h {
        let header = self.header;
        let name = HeaderName::from_static(match header {
            ForwardedHeader::XForwardedFor => "x-forwarded-for",
            ForwardedHeader::Forwarded => "forwarded",
        });
        let mut lines: Vec<_> = headers.get_all(name).collect();
        lines.reverse();
        lines.into_iter().flat_map(move |line| {
            // Bytes that a client has sent before the part of the proxy hide nothing.
            let text = String::from_utf8_lossy(line.as_bytes());
            match header {
                ForwardedHeader::XForwardedFor => text.rsplit(',').map(node).collect::<Vec<_>>(),
                ForwardedHeader::Forwarded => unquoted(&text, b',').map(element).collect(),
            }
        })
    }
}

/// The parts of a text between these characters, from the last one to the first. Characters within quotes separate nothing. They are
/// counted from the right, so that whoever wrote the left part can't hide the right one behind a quote.
fn unquoted(text: &str, separator: u8) -> impl Iterator<Item = &str> {
    let (bytes, mut quoted, mut end) = (text.as_bytes(), false, text.len());
    let mut parts = Vec::new();
    for (at, byte) in bytes.iter().enumerate().rev() {
        match byte {
            b'"' => quoted = !quoted,
            byte if *byte == separator && !quoted => {
                parts.extend(text.get(at + 1..end));
                end = at;
            }
            _ => {}
        }
    }
    parts.extend(text.get(..end));
    parts.into_iter()
}

/// The address in an element of `Forwarded` (RFC 7239 section 4): that of its parameter `for`.
fn element(text: &str) -> Option<IpAddr> {
    let mut pairs = unquoted(text, b';').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(name, _)| name.trim().eq_ignore_ascii_case("for"))?;
    node(value.trim().trim_matches('"'))
}

/// The address of a node, which may have a port (RFC 7239 section 6).
fn node(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let address = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?.0.parse().ok(),
        None => text.parse().ok().or_else(|| {
            let (address, _port) = text.split_once(':')?;
            address.parse().ok()
        }),
    };
    address.map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;

    use super::*;

    fn client(
        header: ForwardedHeader,
        trusted: &[&str],
        peer: Option<&str>,
        lines: &[(&str, &str)],
    ) -> Option<String> {
        let trusted = trusted.iter().map(|text| text.parse().unwrap()).collect();
        let rules = ProxyRules {
            trusted,
            header,
            protocol: false,
        };
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let found = rules.client(&headers, peer.map(|peer| peer.parse().unwrap()));
        found.map(|address| address.to_string())
    }

    #[test]
    fn the_client_is_the_last_one_that_nobody_vouches_for() {
        let (one, both) = (
            &["10.0.0.0/8"][..],
            &["10.0.0.0/8", "192.0.2.9", "unix"][..],
        );
        let peer = Some("10.0.0.1");
        for (trusted, peer, lines, expected) in [
            (&[][..], peer, &["203.0.113.7"][..], None),
            (one, Some("192.0.2.1"), &["203.0.113.7"], None),
            (one, None, &["203.0.113.7"], None),
            (one, peer, &[], None),
            (one, peer, &["203.0.113.7"], Some("203.0.113.7")),
            (
                one,
                Some("::ffff:10.0.0.1"),
                &["203.0.113.7"],
                Some("203.0.113.7"),
            ),
            // A client that lies is found all the same.
            (one, peer, &["127.0.0.1, 203.0.113.7"], Some("203.0.113.7")),
            (one, peer, &["10.1.1.1, 203.0.113.7"], Some("203.0.113.7")),
            (
                one,
                peer,
                &["127.0.0.1", "203.0.113.7"],
                Some("203.0.113.7"),
            ),
            (
                one,
                peer,
                &["1.1.1.1, 203.0.113.7, 10.2.2.2"],
                Some("203.0.113.7"),
            ),
            (
                one,
                peer,
                &["1.1.1.1, 203.0.113.7, 192.0.2.9"],
                Some("192.0.2.9"),
            ),
            (
                both,
                peer,
                &["1.1.1.1, 203.0.113.7, 192.0.2.9"],
                Some("203.0.113.7"),
            ),
            (both, None, &["203.0.113.7"], Some("203.0.113.7")),
            (one, peer, &["10.3.3.3, 10.2.2.2"], Some("10.3.3.3")),
            (one, peer, &["unknown, 10.2.2.2"], Some("10.2.2.2")),
            (one, peer, &["203.0.113.7, unknown"], None),
            // A quote of the client hides nothing that the proxy has added.
            (one, peer, &["\"1.1.1.1, 203.0.113.7"], Some("203.0.113.7")),
            (one, peer, &["\"", "203.0.113.7"], Some("203.0.113.7")),
            (one, peer, &["\u{e9}", "203.0.113.7"], Some("203.0.113.7")),
            (one, peer, &["203.0.113.7", "\u{e9}"], None),
            (one, peer, &["\u{e9}, 203.0.113.7"], Some("203.0.113.7")),
            (one, peer, &[""], None),
            (one, peer, &["203.0.113.7,"], None),
            (one, peer, &["203.0.113.7:4711"], Some("203.0.113.7")),
            (one, peer, &["[2001:db8::7]:4711"], Some("2001:db8::7")),
            (one, peer, &["2001:db8::7"], Some("2001:db8::7")),
            (one, peer, &["::ffff:203.0.113.7"], Some("203.0.113.7")),
        ] {
            let lines: Vec<_> = lines
                .iter()
                .map(|line| ("x-forwarded-for", *line))
                .collect();
            let found = client(ForwardedHeader::XForwardedFor, trusted, peer, &lines);
            assert_eq!(found.as_deref(), expected, "{lines:?} from {peer:?}");
        }
    }

    #[test]
    fn only_the_header_of_the_settings_is_read() {
        let (x, other) = (
            ("x-forwarded-for", "203.0.113.7"),
            ("forwarded", "for=203.0.113.8"),
        );
        for (header, expected) in [
            (ForwardedHeader::XForwardedFor, "203.0.113.7"),
            (ForwardedHeader::Forwarded, "203.0.113.8"),
        ] {
            let found = client(header, &["10.0.0.1"], Some("10.0.0.1"), &[x, other]);
            assert_eq!(found.as_deref(), Some(expected));
        }
    }

    #[test]
    fn an_element_of_forwarded_names_its_client() {
        for (text, expected) in [
            ("for=203.0.113.7", Some("203.0.113.7")),
            (
                "proto=https;For=203.0.113.7;by=10.0.0.1",
                Some("203.0.113.7"),
            ),
            (
                "for=1.1.1.1, for=203.0.113.7;proto=http",
                Some("203.0.113.7"),
            ),
            ("For=\"[2001:db8::7]:4711\"", Some("2001:db8::7")),
            ("for=\"203.0.113.7:80\"", Some("203.0.113.7")),
            ("for=1.1.1.1, host=\"a, for=2.2.2.2\"", None),
            ("for=\"1.1.1.1, for=203.0.113.7", Some("203.0.113.7")),
            ("for=\"x, for=\"[2001:db8::7]\"", Some("2001:db8::7")),
            ("host=\"a,b;c\";for=203.0.113.7", Some("203.0.113.7")),
            ("for=unknown", None),
            ("for=_hidden", None),
            ("for", None),
            ("", None),
        ] {
            let found = client(
                ForwardedHeader::Forwarded,
                &["10.0.0.1"],
                Some("10.0.0.1"),
                &[("forwarded", text)],
            );
            assert_eq!(found.as_deref(), expected, "{text}");
        }
    }
}
