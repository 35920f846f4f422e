//! One row of the table of keys.

use super::key_path::KeyPath;
use super::kind::Kind;

/// The way in which a change of a key is applied while the daemon runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Applied {
    /// At once: requests that begin from then on have the new value.
    Live,
    /// The children that use it are replaced: they stop in order, and new ones have the new value.
    Replaced,
    /// Not at all: it is refused until the daemon is started again.
    Restart,
}

/// One key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Key {
    /// Its path; `*` stands for a name that the operator chooses.
    pub(crate) path: &'static str,
    /// The way in which a change of it is applied while the daemon runs.
    pub(crate) applied: Applied,
    pub(crate) kind: Kind,
    /// A value as TOML writes it: the default, or an example where there is none.
    pub(crate) value: &'static str,
    pub(crate) has_default: bool,
    /// One line: meaning, unit, reason.
    pub(crate) doc: &'static str,
}

impl Key {
    /// Whether its path has a name that the operator chooses.
    pub(crate) fn is_named(&self) -> bool {
        self.path.contains('*')
    }

    /// Its path in this route or resource, if it is a key of those and has a default.
    pub(super) fn default_in(&self, table: &KeyPath) -> Option<KeyPath> {
        let parts = table.parts();
        let [kind, name] = parts.as_slice() else {
            return None;
        };
        let rest = self.path.strip_prefix(&**kind)?.strip_prefix(".*.")?;
        let above = [&**kind, &**name].into_iter();
        let path: Vec<_> = above.chain(rest.split('.')).collect();
        self.has_default.then(|| KeyPath::of(&path))
    }

    /// Its default, if that is a text.
    pub(super) fn default_text(&self) -> Option<&'static str> {
        let text = self.value.strip_prefix('"')?.strip_suffix('"')?;
        self.has_default.then_some(text)
    }

    /// Whether its value is a field of [`Settings`](super::Settings). The walk reads the fields of records; and where there
    /// is one choice, nothing depends on it.
    pub(crate) fn has_field(&self) -> bool {
        !matches!(
            self.kind,
            Kind::Fields | Kind::SchemaFile | Kind::KeyFile | Kind::Indexes | Kind::Choice([_])
        )
    }
}

pub(super) const fn key(
    path: &'static str,
    applied: Applied,
    kind: Kind,
    value: &'static str,
    doc: &'static str,
) -> Key {
    let has_default = true;
    Key {
        path,
        applied,
        kind,
        value,
        has_default,
        doc,
    }
}

/// A key without a default; the value is an example.
pub(super) const fn optional(
    path: &'static str,
    applied: Applied,
    kind: Kind,
    value: &'static str,
    doc: &'static str,
) -> Key {
    Key {
        has_default: false,
        ..key(path, applied, kind, value, doc)
    }
}
