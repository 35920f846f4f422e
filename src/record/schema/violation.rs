//! A rule that a record breaks.

/// One broken rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Where, as a JSON pointer (RFC 6901).
    pub pointer: String,
    /// Which.
    pub rule: Rule,
    /// What must be, after the name of the field: "must be at most 3000".
    pub detail: String,
}

/// What can be broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    Type,
    Required,
    Min,
    Max,
    MinLength,
    MaxLength,
    Pattern,
    Unknown,
    Id,
}

impl Rule {
    /// As clients read it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Type => "type",
            Self::Required => "required",
            Self::Min => "min",
            Self::Max => "max",
            Self::MinLength => "min_length",
            Self::MaxLength => "max_length",
            Self::Pattern => "pattern",
            Self::Unknown => "unknown",
            Self::Id => "id",
        }
    }
}

impl Violation {
    /// The field as forms name it: `author.name` for `/author/name`.
    pub fn field(&self) -> String {
        let pointer = self.pointer.strip_prefix('/').unwrap_or(&self.pointer);
        let steps = pointer.split('/');
        let names: Vec<_> = steps
            .map(|step| step.replace("~1", "/").replace("~0", "~"))
            .collect();
        names.join(".")
    }

    /// The client named an id where the server gives them.
    pub fn id_given() -> Self {
        Self {
            pointer: "/id".to_owned(),
            rule: Rule::Id,
            detail: "is given by the server; leave it out".to_owned(),
        }
    }

    /// The client did not name an id where it has to.
    pub fn id_required() -> Self {
        Self {
            pointer: "/id".to_owned(),
            rule: Rule::Required,
            detail: "must be there: the client gives the ids of this resource".to_owned(),
        }
    }
}

/// A place within a record, on the way down.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place<'a> {
    Root,
    Member(&'a Self, &'a str),
    Item(&'a Self, usize),
}

impl Place<'_> {
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

    pub(super) fn violates(&self, rule: Rule, detail: impl Into<String>) -> Violation {
        Violation {
            pointer: self.pointer(),
            rule,
            detail: detail.into(),
        }
    }
}
