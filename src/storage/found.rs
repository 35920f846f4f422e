//! The records that the filters of a batch match, as they were found before it is carried out.

use super::WriteBatch;
use crate::record::RecordId;

/// A batch for which the records were looked for that its filters match. Nothing is decided yet.
#[derive(Debug)]
pub(crate) struct FoundBatch {
    pub(crate) batch: WriteBatch,
    /// Those of each command.
    pub(crate) found: Vec<FoundIds>,
}

/// The records that matched before the batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FoundIds {
    Ids(Vec<RecordId>),
    /// More than the command may change match, whatever the commands before it do.
    TooMany,
}

impl FoundIds {
    /// A command that names its one record needs no search.
    pub(crate) const NONE: Self = Self::Ids(Vec::new());

    pub(crate) fn ids(&self) -> &[RecordId] {
        match self {
            Self::Ids(ids) => ids,
            Self::TooMany => &[],
        }
    }
}
