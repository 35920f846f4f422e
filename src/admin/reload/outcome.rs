//! The outcome of a reload: what changed, or why nothing did.

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::settings::NodeChange;
use crate::wire::{Code, Problem};

/// The outcome of a reload.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Reloaded {
    /// Whether the settings are in force now.
    pub applied: bool,
    /// The number of the settings that are in force now.
    pub generation: u64,
    /// The nodes that changed, or would change.
    pub changes: Vec<NodeChange>,
    /// Findings in the settings that are worth a look.
    pub warnings: Vec<String>,
    /// The URL of the admin listener from now on, if that has changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin: Option<String>,
}

/// The reason for which nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotReloaded {
    /// The settings have faults; all of them are told.
    #[error("the settings are wrong, and nothing has changed: {}", .0.join("; "))]
    Faulty(Vec<String>),
    /// Some of the changes can't be made while the daemon runs; all of them are told.
    #[error("nothing has changed, because the daemon must be started again for this: {}", .0.join("; "))]
    NeedsRestart(Vec<String>),
    /// Something new can't be used; all of it is told.
    #[error("nothing has changed, because something new can't be used: {}", .0.join("; "))]
    Unusable(Vec<String>),
    /// Another file is meant than the one that the daemon reads.
    #[error("nothing has changed, because the daemon runs with {runs}, and not with {asked}")]
    OtherFile {
        /// The file that is meant.
        asked: String,
        /// The file that the daemon reads.
        runs: String,
    },
    /// Stored records don't fit the new settings; all findings are told.
    #[error("nothing has changed, because stored records do not fit the new settings: {}", .0.join("; "))]
    Misfits(Vec<String>),
    /// It can't be done at this time.
    #[error("nothing has changed: {0}")]
    NotNow(String),
    /// The part that reloads is being stopped, mostly with the whole daemon.
    #[error(
        "nothing has changed, because the daemon, or the part of it that reloads, is being stopped"
    )]
    Stopping,
    /// Whoever asked has given up.
    #[error("nothing has changed, because nobody waits for it any more")]
    Expired,
}

impl NotReloaded {
    /// Something can't be used, for this reason.
    pub(crate) fn unusable(reason: impl std::error::Error) -> Self {
        Self::Unusable(vec![reason.to_string()])
    }

    /// One line for each reason.
    pub(crate) fn lines(&self) -> Vec<String> {
        match self {
            Self::Faulty(lines) | Self::Unusable(lines) | Self::Misfits(lines) => lines.clone(),
            Self::NotNow(reason) => vec![reason.clone()],
            Self::NeedsRestart(lines) => {
                let restart = |line| format!("{line}: start the daemon again for this");
                lines.iter().map(restart).collect()
            }
            Self::OtherFile { asked, runs } => vec![format!(
                "the daemon runs with {runs}, and not with {asked}: name that file, or start the daemon with this one"
            )],
            Self::Stopping | Self::Expired => vec![self.to_string()],
        }
    }
}

impl From<NotReloaded> for Problem {
    fn from(refused: NotReloaded) -> Self {
        let code = match &refused {
            NotReloaded::Faulty(_) | NotReloaded::Unusable(_) | NotReloaded::Misfits(_) => {
                Code::InvalidSettings
            }
            NotReloaded::NotNow(_) => Code::Unavailable,
            NotReloaded::Stopping => {
                return Problem::new(Code::ShuttingDown).detail(refused.to_string());
            }
            NotReloaded::NeedsRestart(_) => Code::NeedsRestart,
            NotReloaded::OtherFile { .. } => Code::InvalidParameter,
            NotReloaded::Expired => return Problem::new(Code::Deadline),
        };
        let problem = Problem::new(code).detail(refused.to_string());
        problem.extension("reasons", json!(refused.lines()))
    }
}
