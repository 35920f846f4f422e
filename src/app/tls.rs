//! The certificates in force: taken from the settings at the start and by each reload, and from their files when these were
//! written anew, since what renews certificates need not know this daemon.

// Decision: Certificates are part of the settings.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::certificates::{Pair, PairState, Pairs};
use crate::plain_file;
use crate::settings::{PairFiles, TlsSettings};
use crate::telemetry::{Counter, MetricSource, Rows};
use crate::wire::TlsAcceptor;

/// The time between two looks at the files. What is found wrong is told at the second look, because somebody may be writing them.
const LOOK: Duration = Duration::from_secs(30);
/// The time between two warnings of a certificate that ends soon.
const WARN: Duration = Duration::from_secs(24 * 60 * 60);

/// The certificates in force, and what accepts connections with them.
#[derive(Debug)]
pub(super) struct TlsInForce {
    pub(super) acceptor: Arc<TlsAcceptor>,
    settings: Mutex<TlsSettings>,
    renewed: Counter,
    refused: Counter,
}

/// The findings of the looks so far, and what of them was told.
#[derive(Default)]
struct CertificateLooks {
    /// The fault of the files at the last look.
    fault: Option<String>,
    /// Whether that was told.
    told: bool,
    /// The last warning of a certificate that ends.
    warned: Option<Instant>,
}

/// The outcome of a look at the files.
#[derive(Debug, PartialEq)]
enum CertificateLook {
    Same,
    New(Vec<(String, Pair)>),
    Wrong(String),
}

impl TlsInForce {
    /// Those of the start.
    pub(super) fn new(settings: &TlsSettings) -> Arc<Self> {
        let this = Self {
            acceptor: Arc::default(),
            settings: Mutex::new(settings.clone()),
            renewed: Counter::default(),
            refused: Counter::default(),
        };
        this.put_in_force(settings);
        Arc::new(this)
    }

    /// Follows the settings if there are no certificates in force yet: listeners of TLS that are new find some at once.
    pub(super) fn prepare(&self, settings: &TlsSettings) {
        if self.settings.lock().pairs.all().next().is_none() {
            self.put_in_force(settings);
        }
    }

    /// Follows the settings from now on. Sessions that there are go on.
    pub(super) fn set(&self, settings: &TlsSettings) {
        let mut in_force = self.settings.lock();
        *in_force = settings.clone();
        self.put_in_force(&in_force);
    }

    fn put_in_force(&self, settings: &TlsSettings) {
        if let Err(error) = self.acceptor.follow(settings) {
            tracing::error!(%error, "the settings of TLS could not be put in force: those before stay");
        }
    }

    /// Looks at the files from time to time.
    pub(super) async fn keep_looking(&self) -> Infallible {
        let mut looks = CertificateLooks {
            // What was wrong at the start was told with the settings.
            warned: Some(Instant::now()),
            ..CertificateLooks::default()
        };
        loop {
            sleep(LOOK).await;
            self.warn(&mut looks);
            let (files, pairs) = {
                let settings = self.settings.lock();
                (settings.files.clone(), settings.pairs.clone())
            };
            if files.is_empty() {
                continue;
            }
            let looked = {
                let files = files.clone();
                // The disk may be slow.
                let looking = move || look(&files, &pairs, SystemTime::now());
                tokio::task::spawn_blocking(looking).await
            };
            match looked {
                Ok(CertificateLook::Same) => looks.fault = None,
                Ok(CertificateLook::New(pairs)) => {
                    looks.fault = None;
                    self.renew(&files, pairs);
                }
                Ok(CertificateLook::Wrong(fault)) => self.tell(&mut looks, fault),
                Err(error) => {
                    tracing::error!(%error, "the files of certificates could not be looked at");
                }
            }
        }
    }

    /// Takes certificates that were written anew, unless a reload has named other files meanwhile.
    fn renew(&self, files: &[PairFiles], pairs: Vec<(String, Pair)>) {
        let mut settings = self.settings.lock();
        if settings.files != files {
            return;
        }
        let before = std::mem::replace(&mut settings.pairs, Pairs::new(pairs));
        self.put_in_force(&settings);
        self.renewed.inc();
        for (name, pair) in settings.pairs.all() {
            if before.all().all(|(_, old)| old != pair) {
                let until = pair.until();
                tracing::info!(certificate = name, %until, "a certificate that was written anew is in force");
            }
        }
    }

    /// Tells once what is wrong with the files, if it was so at the look before.
    fn tell(&self, looks: &mut CertificateLooks, fault: String) {
        if looks.fault.as_ref() != Some(&fault) {
            looks.fault = Some(fault);
            looks.told = false;
        } else if !std::mem::replace(&mut looks.told, true) {
            self.refused.inc();
            tracing::warn!(
                fault,
                "the files of certificates were written anew and can't be used: those before stay in force"
            );
        }
    }

    /// Warns of certificates that end soon.
    fn warn(&self, looks: &mut CertificateLooks) {
        let now = Instant::now();
        if looks.warned.is_some_and(|warned| now < warned + WARN) {
            return;
        }
        for (name, pair) in self.settings.lock().pairs.all() {
            let until = pair.until();
            match pair.state(SystemTime::now()) {
                PairState::Valid | PairState::NotYet => continue,
                PairState::EndsSoon => {
                    tracing::warn!(certificate = name, %until, "a certificate ends soon: renew it");
                }
                PairState::Expired => {
                    tracing::error!(certificate = name, %until, "a certificate has ended, so that clients refuse it: renew it");
                }
            }
            looks.warned = Some(now);
        }
    }

