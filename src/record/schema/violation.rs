//! Rules that a record breaks, and where in the record.

use crate::record::{CHOSEN_NUMBER_MAX, RecordId};

/// One broken rule, as a response lists it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(crate) struct RuleViolation {
    /// The value that breaks it, as a JSON pointer (RFC 6901).
    pub(crate) pointer: String,
    #[serde(rename = "code")]
    pub(crate) rule: Rule,
    /// The rule that is broken, as a sentence without its subject, the field: "must be at most 3000".
    pub(crate) detail: String,
}

/// The rules that can be broken, named like the keys of the settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Rule {
    Type,
    Required,
    Min,
    Max,
    MinLength,
    MaxLength,
    Pattern,
    Enum,
    Ref,
    ReadOnly,
    Unknown,
}

impl RuleViolation {
    /// The name of the field, as forms write it: `author.name` for `/author/name`.
    pub(crate) fn field(&self) -> String {
        let pointer = self.pointer.strip_prefix('/').unwrap_or(&self.pointer);
        let steps = pointer.split('/');
        let names: Vec<_> = steps
            .map(|step| step.replace("~1", "/").replace("~0", "~"))
            .collect();
        names.join(".")
    }

    /// A new record has no id, and only the client gives ids.
    pub(crate) fn without_id() -> Self {
        Self::of_id("must be there: the client gives the ids of this resource")
    }

    /// A new record has no id, and there is no next number.
    pub(crate) fn without_number() -> Self {
        Self::of_id("must be there: a record has the largest number, so there is no next one")
    }

    /// The client chose a number that only the server gives.
    pub(crate) fn reserved_number() -> Self {
        let detail = format!(
            "must be at most {CHOSEN_NUMBER_MAX}: larger numbers are only given by the server; choose a smaller one, or leave the id out"
        );
        Pointer::Member(&Pointer::Root, "id").violates(Rule::Max, detail)
    }

    /// A record that a field refers to is not there.
    pub(crate) fn dangling(field: &str, to: &str, id: &RecordId) -> Self {
        let detail = format!("must be the id of a record of {to}, and {id} is none");
        Pointer::Member(&Pointer::Root, field).violates(Rule::Ref, detail)
    }

    /// A record names another client as its owner.
    pub(crate) fn of_owner(field: &str, name: &str) -> Self {
        let detail = format!("must be {name}, the client that sent it, or be left out");
        Pointer::Member(&Pointer::Root, field).violates(Rule::ReadOnly, detail)
    }

    /// Whether it is that a record that a field refers to is not there.
    pub(crate) fn is_dangling(&self) -> bool {
        self.rule == Rule::Ref
    }

    /// Whether both are about one rule of one value.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        self.pointer == other.pointer && self.rule == other.rule
    }

    fn of_id(detail: &str) -> Self {
        Pointer::Member(&Pointer::Root, "id").violates(Rule::Required, detail)
    }
}

/// The way from the record to one of its values.
#[derive(Debug, Clone, Copy)]
pub(super) enum Pointer<'a> {
    Root,
    Member(&'a Self, &'a str),
    Item(&'a Self, usize),
}

impl Pointer<'_> {
    pub(super) fn pointer(&self) -> String {
        match self {
            Self::Root => String::new(),
            Self::Member(parent, name) => {
                let name = name.replace('~', "~0").replace('/', "~1");
                format!("{}/{name}", parent.pointer())
            }
            Self::Item(parent, index) => format!("{}/{index}", parent.pointer()),
        }
    }

    pub(super) fn violates(&self, rule: Rule, detail: impl Into<String>) -> RuleViolation {
        RuleViolation {
            pointer: self.pointer(),
            rule,
            detail: detail.into(),
        }
    }
}
