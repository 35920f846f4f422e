//! The conditions of a query: a tree whose top level must hold as a whole.
//!
//! The planner of the store reads it to find records by an index; [`QueryCondition::holds`] is what every plan must agree with.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::OnceLock;

use regex::{Regex, RegexBuilder};
use serde_json::{Map, Value};

use super::operand::Operand;
use super::path::at;
use crate::record::compare::{ExactNumber, Scalar};
use crate::record::schema::{Declared, FieldType, Schema};

/// One condition.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum QueryCondition {
    /// About the value at one path.
    Field(FieldCondition),
    /// `q`: some text of the record has these characters.
    Search(Search),
    /// All conditions of at least one of these groups hold.
    AnyOf(Vec<Vec<QueryCondition>>),
}

/// A condition about the value at one path. An array passes a test if one of its items does, and `NoneOf` and `Null` as a
/// whole.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct FieldCondition {
    /// The names of the members on the way to the value.
    pub(crate) path: Vec<String>,
    /// The declared type of the field; none for the id, and where nothing is declared.
    pub(crate) kind: Option<FieldType>,
    pub(crate) test: Test,
}

/// A test of a value. What is missing passes no test but `Null`, and null only `Null` and the word `null`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Test {
    /// It is equal to one of these.
    OneOf(Vec<Operand>),
    /// It is equal to none of these.
    NoneOf(Vec<Operand>),
    /// It is of the same kind as the bounds, and between them.
    Range(Box<ValueRange>),
    /// It has one of these texts, whatever the case of the letters.
    Text(Vec<Needle>),
    /// Whether it is null or missing.
    Null(bool),
}

/// The bounds of a range.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ValueRange {
    pub(crate) lower: Bound<Operand>,
    pub(crate) upper: Bound<Operand>,
}

/// A text that is looked for, whatever the case of its letters.
#[derive(Debug, Clone)]
pub(crate) struct Needle {
    pub(super) text: String,
    pub(super) place: TextPlace,
    /// Made when it is first looked for, which is not on an event loop: that takes time.
    pattern: OnceLock<Option<Regex>>,
}

/// The place in a value where a text is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TextPlace {
    Anywhere,
    Start,
    End,
}

/// A text that is looked for in a whole record.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Search {
    pub(super) needle: Needle,
    /// Whether only texts count, and not the id: so it is where fields are declared. Else numbers and `true` count, too.
    pub(super) texts_only: bool,
}

impl QueryCondition {
    /// That a field is this text.
    pub(crate) fn is(field: &str, word: &str, schema: &Schema) -> Self {
        let path = vec![field.to_owned()];
        let kind = match schema.at(&path) {
            Declared::Kind(kind) => Some(kind.clone()),
            Declared::Anything | Declared::Additional | Declared::Nothing => None,
        };
        let operand = Operand::parse(word, kind.as_ref());
        let test = Test::OneOf(operand.into_iter().collect());
        Self::Field(FieldCondition { path, kind, test })
    }

    /// Whether it holds for a record with these members.
    pub(super) fn holds(&self, members: &Map<String, Value>) -> bool {
        match self {
            Self::Field(field) => field.holds(members),
            Self::Search(search) => search.holds(members),
            Self::AnyOf(groups) => groups.iter().any(|group| all_hold(group, members)),
        }
    }
}

/// Adds the members of a record that these conditions look at. False if they look at all of them.
pub(super) fn add_names<'a>(
    conditions: &'a [QueryCondition],
    names: &mut BTreeSet<&'a String>,
) -> bool {
    let mut conditions = conditions.iter();
    conditions.all(|condition| match condition {
        QueryCondition::Field(field) => {
            names.extend(field.path.first());
            true
        }
        QueryCondition::Search(_) => false,
        QueryCondition::AnyOf(groups) => groups.iter().all(|group| add_names(group, names)),
    })
}

/// Whether all these conditions hold for a record with these members.
pub(super) fn all_hold(conditions: &[QueryCondition], members: &Map<String, Value>) -> bool {
    conditions.iter().all(|condition| condition.holds(members))
}

impl FieldCondition {
    fn holds(&self, members: &Map<String, Value>) -> bool {
        let value = match (at(members, &self.path), &self.test) {
            (value, Test::Null(wanted)) => return value.is_none_or(Value::is_null) == *wanted,
            (Some(value @ Value::Null), Test::OneOf(_)) => value,
            (None | Some(Value::Null), _) => return false,
            (Some(value), _) => value,
        };
        match (value, &self.kind) {
            (Value::Array(items), Some(FieldType::Array { items: kind, .. })) => {
                self.test.holds_for_items(items, kind.as_deref())
            }
            (Value::Array(items), kind) => self.test.holds_for_items(items, kind.as_ref()),
            (value, kind) => self.test.holds(value, kind.as_ref()),
        }
    }
}

