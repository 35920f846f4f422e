//! `[tls]`: the certificates, whose files are read with the settings, so that a reload takes both or none.

// Decision: Certificates are part of the settings.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::fault::shown;
use super::findings::{Findings, NamedFile};
use super::listen::Listen;
use super::rules::TLS_LISTEN;
use super::{CheckedFolders, Settings};
use crate::certificates::{Pair, PairFault, PairState, Pairs};

const MORE: [&str; 2] = ["tls", "certificate"];
/// The name of the certificate of `tls.cert`.
const FIRST: &str = "tls";

/// `[tls]`
#[derive(Debug, Clone, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsSettings {
    /// The public addresses that speak TLS.
    #[serde(default)]
    pub listen: Vec<Listen>,
    /// The oldest version that is spoken.
    pub min_version: TlsVersion,
    /// From the beginning of a connection to the end of its handshake.
    #[serde(with = "humantime_serde")]
    pub handshake_timeout: Duration,
    /// Whether the addresses of `server.listen` send clients to those of TLS.
    pub redirect_http: bool,
    /// The port they are sent to; without it, that of the first address of TLS.
    #[serde(default)]
    pub redirect_port: Option<u16>,
    /// `Strict-Transport-Security` of answers over TLS.
    #[serde(default)]
    pub hsts: Option<String>,
    /// The certificates with their keys, as their files were.
    #[serde(skip)]
    pub(crate) pairs: Pairs,
    /// The files, in the order of the certificates.
    #[serde(skip)]
    pub(crate) files: Vec<PairFiles>,
}

/// `tls.min_version`
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
pub enum TlsVersion {
    /// TLS 1.2 and 1.3.
    #[serde(rename = "1.2")]
    Tls12,
    /// TLS 1.3 alone.
    #[serde(rename = "1.3")]
    Tls13,
}

/// The files of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PairFiles {
    pub(crate) name: String,
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

/// The keys of a certificate: those of its file, of that of its key, and its name.
struct PairKeys {
    name: String,
    cert: Vec<String>,
    key: Vec<String>,
}

impl PairKeys {
    fn new(name: &str, above: &[&str]) -> Self {
        let below = |key: &str| -> Vec<String> {
            let parts = above.iter().copied().chain([key]);
            parts.map(str::to_owned).collect()
        };
        Self {
            name: name.to_owned(),
            cert: below("cert"),
            key: below("key"),
        }
    }

    /// Those of all certificates that are written.
    fn all(found: &Findings) -> Vec<Self> {
        let named = found.located_in(&MORE);
        let named = named.iter().map(|(name, _)| Self::named(name));
        [Self::named(FIRST)].into_iter().chain(named).collect()
    }

    /// Those of the certificate of this name.
    fn named(name: &str) -> Self {
        match name {
            FIRST => Self::new(FIRST, &["tls"]),
            name => Self::new(name, &["tls", "certificate", name]),
        }
    }
}

/// Reads the files of all certificates. The value of the key of one becomes its name with a sum of its content, so that a file
/// that was written anew is a change of the settings.
pub(super) fn read(found: &mut Findings) {
    for keys in PairKeys::all(found) {
        let [cert, key] = [&keys.cert, &keys.key].map(|key| found.named_file(key));
        if let Some(cert) = &cert {
            found.set_value(&keys.cert, cert.told());
        }
        let files = match (&cert, &key) {
            (Some(cert), Some(key)) => PairFiles {
                name: keys.name.clone(),
                cert: cert.path.clone(),
                key: key.path.clone(),
            },
            (None, None) => continue,
            (there, _) => {
                let (of, missing) = match there {
                    Some(_) => (&keys.cert, "key"),
                    None => (&keys.key, "cert"),
                };
                // What could not be read has been told.
                let other = if missing == "key" {
                    &keys.key
                } else {
                    &keys.cert
                };
                if found.value_of(other).is_none() {
                    let problem =
                        format!("needs a {missing} beside it; write {missing} = \"FILE\"");
                    found.fault_of(of, problem);
                }
                continue;
            }
        };
        if let (Some(cert), Some(key)) = (cert, key) {
            match Pair::read(&cert.content, &key.content) {
                Ok(pair) => found.pairs.push((files, pair)),
                Err(PairFault::Certificate(fault)) => {
                    found.fault_of(&keys.cert, format!("{} {fault}", cert.path.display()));
                }
                Err(PairFault::Key(fault)) => {
                    found.fault_of(&keys.key, format!("{} {fault}", key.path.display()));
                }
            }
        }
    }
}

