//! Certificates with their keys, as files in PEM have them: whether the two fit, until when they are valid, and which one a host
//! gets. Pure.

mod validity;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};

use validity::Validity;

/// A certificate that ends sooner is worth a look.
pub(crate) const SOON: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// A fault of a pair of files.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PairFault {
    #[error(transparent)]
    Certificate(#[from] CertificateFault),
    #[error(transparent)]
    Key(#[from] PrivateKeyFault),
}

impl PairFault {
    /// Whether it is one of the file with the key.
    pub(crate) fn is_of_key(&self) -> bool {
        matches!(self, Self::Key(_))
    }
}

/// A fault of a file with a certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CertificateFault {
    #[error("has no certificate; it must have one that begins with -----BEGIN CERTIFICATE-----")]
    None,
    #[error("is not PEM; write the file again")]
    NoPem,
    #[error("has a certificate that can't be read: {0}")]
    Unreadable(String),
}

/// A fault of a file with a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PrivateKeyFault {
    #[error("has no private key; it must have one that begins with -----BEGIN PRIVATE KEY-----")]
    None,
    #[error(
        "has a key with a passphrase, which nobody could enter; write it without one: openssl pkey -in KEY -out NEW"
    )]
    Encrypted,
    #[error("is not PEM; write the file again")]
    NoPem,
    #[error(
        "has a key of a kind that is not known; write one of RSA (2048 bits or more), ECDSA (P-256 or P-384) or Ed25519"
    )]
    Unknown,
    #[error("is not the key of the certificate; name the file that was made with it")]
    Other,
}

/// A certificate with its key.
#[derive(Debug, Clone)]
pub(crate) struct Pair {
    pub(crate) certified: Arc<CertifiedKey>,
    /// The host names in it, in lower case; one may begin with `*.`.
    pub(crate) names: Vec<String>,
    validity: Validity,
}

/// The key of a certificate is the only one that fits, so that it need not be compared.
impl PartialEq for Pair {
    fn eq(&self, other: &Self) -> bool {
        self.certified.cert == other.certified.cert
    }
}

impl Pair {
    /// Reads the content of two files: a certificate with those that vouch for it behind it, and its key.
    pub(crate) fn read(certificate: &[u8], key: &[u8]) -> Result<Self, PairFault> {
        let chain = CertificateDer::pem_slice_iter(certificate);
        let chain: Vec<_> = chain
            .collect::<Result<_, _>>()
            .map_err(|_| CertificateFault::NoPem)?;
        let first = chain.first().ok_or(CertificateFault::None)?;
        let read = webpki::EndEntityCert::try_from(first);
        let read = read.map_err(|error| CertificateFault::Unreadable(error.to_string()))?;
        let names = read
            .valid_dns_names()
            .map(str::to_ascii_lowercase)
            .collect();
        let validity = Validity::read(first);
        let validity = validity
            .ok_or_else(|| CertificateFault::Unreadable("its times are wrong".to_owned()))?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| {
            if !matches!(error, pem::Error::NoItemsFound) {
                PrivateKeyFault::NoPem
            } else if is_encrypted(key) {
                PrivateKeyFault::Encrypted
            } else {
                PrivateKeyFault::None
            }
        })?;
        let certified = CertifiedKey::from_der(chain, key, &ring::default_provider());
        let certified = certified.map_err(|error| {
            let mismatch = Error::InconsistentKeys(InconsistentKeys::KeyMismatch);
            if error == mismatch {
                PrivateKeyFault::Other
            } else {
                PrivateKeyFault::Unknown
            }
        })?;
        Ok(Self {
            certified: Arc::new(certified),
            names,
            validity,
        })
    }

    /// The time of its end.
    pub(crate) fn not_after(&self) -> SystemTime {
        self.validity.not_after
    }

    /// Its state at this moment.
    pub(crate) fn state(&self, now: SystemTime) -> PairState {
        match self.validity {
            Validity { not_after, .. } if not_after < now => PairState::Expired,
            Validity { not_before, .. } if now < not_before => PairState::NotYet,
            Validity { not_after, .. } if not_after < now + SOON => PairState::EndsSoon,
            Validity { .. } => PairState::Valid,
        }
    }

    /// Its time, for people.
    pub(crate) fn until(&self) -> String {
        humantime::format_rfc3339_seconds(self.not_after()).to_string()
    }
}

/// The state of a certificate at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PairState {
    Valid,
    EndsSoon,
    Expired,
    NotYet,
}

fn is_encrypted(key: &[u8]) -> bool {
    memchr::memmem::find(key, b"ENCRYPTED PRIVATE KEY").is_some()
}

/// All pairs of a daemon, by the names that the operator gave them. The first one is for clients that name no host, or one that
/// no certificate has.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Pairs {
    all: Vec<(String, Pair)>,
    /// The numbers of those that have a name.
    by_name: BTreeMap<String, usize>,
}

