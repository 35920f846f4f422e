//! The clients that may use a route.

use std::sync::Arc;

use actix_web::http::header;

use super::super::identities::{CredentialKind, Identities, ShownClient, TakenCredentials, now};
use crate::settings::{AccessSettings, AllowedClient, AllowedClients, Permission};
use crate::wire::{Code, Identity, Incoming, Problem, ShownBy};

/// The clients that may use a route.
#[derive(Debug, Clone, Default)]
pub(crate) struct AccessRule {
    written: AccessSettings,
    /// The name of the resource, or the path of the route, by which the scope of a key names it.
    of: String,
    identities: Arc<Identities>,
}

impl PartialEq for AccessRule {
    /// Whether the same clients may do the same: nobody was added, taken away or changed.
    fn eq(&self, other: &Self) -> bool {
        let both = [&self.written.read, &self.written.write];
        let is_public = both
            .iter()
            .all(|clients| **clients == AllowedClients::Public);
        self.written == other.written
            && (is_public || self.of == other.of && self.identities == other.identities)
    }
}

impl AccessRule {
    /// The rule from the settings, for the resource or route that scopes name so.
    pub(super) fn new(written: &AccessSettings, of: &str, identities: &Arc<Identities>) -> Self {
        Self {
            written: written.clone(),
            of: of.to_owned(),
            identities: Arc::clone(identities),
        }
    }

    fn of(&self, permission: Permission) -> &AllowedClients {
        match permission {
            Permission::Read => &self.written.read,
            Permission::Write => &self.written.write,
        }
    }

    /// Refuses a request if its client has not this permission. Notes who the client is, where that has to be known.
    pub(crate) async fn check(
        &self,
        request: &Incoming,
        permission: Permission,
    ) -> Result<(), Problem> {
        let clients = self.of(permission).only();
        match self.shown(request, permission) {
            None => Ok(()),
            Some(ShownClient::Unsure(password)) => {
                if let Some(identity) = self.identities.compare(password).await? {
                    request.note_identity(&identity);
                    return self.permit(&identity, permission);
                }
                let detail = "no user has this name and password".to_owned();
                Err(self.refuse(clients, CredentialKind::Password, detail))
            }
            Some(ShownClient::Refused(kind, detail)) => Err(self.refuse(clients, kind, detail)),
            Some(ShownClient::Nobody) => {
                let detail = format!("this needs {}", needed(clients));
                Err(unauthorized(clients, false, detail))
            }
            Some(ShownClient::Known(identity)) => self.permit(&identity, permission),
        }
    }

    /// Whether the client of a request has this permission, as far as that is found out at once.
    pub(crate) fn is_allowed_now(&self, request: &Incoming, permission: Permission) -> bool {
        match self.shown(request, permission) {
            None => true,
            Some(ShownClient::Known(identity)) => self.permit(&identity, permission).is_ok(),
            Some(ShownClient::Nobody | ShownClient::Refused(..) | ShownClient::Unsure(_)) => false,
        }
    }

    /// The name of the client of a request that was checked, if it has to show who it is; `None` also for those that are excepted.
    pub(crate) fn limited_client(
        &self,
        request: &Incoming,
        permission: Permission,
        except: &[AllowedClient],
    ) -> Option<String> {
        if *self.of(permission) == AllowedClients::Public {
            return None;
        }
        let identity = request.identity();
        let is_excepted =
            identity.is_some_and(|identity| except.iter().any(|client| is_meant(client, identity)));
        // Nobody has the empty name, so that a request that was not checked sees nothing.
        let name = || identity.map_or(String::new(), |identity| identity.name.clone());
        (!is_excepted).then(name)
    }

    /// The client of a request; `None` if everybody may. Notes it.
    fn shown(&self, request: &Incoming, permission: Permission) -> Option<ShownClient> {
        let clients = self.of(permission);
        if *clients == AllowedClients::Public {
            return None;
        }
        if let Some(identity) = request.identity() {
            return Some(ShownClient::Known(Arc::clone(identity)));
        }
        let taken = TakenCredentials::of(clients.only());
        let shown = self.identities.shown(request.headers(), taken, now());
        if let ShownClient::Known(identity) = &shown {
            request.note_identity(identity);
        }
        Some(shown)
    }

    fn refuse(&self, clients: &[AllowedClient], kind: CredentialKind, detail: String) -> Problem {
        self.identities.note_refused(kind);
        unauthorized(clients, kind != CredentialKind::Password, detail)
    }

