//! The kinds of failed handshakes. Anybody on the net can cause them, so they are counted, and told in the log once in a while.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rustls::{AlertDescription, Error, PeerIncompatible};
use tokio::time::Instant;

use crate::telemetry::Rows;

/// The time between two lines of the log about failed handshakes.
const TELL_PAUSE: Duration = Duration::from_secs(60);

/// Defines [`HandshakeFailure`] with the name in metrics and the text of each kind.
macro_rules! failures {
    ($($name:ident = $label:literal, $text:literal;)+) => {
        /// The reason why a handshake failed.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
        pub(super) enum HandshakeFailure {
            $(#[error($text)] $name),+
        }

        impl HandshakeFailure {
            const ALL: &[Self] = &[$(Self::$name),+];

            fn label(self) -> &'static str {
                match self {
                    $(Self::$name => $label),+
                }
            }
        }
    };
}

failures! {
    Late = "timeout", "it took longer than tls.handshake_timeout";
    Left = "left", "the client closed the connection";
    GaveWay = "too_many", "it was the oldest of too many at a time";
    ClearText = "clear_text", "the client spoke HTTP without TLS";
    NotTls = "not_tls", "what the client sent is not TLS";
    TooLarge = "too_large", "a message of the client is too large";
    Version = "version", "the client offers no version of TLS that tls.min_version allows";
    Protocol = "protocol", "the client offers neither HTTP/2 nor HTTP/1.1";
    Incompatible = "incompatible", "the client offers no cipher suite, group or signature that this server has";
    Certificate = "client_certificate", "the client has no certificate that tls.client_ca accepts";
    Alert = "refused_by_client", "the client refused it, mostly because it does not trust the certificate";
    Broken = "protocol_error", "the client breaks a rule of TLS";
    Stopped = "stopped", "the daemon stops";
    Unready = "no_certificate", "this server has no certificate in force";
}

impl HandshakeFailure {
    /// The kind of an error of the library.
    pub(super) fn of(error: &Error) -> Self {
        let kinds: [(bool, Self); 7] = [
            (is_of_version(error), Self::Version),
            (
                matches!(error, Error::PeerIncompatible(_)),
                Self::Incompatible,
            ),
            (
                matches!(error, Error::NoApplicationProtocol),
                Self::Protocol,
            ),
            (is_of_certificate(error), Self::Certificate),
            (
                matches!(error, Error::AlertReceived(AlertDescription::CloseNotify)),
                Self::Left,
            ),
            (matches!(error, Error::AlertReceived(_)), Self::Alert),
            (matches!(error, Error::InvalidMessage(_)), Self::NotTls),
        ];
        let mut kinds = kinds.into_iter();
        kinds
            .find(|(is, _)| *is)
            .map_or(Self::Broken, |(_, kind)| kind)
    }
}

fn is_of_version(error: &Error) -> bool {
    matches!(
        error,
        Error::PeerIncompatible(
            PeerIncompatible::Tls12NotOffered
                | PeerIncompatible::Tls12NotOfferedOrEnabled
                | PeerIncompatible::SupportedVersionsExtensionRequired
        )
    )
}

fn is_of_certificate(error: &Error) -> bool {
    matches!(
        error,
        Error::InvalidCertificate(_) | Error::NoCertificatesPresented
    )
}

/// Counts failed handshakes by their kinds, and complete ones.
#[derive(Debug)]
pub(super) struct HandshakeCounters {
    failed: [AtomicU64; HandshakeFailure::ALL.len()],
    full: AtomicU64,
    resumed: AtomicU64,
    /// The time when the log was told of one, and the number of those since.
    told: Mutex<(Option<Instant>, u64)>,
}

impl Default for HandshakeCounters {
    fn default() -> Self {
        Self {
            failed: std::array::from_fn(|_| AtomicU64::new(0)),
            full: AtomicU64::new(0),
            resumed: AtomicU64::new(0),
            told: Mutex::default(),
        }
    }
}

impl HandshakeCounters {
    pub(super) fn completed(&self, resumed: bool) {
        let counter = if resumed { &self.resumed } else { &self.full };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts one. Returns how many there were since the last that was told, if it is time to tell one again.
    pub(super) fn failed(&self, failure: HandshakeFailure, now: Instant) -> Option<u64> {
        let mut all = HandshakeFailure::ALL.iter().zip(&self.failed);
        if let Some((_, counter)) = all.find(|(kind, _)| **kind == failure) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        let (told, since) = &mut *self.told.lock();
        *since += 1;
        if told.is_some_and(|told| now < told + TELL_PAUSE) {
            return None;
        }
        *told = Some(now);
        Some(std::mem::take(since))
    }

    /// The number of those that failed for this reason.
    #[cfg(test)]
    pub(super) fn of(&self, failure: HandshakeFailure) -> u64 {
        let mut all = HandshakeFailure::ALL.iter().zip(&self.failed);
        let found = all.find(|(kind, _)| **kind == failure);
        found.map_or(0, |(_, counter)| counter.load(Ordering::Relaxed))
    }

    /// Writes all of them, for a scrape.
    pub(super) fn write(&self, rows: &mut Rows<'_>) {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let failed = HandshakeFailure::ALL.iter().zip(&self.failed);
        rows.counters(
            "perennial_tls_handshakes_failed",
            "TLS handshakes that failed, by the reason",
            failed.map(|(kind, counter)| ([("reason", kind.label())], read(counter))),
        );
        rows.counters(
            "perennial_tls_handshakes",
            "TLS handshakes that were completed: full ones, and those that resumed a session",
            [("full", &self.full), ("resumed", &self.resumed)]
                .map(|(kind, counter)| ([("kind", kind)], read(counter))),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scan_of_the_net_is_one_line_a_minute() {
        let counters = HandshakeCounters::default();
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        assert_eq!(counters.failed(HandshakeFailure::NotTls, at(0)), Some(1));
        for second in 0..60 {
            assert_eq!(counters.failed(HandshakeFailure::Left, at(second)), None);
        }
        assert_eq!(counters.failed(HandshakeFailure::Late, at(60)), Some(61));
        assert_eq!(counters.failed(HandshakeFailure::Late, at(61)), None);
    }
}
