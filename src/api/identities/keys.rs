//! Keys: secrets that clients show (RFC 6750 section 2.1).

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use subtle::ConstantTimeEq as _;

use crate::num::as_f64;
use crate::settings::{AuthSettings, KeySettings, SecretHash};
use crate::wire::{Identity, ShownBy};

/// Every key of the settings.
#[derive(Debug, Default)]
pub(super) struct ClientKeys(Vec<ClientKey>);

#[derive(Debug)]
struct ClientKey {
    identity: Arc<Identity>,
    written: KeySettings,
    name: String,
    /// The time when it was shown last, in seconds since 1970; 0 if that was not since the start.
    used: Arc<AtomicI64>,
}

/// The reason why a key does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum KeyRefusal {
    /// No key has the secret.
    #[error("no key has this secret")]
    Unknown,
    /// The last day of the key is over.
    #[error("the key is not valid any more; ask for another one")]
    Expired,
}

impl ClientKeys {
    /// The keys of the settings. Those with the same secret as `before` go on with the time when they were shown.
    pub(super) fn new(settings: &AuthSettings, before: Option<&Self>) -> Self {
        let before = || before.into_iter().flat_map(|before| &before.0);
        let used = |written: &KeySettings| {
            let mut same = before().filter(|key| key.written.hash == written.hash);
            same.next().map(|key| Arc::clone(&key.used))
        };
        let keys = settings.keys.iter().map(|(name, written)| ClientKey {
            identity: Arc::new(Identity {
                name: format!("key:{name}"),
                by: ShownBy::Key {
                    scope: written.scope.clone(),
                    until: written.expires.map(|end| as_f64(end.unsigned_abs())),
                },
            }),
            written: written.clone(),
            name: name.clone(),
            used: used(written).unwrap_or_default(),
        });
        Self(keys.collect())
    }

    /// The name of each key, and when it was shown for the last time since the start, in seconds since 1970.
    pub(super) fn used(&self) -> impl Iterator<Item = (&str, i64)> {
        let used = |key: &ClientKey| key.used.load(Ordering::Relaxed);
        let all = self.0.iter().map(move |key| (&*key.name, used(key)));
        all.filter(|(_, used)| *used > 0)
    }

    /// The client that shows this secret, at this time in seconds since 1970. Each key is compared with it, so that the time that
    /// this takes tells nothing.
    pub(super) fn client(&self, secret: &[u8], now: i64) -> Result<&Arc<Identity>, KeyRefusal> {
        let SecretHash(hash) = SecretHash::of(secret);
        let mut found = None;
        for key in &self.0 {
            let SecretHash(own) = &key.written.hash;
            if bool::from(own.ct_eq(&hash)) {
                found = Some(key);
            }
        }
        let key = found.ok_or(KeyRefusal::Unknown)?;
        if key.written.expires.is_some_and(|end| now >= end) {
            return Err(KeyRefusal::Expired);
        }
        // All handlers share the time, so it is written once a second at most.
        if key.used.load(Ordering::Relaxed) != now {
            key.used.store(now, Ordering::Relaxed);
        }
        Ok(&key.identity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400;

    fn keys(
        name: &str,
        secret: &str,
        expires: Option<i64>,
        before: Option<&ClientKeys>,
    ) -> ClientKeys {
        let key = KeySettings {
            hash: SecretHash::of(secret.as_bytes()),
            scope: None,
            expires,
        };
        let settings = AuthSettings {
            keys: [(name.to_owned(), key)].into(),
            ..AuthSettings::default()
        };
        ClientKeys::new(&settings, before)
    }

    #[test]
    fn the_last_use_of_a_key_outlives_a_reload_that_keeps_its_secret() {
        let first = keys("a", "s", None, None);
        assert_eq!(first.used().count(), 0);
        first.client(b"s", 7).unwrap();
        assert_eq!(first.used().collect::<Vec<_>>(), [("a", 7)]);
        let renamed = keys("b", "s", None, Some(&first));
        assert_eq!(renamed.used().collect::<Vec<_>>(), [("b", 7)]);
        let replaced = keys("a", "other", None, Some(&first));
        assert_eq!(replaced.used().count(), 0);
    }

    #[test]
    fn a_key_is_valid_until_its_last_day_ends() {
        let keys = keys("a", "s", Some(DAY), None);
        let client = keys.client(b"s", DAY - 1).unwrap();
        assert_eq!((&*client.name, client.until()), ("key:a", Some(86_400.0)));
        assert_eq!(keys.client(b"s", DAY), Err(KeyRefusal::Expired));
        for other in ["S", "", "ss"] {
            assert_eq!(keys.client(other.as_bytes(), 0), Err(KeyRefusal::Unknown));
        }
    }
}
