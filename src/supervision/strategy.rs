//! Strategies, restart types and shutdowns: what follows a death, with OTP's meanings.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde::Deserialize;

use crate::supervision::exit_reason::ExitReason;

/// The strategy: decides which children are restarted when one fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// Only the one that died.
    #[default]
    OneForOne,
    /// All children of the supervisor.
    OneForAll,
    /// The one that died and those started after it.
    RestForOne,
}

impl Strategy {
    /// The children, by start order, that are restarted when `dead` dies, itself included.
    pub(crate) fn group(self, dead: usize) -> RangeInclusive<usize> {
        match self {
            Self::OneForOne => dead..=dead,
            Self::OneForAll => 0..=usize::MAX,
            Self::RestForOne => dead..=usize::MAX,
        }
    }
}

/// The ends after which a child is restarted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Restart {
    /// Always.
    #[default]
    Permanent,
    /// Only after an abnormal end.
    Transient,
    /// Never; and its supervisor forgets it.
    Temporary,
}

impl Restart {
    /// Whether the child is restarted after an end for this reason.
    pub(crate) fn wants(self, reason: &ExitReason) -> bool {
        match self {
            Self::Permanent => true,
            Self::Transient => !reason.is_normal(),
            Self::Temporary => false,
        }
    }

    /// The word for it in logs and views.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Permanent => "permanent",
            Self::Transient => "transient",
            Self::Temporary => "temporary",
        }
    }
}

/// The way in which a child is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shutdown {
    /// Fenced at once, without being asked (OTP: `brutal_kill`).
    Brutal,
    /// Asked to stop, and fenced when it takes longer than this.
    Timeout(Duration),
    /// Asked to stop, and waited for without a limit.
    Infinity,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_strategy_takes_its_group() {
        let shares = |strategy: Strategy| [0, 1, 2].map(|child| strategy.group(1).contains(&child));
        assert_eq!(shares(Strategy::OneForOne), [false, true, false]);
        assert_eq!(shares(Strategy::OneForAll), [true, true, true]);
        assert_eq!(shares(Strategy::RestForOne), [false, true, true]);
    }

    #[test]
    fn only_abnormal_ends_bring_a_transient_child_back() {
        assert!(!Restart::Transient.wants(&ExitReason::Normal));
        assert!(!Restart::Transient.wants(&ExitReason::Shutdown));
        assert!(Restart::Transient.wants(&ExitReason::Lost));
        assert!(Restart::Permanent.wants(&ExitReason::Normal));
        assert!(!Restart::Temporary.wants(&ExitReason::Lost));
    }
}
