//! Names and passwords of users (RFC 7617). A password is compared with its hash on a thread of its own, since that takes long by
//! design; the one that was right is remembered by a hash that is quick, so that only the first of many requests waits.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use argon2::{Argon2, PasswordVerifier as _};
use parking_lot::Mutex;
use ring::hmac;
use ring::rand::SystemRandom;
use tokio::sync::Semaphore;

use crate::settings::{AuthSettings, PasswordHash};
use crate::supervision::RETRY_AFTER;
use crate::telemetry::Counter;
use crate::wire::{Code, Identity, Problem, ShownBy};

/// The passwords that are compared at a time. Each takes a core and, as a rule, 19 MiB.
const COMPARED_AT_A_TIME: usize = 2;
/// The requests that wait for that.
const WAITING_MAX: usize = 64;
/// The time after which a wrong password is answered: who sends one after the other can try few.
const WRONG_AFTER: Duration = Duration::from_secs(1);
/// The longest password, in bytes.
const PASSWORD_BYTES_MAX: usize = 1024;
/// A hash with the usual costs, of a password that nobody knows. A name that no user has is compared with it, so that the time tells
/// nothing.
const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$UFLWuxY7iHKx01jJlHebLg$CXQz6NCRsf67G+YOuZpJSxfdMc7b2Dj3OmfaQQZA33g";

/// A name and a password as a request shows them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ShownPassword {
    pub(super) name: String,
    pub(super) password: Vec<u8>,
}

// Decision: A password is compared once, and few at a time.
/// Every user of the settings.
#[derive(Debug)]
pub(super) struct Passwords {
    users: BTreeMap<String, User>,
    /// The key of the quick hashes: random, and in memory alone. `None` if the system gives no random bytes: then each password is
    /// compared.
    quick: Option<hmac::Key>,
    turns: Arc<Turns>,
}

#[derive(Debug)]
struct User {
    hash: PasswordHash,
    identity: Arc<Identity>,
    /// The quick hash of the password that was right.
    right: Mutex<Option<hmac::Tag>>,
}

/// The turns of those that are compared. All editions of the settings share them.
#[derive(Debug)]
struct Turns {
    compared: Semaphore,
    waiting: Semaphore,
    /// Requests refused since too many waited.
    refused: Counter,
}

impl Default for Passwords {
    fn default() -> Self {
        Self::new(&AuthSettings::default(), None)
    }
}

impl Passwords {
    /// The users of the settings. One with the same hash as `before` need not be compared again.
    pub(super) fn new(settings: &AuthSettings, before: Option<&Self>) -> Self {
        let right = |name: &str, hash: &PasswordHash| {
            let user = before.and_then(|before| before.users.get(name));
            let same = user.filter(|user| user.hash == *hash)?;
            *same.right.lock()
        };
        let users = settings.users.iter().map(|(name, written)| {
            let user = User {
                right: Mutex::new(right(name, &written.password)),
                hash: written.password.clone(),
                identity: Arc::new(Identity {
                    name: format!("basic:{name}"),
                    by: ShownBy::Password,
                }),
            };
            (name.clone(), user)
        });
        Self {
            users: users.collect(),
            quick: before.map_or_else(
                || hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).ok(),
                |before| before.quick.clone(),
            ),
            turns: before.map_or_else(Turns::new, |before| Arc::clone(&before.turns)),
        }
    }

    /// Requests refused since too many waited for their passwords to be compared.
    pub(super) fn refused(&self) -> u64 {
        self.turns.refused.get()
    }

    /// The user, if this password was right before.
    pub(super) fn known(&self, shown: &ShownPassword) -> Option<&Arc<Identity>> {
        let user = self.users.get(&shown.name)?;
        let right = (*user.right.lock())?;
        let same = hmac::verify(self.quick.as_ref()?, &shown.password, right.as_ref());
        same.is_ok().then_some(&user.identity)
    }

    /// Compares a password with the hash of its user; `None` if it is wrong, which takes a second.
    pub(super) async fn compare(
        &self,
        shown: ShownPassword,
    ) -> Result<Option<Arc<Identity>>, Problem> {
        let waits = self.turns.waiting.try_acquire().map_err(|_| {
            self.turns.refused.inc();
            let detail = "too many passwords are being compared; try again";
            Problem::new(Code::Overloaded)
                .detail(detail)
                .retry_after(RETRY_AFTER)
        })?;
        let is_right = {
            let turn = self.turns.compared.acquire().await;
            let _turn = turn.map_err(|_| Problem::new(Code::Internal))?;
            // Others with the same password may have been first.
            if let Some(identity) = self.known(&shown) {
                return Ok(Some(Arc::clone(identity)));
            }
            let user = self.users.get(&shown.name);
            let hash = user.map_or(NOBODY, |user| user.hash.as_str()).to_owned();
            let password = shown.password.clone();
            let compared = tokio::task::spawn_blocking(move || is_right(&password, &hash));
            compared.await.map_err(|_| Problem::new(Code::Internal))?
        };
        let user = self.users.get(&shown.name).filter(|_| is_right);
        let Some(user) = user else {
            drop(waits);
            tokio::time::sleep(WRONG_AFTER).await;
            return Ok(None);
        };
        let quick = self.quick.as_ref();
        *user.right.lock() = quick.map(|quick| hmac::sign(quick, &shown.password));
        Ok(Some(Arc::clone(&user.identity)))
    }
}