/// Adds what breaks the rules about all of `[tls]`.
pub(super) fn check(found: &mut Findings) {
    let named = found.located_in(&MORE).into_iter();
    for (_, location) in named.filter(|(name, _)| name == FIRST) {
        let problem = "is the name of the certificate of tls.cert; choose another one";
        found.fault(location, &[MORE[0], MORE[1], FIRST], problem);
    }
    let has_pair = PairKeys::all(found)
        .iter()
        .any(|keys| found.value_of(&keys.cert).is_some());
    if found.value_of(&TLS_LISTEN).is_some() && !has_pair && !found.is_faulty_below(&["tls"]) {
        let problem = "needs a certificate; write cert = \"FILE\" and key = \"FILE\" beside it";
        found.fault_of(&TLS_LISTEN, problem);
    }
    let redirects = ["tls", "redirect_http"];
    if found.value_of(&TLS_LISTEN).is_none()
        && found.value_of(&redirects) == Some(&Value::Bool(true))
    {
        let problem = "leads nowhere without tls.listen; write listen = [\"0.0.0.0:443\"] there";
        found.fault_of(&redirects, problem);
    }
}

/// Adds what is wrong with the times of certificates, and who can read their keys. A certificate that has ended is a fault
/// unless it is in force already, or the daemon starts: the rest of it should serve.
pub(super) fn times(
    found: &mut Findings,
    checked: CheckedFolders,
    in_force: Option<&Settings>,
    now: SystemTime,
) {
    let pairs = std::mem::take(&mut found.pairs);
    for (files, pair) in &pairs {
        let keys = PairKeys::named(&files.name);
        let (file, until) = (files.cert.display(), pair.until());
        let served =
            in_force.is_some_and(|settings| settings.tls.pairs.all().any(|(_, one)| one == pair));
        let starts = checked == CheckedFolders::AllButData && in_force.is_none();
        match pair.state(now) {
            PairState::Valid => {}
            PairState::EndsSoon => {
                found.warn_of(&keys.cert, format!("{file} ends at {until}; renew it"));
            }
            PairState::Expired if served || starts => {
                let problem =
                    format!("{file} has ended at {until}, so that clients refuse it; renew it");
                found.warn_of(&keys.cert, problem);
            }
            PairState::Expired => {
                found.fault_of(&keys.cert, format!("{file} has ended at {until}; renew it"));
            }
            PairState::NotYet => {
                let problem =
                    format!("{file} is not valid yet; is the clock of this machine right?");
                found.warn_of(&keys.cert, problem);
            }
        }
        if let Some(problem) = NamedFile::open_to_all(&files.key) {
            found.warn_of(&keys.key, problem);
        }
    }
    found.pairs = pairs;
}

impl TlsSettings {
    /// Takes the certificates that were read.
    pub(super) fn take_pairs(&mut self, found: &Findings) {
        self.files = found.pairs.iter().map(|(files, _)| files.clone()).collect();
        let pairs = found.pairs.iter();
        let pairs = pairs.map(|(files, pair)| (files.name.clone(), pair.clone()));
        self.pairs = Pairs::new(pairs.collect());
    }

    /// The key of a certificate of this name, for people.
    pub(crate) fn key_of(name: &str) -> String {
        shown(&PairKeys::named(name).cert)
    }
}