    fn permit(&self, identity: &Identity, permission: Permission) -> Result<(), Problem> {
        let mut clients = self.of(permission).only().iter();
        if clients.any(|client| is_meant(client, identity))
            && is_in_scope(identity, &self.of, permission)
        {
            return Ok(());
        }
        let what = match permission {
            Permission::Read => "read",
            Permission::Write => "change anything",
        };
        let detail = format!("{} may not {what} here", identity.name);
        Err(Problem::new(Code::NotPermitted).detail(detail))
    }

    /// The clients, for people.
    pub(crate) fn text(&self) -> String {
        let text = |clients: &AllowedClients| match clients {
            AllowedClients::Public => "public: everybody who can connect".to_owned(),
            AllowedClients::Only(clients) => {
                format!("clients that {}", AllowedClient::told(clients))
            }
        };
        let AccessSettings { read, write } = &self.written;
        if read == write {
            return text(read);
        }
        format!("reading is {}; writing is {}", text(read), text(write))
    }
}

/// Whether an item of `access` means this client.
fn is_meant(client: &AllowedClient, identity: &Identity) -> bool {
    let is_named = |name: &str| {
        let own = identity.name.split_once(':').map(|(_, own)| own);
        name == AllowedClient::ANY || own == Some(name)
    };
    match (client, &identity.by) {
        (AllowedClient::Key(name), ShownBy::Key { .. })
        | (AllowedClient::User(name), ShownBy::Password) => is_named(name),
        (AllowedClient::Role(role), ShownBy::Token { roles, .. }) => {
            role == AllowedClient::ANY || roles.contains(role)
        }
        (AllowedClient::Key(_), ShownBy::Password | ShownBy::Token { .. })
        | (AllowedClient::User(_), ShownBy::Key { .. } | ShownBy::Token { .. })
        | (AllowedClient::Role(_), ShownBy::Key { .. } | ShownBy::Password) => false,
    }
}

/// Whether the scope of a key allows something. Only keys have one.
fn is_in_scope(identity: &Identity, of: &str, permission: Permission) -> bool {
    match &identity.by {
        ShownBy::Key {
            scope: Some(scope), ..
        } => scope.iter().any(|item| item.allows(of, permission)),
        ShownBy::Key { scope: None, .. } | ShownBy::Password | ShownBy::Token { .. } => true,
    }
}

/// The credentials that a client needs, for people.
fn needed(clients: &[AllowedClient]) -> String {
    let TakenCredentials {
        keys,
        passwords,
        tokens,
    } = TakenCredentials::of(clients);
    let all = [
        (keys, "a key (Authorization: Bearer SECRET)"),
        (tokens, "a token (Authorization: Bearer TOKEN)"),
        (passwords, "a name with its password (Authorization: Basic)"),
    ];
    let needed = all.iter().filter(|(is_taken, _)| *is_taken);
    let needed: Vec<_> = needed.map(|(_, told)| *told).collect();
    needed.join(" or ")
}

