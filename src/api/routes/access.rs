//! The clients that may use a route, by the keys that they show (RFC 6750 section 2.1). Pure, but for the time and the comparison of
//! secrets.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use actix_web::http::header::{self, HeaderMap};
use subtle::ConstantTimeEq as _;

use crate::settings::{
    AccessSettings, AllowedClients, AuthSettings, KeySettings, Permission, Scope, SecretHash,
};
use crate::wire::{Code, Incoming, Problem};

/// The challenge of a 401 (RFC 6750 section 3).
const CHALLENGE: &str = "Bearer realm=\"perennial\"";
/// The same to a client whose key is not valid.
const INVALID: &str = "Bearer realm=\"perennial\", error=\"invalid_token\"";

/// Every key of the settings.
#[derive(Debug, Default)]
pub(crate) struct ClientKeys(Vec<ClientKey>);

#[derive(Debug)]
struct ClientKey {
    name: Arc<str>,
    written: KeySettings,
    /// The time when it was shown last, in seconds since 1970; 0 if that was not since the start.
    used: Arc<AtomicI64>,
}

impl PartialEq for ClientKey {
    /// Whether it is the same key, whenever it was shown.
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.written == other.written
    }
}

impl ClientKeys {
    /// The keys of the settings. Those with the same secret as `before` go on with the time when they were shown.
    pub(super) fn new(settings: &AuthSettings, before: Option<&Self>) -> Arc<Self> {
        let before = || before.into_iter().flat_map(|before| &before.0);
        let used = |written: &KeySettings| {
            let mut same = before().filter(|key| key.written.hash == written.hash);
            same.next().map(|key| Arc::clone(&key.used))
        };
        let keys = settings.keys.iter().map(|(name, written)| ClientKey {
            name: name.as_str().into(),
            written: written.clone(),
            used: used(written).unwrap_or_default(),
        });
        Arc::new(Self(keys.collect()))
    }

    /// The name of each key, and when it was shown for the last time since the start, in seconds since 1970.
    pub(super) fn used(&self) -> impl Iterator<Item = (&str, i64)> {
        let used = |key: &ClientKey| key.used.load(Ordering::Relaxed);
        let all = self.0.iter().map(move |key| (&*key.name, used(key)));
        all.filter(|(_, used)| *used > 0)
    }

    /// The key with this secret. Each key is compared with it, so that the time tells nothing.
    fn with_secret(&self, secret: &[u8]) -> Option<&ClientKey> {
        let SecretHash(hash) = SecretHash::of(secret);
        let mut found = None;
        for key in &self.0 {
            let SecretHash(own) = &key.written.hash;
            if bool::from(own.ct_eq(&hash)) {
                found = Some(key);
            }
        }
        found
    }
}

/// The time, in seconds since 1970.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    })
}

impl ClientKey {
    fn is_valid_at(&self, now: i64) -> bool {
        self.written.expires.is_none_or(|end| now < end)
    }

    /// Notes that it was shown. All handlers share the time, so it is written once a second at most.
    fn show(&self, now: i64) {
        if self.used.load(Ordering::Relaxed) != now {
            self.used.store(now, Ordering::Relaxed);
        }
    }
}

/// The clients that may use a route.
#[derive(Debug, Clone, Default)]
pub(crate) struct AccessRule {
    written: AccessSettings,
    /// The name of the resource, or the path of the route, by which the scope of a key names it.
    of: String,
    keys: Arc<ClientKeys>,
}

impl PartialEq for AccessRule {
    /// Whether the same clients may do the same: no other key was added, and none was taken away or changed.
    fn eq(&self, other: &Self) -> bool {
        let both = [&self.written.read, &self.written.write];
        let is_public = both
            .iter()
            .all(|clients| **clients == AllowedClients::Public);
        self.written == other.written
            && (is_public || self.of == other.of && self.keys.0 == other.keys.0)
    }
}

impl AccessRule {
    /// The rule from the settings, for the resource or route that scopes name so.
    pub(super) fn new(written: &AccessSettings, of: &str, keys: &Arc<ClientKeys>) -> Self {
        Self {
            written: written.clone(),
            of: of.to_owned(),
            keys: Arc::clone(keys),
        }
    }

