//! Rules that a record breaks, and where in the record.

/// One broken rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RuleViolation {
    /// The value that breaks it, as a JSON pointer (RFC 6901).
    pub(crate) pointer: String,
    pub(crate) rule: Rule,
    /// What would be right, as a sentence without its subject, the field: "must be at most 3000".
    pub(crate) detail: String,
}

/// The rules that can be broken, named like the keys of the settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
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
    /// The name of the rule in a response.
    pub(crate) fn as_str(self) -> &'static str {
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

    /// The client chose an id where the server gives the ids.
    pub(crate) fn id_given() -> Self {
        Self {
            pointer: "/id".to_owned(),
            rule: Rule::Id,
            detail: "is given by the server; leave it out".to_owned(),
        }
    }

    /// The client chose no id where it must.
    pub(crate) fn id_required() -> Self {
        Self {
            pointer: "/id".to_owned(),
            rule: Rule::Required,
            detail: "must be there: the client gives the ids of this resource".to_owned(),
        }
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