/// A 401 with the challenges by which clients find out what to show (RFC 6750 section 3, RFC 7617 section 2).
fn unauthorized(clients: &[AllowedClient], bearer_is_invalid: bool, detail: String) -> Problem {
    let taken = TakenCredentials::of(clients);
    let bearer = match (taken.keys || taken.tokens, bearer_is_invalid) {
        (true, true) => Some("Bearer realm=\"perennial\", error=\"invalid_token\""),
        (true, false) => Some("Bearer realm=\"perennial\""),
        (false, _) => None,
    };
    let basic = "Basic realm=\"perennial\", charset=\"UTF-8\"";
    let basic = taken.passwords.then_some(basic);
    let challenges: Vec<_> = bearer.into_iter().chain(basic).collect();
    Problem::new(Code::Unauthorized)
        .detail(detail)
        .header(header::WWW_AUTHENTICATE, challenges.join(", "))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use actix_web::http::header::{HeaderMap, HeaderValue};

    use super::*;
    use crate::settings::{AuthSettings, KeySettings, Scope, SecretHash, UserSettings};

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

    fn identities() -> Arc<Identities> {
        let now = i64::try_from(now().as_secs()).unwrap();
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
        let password = "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$GqFT4SvEcfyFJMSfdJcSoA";
        let user = UserSettings {
            password: password.parse().unwrap(),
        };
        let settings = AuthSettings {
            keys,
            users: [("ann".to_owned(), user)].into(),
            jwt: None,
        };
        Identities::new(&settings, None)
    }

    fn rule(of: &str, public_reading: bool, clients: &[&str]) -> AccessRule {
        let some = clients.iter().map(|client| client.parse().unwrap());
        let some = AllowedClients::Only(some.collect());
        let read = if public_reading {
            AllowedClients::Public
        } else {
            some.clone()
        };
        let written = AccessSettings { read, write: some };
        AccessRule::new(&written, of, &identities())
    }

    const NAMED: [&str; 5] = ["key:all", "key:books", "key:reader", "key:other", "key:old"];

    /// The status of the refusal; 0 if there is none, 1 if a password has to be compared.
    fn refusal(rule: &AccessRule, authorization: &[&str], permission: Permission) -> u64 {
        let mut headers = HeaderMap::new();
        for value in authorization {
            let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
            headers.append(header::AUTHORIZATION, value);
        }
        let clients = rule.of(permission);
        if *clients == AllowedClients::Public {
            return 0;
        }
        let taken = TakenCredentials::of(clients.only());
        let permitted = match rule.identities.shown(&headers, taken, now()) {
            ShownClient::Known(identity) => rule.permit(&identity, permission),
            ShownClient::Unsure(_) => return 1,
            ShownClient::Nobody => Err(unauthorized(clients.only(), false, String::new())),
            ShownClient::Refused(kind, why) => Err(rule.refuse(clients.only(), kind, why)),
        };
        let status = |problem: Problem| problem.result()["status"].as_u64().unwrap();
        permitted.map_or_else(status, |()| 0)
    }

    #[test]
    fn a_client_may_do_what_access_and_the_scope_of_its_key_allow() {
        let (books, files) = (rule("books", false, &NAMED), rule("/files", false, &NAMED));
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
    fn any_key_is_one_that_is_there_and_its_scope_counts_all_the_same() {
        let any = rule("books", false, &["key:*"]);
        for (secret, status) in [
            ("s-unnamed", 0),
            ("s-reader", 403),
            ("s-old", 401),
            ("s", 401),
        ] {
            let shown = format!("Bearer {secret}");
            assert_eq!(
                refusal(&any, &[&shown], Permission::Write),
                status,
                "{secret}"
            );
        }
    }

    #[test]
    fn only_one_set_of_credentials_is_read_and_only_of_a_kind_that_counts() {
        let permission = Permission::Write;
        let keys = rule("books", true, &NAMED);
        let users = rule("books", true, &["basic:ann"]);
        for (shown, by_key, by_password) in [
            (&["Bearer s-all"][..], 0, 401),
            (&["bearer  s-all "], 0, 401),
            (&["BEARER s-all"], 0, 401),
            (&[], 401, 401),
            (&["Bearer"], 401, 401),
            (&["Bearer "], 401, 401),
            (&["s-all"], 401, 401),
            (&["Basic s-all"], 401, 401),
            (&["Bearer s-all, Bearer s-all"], 401, 401),
            (&["Bearer s-all", "Bearer s-all"], 401, 401),
            (&["Bearer s-unnamed", "Bearer s-all"], 401, 401),
            (&["Bearer s-\u{e4}ll"], 401, 401),
            // ann:, ann:x, ann, and bytes that are not UTF-8 in the password and in the name.
            (&["Basic YW5uOg=="], 401, 1),
            (&["basic  YW5uOng= "], 401, 1),
            (&["Basic YW5u"], 401, 401),
            (&["Basic YW5uOv8="], 401, 1),
            (&["Basic /zp4"], 401, 401),
            (&["Basic YW5uOng"], 401, 401),
            (&["Basic YW5uOng=", "Bearer s-all"], 401, 401),
        ] {
            assert_eq!(refusal(&keys, shown, permission), by_key, "{shown:?}");
            assert_eq!(refusal(&users, shown, permission), by_password, "{shown:?}");
            // Where everybody may read, no credentials are looked at.
            assert_eq!(refusal(&keys, shown, Permission::Read), 0, "{shown:?}");
        }
    }

    #[test]
    fn a_401_asks_for_what_counts() {
        let clients = |texts: &[&str]| -> Vec<AllowedClient> {
            texts.iter().map(|text| text.parse().unwrap()).collect()
        };
        for (texts, invalid, expected) in [
            (&["key:a"][..], false, "Bearer realm=\"perennial\""),
            (
                &["jwt:a"],
                true,
                "Bearer realm=\"perennial\", error=\"invalid_token\"",
            ),
            (
                &["basic:a"],
                true,
                "Basic realm=\"perennial\", charset=\"UTF-8\"",
            ),
            (
                &["basic:a", "key:b"],
                false,
                "Bearer realm=\"perennial\", Basic realm=\"perennial\", charset=\"UTF-8\"",
            ),
        ] {
            let problem = unauthorized(&clients(texts), invalid, needed(&clients(texts)));
            let expected = Problem::new(Code::Unauthorized)
                .detail(needed(&clients(texts)))
                .header(header::WWW_AUTHENTICATE, expected);
            assert_eq!(problem, expected);
        }
    }
}
