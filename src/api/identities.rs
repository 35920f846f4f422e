//! Finds out who the clients of requests are: by a key, by a name with a password, or by a token.

mod keys;
mod passwords;
mod verified;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use actix_web::http::header::{self, HeaderMap};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use self::keys::ClientKeys;
use self::passwords::{Passwords, ShownPassword};
use self::verified::VerifiedTokens;
use crate::settings::{AllowedClient, AuthSettings};
use crate::telemetry::{Counter, MetricSource, Rows};
use crate::tokens::TOKEN_BYTES_MAX;
use crate::wire::{Identity, Problem};

/// Everybody of `[auth]`.
#[derive(Debug, Default)]
pub(crate) struct Identities {
    settings: AuthSettings,
    keys: ClientKeys,
    passwords: Passwords,
    tokens: Option<Arc<VerifiedTokens>>,
    refused: Arc<RefusedCounts>,
}

/// Requests whose credentials do not count, by their kind.
#[derive(Debug, Default)]
struct RefusedCounts {
    keys: Counter,
    passwords: Counter,
    tokens: Counter,
}

/// The kind of the credentials that a request shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CredentialKind {
    Key,
    Password,
    Token,
}

/// The kinds of credentials that a route takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct TakenCredentials {
    pub(super) keys: bool,
    pub(super) passwords: bool,
    pub(super) tokens: bool,
}

impl TakenCredentials {
    /// Those by which some of these clients show who they are.
    pub(super) fn of<'a>(clients: impl IntoIterator<Item = &'a AllowedClient>) -> Self {
        let mut taken = Self::default();
        for client in clients {
            match client {
                AllowedClient::Key(_) => taken.keys = true,
                AllowedClient::User(_) => taken.passwords = true,
                AllowedClient::Role(_) => taken.tokens = true,
            }
        }
        taken
    }
}

/// The client as the header `Authorization` of a request shows it.
#[derive(Debug, PartialEq)]
pub(super) enum ShownClient {
    /// It shows nothing that the route takes.
    Nobody,
    Known(Arc<Identity>),
    /// Its credentials do not count, for this reason.
    Refused(CredentialKind, String),
    /// Its password has to be compared first.
    Unsure(PasswordToCompare),
}

/// A password that has to be compared with the hash of its user.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PasswordToCompare(ShownPassword);

impl PartialEq for Identities {
    /// Whether the same clients have the same keys, passwords and tokens.
    fn eq(&self, other: &Self) -> bool {
        self.settings == other.settings
    }
}

impl Identities {
    /// Everybody of the settings. What is known of them from `before` goes on to count.
    pub(super) fn new(settings: &AuthSettings, before: Option<&Self>) -> Arc<Self> {
        let tokens = settings.jwt.as_ref().map(|jwt| {
            let kept = before.and_then(|before| before.tokens.clone());
            let kept = kept.filter(|kept| kept.is_of(jwt));
            kept.unwrap_or_else(|| Arc::new(VerifiedTokens::new(jwt)))
        });
        Arc::new(Self {
            settings: settings.clone(),
            keys: ClientKeys::new(settings, before.map(|before| &before.keys)),
            passwords: Passwords::new(settings, before.map(|before| &before.passwords)),
            tokens,
            refused: before.map_or_else(Arc::default, |before| Arc::clone(&before.refused)),
        })
    }

    /// The client that these headers show, as far as that is found out at once, at this time since 1970.
    pub(super) fn shown(
        &self,
        headers: &HeaderMap,
        taken: TakenCredentials,
        now: Duration,
    ) -> ShownClient {
        match ShownCredentials::of(headers) {
            Some(ShownCredentials::Bearer(secret)) if taken.keys || taken.tokens => {
                self.bearer(secret, taken, now)
            }
            Some(ShownCredentials::Basic(shown)) if taken.passwords => {
                match self.passwords.known(&shown) {
                    Some(identity) => ShownClient::Known(Arc::clone(identity)),
                    None => ShownClient::Unsure(PasswordToCompare(shown)),
                }
            }
            Some(ShownCredentials::Bearer(_) | ShownCredentials::Basic(_)) | None => {
                ShownClient::Nobody
            }
        }
    }

