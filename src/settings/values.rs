//! Every value that is in force, by its key: what was written, or else the default.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hasher as _;
use std::io::{self, Write};

use serde_json::Value;
use toml::de::DeTable;

use super::keys::{self, KEYS, Key};
use super::walk::{Findings, json};

/// The path of a key, with the names that the operator chose.
pub(super) type KeyPath = Vec<String>;

/// Every value that is in force, to tell in what two settings differ.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct SettingValues(pub(super) BTreeMap<KeyPath, Value>);

impl SettingValues {
    /// The values of settings without a fault.
    pub(super) fn of(found: Findings) -> Self {
        let mut defaults = Vec::new();
        let with_default = KEYS.iter().filter(|key| key.has_default);
        let (starred, flat): (Vec<&Key>, Vec<&Key>) = with_default.partition(|key| key.is_named());
        for key in flat.into_iter().filter(|key| key.path != "include") {
            let path: KeyPath = key.path.split('.').map(str::to_owned).collect();
            defaults.push((path, default(key)));
        }
        let names = |kind| found.named(kind).into_iter().map(|(name, _)| name);
        let mut routes: Vec<_> = names("route").collect();
        if routes.is_empty() {
            routes.push("/".to_owned());
        }
        for (kind, names) in [("route", routes), ("resource", names("resource").collect())] {
            let of_kind = starred
                .iter()
                .filter(|key| key.path.split('.').next() == Some(kind));
            let of_one: Vec<_> = of_kind.map(|key| (key.path, default(key))).collect();
            for name in names {
                for (path, value) in &of_one {
                    let parts = path.split('.');
                    let path = parts.map(|part| if part == "*" { &name } else { part });
                    defaults.push((path.map(str::to_owned).collect(), value.clone()));
                }
            }
        }
        let mut values: BTreeMap<_, _> = defaults.into_iter().collect();
        let written = found.written.into_iter();
        let mut written = written.map(|(path, (value, _))| (path, value)).collect();
        values.append(&mut written);
        Self(values)
    }

    /// The routes and resources that there are, such as `["route", "/"]`.
    pub(super) fn tables(&self) -> BTreeSet<&[String]> {
        // The keys of one table stand together.
        let mut paths: Vec<_> = self.0.keys().collect();
        paths.dedup_by_key(|path| path.get(..2));
        let named = |path: &&KeyPath| keys::find(path).is_some_and(Key::is_named);
        let named = paths.into_iter().filter(named);
        named.filter_map(|path| path.get(..2)).collect()
    }

    /// A number that is the same for equal values, and hardly ever for others, as sixteen digits.
    pub(crate) fn hash(&self) -> String {
        let mut hash = Hashed(fnv::FnvHasher::default());
        for (path, value) in &self.0 {
            for part in path {
                hash.0.write(part.as_bytes());
                hash.0.write(&[0]);
            }
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