impl Pairs {
    /// The first one of those that have the same name counts.
    pub(crate) fn new(all: Vec<(String, Pair)>) -> Self {
        let mut by_name = BTreeMap::new();
        for (number, (_, pair)) in all.iter().enumerate() {
            for name in &pair.names {
                by_name.entry(name.clone()).or_insert(number);
            }
        }
        Self { all, by_name }
    }

    /// All of them with their names.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&str, &Pair)> {
        self.all.iter().map(|(name, pair)| (name.as_str(), pair))
    }

    /// The one that a client gets which asks for this host, or for none: the one that has its name, else one with a star in
    /// place of its first part, else the first.
    pub(crate) fn of_host(&self, host: Option<&str>) -> Option<(&str, &Pair)> {
        let named = host.and_then(|host| self.named(host));
        let (name, pair) = self.all.get(named.unwrap_or_default())?;
        Some((name, pair))
    }

    fn named(&self, host: &str) -> Option<usize> {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let above = host.split_once('.').map(|(_, above)| format!("*.{above}"));
        let found = self.by_name.get(&host);
        let found = found.or_else(|| self.by_name.get(&above?));
        found.copied()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    /// A certificate for these names that signs itself, valid for this time from now on, and its key.
    pub(crate) fn self_signed(names: &[&str], days: i64) -> (String, String) {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        let now = time::OffsetDateTime::now_utc();
        params.not_before = now - time::Duration::days(100);
        params.not_after = now + time::Duration::days(days);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    fn pair(names: &[&str]) -> Pair {
        let (certificate, key) = self_signed(names, 90);
        Pair::read(certificate.as_bytes(), key.as_bytes()).unwrap()
    }

    #[test]
    fn a_pair_has_to_fit_and_each_fault_is_that_of_one_file() {
        let (certificate, key) = self_signed(&["a.example"], 90);
        let (_, other) = self_signed(&["a.example"], 90);
        let read =
            |certificate: &str, key: &str| Pair::read(certificate.as_bytes(), key.as_bytes());
        let pair = read(&certificate, &key).unwrap();
        assert_eq!(pair.names, ["a.example"]);
        // Some files have both.
        let both = format!("{key}{certificate}");
        assert_eq!(read(&both, &both).unwrap(), pair);
        for (certificate, key, fault) in [
            (
                &*certificate,
                &*other,
                PairFault::Key(PrivateKeyFault::Other),
            ),
            (&certificate, "", PrivateKeyFault::None.into()),
            (&certificate, &certificate, PrivateKeyFault::None.into()),
            (
                &certificate,
                "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
                PrivateKeyFault::Encrypted.into(),
            ),
            (
                &certificate,
                "-----BEGIN PRIVATE KEY-----\n!\n-----END PRIVATE KEY-----\n",
                PrivateKeyFault::NoPem.into(),
            ),
            (
                &certificate,
                "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
                PrivateKeyFault::Unknown.into(),
            ),
            ("", &key, CertificateFault::None.into()),
            (&key, &key, CertificateFault::None.into()),
        ] {
            assert_eq!(read(certificate, key), Err(fault));
        }
        let cut = certificate.replace("-----END", "-----");
        assert_eq!(read(&cut, &key), Err(CertificateFault::NoPem.into()));
        let no = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let fault = read(no, &key).unwrap_err();
        assert!(matches!(
            fault,
            PairFault::Certificate(CertificateFault::Unreadable(_))
        ));
    }

    #[test]
    fn a_certificate_ends_soon_and_then_has_ended() {
        let pair = pair(&["a.example"]);
        let days = |days: u64| Duration::from_secs(days * 24 * 60 * 60);
        let now = SystemTime::now();
        for (at, state) in [
            (now - days(101), PairState::NotYet),
            (now, PairState::Valid),
            (now + days(75), PairState::Valid),
            (now + days(77), PairState::EndsSoon),
            (now + days(91), PairState::Expired),
        ] {
            assert_eq!(pair.state(at), state);
        }
        let left = pair.not_after().duration_since(now).unwrap();
        assert!(left < days(90) && left > days(89));
    }

    #[test]
    fn a_host_gets_the_certificate_with_its_name() {
        let named = |name: &str, hosts: &[&str]| (name.to_owned(), pair(hosts));
        let pairs = Pairs::new(vec![
            named("tls", &["example.org", "www.example.org"]),
            named("shop", &["*.example.org", "shop.example"]),
            named("late", &["shop.example", "example.org"]),
        ]);
        for (host, expected) in [
            (None, "tls"),
            (Some("example.org"), "tls"),
            (Some("WWW.Example.Org."), "tls"),
            (Some("api.example.org"), "shop"),
            (Some("a.b.example.org"), "tls"),
            (Some("shop.example"), "shop"),
            (Some("nowhere.example"), "tls"),
            (Some(""), "tls"),
        ] {
            let found = pairs.of_host(host).map(|(name, _)| name);
            assert_eq!(found, Some(expected), "{host:?}");
        }
        assert!(Pairs::default().of_host(None).is_none());
    }
}
