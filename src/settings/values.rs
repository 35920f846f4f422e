//! Every value that is in force, by its key: what was written, or else the default.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hasher as _;
use std::io::{self, Write};
use std::sync::LazyLock;

use serde_json::Value;
use toml::de::DeTable;

use super::findings::Findings;
use super::key_path::KeyPath;
use super::keys::{self, KEYS, Key};
use super::walk::json;

/// The defaults, by the paths of their keys.
static DEFAULTS: LazyLock<BTreeMap<&str, Value>> = LazyLock::new(|| {
    let keys = KEYS.iter().filter(|key| key.has_default);
    keys.map(|key| (key.path, default(key))).collect()
});

/// Every value that is in force, to tell in what two settings differ.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct SettingValues {
    /// The values that are not the defaults of their keys.
    written: BTreeMap<KeyPath, Value>,
    /// The routes and resources that there are, such as `route` and `/`.
    tables: BTreeSet<KeyPath>,
}

impl SettingValues {
    /// The values of settings without a fault.
    pub(super) fn of(found: Findings) -> Self {
        let mut routes = found.named("route");
        if routes.is_empty() {
            // The one to the welcome page.
            routes.push("/".to_owned());
        }
        let of_kind = |kind: &'static str, names: Vec<String>| {
            let names = names.into_iter();
            names.map(move |name| KeyPath::of(&[kind, name.as_str()]))
        };
        let tables = of_kind("route", routes).chain(of_kind("resource", found.named("resource")));
        let is_default = |path: &KeyPath, value: &Value| {
            let key = keys::find(&path.parts());
            key.and_then(|key| DEFAULTS.get(key.path)) == Some(value)
        };
        let written = found.written.into_iter();
        let written = written.map(|(path, (value, _))| (path, value));
        Self {
            written: written
                .filter(|(path, value)| !is_default(path, value))
                .collect(),
            tables: tables.collect(),
        }
    }

    /// Whether there is this route or resource.
    pub(super) fn has(&self, table: &KeyPath) -> bool {
        self.tables.contains(table)
    }

    /// The value of a key of the server, or of this route or resource; `None` if it has none, or that is not there.
    pub(super) fn value(&self, key: &Key, table: &KeyPath, path: &KeyPath) -> Option<&Value> {
        let is_there = !key.is_named() || self.has(table);
        let default = || DEFAULTS.get(key.path).filter(|_| is_there);
        self.written.get(path).or_else(default)
    }

    /// The paths of all keys whose values may differ from those of `other`.
    pub(super) fn differing<'a>(&'a self, other: &'a Self) -> BTreeSet<Cow<'a, KeyPath>> {
        let mut all = BTreeSet::new();
        for table in self.tables.symmetric_difference(&other.tables) {
            let keys = KEYS.iter().filter_map(|key| key.default_in(table));
            all.extend(keys.map(Cow::Owned));
        }
        // Both are in order, so that each key is looked at once.
        let (mut olds, mut news) = (
            self.written.iter().peekable(),
            other.written.iter().peekable(),
        );
        loop {
            let order = match (olds.peek(), news.peek()) {
                (Some((old, _)), Some((new, _))) => old.cmp(new),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => return all,
            };
            let old = if order.is_le() { olds.next() } else { None };
            let new = if order.is_ge() { news.next() } else { None };
            if old != new {
                all.extend(old.or(new).map(|(path, _)| Cow::Borrowed(path)));
            }
        }
    }

    /// A number that is the same for equal values, and hardly ever for others, as sixteen digits.
    pub(crate) fn hash(&self) -> String {
        let mut hash = Hashed(fnv::FnvHasher::default());
        let tables = self.tables.iter().map(|table| (table, &Value::Null));
        for (path, value) in tables.chain(&self.written) {
            hash.0.write(path.as_bytes());
            // Neither a value nor the hash makes this fail.
            drop(serde_json::to_writer(&mut hash, value));
        }
        format!("{:016x}", hash.0.finish())
    }
}

/// Hashes what is written to it.
struct Hashed(fnv::FnvHasher);

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn default(key: &Key) -> Value {
    let text = format!("value = {}", key.value);
    let (table, _) = DeTable::parse_recoverable(&text);
    let value = table.get_ref().get("value");
    value.map_or(Value::Null, |value| json(value.get_ref()))
}
