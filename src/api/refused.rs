//! The errors of files, records and the store as the problems that clients are told.

use std::collections::BTreeMap;

use actix_web::http::header;
use serde_json::json;

use crate::file_cache::{FileError, PathRefusal};
use crate::record::{
    BodyError, CommandError, IdError, KeyFault, NewRecordError, PatchFault, QueryError,
    RuleViolation,
};
use crate::storage::{ScanLimit, StoreError};
use crate::supervision::AskError;
use crate::wire::{Code, Problem};

/// Told of each field whose value another record has.
const TAKEN: &str = "another record has the same value";

/// A 412 with the tag of what is there.
pub(super) fn failed_condition(etag: &str) -> Problem {
    Problem::new(Code::PreconditionFailed)
        .detail(format!("the current ETag is {etag}"))
        .header(header::ETAG, etag)
}

impl From<BodyError> for Problem {
    fn from(error: BodyError) -> Self {
        let code = match &error {
            BodyError::Syntax { .. } | BodyError::Empty => Code::InvalidJson,
            BodyError::NotAnObject { .. } => Code::NotAnObject,
            BodyError::Number { .. } => Code::InexactNumber,
        };
        Self::new(code).detail(error.to_string())
    }
}

impl From<QueryError> for Problem {
    fn from(error: QueryError) -> Self {
        let code = match error {
            QueryError::Later { .. } => Code::NotAvailable,
            QueryError::Encoding
            | QueryError::TooMany
            | QueryError::NotInFeed { .. }
            | QueryError::Limit { .. }
            | QueryError::TooLong { .. }
            | QueryError::Unlisted { .. }
            | QueryError::Operator { .. }
            | QueryError::Json { .. }
            | QueryError::Unknown { .. }
            | QueryError::Repeated { .. }
            | QueryError::Number { .. }
            | QueryError::Backwards
            | QueryError::OfChange
            | QueryError::Conflict { .. }
            | QueryError::Order
            | QueryError::SortKeys
            | QueryError::Position
            | QueryError::PositionTooLong
            | QueryError::Value { .. }
            | QueryError::Object { .. } => Code::InvalidParameter,
        };
        Self::new(code).detail(error.to_string())
    }
}

impl From<PatchFault> for Problem {
    fn from(fault: PatchFault) -> Self {
        let code = match fault {
            PatchFault::Body(error) => return error.into(),
            PatchFault::Form { .. } | PatchFault::NotAnArray { .. } | PatchFault::TooMany => {
                Code::InvalidPatch
            }
            PatchFault::Misfit { .. } => Code::PatchMisfit,
            PatchFault::Test { .. } => Code::PatchTest,
        };
        Self::new(code).detail(fault.to_string())
    }
}

impl From<KeyFault> for Problem {
    fn from(fault: KeyFault) -> Self {
        Self::new(Code::InvalidKey).detail(fault.to_string())
    }
}

impl From<IdError> for Problem {
    fn from(error: IdError) -> Self {
        Self::new(Code::InvalidId).detail(error.to_string())
    }
}

impl From<NewRecordError> for Problem {
    fn from(error: NewRecordError) -> Self {
        match error {
            NewRecordError::Id(error) => error.into(),
            NewRecordError::Invalid(violations) => violations.into(),
        }
    }
}

impl From<Vec<RuleViolation>> for Problem {
    /// All violations: `violations` is for programs and `errors` for forms; the detail, for people, has the first one.
    fn from(violations: Vec<RuleViolation>) -> Self {
        let mut errors = serde_json::Map::new();
        for violation in &violations {
            let detail = || violation.detail.clone().into();
            errors.entry(violation.field()).or_insert_with(detail);
        }
        let first = violations.first();
        let detail = first.map(|first| format!("{} {}", first.field(), first.detail));
        Self::new(Code::Validation)
            .detail(detail.unwrap_or_default())
            .extension("errors", errors.into())
            .extension("violations", json!(violations))
    }
}