    /// All certificates in force, for whoever asks the daemon.
    pub(super) fn view(&self) -> Value {
        let settings = self.settings.lock();
        let all = settings.pairs.all();
        all.map(|(name, pair)| json!({ "name": name, "hosts": pair.names, "until": pair.until() }))
            .collect()
    }
}

/// Reads the files again. All of them can be used, or none is.
fn look(files: &[PairFiles], in_force: &Pairs, now: SystemTime) -> CertificateLook {
    let mut pairs = Vec::new();
    for PairFiles { name, cert, key } in files {
        let read = |path| plain_file::read(path).map_err(|error| format!("can't be read: {error}"));
        let read = read(cert)
            .map_err(|fault| (cert, fault))
            .and_then(|cert| Ok((cert, read(key).map_err(|fault| (key, fault))?)));
        let pair = read.and_then(|(content, of_key)| {
            Pair::read(&content, &of_key).map_err(|fault| {
                let file = if fault.is_of_key() { key } else { cert };
                (file, fault.to_string())
            })
        });
        match pair {
            Ok(pair) => pairs.push((name.clone(), pair)),
            Err((file, fault)) => {
                return CertificateLook::Wrong(format!("{} {fault}", file.display()));
            }
        }
    }
    let new = |pair: &Pair| in_force.all().all(|(_, old)| old != pair);
    let ended = pairs
        .iter()
        .find(|(_, pair)| new(pair) && pair.state(now) == PairState::Expired);
    if let Some((name, pair)) = ended {
        return CertificateLook::Wrong(format!(
            "the certificate {name} has ended at {}",
            pair.until()
        ));
    }
    if *in_force == Pairs::new(pairs.clone()) {
        CertificateLook::Same
    } else {
        CertificateLook::New(pairs)
    }
}

impl MetricSource for Arc<TlsInForce> {
    fn write(&self, rows: &mut Rows<'_>) {
        self.acceptor.write(rows);
        let settings = self.settings.lock();
        rows.gauges(
            "perennial_tls_certificate_not_after_seconds",
            "When each certificate ends, in seconds since 1970",
            settings.pairs.all().map(|(name, pair)| {
                let since = pair.not_after().duration_since(SystemTime::UNIX_EPOCH);
                (
                    [("certificate", name.to_owned())],
                    since.unwrap_or_default().as_secs_f64(),
                )
            }),
        );
        rows.counter(
            "perennial_tls_certificates_renewed",
            "Times certificates whose files were written anew were put in force without a reload",
            self.renewed.get(),
        );
        rows.counter(
            "perennial_tls_certificates_refused",
            "Times the files of certificates were written anew and could not be used",
            self.refused.get(),
        );
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::certificates::tests::self_signed;

    #[test]
    fn all_files_are_taken_or_none_is() {
        let folder = tempfile::tempdir().unwrap();
        let files = |name: &str| PairFiles {
            name: name.to_owned(),
            cert: folder.path().join(format!("{name}.pem")),
            key: folder.path().join(format!("{name}-key.pem")),
        };
        let files = [files("one"), files("two")];
        let write = |files: &PairFiles, days| {
            let (cert, key) = self_signed(&["a.example"], days);
            fs::write(&files.cert, cert).unwrap();
            fs::write(&files.key, key).unwrap();
        };
        let now = SystemTime::now();
        write(&files[0], 90);
        let none = Pairs::default();
        assert!(
            matches!(look(&files, &none, now), CertificateLook::Wrong(told) if told.contains("two.pem can't be read"))
        );
        write(&files[1], 90);
        let CertificateLook::New(first) = look(&files, &none, now) else {
            panic!("both fit")
        };
        let in_force = Pairs::new(first);
        assert_eq!(look(&files, &in_force, now), CertificateLook::Same);
        // One of the two was written, and the other not yet.
        let (cert, key) = self_signed(&["a.example"], 90);
        fs::write(&files[1].cert, cert).unwrap();
        assert!(
            matches!(look(&files, &in_force, now), CertificateLook::Wrong(told) if told.contains("two-key.pem is not the key"))
        );
        fs::write(&files[1].key, key).unwrap();
        let CertificateLook::New(second) = look(&files, &in_force, now) else {
            panic!("it fits now")
        };
        assert!(in_force.all().any(|(_, old)| *old == second[0].1));
        assert!(in_force.all().all(|(_, old)| *old != second[1].1));
        write(&files[0], -1);
        assert!(
            matches!(look(&files, &in_force, now), CertificateLook::Wrong(told) if told.contains("one has ended"))
        );
        // One that has ended while it is in force stays, and stands in no other's way.
        let later = now + Duration::from_secs(100 * 24 * 60 * 60);
        let in_force = Pairs::new(second);
        write(&files[0], 900);
        assert!(matches!(
            look(&files, &in_force, later),
            CertificateLook::New(_)
        ));
    }
}