impl Test {
    fn holds_for_items(&self, items: &[Value], kind: Option<&FieldType>) -> bool {
        if let Self::NoneOf(_) = self {
            items.iter().all(|item| self.holds(item, kind))
        } else {
            items.iter().any(|item| self.holds(item, kind))
        }
    }

    /// Whether a value that is no array passes.
    fn holds(&self, value: &Value, kind: Option<&FieldType>) -> bool {
        let scalar = Scalar::of(Some(value), kind);
        match self {
            Self::OneOf(any) => any.iter().any(|operand| operand.is(&scalar)),
            Self::NoneOf(none) => !none.iter().any(|operand| operand.is(&scalar)),
            Self::Range(range) => range.holds(&scalar),
            Self::Text(needles) => {
                text(value).is_some_and(|text| needles.iter().any(|needle| needle.is_in(&text)))
            }
            // Decided without its value.
            Self::Null(wanted) => value.is_null() == *wanted,
        }
    }

    /// The values that it asks for, if it asks for equality.
    pub(super) fn one_of(&self) -> Option<&[Operand]> {
        match self {
            Self::OneOf(any) => Some(any),
            Self::NoneOf(_) | Self::Range(_) | Self::Text(_) | Self::Null(_) => None,
        }
    }
}

impl ValueRange {
    pub(super) fn holds(&self, value: &Scalar<'_>) -> bool {
        let lower = match &self.lower {
            Bound::Included(bound) => bound.order(value).is_some_and(Ordering::is_ge),
            Bound::Excluded(bound) => bound.order(value).is_some_and(Ordering::is_gt),
            Bound::Unbounded => true,
        };
        let upper = || match &self.upper {
            Bound::Included(bound) => bound.order(value).is_some_and(Ordering::is_le),
            Bound::Excluded(bound) => bound.order(value).is_some_and(Ordering::is_lt),
            Bound::Unbounded => true,
        };
        lower && upper()
    }
}

/// A value in characters; arrays, objects and null have none.
fn text(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => Some(Cow::Borrowed(text)),
        Value::Number(number) => Some(Cow::Owned(ExactNumber::of(number)?.to_string())),
        Value::Bool(true) => Some(Cow::Borrowed("true")),
        Value::Bool(false) => Some(Cow::Borrowed("false")),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

impl Needle {
    pub(super) fn new(text: &str, place: TextPlace) -> Self {
        Self {
            text: text.to_owned(),
            place,
            pattern: OnceLock::new(),
        }
    }

    /// The pattern. A text that is short enough to be sent has one.
    fn pattern(text: &str, place: TextPlace) -> Option<Regex> {
        let escaped = regex::escape(text);
        let pattern = match place {
            TextPlace::Anywhere => escaped,
            TextPlace::Start => format!(r"\A{escaped}"),
            TextPlace::End => format!(r"{escaped}\z"),
        };
        let pattern = RegexBuilder::new(&pattern).case_insensitive(true).build();
        pattern.ok()
    }

    fn is_in(&self, text: &str) -> bool {
        let pattern = || Self::pattern(&self.text, self.place);
        let pattern = self.pattern.get_or_init(pattern).as_ref();
        pattern.is_some_and(|pattern| pattern.is_match(text))
    }
}

impl PartialEq for Needle {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text && self.place == other.place
    }
}

impl Search {
    fn holds(&self, members: &Map<String, Value>) -> bool {
        let counted = |name: &String| !self.texts_only || name != "id";
        let mut members = members.iter().filter(|(name, _)| counted(name));
        members.any(|(_, value)| self.holds_in(value))
    }

    fn holds_in(&self, value: &Value) -> bool {
        match value {
            Value::Array(items) => items.iter().any(|item| self.holds_in(item)),
            Value::Object(members) => members.values().any(|value| self.holds_in(value)),
            Value::String(text) => self.needle.is_in(text),
            // As in json-server, where what JavaScript takes for false is not looked at.
            Value::Number(number) if !self.texts_only => {
                let number = ExactNumber::of(number).map(|number| number.to_string());
                number.is_some_and(|text| text != "0" && self.needle.is_in(&text))
            }
            Value::Bool(true) if !self.texts_only => self.needle.is_in("true"),
            Value::Bool(_) | Value::Number(_) | Value::Null => false,
        }
    }
}

/// The ids that records must have one of, if these conditions ask for some.
pub(super) fn words<'a>(conditions: &'a [QueryCondition], name: &str) -> Option<BTreeSet<&'a str>> {
    conditions.iter().find_map(|condition| match condition {
        QueryCondition::Field(field) if field.path == [name] => {
            let words = field.test.one_of()?.iter().map(Operand::word);
            words.collect()
        }
        QueryCondition::Field(_) | QueryCondition::Search(_) | QueryCondition::AnyOf(_) => None,
    })
}