    /// A token has two dots, and a key none that `perennial key new` has made.
    fn bearer(&self, secret: &str, taken: TakenCredentials, now: Duration) -> ShownClient {
        let tokens = self.tokens.as_ref().filter(|_| taken.tokens);
        let looks_like_token = secret.bytes().filter(|byte| *byte == b'.').count() == 2;
        let of_key = taken.keys.then(|| {
            let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
            self.keys.client(secret.as_bytes(), now)
        });
        let of_token = || tokens.map(|tokens| tokens.client(secret, now.as_secs_f64()));
        match of_key {
            Some(Ok(identity)) => ShownClient::Known(Arc::clone(identity)),
            Some(Err(refusal)) if tokens.is_none() || !looks_like_token => {
                ShownClient::Refused(CredentialKind::Key, refusal.to_string())
            }
            Some(Err(_)) | None => match of_token() {
                Some(Ok(identity)) => ShownClient::Known(identity),
                Some(Err(fault)) => ShownClient::Refused(CredentialKind::Token, fault.to_string()),
                None => ShownClient::Nobody,
            },
        }
    }

    /// The client with this password; `None` if it is wrong, which takes a second.
    pub(super) async fn compare(
        &self,
        PasswordToCompare(shown): PasswordToCompare,
    ) -> Result<Option<Arc<Identity>>, Problem> {
        self.passwords.compare(shown).await
    }

    /// Counts a request whose credentials do not count.
    pub(super) fn note_refused(&self, kind: CredentialKind) {
        let RefusedCounts {
            keys,
            passwords,
            tokens,
        } = &*self.refused;
        match kind {
            CredentialKind::Key => keys.inc(),
            CredentialKind::Password => passwords.inc(),
            CredentialKind::Token => tokens.inc(),
        };
    }
}

/// The time since 1970.
pub(super) fn now() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

/// The content of the header `Authorization`.
#[derive(Debug, PartialEq, Eq)]
enum ShownCredentials<'h> {
    /// RFC 6750 section 2.1.
    Bearer(&'h str),
    /// RFC 7617 section 2.
    Basic(ShownPassword),
}

impl<'h> ShownCredentials<'h> {
    /// `None` if a request shows none that can be read, or several.
    fn of(headers: &'h HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(header::AUTHORIZATION);
        let value = values.next().filter(|_| values.next().is_none())?;
        let (scheme, shown) = value.to_str().ok()?.split_once(' ')?;
        let shown = shown.trim_matches(' ');
        if shown.is_empty() || shown.len() > TOKEN_BYTES_MAX {
            return None;
        }
        if scheme.eq_ignore_ascii_case("bearer") {
            return Some(Self::Bearer(shown));
        }
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let decoded = BASE64_STANDARD.decode(shown).ok()?;
        let colon = decoded.iter().position(|byte| *byte == b':')?;
        let (name, password) = decoded.split_at_checked(colon)?;
        Some(Self::Basic(ShownPassword {
            name: std::str::from_utf8(name).ok()?.to_owned(),
            password: password.get(1..)?.to_owned(),
        }))
    }
}

impl MetricSource for Arc<Identities> {
    fn write(&self, rows: &mut Rows<'_>) {
        rows.gauges(
            "perennial_key_last_used_timestamp_seconds",
            "When each key of a client was shown for the last time, if that was since the start",
            self.keys
                .used()
                .map(|(name, used)| ([("key", name)], used.unsigned_abs())),
        );
        let refused = &self.refused;
        rows.counters(
            "perennial_http_credentials_refused",
            "Requests that showed a key, a password or a token that does not count",
            [
                ([("kind", "key")], refused.keys.get()),
                ([("kind", "password")], refused.passwords.get()),
                ([("kind", "token")], refused.tokens.get()),
            ],
        );
        rows.counters(
            "perennial_http_passwords_not_compared",
            "Requests refused with 503 because too many passwords were being compared",
            [([("kind", "password")], self.passwords.refused())],
        );
        let tokens = self.tokens.as_ref();
        rows.counters(
            "perennial_http_tokens_forgotten",
            "How often all verified tokens were forgotten, because there were too many",
            [(
                [("kind", "token")],
                tokens.map_or(0, |tokens| tokens.forgotten()),
            )],
        );
    }
}
