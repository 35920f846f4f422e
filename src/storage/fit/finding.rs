//! The conflicts between settings and stored records, and their messages.

use super::CountedRecords;

/// A rule that stored records break.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BrokenRule {
    /// The field and its rule, as a sentence.
    pub(super) rule: String,
    pub(super) records: CountedRecords,
}

/// Something in which settings and stored records don't fit together. The text says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DataFinding {
    /// Records could be listed, but not asked for: a store is not opened with such settings.
    #[error(
        "[resource.{resource}] has id = {kind:?}, but {lost} were given ids by id = {other:?}, and no request could name them any more; write id = {other:?} into [resource.{resource}] again. Nothing was changed"
    )]
    Ids {
        resource: String,
        kind: &'static str,
        lost: CountedRecords,
        other: &'static str,
    },
    /// The same of some records, while the other kind would not reach the others.
    #[error(
        "[resource.{resource}] has id = {kind:?}, but {lost} were given ids by id = {other:?}: they are listed, and no request can name them. Make them again under other ids"
    )]
    MixedIds {
        resource: String,
        kind: &'static str,
        lost: CountedRecords,
        other: &'static str,
    },
    /// A resource has records and is not declared.
    #[error(
        "the resource {resource} is not in the settings, and the store has {records} of it. Nothing was deleted; declare [resource.{resource}] again to serve or to export them{}", renamed(.resource, .empty.as_ref())
    )]
    Undeclared {
        resource: String,
        records: CountedRecords,
        /// The name and the path of the only declared resource without records.
        empty: Option<(String, String)>,
    },
    /// Records would break rules that are to be declared.
    #[error(
        "[resource.{resource}] would get rules that {records} break: {}. Change these records, or the rules", listed(.rules)
    )]
    Narrower {
        resource: String,
        records: CountedRecords,
        rules: Vec<BrokenRule>,
    },
    /// Records have values that are declared to be unique.
    #[error(
        "[resource.{resource}] has unique = [{fields}], but {records} have the same there as another one. They are served as they are; from now on no further record gets a value that is taken. Change these records, or remove {fields} from unique in [resource.{resource}]"
    )]
    Repeated {
        resource: String,
        fields: String,
        records: CountedRecords,
    },
    /// Records refer to others that are not there.
    #[error(
        "{records} of [resource.{resource}] refer by {field} to records of {to} that are not there. They are served as they are; change these records, or bring the others back"
    )]
    Dangling {
        resource: String,
        field: String,
        to: String,
        records: CountedRecords,
    },
    /// Records have values that are to be declared unique.
    #[error(
        "[resource.{resource}] would get unique = [{fields}], but {records} have the same there as another one. Change these records, or leave {fields} out of unique"
    )]
    NotUnique {
        resource: String,
        fields: String,
        records: CountedRecords,
    },
    /// Records have, in a field that is to become a reference, ids of records that are not there.
    #[error(
        "[resource.{resource}] would get {field} as a reference to {to}, but {records} refer by it to records that are not there. Change these records, bring the others back, or give {field} another type"
    )]
    NewDangling {
        resource: String,
        field: String,
        to: String,
        records: CountedRecords,
    },
    /// Records break rules of the fields as they are declared now.
    #[error(
        "the fields of [resource.{resource}] do not fit {records}: {}. They are served as they are; a PATCH of other members is accepted, a PUT has to keep every rule", listed(.rules)
    )]
    Fields {
        resource: String,
        records: CountedRecords,
        rules: Vec<BrokenRule>,
    },
}

impl DataFinding {
    /// Whether the store is not opened with such settings.
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::Ids { .. }
                | Self::Narrower { .. }
                | Self::NotUnique { .. }
                | Self::NewDangling { .. }
        )
    }

    /// The refusal of rules of fields that were not declared before; `None` if it is no finding about them.
    pub(crate) fn of_new_rules(self) -> Option<Self> {
        match self {
            Self::Fields {
                resource,
                records,
                rules,
            } => Some(Self::Narrower {
                resource,
                records,
                rules,
            }),
            Self::Ids { .. }
            | Self::MixedIds { .. }
            | Self::Undeclared { .. }
            | Self::Dangling { .. }
            | Self::Repeated { .. }
            | Self::NotUnique { .. }
            | Self::NewDangling { .. }
            | Self::Narrower { .. } => None,
        }
    }
}

fn renamed(resource: &str, empty: Option<&(String, String)>) -> String {
    empty.map_or_else(String::new, |(name, path)| {
        format!(
            ". Was it renamed to {name}? Records are found by the name of their resource: write [resource.{resource}] with path = {path:?} in the place of [resource.{name}]"
        )
    })
}

fn listed(rules: &[BrokenRule]) -> String {
    let rules = rules
        .iter()
        .map(|BrokenRule { rule, records }| format!("{rule}: {records}"));
    rules.collect::<Vec<_>>().join("; ")
}