    fn of(&self, permission: Permission) -> &AllowedClients {
        match permission {
            Permission::Read => &self.written.read,
            Permission::Write => &self.written.write,
        }
    }

    /// Refuses a request if its client has not this permission. Notes for the access log which key it shows, where one is needed.
    pub(crate) fn check(&self, request: &Incoming, permission: Permission) -> Result<(), Problem> {
        let note = |name: &Arc<str>| request.note_key(name);
        self.check_key(request.headers(), permission, note)
    }

    fn check_key(
        &self,
        headers: &HeaderMap,
        permission: Permission,
        note: impl FnOnce(&Arc<str>),
    ) -> Result<(), Problem> {
        let names = match self.of(permission) {
            AllowedClients::Public => return Ok(()),
            AllowedClients::Keys(names) => names,
        };
        let Some(secret) = shown_secret(headers) else {
            let detail =
                "a key is needed; send its secret in the header Authorization: Bearer SECRET";
            return Err(unauthorized(CHALLENGE, detail));
        };
        let Some(key) = self.keys.with_secret(secret) else {
            return Err(unauthorized(INVALID, "no key has this secret"));
        };
        let now = now();
        if !key.is_valid_at(now) {
            return Err(unauthorized(
                INVALID,
                "the key is not valid any more; ask for another one",
            ));
        }
        key.show(now);
        note(&key.name);
        let in_scope =
            |scope: &Vec<Scope>| scope.iter().any(|item| item.allows(&self.of, permission));
        let is_allowed = names.iter().any(|name| **name == *key.name)
            && key.written.scope.as_ref().is_none_or(in_scope);
        if is_allowed {
            return Ok(());
        }
        let detail = match permission {
            Permission::Read => "this key may not read here",
            Permission::Write => "this key may not change anything here",
        };
        Err(Problem::new(Code::NotPermitted).detail(detail))
    }

    /// The clients, for people.
    pub(crate) fn text(&self) -> String {
        let text = |clients: &AllowedClients| match clients {
            AllowedClients::Public => "public: everybody who can connect".to_owned(),
            AllowedClients::Keys(names) => {
                format!("clients that show the key {}", names.join(" or "))
            }
        };
        let AccessSettings { read, write } = &self.written;
        if read == write {
            return text(read);
        }
        format!("reading is {}; writing is {}", text(read), text(write))
    }
}

/// The secret that a request shows; `None` if it shows none, or several.
fn shown_secret(headers: &HeaderMap) -> Option<&[u8]> {
    let mut values = headers.get_all(header::AUTHORIZATION);
    let value = values.next().filter(|_| values.next().is_none())?;
    let (scheme, secret) = value.to_str().ok()?.split_once(' ')?;
    let secret = secret.trim_matches(' ');
    (scheme.eq_ignore_ascii_case("bearer") && !secret.is_empty()).then_some(secret.as_bytes())
}