impl From<CommandError> for Problem {
    fn from(error: CommandError) -> Self {
        let code = match error {
            CommandError::Absent => Code::NotFound,
            CommandError::Duplicate { .. } => Code::DuplicateId,
            CommandError::Taken { ref fields, .. } => {
                let fields: Vec<_> = fields.split(", ").collect();
                let told = fields.iter().map(|field| (*field, TAKEN));
                let errors: BTreeMap<_, _> = told.collect();
                let problem = Self::new(Code::DuplicateValue);
                return problem
                    .extension("errors", json!(errors))
                    .extension("fields", json!(fields))
                    .detail(error.to_string());
            }
            CommandError::Precondition { current: Some(_) } => Code::PreconditionFailed,
            CommandError::Precondition { current: None } => {
                let problem = Self::new(Code::PreconditionFailed);
                return problem.detail("there is no record with this id");
            }
            CommandError::Invalid(violations) => return violations.into(),
            CommandError::TooManyMatches { .. } => Code::TooManyMatches,
            CommandError::TooLong { .. }
            | CommandError::TooMuch
            | CommandError::AnswerTooLong { .. } => Code::BodyTooLarge,
            CommandError::TooManyLooks { .. } => Code::InvalidParameter,
            CommandError::OtherId { .. } => Code::IdMismatch,
            CommandError::Patch(fault) => return fault.into(),
            CommandError::OfRecord {
                ref id,
                error: ref of,
            } => {
                let told = error.to_string();
                let of = Self::from(CommandError::clone(of));
                return of.detail(told).extension("id", json!(id.to_string()));
            }
            CommandError::Damaged => Code::Damaged,
            CommandError::Referenced { .. } | CommandError::TooManyReferring => Code::Referenced,
            CommandError::Overtaken | CommandError::IndexIncomplete { .. } => Code::Unavailable,
            CommandError::Cancelled => Code::Cancelled,
            CommandError::KeyReused => Code::KeyReused,
        };
        Self::new(code).detail(error.to_string())
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let code = match error {
            StoreError::Refused(error) => return error.into(),
            StoreError::Unready { told, retry_after } => {
                let problem = Self::new(Code::Unavailable);
                return problem.detail(told).retry_after(retry_after);
            }
            StoreError::Unindexed { ref why, limit } => {
                let code = match limit {
                    ScanLimit::Turn => Code::Overloaded,
                    ScanLimit::Time | ScanLimit::Records { .. } => Code::Deadline,
                };
                let problem = Self::new(code).detail(error.to_string());
                return problem.extension("index", json!(why.wanted.0));
            }
            StoreError::Unavailable => Code::Unavailable,
            StoreError::Overloaded | StoreError::Busy => Code::Overloaded,
            StoreError::Expired | StoreError::TooSlow => Code::Deadline,
            StoreError::TooLarge => Code::InvalidParameter,
            StoreError::Crashed | StoreError::Failed => Code::Internal,
            StoreError::OutcomeUnknown => Code::OutcomeUnknown,
            StoreError::ShuttingDown => Code::ShuttingDown,
            StoreError::Damaged => Code::Damaged,
            StoreError::Full => Code::DiskFull,
        };
        Self::new(code).detail(error.to_string())
    }
}

impl From<AskError<FileError>> for Problem {
    fn from(error: AskError<FileError>) -> Self {
        match error {
            AskError::Rejected(error) => error.into(),
            AskError::Overloaded { retry_after } => {
                Self::new(Code::Overloaded).retry_after(retry_after)
            }
            AskError::Expired => Self::new(Code::Deadline),
            AskError::Crashed { .. } | AskError::Hung { .. } | AskError::Lost => {
                Self::new(Code::Internal)
            }
            // Reading a file changes nothing, so the client can always try again.
            AskError::OutcomeUnknown => Self::new(Code::Unavailable),
            AskError::ShuttingDown => Self::new(Code::ShuttingDown),
        }
    }
}

impl From<FileError> for Problem {
    fn from(error: FileError) -> Self {
        let code = match error {
            // A hidden file is answered like a missing one.
            FileError::Refused(PathRefusal::Hidden)
            | FileError::Absent
            | FileError::Outside
            | FileError::Irregular => return Self::new(Code::NotFound),
            FileError::Refused(_) => Code::InvalidPath,
            FileError::Denied | FileError::Barred => Code::Forbidden,
            FileError::Restless => Code::Unavailable,
            FileError::Root(_) | FileError::Hung => Code::NotReady,
            FileError::Busy => Code::Overloaded,
            FileError::Io(_) => {
                tracing::error!(%error, "a file could not be served");
                return Self::new(Code::Internal);
            }
        };
        Self::new(code).detail(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_hidden_or_outside_is_not_there_and_no_path_is_named() {
        for error in [
            FileError::Absent,
            FileError::Outside,
            FileError::Irregular,
            FileError::Refused(PathRefusal::Hidden),
        ] {
            let problem = Problem::from(error);
            assert_eq!(problem, Problem::new(Code::NotFound));
        }
    }

    #[test]
    fn what_may_not_be_read_is_forbidden_and_a_folder_that_fails_is_a_503() {
        for error in [FileError::Denied, FileError::Barred] {
            let problem = Problem::new(Code::Forbidden).detail(error.to_string());
            assert_eq!(Problem::from(error), problem);
        }
        let kind = rustix::io::Errno::NOENT;
        for error in [FileError::Hung, FileError::Root(kind)] {
            let problem = Problem::new(Code::NotReady).detail(error.to_string());
            assert_eq!(Problem::from(error), problem);
        }
    }
}
