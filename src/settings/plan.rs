//! Plans a reload: the difference between two settings, node by node, and the changes that need a restart of the daemon.
//! Pure; how a key is applied is a column of the table of keys.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::fault::shown;
use super::key_path::KeyPath;
use super::keys::{self, Applied};
use super::values::SettingValues;

/// The changes from one edition of the settings to the next.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct ReloadPlan {
    /// The nodes that change, in the order of their names.
    pub changes: Vec<NodeChange>,
    /// The changes that need a restart of the daemon. If there are any, nothing is changed.
    pub refused: Vec<String>,
}

/// A part of the settings that changes: a section, a route or a resource.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct NodeChange {
    /// Its name, as TOML writes it.
    pub node: String,
    /// The kind of its change.
    pub change: Changed,
    /// The keys of it that differ, and of a table its members; all of them if it is added or removed.
    pub keys: Vec<KeyChange>,
}

/// The kind of a change of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Changed {
    /// It goes on with new values.
    Live,
    /// The children that use it are replaced by others with new values.
    Replaced,
    /// It is new.
    Added,
    /// It is there no longer.
    Removed,
}

/// A key with both values; `None` where it has none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct KeyChange {
    /// The key.
    pub key: String,
    /// The value before.
    pub from: Option<Value>,
    /// The value from now on.
    pub to: Option<Value>,
}

impl fmt::Display for KeyChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |value: &Option<Value>| {
            let text = value.as_ref().map(Value::to_string);
            text.unwrap_or_else(|| "nothing".to_owned())
        };
        write!(
            f,
            "{} from {} to {}",
            self.key,
            text(&self.from),
            text(&self.to)
        )
    }
}

impl NodeChange {
    fn listed(&self) -> String {
        let keys: Vec<_> = self.keys.iter().map(KeyChange::to_string).collect();
        keys.join(", ")
    }
}

impl fmt::Display for NodeChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.change {
            Changed::Added => write!(f, "{}: added", self.node),
            Changed::Removed if self.node.starts_with("resource.") => write!(
                f,
                "{}: removed; its records are kept, and are there again when it is declared again",
                self.node
            ),
            Changed::Removed => write!(f, "{}: removed", self.node),
            Changed::Live => write!(f, "{}: changed: {}", self.node, self.listed()),
            Changed::Replaced => write!(f, "{}: replaced: {}", self.node, self.listed()),
        }
    }
}

/// Compares `old` with `new`.
pub(crate) fn plan(old: &SettingValues, new: &SettingValues) -> ReloadPlan {
    let mut nodes: BTreeMap<(KeyPath, Changed), Vec<KeyChange>> = BTreeMap::new();
    let mut refused = Vec::new();
    for path in old.differing(new) {
        let mut parts = path.parts();
        let Some(key) = keys::find(&parts) else {
            continue;
        };
        let node = parts.get(..if key.is_named() { 2 } else { 1 });
        let node = KeyPath::of(node.unwrap_or_default());
        let (from, to) = (old.value(key, &node, &path), new.value(key, &node, &path));
        let meaning = |value: Option<&Value>| value.map(|value| key.kind.meaning(value));
        if meaning(from) == meaning(to) {
            continue;
        }
        let change = match (old.has(&node), new.has(&node)) {
            (false, true) => Changed::Added,
            (true, false) => Changed::Removed,
            (true, true) | (false, false) if key.applied == Applied::Replaced => Changed::Replaced,
            (true, true) | (false, false) => Changed::Live,
        };
        let differ = nodes.entry((node, change)).or_default();
        let before = differ.len();
        members(&mut parts, from, to, differ);
        if change == Changed::Live && key.applied == Applied::Restart {
            let changed = differ.iter().skip(before);
            refused.extend(changed.map(KeyChange::to_string));
        }
    }
    let changes = nodes.into_iter().map(|((node, change), keys)| NodeChange {
        node: shown(&node.parts()),
        change,
        keys,
    });
    let changes = changes.collect();
    ReloadPlan { changes, refused }
}

/// The difference of two values: of two tables, that of each member.
fn members<'a>(
    path: &mut Vec<Cow<'a, str>>,
    from: Option<&'a Value>,
    to: Option<&'a Value>,
    differ: &mut Vec<KeyChange>,
) {
    if let (Some(Value::Object(old)), Some(Value::Object(new))) = (from, to) {
        let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        for name in names {
            let (from, to) = (old.get(name), new.get(name));
            if from != to {
                path.push(Cow::Borrowed(name));
                members(path, from, to, differ);
                path.pop();
            }
        }
        return;
    }
    differ.push(KeyChange {
        key: shown(path),
        from: from.cloned(),
        to: to.cloned(),
    });
}

