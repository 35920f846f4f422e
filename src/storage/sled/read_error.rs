//! The error of reading something stored.

use super::engine::EngineError;
use super::stored_record::Damaged;
use crate::record::RecordId;
use crate::storage::StoreError;

#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    /// The stored data are not what was written. Beside a writer, a value may also have been replaced while it was read.
    #[error("{what} is damaged: its check sum or its form is wrong")]
    Damaged { what: String },
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl ReadError {
    pub(super) fn damaged(what: impl Into<String>) -> Self {
        Self::Damaged { what: what.into() }
    }

    /// Whether the disk was full: reading may need room, too.
    pub(super) fn is_full(&self) -> bool {
        matches!(self, Self::Engine(error) if error.is_full())
    }

    /// The same error of reading the record of this key.
    pub(super) fn of_record(self, key: &[u8]) -> Self {
        let Self::Damaged { .. } = self else {
            return self;
        };
        let id = RecordId::from_key(key).map(|id| id.to_string());
        let id = id.unwrap_or_else(|| String::from_utf8_lossy(key).into_owned());
        Self::damaged(format!("record {id}"))
    }
}

impl From<Damaged> for ReadError {
    fn from(_: Damaged) -> Self {
        Self::damaged("a stored value")
    }
}

impl From<ReadError> for StoreError {
    /// Callers learn what they can do; the log gets the rest.
    fn from(error: ReadError) -> Self {
        if error.is_full() {
            return Self::Full;
        }
        match &error {
            // Beside a writer, a look may only have been overtaken: it is not valid then, and made again. Damage that is found
            // is told where the view is made again.
            ReadError::Damaged { .. } => tracing::debug!(%error, "the store could not be read"),
            ReadError::Engine(_) => tracing::error!(%error, "the store could not be read"),
        }
        match error {
            // sled meets damage in its own pages, too: the view is made again for either.
            ReadError::Damaged { .. } | ReadError::Engine(EngineError::Failed(_)) => Self::Damaged,
            ReadError::Engine(EngineError::Io { .. }) => Self::Failed,
        }
    }
}

impl From<EngineError> for StoreError {
    fn from(error: EngineError) -> Self {
        ReadError::from(error).into()
    }
}
