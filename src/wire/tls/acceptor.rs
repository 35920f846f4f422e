//! The certificates in force and the rules of handshakes, as all threads share them.

// Decision: Sessions are resumed by tickets alone.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use rustls::crypto::ring::{self, Ticketer};
use rustls::server::{ClientHello, NoServerSessionStorage, ProducesTickets, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{Error, ServerConfig};

use super::failure::HandshakeCounters;
use crate::certificates::Pairs;
use crate::settings::{TlsSettings, TlsVersion};
use crate::telemetry::Rows;

/// The protocols of a session, in the order of preference.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// The rules of handshakes that begin now.
#[derive(Debug)]
pub(super) struct TlsRules {
    /// The part for the library: versions, protocols, certificates, and the keys of tickets.
    pub(super) config: Arc<ServerConfig>,
    /// The longest time from the beginning of a connection to the end of its handshake.
    pub(super) timeout: Duration,
}

/// Accepts TLS on all listeners that speak it. Sessions keep the rules with which they have begun.
#[derive(Debug, Default)]
pub(crate) struct TlsAcceptor {
    rules: ArcSwapOption<TlsRules>,
    /// Makes the tickets by which clients resume sessions. It changes its keys every six hours, and nothing else does, so that a
    /// session can be resumed after a reload.
    tickets: OnceLock<Arc<dyn ProducesTickets>>,
    pub(super) counters: HandshakeCounters,
}

/// Chooses the certificate by the name that a client asks for.
#[derive(Debug)]
struct ByHost(Pairs);

impl ResolvesServerCert for ByHost {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let (_, pair) = self.0.of_host(hello.server_name())?;
        Some(Arc::clone(&pair.certified))
    }
}

impl TlsAcceptor {
    /// Puts these settings in force for handshakes that begin from now on. Without a certificate, none succeeds.
    pub(crate) fn follow(&self, settings: &TlsSettings) -> Result<(), Error> {
        let versions: &[_] = match settings.min_version {
            TlsVersion::Tls12 => &[&TLS13, &TLS12],
            TlsVersion::Tls13 => &[&TLS13],
        };
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(versions)?
            .with_no_client_auth();
        let mut config = config.with_cert_resolver(Arc::new(ByHost(settings.pairs.clone())));
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).into();
        // Sessions are in their tickets, so that the server holds nothing of them.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = self.tickets()?;
        let rules = TlsRules {
            config: Arc::new(config),
            timeout: settings.handshake_timeout,
        };
        self.rules.store(Some(Arc::new(rules)));
        Ok(())
    }

    fn tickets(&self) -> Result<Arc<dyn ProducesTickets>, Error> {
        if let Some(tickets) = self.tickets.get() {
            return Ok(Arc::clone(tickets));
        }
        let new = Ticketer::new()?;
        Ok(Arc::clone(self.tickets.get_or_init(|| new)))
    }

    pub(super) fn rules(&self) -> Option<Arc<TlsRules>> {
        self.rules.load_full()
    }

    /// Writes its counters, for a scrape.
    pub(crate) fn write(&self, rows: &mut Rows<'_>) {
        self.counters.write(rows);
    }
}
