//! The path of a key as one text: settings with many routes compare such paths very often.

use std::borrow::Cow;

/// Ends each part of a path.
const END: char = '\0';
/// Stands before the letter for a character of a part that is this one or [`END`].
const ESCAPE: char = '\u{1}';
const END_LETTER: char = '\u{1}';
const ESCAPE_LETTER: char = '\u{2}';

/// The path of a key or a table, with the names that the operator chose. Its order is that of its parts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct KeyPath(Box<str>);

impl KeyPath {
    /// The path of these parts.
    pub(super) fn of(parts: &[impl AsRef<str>]) -> Self {
        let bytes = parts.iter().map(|part| part.as_ref().len() + 1).sum();
        let mut path = String::with_capacity(bytes);
        for part in parts {
            path.push_str(&escaped(part.as_ref()));
            path.push(END);
        }
        Self(path.into())
    }

    /// Its parts.
    pub(super) fn parts(&self) -> Vec<Cow<'_, str>> {
        self.0.split_terminator(END).map(unescaped).collect()
    }

    /// The bytes of its parts.
    pub(super) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// The last part, if only `parts` are before it.
    pub(super) fn only_part_after(&self, parts: &Self) -> Option<Cow<'_, str>> {
        let last = self.0.strip_prefix(&*parts.0)?.strip_suffix(END)?;
        (!last.contains(END)).then(|| unescaped(last))
    }

    /// Whether its first parts are these.
    pub(super) fn begins_with(&self, parts: &Self) -> bool {
        self.0.starts_with(&*parts.0)
    }
}

/// A part as it stands in a path. Names with such characters are refused, but other faults of what they name are told, too.
fn escaped(part: &str) -> Cow<'_, str> {
    if !part.contains([END, ESCAPE]) {
        return part.into();
    }
    let mut text = String::new();
    for character in part.chars() {
        match character {
            END => text.extend([ESCAPE, END_LETTER]),
            ESCAPE => text.extend([ESCAPE, ESCAPE_LETTER]),
            other => text.push(other),
        }
    }
    text.into()
}

/// The part that stands so in a path.
fn unescaped(text: &str) -> Cow<'_, str> {
    if !text.contains(ESCAPE) {
        return text.into();
    }
    let mut part = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        part.push(match character {
            ESCAPE if characters.next() == Some(END_LETTER) => END,
            other => other,
        });
    }
    part.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_have_the_order_of_their_parts() {
        let all = [
            &["a"][..],
            &["a", ""],
            &["a", "", "b"],
            &["a", "b"],
            &["a", "b", "c"],
            &["a", "b\0"],
            &["a", "b\0", "\u{1}\0\u{2}"],
            &["a", "b\u{1}"],
            &["a", "b\u{1}\u{1}"],
            &["a", "b\u{2}"],
            &["a", "bb"],
            &["ab"],
        ];
        for one in all {
            let path = KeyPath::of(one);
            assert_eq!(path.parts(), one);
            for other in all {
                let other_path = KeyPath::of(other);
                assert_eq!(path.cmp(&other_path), one.cmp(other), "{one:?} {other:?}");
                let begins = one.get(..other.len()) == Some(other);
                assert_eq!(path.begins_with(&other_path), begins, "{one:?} {other:?}");
                let after = one.strip_prefix(other).filter(|rest| rest.len() == 1);
                let last = after.and_then(|rest| rest.first().copied());
                let found = path.only_part_after(&other_path);
                assert_eq!(found.as_deref(), last, "{one:?} {other:?}");
            }
        }
    }
}