fn unauthorized(challenge: &str, detail: &str) -> Problem {
    Problem::new(Code::Unauthorized)
        .detail(detail)
        .header(header::WWW_AUTHENTICATE, challenge)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use actix_web::http::header::HeaderValue;

    use super::*;

    const DAY: i64 = 86_400;

    fn key(secret: &str, scope: &[&str], expires: Option<i64>) -> KeySettings {
        let scope = scope.iter().map(|item| item.parse().unwrap());
        let scope: Vec<Scope> = scope.collect();
        KeySettings {
            hash: SecretHash::of(secret.as_bytes()),
            scope: (!scope.is_empty()).then_some(scope),
            expires,
        }
    }

    fn keys() -> Arc<ClientKeys> {
        let now = now();
        let keys = [
            ("all", key("s-all", &[], None)),
            ("books", key("s-books", &["books:write"], Some(now + DAY))),
            ("reader", key("s-reader", &["*:read"], None)),
            (
                "other",
                key("s-other", &["movies:write", "/files:read"], None),
            ),
            ("old", key("s-old", &[], Some(now - DAY))),
            ("unnamed", key("s-unnamed", &[], None)),
        ];
        let keys: BTreeMap<_, _> = keys.map(|(name, key)| (name.to_owned(), key)).into();
        ClientKeys::new(&AuthSettings { keys }, None)
    }

    fn rule(of: &str, public_reading: bool) -> AccessRule {
        let names = ["all", "books", "reader", "other", "old"].map(str::to_owned);
        let some = AllowedClients::Keys(names.into());
        let read = if public_reading {
            AllowedClients::Public
        } else {
            some.clone()
        };
        let written = AccessSettings { read, write: some };
        AccessRule::new(&written, of, &keys())
    }

    /// The status of the refusal; 0 if there is none.
    fn refusal(rule: &AccessRule, authorization: &[&str], permission: Permission) -> u64 {
        let mut headers = HeaderMap::new();
        for value in authorization {
            let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
            headers.append(header::AUTHORIZATION, value);
        }
        let mut noted = None;
        let checked = rule.check_key(&headers, permission, |name| noted = Some(Arc::clone(name)));
        let status = checked.map_or_else(
            |problem| problem.result()["status"].as_u64().unwrap(),
            |()| 0,
        );
        // A key that is valid is noted, whether it has the permission or not.
        let asks_for_one = *rule.of(permission) != AllowedClients::Public;
        assert_eq!(noted.is_some(), asks_for_one && status != 401);
        status
    }

    #[test]
    fn a_client_may_do_what_access_and_the_scope_of_its_key_allow() {
        let (books, files) = (rule("books", false), rule("/files", false));
        for (secret, in_books, in_files) in [
            ("s-all", (0, 0), (0, 0)),
            ("s-books", (0, 0), (403, 403)),
            ("s-reader", (0, 403), (0, 403)),
            ("s-other", (403, 403), (0, 403)),
            ("s-old", (401, 401), (401, 401)),
            ("s-unnamed", (403, 403), (403, 403)),
            ("s-ALL", (401, 401), (401, 401)),
            ("s-al", (401, 401), (401, 401)),
        ] {
            for (rule, (read, write)) in [(&books, in_books), (&files, in_files)] {
                let shown = format!("Bearer {secret}");
                assert_eq!(refusal(rule, &[&shown], Permission::Read), read, "{secret}");
                assert_eq!(
                    refusal(rule, &[&shown], Permission::Write),
                    write,
                    "{secret}"
                );
            }
        }
    }

    #[test]
    fn only_one_bearer_secret_is_read() {
        let (rule, permission) = (rule("books", true), Permission::Write);
        for (shown, status) in [
            (&["Bearer s-all"][..], 0),
            (&["bearer  s-all "], 0),
            (&["BEARER s-all"], 0),
            (&[], 401),
            (&["Bearer"], 401),
            (&["Bearer "], 401),
            (&["s-all"], 401),
            (&["Basic s-all"], 401),
            (&["Bearer s-all, Bearer s-all"], 401),
            (&["Bearer s-all", "Bearer s-all"], 401),
            (&["Bearer s-unnamed", "Bearer s-all"], 401),
            (&["Bearer s-\u{e4}ll"], 401),
        ] {
            assert_eq!(refusal(&rule, shown, permission), status, "{shown:?}");
            // Where everybody may read, no key is looked at.
            assert_eq!(refusal(&rule, shown, Permission::Read), 0, "{shown:?}");
        }
    }

    #[test]
    fn the_last_use_of_a_key_outlives_a_reload_that_keeps_its_secret() {
        let written = |name: &str, secret: &str| {
            let keys = [(name.to_owned(), key(secret, &[], None))];
            AuthSettings { keys: keys.into() }
        };
        let first = ClientKeys::new(&written("a", "s"), None);
        assert_eq!(first.used().count(), 0);
        first.0[0].show(7);
        assert_eq!(first.used().collect::<Vec<_>>(), [("a", 7)]);
        let renamed = ClientKeys::new(&written("b", "s"), Some(&first));
        assert_eq!(renamed.used().collect::<Vec<_>>(), [("b", 7)]);
        let replaced = ClientKeys::new(&written("a", "other"), Some(&first));
        assert_eq!(replaced.used().count(), 0);
    }

    #[test]
    fn a_key_is_valid_until_its_last_day_ends() {
        let key = ClientKey {
            name: "a".into(),
            written: key("s", &[], Some(DAY)),
            used: Arc::default(),
        };
        assert!(key.is_valid_at(DAY - 1));
        assert!(!key.is_valid_at(DAY));
    }
}
