//! What a death does to the siblings, with OTP's meanings.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::supervision::exit_reason::ExitReason;

/// Which children are restarted when one dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Strategy {
    /// The dead one.
    #[default]
    OneForOne,
    /// All of them.
    OneForAll,
    /// The dead one and those started after it.
    RestForOne,
}

impl Strategy {
    /// The places, in start order, of the children that share the fate of `dead`, itself included.
    pub(crate) fn group(self, dead: usize) -> RangeInclusive<usize> {
        match self {
            Self::OneForOne => dead..=dead,
            Self::OneForAll => 0..=usize::MAX,
            Self::RestForOne => dead..=usize::MAX,
        }
    }
}

/// Whether a child is started again when it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Restart {
    /// Always.
    #[default]
    Permanent,
    /// Only after an abnormal end.
    Transient,
    /// Never; and it is not kept either.
    Temporary,
}

impl Restart {
    /// Whether an end for this reason is followed by a start.
    pub(crate) fn wants(self, reason: &ExitReason) -> bool {
        match self {
            Self::Permanent => true,
            Self::Transient => !reason.is_normal(),
            Self::Temporary => false,
        }
    }

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Permanent => "permanent",
            Self::Transient => "transient",
            Self::Temporary => "temporary",
        }
    }
}

/// How a child is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shutdown {
    /// Fenced at once (OTP: `brutal_kill`).
    Brutal,
    /// Asked, and fenced when it takes longer.
    Timeout(Duration),
    /// Asked, and waited for.
    Infinity,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_strategy_takes_its_group() {
        let shares = |strategy: Strategy| [0, 1, 2].map(|place| strategy.group(1).contains(&place));
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
