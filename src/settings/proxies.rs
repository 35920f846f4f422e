//! `server.trusted_proxies` and `server.forwarded`: the proxies that name their clients.

use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

/// An item of `server.trusted_proxies`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(try_from = "String")]
pub enum TrustedProxy {
    /// Whoever connects by a unix socket.
    Unix,
    /// The addresses of a network, which may be one alone.
    Network(IpNet),
}

/// The header in which a proxy names its client.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ForwardedHeader {
    /// `X-Forwarded-For`.
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// The error of a text that names no proxies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "is not an address or a network; write one such as \"10.0.0.0/8\", \"2001:db8::1\" or \"unix\""
)]
pub struct NotProxies;

impl TrustedProxy {
    /// Whether a client with this address is one of them; one of a unix socket has none.
    pub fn contains(self, address: Option<IpAddr>) -> bool {
        match (self, address) {
            (Self::Unix, None) => true,
            (Self::Network(network), Some(address)) => network.contains(&address.to_canonical()),
            (Self::Unix, Some(_)) | (Self::Network(_), None) => false,
        }
    }
}

impl FromStr for TrustedProxy {
    type Err = NotProxies;

    fn from_str(text: &str) -> Result<Self, NotProxies> {
        if text == "unix" {
            return Ok(Self::Unix);
        }
        let network = text.parse::<IpNet>().ok();
        let address = || text.parse::<IpAddr>().ok().map(IpNet::from);
        network
            .or_else(address)
            .map(Self::Network)
            .ok_or(NotProxies)
    }
}

impl TryFrom<String> for TrustedProxy {
    type Error = NotProxies;

    fn try_from(text: String) -> Result<Self, NotProxies> {
        text.parse()
    }
}