/// Whether a password is the one of this hash. It takes as long as the hash says, tens of milliseconds as a rule.
fn is_right(password: &[u8], hash: &str) -> bool {
    let fits = password.len() <= PASSWORD_BYTES_MAX;
    fits && Argon2::default().verify_password(password, hash).is_ok()
}

impl Turns {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            compared: Semaphore::new(COMPARED_AT_A_TIME),
            waiting: Semaphore::new(WAITING_MAX),
            refused: Counter::default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::UserSettings;

    /// The cheapest costs there are.
    fn hash_of(password: &str) -> PasswordHash {
        use argon2::{Params, PasswordHasher as _};
        let cheap = Argon2::from(Params::new(8, 1, 1, None).unwrap());
        let hash = cheap.hash_password(password.as_bytes()).unwrap();
        hash.to_string().parse().unwrap()
    }

    fn users(users: &[(&str, &PasswordHash)], before: Option<&Passwords>) -> Passwords {
        let users = users.iter().map(|(name, hash)| {
            let password = (*hash).clone();
            ((*name).to_owned(), UserSettings { password })
        });
        let settings = AuthSettings {
            users: users.collect(),
            ..AuthSettings::default()
        };
        Passwords::new(&settings, before)
    }

    fn shown(name: &str, password: &str) -> ShownPassword {
        ShownPassword {
            name: name.to_owned(),
            password: password.as_bytes().to_vec(),
        }
    }

    async fn compared(users: &Passwords, name: &str, password: &str) -> Option<String> {
        let client = users.compare(shown(name, password)).await.unwrap();
        client.map(|client| client.name.clone())
    }

    #[test]
    fn nobody_has_a_hash_with_the_usual_costs() {
        let usual = Argon2::default();
        let nobody: PasswordHash = NOBODY.parse().unwrap();
        let costs = format!(
            "m={},t={},p={}",
            usual.params().m_cost(),
            usual.params().t_cost(),
            usual.params().p_cost()
        );
        assert!(nobody.as_str().contains(&costs), "{costs}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_password_is_compared_once_while_it_stays_the_same() {
        let (ann, bob) = (hash_of("secret"), hash_of("secret"));
        let first = users(&[("ann", &ann), ("bob", &bob)], None);
        assert_eq!(first.known(&shown("ann", "secret")), None);
        let client = compared(&first, "ann", "secret").await;
        assert_eq!(client.as_deref(), Some("basic:ann"));
        assert!(first.known(&shown("ann", "secret")).is_some());
        for (name, password) in [
            ("ann", "Secret"),
            ("ann", ""),
            ("bob", "secret"),
            ("x", "secret"),
        ] {
            assert_eq!(
                first.known(&shown(name, password)),
                None,
                "{name} {password}"
            );
        }
        let next = users(&[("ann", &ann)], Some(&first));
        assert!(next.known(&shown("ann", "secret")).is_some());
        let changed = users(&[("ann", &hash_of("other"))], Some(&next));
        assert_eq!(changed.known(&shown("ann", "secret")), None);
        assert_eq!(compared(&changed, "ann", "secret").await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wrong_password_is_told_after_a_second_and_so_is_a_wrong_name() {
        let users = users(&[("ann", &hash_of("secret"))], None);
        let long = "x".repeat(PASSWORD_BYTES_MAX + 1);
        for (name, password) in [
            ("ann", "wrong"),
            ("bob", "secret"),
            ("", ""),
            ("ann", &long),
        ] {
            let begun = tokio::time::Instant::now();
            assert_eq!(compared(&users, name, password).await, None, "{name}");
            assert!(begun.elapsed() >= WRONG_AFTER, "{name}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn few_are_compared_at_a_time_and_too_many_are_refused() {
        let users = Arc::new(users(&[("ann", &hash_of("secret"))], None));
        let all = users.turns.compared.acquire_many(2).await.unwrap();
        let waiting: Vec<_> = (0..WAITING_MAX)
            .map(|_| {
                let users = Arc::clone(&users);
                tokio::spawn(async move { compared(&users, "ann", "secret").await })
            })
            .collect();
        while users.turns.waiting.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let refused = users.compare(shown("ann", "secret")).await;
        assert!(refused.is_err());
        assert_eq!(users.refused(), 1);
        drop(all);
        for one in waiting {
            assert_eq!(one.await.unwrap().as_deref(), Some("basic:ann"));
        }
    }
}
