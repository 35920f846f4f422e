//! `[auth]` and `access`: the keys, passwords and tokens that clients show, and who may read and write.

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::str::FromStr;
use std::time::Duration;

use argon2::Params;
use argon2::password_hash::phc::PasswordHash as PhcText;
use ring::digest::{SHA256, digest};
use serde::de::{Deserialize, Deserializer, Error};
use serde_json::Value;
use time::format_description::well_known::Iso8601;
use time::{Date, OffsetDateTime, Time};

use crate::tokens::{TokenAlgorithm, TokenKeys, TokenRules};

/// The bytes of a hash.
const HASH_BYTES: usize = 32;

/// `[auth]`
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuthSettings {
    /// The keys of clients, by name.
    pub keys: BTreeMap<String, KeySettings>,
    /// The users with a password, by name.
    pub users: BTreeMap<String, UserSettings>,
    /// The tokens that count; `None` if none do.
    pub jwt: Option<TokenSettings>,
}

/// `auth.users.NAME`
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserSettings {
    /// The hash of the password.
    pub password: PasswordHash,
}

/// The Argon2id hash of a password (RFC 9106), as a text in the PHC format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PasswordHash(String);

impl PasswordHash {
    /// The most memory, in KiB, passes and lanes that a hash may ask for: each attempt costs so much.
    const COST_MAX: (u32, u32, u32) = (256 << 10, 32, 16);

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PasswordHash {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let hash = PhcText::new(text).map_err(|_| ())?;
        let params = Params::try_from(&hash).map_err(|_| ())?;
        let (memory, passes, lanes) = Self::COST_MAX;
        let fits = hash.algorithm.as_str() == "argon2id"
            && hash.salt.is_some()
            && hash.hash.is_some()
            && params.m_cost() <= memory
            && params.t_cost() <= passes
            && params.p_cost() <= lanes;
        fits.then(|| Self(text.to_owned())).ok_or(())
    }
}

/// `[auth.jwt]`
#[derive(Debug, Clone, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenSettings {
    /// The algorithms of signatures that count.
    pub algorithms: Vec<TokenAlgorithm>,
    /// The issuer whose tokens count; `None` is any that has a key.
    #[serde(default)]
    pub issuer: Option<String>,
    /// The audience that a token must name; `None` is a token that names none.
    #[serde(default)]
    pub audience: Option<String>,
    /// The claim with the roles.
    #[serde(default = "role_claim")]
    pub role_claim: String,
    /// By so much the clock of the issuer may be wrong.
    #[serde(default = "leeway", with = "humantime_serde")]
    pub leeway: Duration,
    /// The keys, as their file was.
    #[serde(skip)]
    pub(crate) keys: Option<TokenKeys>,
}

impl Eq for TokenSettings {}

impl TokenSettings {
    /// The rules that the claims of a token have to keep.
    pub(crate) fn rules(&self) -> TokenRules {
        TokenRules {
            issuer: self.issuer.clone(),
            audience: self.audience.clone(),
            role_claim: self.role_claim.clone(),
            leeway: self.leeway,
        }
    }
}

fn role_claim() -> String {
    "role".to_owned()
}

fn leeway() -> Duration {
    Duration::from_secs(30)
}

/// `auth.keys.NAME`
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeySettings {
    /// The hash of its secret.
    pub hash: SecretHash,
    /// The limits of what it may do; `None` is whatever `access` allows.
    #[serde(default)]
    pub scope: Option<Vec<Scope>>,
    /// The moment at which it ends, in seconds since 1970.
    #[serde(default, deserialize_with = "end_of_day")]
    pub expires: Option<i64>,
}

/// The SHA-256 hash of a secret (FIPS 180-4).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SecretHash(pub [u8; HASH_BYTES]);

impl SecretHash {
    // Decision: The hash of a key's secret has no salt and costs nothing.
    /// The hash of a secret. A secret has 256 random bits, so that its hash is safe without salt, and cheap.
    pub(crate) fn of(secret: &[u8]) -> Self {
        let mut hash = Self::default();
        hash.0.copy_from_slice(digest(&SHA256, secret).as_ref());
        hash
    }
}

impl FromStr for SecretHash {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let digits = text.strip_prefix("sha256:").ok_or(())?.as_bytes();
        let mut hash = [0; HASH_BYTES];
        let (pairs, rest) = digits.as_chunks::<2>();
        if pairs.len() != HASH_BYTES || !rest.is_empty() {
            return Err(());
        }
        for (byte, pair) in hash.iter_mut().zip(pairs) {
            let digits = pair.map(|digit| char::from(digit).to_digit(16));
            let [Some(high), Some(low)] = digits else {
                return Err(());
            };
            *byte = u8::try_from(high * 16 + low).map_err(|_| ())?;
        }
        Ok(Self(hash))
    }
}

impl Display for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A permission on a route or resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Permission {
    /// To read it.
    Read,
    /// To change it.
    Write,
}

/// One item of `auth.keys.*.scope`, such as `books:write`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// The name of a resource or the path of a route; `*` is all of them.
    pub of: String,
    /// The most that may be done with it: who may write may read.
    pub most: Permission,
}

impl Scope {
    /// Whether it has a permission on the resource of this name, or the route of this path.
    pub fn allows(&self, of: &str, permission: Permission) -> bool {
        (self.of == "*" || self.of == of) && permission <= self.most
    }
}

impl FromStr for Scope {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (of, most) = text.rsplit_once(':').ok_or(())?;
        let most = match most {
            "read" => Permission::Read,
            "write" => Permission::Write,
            _ => return Err(()),
        };
        let of = of.to_owned();
        (!of.is_empty()).then_some(Self { of, most }).ok_or(())
    }
}

