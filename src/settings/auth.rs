//! `[auth]` and `access`: the keys that clients show, and who may read and write.

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::str::FromStr;

use ring::digest::{SHA256, digest};
use serde::de::{Deserialize, Deserializer, Error};
use serde_json::Value;
use time::format_description::well_known::Iso8601;
use time::{Date, OffsetDateTime, Time};

/// The bytes of a hash.
const HASH_BYTES: usize = 32;

/// `[auth]`
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuthSettings {
    /// The keys of clients, by name.
    pub keys: BTreeMap<String, KeySettings>,
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
    /// Those that show one of these keys.
    Keys(Vec<String>),
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

    /// The names of all keys that are mentioned.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        let names = |clients| match clients {
            &AllowedClients::Public => &[][..],
            AllowedClients::Keys(names) => names,
        };
        names(&self.read)
            .iter()
            .chain(names(&self.write))
            .map(String::as_str)
    }
}

impl AllowedClients {
    fn read(value: &Value) -> Result<Self, String> {
        const RIGHT: &str = "write \"public\", or a list of keys such as [\"key:ci\"]";
        if value == "public" {
            return Ok(Self::Public);
        }
        let items = value.as_array().filter(|items| !items.is_empty());
        let items = items.ok_or_else(|| format!("{value} is not allowed; {RIGHT}"))?;
        let name = |item: &Value| {
            let text = item.as_str().unwrap_or_default();
            let later = ["jwt:", "basic:"].iter().any(|kind| text.starts_with(kind));
            if later {
                return Err(format!("{item} is not available in this release; {RIGHT}"));
            }
            let name = text.strip_prefix("key:").filter(|name| !name.is_empty());
            let name = name.ok_or_else(|| format!("{item} is not allowed; {RIGHT}"))?;
            Ok(name.to_owned())
        };
        items
            .iter()
            .map(name)
            .collect::<Result<_, _>>()
            .map(Self::Keys)
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