#[cfg(test)]
mod tests {
    use super::super::tests::values;
    use super::*;

    #[test]
    fn every_difference_is_a_change_of_its_node_or_refused_by_its_name() {
        let books = "[resource.books]\n";
        for (old, new, changes, refused) in [
            ("", "", &[][..], &[][..]),
            (
                "[limits]\nbody = \"1024 KiB\"",
                "[limits]\nbody = \"1 MiB\"",
                &[],
                &[],
            ),
            (
                "",
                "[limits]\nbody = \"2 MiB\"\nidle_timeout = \"1s\"",
                &[
                    "limits: changed: limits.body from \"1 MiB\" to \"2 MiB\", limits.idle_timeout from \"75s\" to \"1s\"",
                ],
                &[],
            ),
            (
                "[server]\ndata = \"a\"\nhosts = [\"a\"]",
                "[server]\ndata = \"b\"\nhosts = []",
                &[
                    "server: changed: server.data from \"a\" to \"b\", server.hosts from [\"a\"] to []",
                ],
                &["server.data from \"a\" to \"b\""],
            ),
            (
                "[route.\"/\"]\nfiles.root = \"x\"",
                "[route.\"/\"]\nfiles.root = \"x\"\nheaders = { A = \"b\" }",
                &["route.\"/\": changed: route.\"/\".headers from nothing to {\"A\":\"b\"}"],
                &[],
            ),
            ("", books, &["resource.books: added"], &[]),
            (
                books,
                "",
                &[
                    "resource.books: removed; its records are kept, and are there again when it is declared again",
                ],
                &[],
            ),
            (
                books,
                "[resource.books]\nid = \"client\"",
                &["resource.books: changed: resource.books.id from \"uuidv7\" to \"client\""],
                &[],
            ),
            (
                books,
                "[resource.books]\nput = \"merge\"",
                &["resource.books: changed: resource.books.put from \"replace\" to \"merge\""],
                &[],
            ),
            (
                "",
                "[route.\"/a\"]\nfiles.root = \"a\"",
                &["route.\"/\": removed", "route.\"/a\": added"],
                &[],
            ),
        ] {
            let plan = plan(&values(old), &values(new));
            let told: Vec<_> = plan.changes.iter().map(NodeChange::to_string).collect();
            assert_eq!(told, changes, "{old} -> {new}");
            assert_eq!(plan.refused, refused, "{old} -> {new}");
        }
    }

    #[test]
    fn keys_whose_children_are_replaced_are_told_apart_from_those_that_change_live() {
        let new = "[backup]\nto = \"s3://b\"\n[storage]\nreserve = \"1 MiB\"";
        let plan = plan(&values(""), &values(new));
        let told: Vec<_> = plan.changes.iter().map(NodeChange::to_string).collect();
        let expected = [
            "backup: replaced: backup.to from nothing to \"s3://b\"",
            "storage: changed: storage.reserve from \"auto\" to \"1 MiB\"",
        ];
        assert_eq!(told, expected);
        assert!(plan.refused.is_empty());
    }

    #[test]
    fn of_a_table_only_the_members_that_differ_are_told() {
        let fields = |more: &str| {
            let text = format!("[resource.books.fields]\na = {{ type = \"string\" }}\n{more}");
            values(&text)
        };
        let old = "b = { type = \"number\", min = 1 }\nc = { type = \"boolean\" }";
        let new = "b = { type = \"number\", min = 2 }\nd = { type = \"boolean\" }";
        let plan = plan(&fields(old), &fields(new));
        let told: Vec<_> = plan.changes.iter().map(NodeChange::to_string).collect();
        let expected = "resource.books: changed: resource.books.fields.b.min from 1 to 2, resource.books.fields.c from {\"type\":\"boolean\"} to nothing, resource.books.fields.d from nothing to {\"type\":\"boolean\"}";
        assert_eq!(told, [expected]);
    }

    #[test]
    fn equal_values_have_one_hash() {
        let (one, other) = ("[limits]\nbody = \"1 MiB\"", "[limits]\nbody = \"2 MiB\"");
        assert_eq!(values("").hash(), values(one).hash());
        assert_ne!(values(one).hash(), values(other).hash());
    }
}