/// The clients that may read, and those that may write.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AccessSettings {
    /// The readers.
    pub read: AllowedClients,
    /// The writers.
    pub write: AllowedClients,
}

/// The clients that may do something.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum AllowedClients {
    /// Everybody who can connect.
    #[default]
    Public,
    /// Those that are one of these.
    Only(Vec<AllowedClient>),
}

/// One kind of client that may do something. The name `*` is any.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum AllowedClient {
    /// One that shows the key of this name: `key:NAME`.
    Key(String),
    /// The user of this name, by the password: `basic:NAME`.
    User(String),
    /// One that shows a token with this role: `jwt:ROLE`.
    Role(String),
}

impl AllowedClient {
    /// The name that stands for all.
    pub(crate) const ANY: &str = "*";

    /// Each kind with the names that are written of it.
    fn by_kind(clients: &[Self]) -> [(&'static str, &'static str, Vec<&str>); 3] {
        let (mut keys, mut users, mut roles) = (Vec::new(), Vec::new(), Vec::new());
        for client in clients {
            match client {
                Self::Key(name) => keys.push(&**name),
                Self::User(name) => users.push(&**name),
                Self::Role(role) => roles.push(&**role),
            }
        }
        [
            ("show any key", "show the key", keys),
            (
                "send the password of any user",
                "send the password of",
                users,
            ),
            ("show any valid token", "show a token with the role", roles),
        ]
    }

    /// These clients, for people, after "clients that".
    pub(crate) fn told(clients: &[Self]) -> String {
        let told = Self::by_kind(clients).into_iter();
        let told = told.filter(|(.., names)| !names.is_empty());
        let told = told.map(|(any, one, names)| {
            if names.contains(&Self::ANY) {
                any.to_owned()
            } else {
                format!("{one} {}", names.join(" or "))
            }
        });
        told.collect::<Vec<_>>().join(", or ")
    }
}

impl FromStr for AllowedClient {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (kind, name) = text.split_once(':').ok_or(())?;
        let name = (!name.is_empty()).then(|| name.to_owned()).ok_or(())?;
        match kind {
            "key" => Ok(Self::Key(name)),
            "basic" => Ok(Self::User(name)),
            "jwt" => Ok(Self::Role(name)),
            _ => Err(()),
        }
    }
}

impl Display for AllowedClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, name) = match self {
            Self::Key(name) => ("key", name),
            Self::User(name) => ("basic", name),
            Self::Role(role) => ("jwt", role),
        };
        write!(f, "{kind}:{name}")
    }
}

impl AccessSettings {
    /// Reads the value of `access`, or tells its fault, which follows the name of the key.
    pub(super) fn read(value: &Value) -> Result<Self, String> {
        let both = |clients: AllowedClients| Self {
            read: clients.clone(),
            write: clients,
        };
        let Some(members) = value.as_object() else {
            return AllowedClients::read(value).map(both);
        };
        if let Some(other) = members
            .keys()
            .find(|name| !["read", "write"].contains(&&***name))
        {
            return Err(format!("has {other:?}; it has read and write"));
        }
        let (Some(read), Some(write)) = (members.get("read"), members.get("write")) else {
            return Err(
                "does not say who may do what is left out; write { read = \"public\", write = [\"key:NAME\"] }"
                    .to_owned(),
            );
        };
        let (read, write) = (AllowedClients::read(read)?, AllowedClients::read(write)?);
        Ok(Self { read, write })
    }

    /// All that are mentioned.
    pub(super) fn clients(&self) -> impl Iterator<Item = &AllowedClient> {
        self.read.only().iter().chain(self.write.only())
    }
}

impl AllowedClients {
    /// Those that are named; empty if everybody may.
    pub(crate) fn only(&self) -> &[AllowedClient] {
        match self {
            Self::Public => &[],
            Self::Only(clients) => clients,
        }
    }

    fn read(value: &Value) -> Result<Self, String> {
        const RIGHT: &str =
            "write \"public\", or a list such as [\"key:ci\", \"basic:ann\", \"jwt:editor\"]";
        if value == "public" {
            return Ok(Self::Public);
        }
        let items = value.as_array().filter(|items| !items.is_empty());
        let items = items.ok_or_else(|| format!("{value} is not allowed; {RIGHT}"))?;
        let client = |item: &Value| {
            let client = item.as_str().unwrap_or_default().parse();
            client.map_err(|()| format!("{item} is not allowed; {RIGHT}"))
        };
        items
            .iter()
            .map(client)
            .collect::<Result<_, _>>()
            .map(Self::Only)
    }
}

impl<'de> Deserialize<'de> for AccessSettings {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Self::read(&Value::deserialize(from)?).map_err(D::Error::custom)
    }
}

macro_rules! from_text {
    ($type:ty, $what:literal) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = String::deserialize(from)?;
                text.parse().map_err(|()| D::Error::custom($what))
            }
        }
    };
}
from_text!(SecretHash, "not a hash");
from_text!(PasswordHash, "not a hash");
from_text!(AllowedClient, "not a client");
from_text!(Scope, "not a scope");

/// The first second after a day such as `2027-12-31`, in UTC.
pub(super) fn after_day(text: &str) -> Option<i64> {
    let day = Date::parse(text, &Iso8601::DATE).ok()?;
    let next = day.next_day()?;
    Some(OffsetDateTime::new_utc(next, Time::MIDNIGHT).unix_timestamp())
}

/// Whether a text is a day.
pub(crate) fn is_day(text: &str) -> bool {
    after_day(text).is_some()
}

fn end_of_day<'de, D: Deserializer<'de>>(from: D) -> Result<Option<i64>, D::Error> {
    let text = String::deserialize(from)?;
    let end = after_day(&text).ok_or_else(|| D::Error::custom("not a day"))?;
    Ok(Some(end))
}
