//! The reasons for which a daemon stops although nobody asked it to.

use crate::supervision::{Causes, ExitReason};

/// The reason for which a daemon stopped by itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Ended {
    /// Children died too often.
    #[error("the daemon ended: {0}")]
    GaveUp(ExitReason),
    /// Not all of it could be started; what had been was stopped again.
    #[error("could not start:{}", listed(causes.leaves()))]
    NotStarted {
        /// Everything that failed.
        causes: Causes,
    },
    /// The store can't be used as it is; the text says what was found and what to do.
    #[error("{text}{}", listed(others(causes.as_ref(), text)))]
    DataRefused {
        /// The fault that was found, and the advice to the operator.
        text: String,
        /// Everything that failed, if that was at the start.
        causes: Option<Causes>,
    },
}

/// The failures other than the one that `text` describes already.
fn others<'a>(causes: Option<&'a Causes>, text: &str) -> Vec<(String, &'a ExitReason)> {
    let leaves = causes.map(Causes::leaves).unwrap_or_default();
    let others = leaves.into_iter();
    others
        .filter(|(_, reason)| !reason.to_string().contains(text))
        .collect()
}

/// One line for each failure.
fn listed(failures: Vec<(String, &ExitReason)>) -> String {
    failures
        .iter()
        .fold(String::new(), |lines, (child, reason)| {
            lines + &format!("\n  {child}: {reason}")
        })
}
