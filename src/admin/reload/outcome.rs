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
    /// More than one of these.
    #[error("nothing has changed, for several reasons: {}", self.lines().join("; "))]
    Several(Vec<NotReloaded>),
    /// The part that reloads is being stopped, mostly with the whole daemon.
    #[error(
        "nothing has changed, because the daemon, or the part of it that reloads, is being stopped"
    )]
    Stopping,
    /// The part that reloads died, and the order is given up.
    #[error(
        "nothing has changed, because the part of the daemon that reloads died while it carried out the order, which is given up: look in the log for the cause, then give the order again"
    )]
    Died,
    /// Whoever asked has given up.
    #[error("nothing has changed, because nobody waits for it any more")]
    Expired,
}

impl NotReloaded {
    /// Something can't be used, for this reason.
    pub(crate) fn unusable(reason: impl std::error::Error) -> Self {
        Self::Unusable(vec![reason.to_string()])
    }

    /// The results of two steps, neither of which needs the other. If both are refused, all reasons are told at once.
    pub(crate) fn both<A, B>(one: Result<A, Self>, other: Result<B, Self>) -> Result<(A, B), Self> {
        match (one, other) {
            (Ok(one), Ok(other)) => Ok((one, other)),
            (Err(refused), Ok(_)) | (Ok(_), Err(refused)) => Err(refused),
            (Err(one), Err(other)) => Err(one.and(other)),
        }
    }

    /// Both refusals.
    pub(crate) fn and(self, other: Self) -> Self {
        match (self, other) {
            // Nobody waits for the reasons.
            (gone @ (Self::Stopping | Self::Expired), _)
            | (_, gone @ (Self::Stopping | Self::Expired)) => gone,
            (one, other) => {
                let mut all = one.reasons();
                all.extend(other.reasons());
                Self::Several(all)
            }
        }
    }

    fn reasons(self) -> Vec<Self> {
        if let Self::Several(all) = self {
            return all;
        }
        vec![self]
    }

    /// The kind of problem. Of several it is the one that takes the most to be put right: other settings, a restart, patience.
    fn code(&self) -> Code {
        match self {
            Self::Faulty(_) | Self::Unusable(_) | Self::Misfits(_) => Code::InvalidSettings,
            Self::NeedsRestart(_) => Code::NeedsRestart,
            Self::NotNow(_) => Code::Unavailable,
            Self::OtherFile { .. } => Code::InvalidParameter,
            Self::Stopping => Code::ShuttingDown,
            Self::Expired => Code::Deadline,
            Self::Died => Code::Internal,
            Self::Several(all) => {
                let codes: Vec<_> = all.iter().map(Self::code).collect();
                let mut hardest = [Code::InvalidSettings, Code::NeedsRestart].into_iter();
                let hardest = hardest.find(|code| codes.contains(code));
                hardest.unwrap_or(Code::Unavailable)
            }
        }
    }

    /// One line for each reason.
    pub(crate) fn lines(&self) -> Vec<String> {
        match self {
            Self::Faulty(lines) | Self::Unusable(lines) | Self::Misfits(lines) => lines.clone(),
            Self::NotNow(reason) => vec![reason.clone()],
            Self::Several(all) => all.iter().flat_map(Self::lines).collect(),
            Self::NeedsRestart(lines) => {
                let restart = |line| format!("{line}: start the daemon again for this");
                lines.iter().map(restart).collect()
            }
            Self::OtherFile { asked, runs } => vec![format!(
                "the daemon runs with {runs}, and not with {asked}: name that file, or start the daemon with this one"
            )],
            Self::Stopping | Self::Expired | Self::Died => vec![self.to_string()],
        }
    }
}

impl From<NotReloaded> for Problem {
    fn from(refused: NotReloaded) -> Self {
        let problem = Problem::new(refused.code());
        if refused == NotReloaded::Expired {
            return problem;
        }
        let problem = problem.detail(refused.to_string());
        if refused == NotReloaded::Stopping {
            return problem;
        }
        problem.extension("reasons", json!(refused.lines()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_reasons_are_told_at_once_and_the_hardest_one_gives_the_code() {
        let misfits = || NotReloaded::Misfits(vec!["one".to_owned(), "two".to_owned()]);
        let restart = || NotReloaded::NeedsRestart(vec!["a key".to_owned()]);
        let not_now = || NotReloaded::NotNow("later".to_owned());
        let all = [
            (
                vec![restart(), not_now(), misfits()],
                Code::InvalidSettings,
                4,
            ),
            (vec![not_now(), restart()], Code::NeedsRestart, 2),
            (vec![not_now(), not_now()], Code::Unavailable, 2),
            (vec![restart(), NotReloaded::Expired], Code::Deadline, 1),
            (
                vec![NotReloaded::Stopping, misfits()],
                Code::ShuttingDown,
                1,
            ),
        ];
        for (refusals, code, lines) in all {
            let told = format!("{refusals:?}");
            let refused = refusals.into_iter().map(Err::<(), _>);
            let refused = refused.reduce(|one, other| NotReloaded::both(one, other).map(|_| ()));
            let refused = refused.unwrap().unwrap_err();
            assert_eq!(
                (refused.code(), refused.lines().len()),
                (code, lines),
                "{told}"
            );
        }
        let both = NotReloaded::both(Ok(1), Ok("x"));
        assert_eq!(both, Ok((1, "x")));
        assert_eq!(
            NotReloaded::both(Ok(1), Err::<(), _>(misfits())),
            Err(misfits())
        );
    }
}
