//! The ways to compare, and how names spell them: `year_gte` and `year:gte` ask for the same.

use super::condition::TextPlace;

/// A way to compare a field with the values that were sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    /// Equal to one of them.
    Equal,
    /// Equal to one of them, which are in one text, between commas.
    In,
    /// Equal to none of them.
    NotEqual,
    /// On the same side of at least one of them.
    Bounded(Side),
    /// The text has one of them at this place.
    Like(TextPlace),
    /// Null or missing; the value says whether.
    Null,
}

/// The side of a bound on which values match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    AtLeast,
    AtMost,
    More,
    Less,
}

/// The spellings after a colon.
const NAMED: [(&str, Operator); 12] = [
    ("eq", Operator::Equal),
    ("ne", Operator::NotEqual),
    ("gte", Operator::Bounded(Side::AtLeast)),
    ("lte", Operator::Bounded(Side::AtMost)),
    ("gt", Operator::Bounded(Side::More)),
    ("lt", Operator::Bounded(Side::Less)),
    ("in", Operator::In),
    ("like", Operator::Like(TextPlace::Anywhere)),
    ("contains", Operator::Like(TextPlace::Anywhere)),
    ("startsWith", Operator::Like(TextPlace::Start)),
    ("endsWith", Operator::Like(TextPlace::End)),
    ("isnull", Operator::Null),
];
/// The spellings at the end of a name.
const SUFFIXES: [(&str, Operator); 6] = [
    ("_gte", Operator::Bounded(Side::AtLeast)),
    ("_lte", Operator::Bounded(Side::AtMost)),
    ("_gt", Operator::Bounded(Side::More)),
    ("_lt", Operator::Bounded(Side::Less)),
    ("_ne", Operator::NotEqual),
    ("_like", Operator::Like(TextPlace::Anywhere)),
];

impl Operator {
    /// The names that can follow a colon.
    pub(super) fn names() -> impl Iterator<Item = &'static str> {
        NAMED.iter().map(|(name, _)| *name)
    }

    /// The spellings at the end of a name, with the operators.
    pub(super) fn suffixes() -> impl Iterator<Item = (&'static str, Self)> {
        SUFFIXES.into_iter()
    }

    /// The operator that can follow a colon.
    pub(super) fn named(name: &str) -> Option<Self> {
        let mut named = NAMED.iter();
        let found = named.find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, operator)| *operator)
    }

    /// The operator that a name ends with, and the name before it.
    pub(super) fn suffix(name: &str) -> Option<(&str, Self)> {
        SUFFIXES.iter().find_map(|(suffix, operator)| {
            let field = name.strip_suffix(suffix)?;
            (!field.is_empty()).then_some((field, *operator))
        })
    }
}
