//! The query of a record's history: `_limit=20&_before=4711`.

use super::QueryError;
use super::described::{ParameterValue, QueryParameter, parameter};
use super::parameters::Parameters;
use crate::num::as_u64;

/// The most changes of one answer, and their number if none is asked for.
const CHANGES_MAX: usize = 100;
const CHANGES: usize = 20;
const LIMIT: &str = "_limit";
const BEFORE: &str = "_before";
/// The parameters of a history, for documents.
pub(crate) const HISTORY_PARAMETERS: [QueryParameter; 2] = [
    parameter(
        LIMIT,
        ParameterValue::Number(1, None),
        "The most changes of the answer, which has 100 at most",
    ),
    parameter(
        BEFORE,
        ParameterValue::Number(1, None),
        "Only changes before this one",
    ),
];

/// The part of a history that a client asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HistoryQuery {
    /// The most changes.
    pub(crate) limit: usize,
    /// Only changes before this one.
    pub(crate) before: u64,
}

impl HistoryQuery {
    /// Reads the part of a URL after the `?`. Other names are ignored.
    pub(crate) fn parse(query: &str) -> Result<Self, QueryError> {
        let parameters = Parameters::parse(query)?;
        let limit = parameters.number(LIMIT, 1)?.unwrap_or(CHANGES);
        let before = parameters.number(BEFORE, 1)?.map_or(u64::MAX, as_u64);
        Ok(Self {
            limit: limit.min(CHANGES_MAX),
            before,
        })
    }
    /// The query for one change.
    pub(crate) fn of(change: u64) -> Self {
        Self {
            limit: 1,
            before: change.saturating_add(1),
        }
    }
}
