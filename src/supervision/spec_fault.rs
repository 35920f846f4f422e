//! What can be wrong with a spec (OTP: `supervisor:check_childspecs/1`, and the checks of the supervisor's flags).
//!
//! All specs are checked here: the first ones by [`PreparedTree::new`](crate::supervision::PreparedTree::new), those that are
//! added later by [`start_child`](crate::supervision::SupervisorRef::start_child). What OTP checks and a Rust type rules
//! out (an unknown strategy, a start that is no function) needs no check.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::supervision::rules::{Flags, Rules};
use crate::supervision::strategy::Shutdown;

/// One fault of a spec.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecFault {
    /// A child has no name.
    #[error("a child of {supervisor} has no name: give it one")]
    NoName {
        /// The supervisor of the child.
        supervisor: Arc<str>,
    },
    /// Two nodes of the tree have the same name.
    #[error("two children are named {name}: names are unique in a tree")]
    NameTwice {
        /// The name.
        name: Arc<str>,
    },
    /// The start timeout is zero.
    #[error("{child}: the start timeout is zero, it must be longer")]
    StartTimeout {
        /// The child.
        child: Arc<str>,
    },
    /// The shutdown timeout is zero.
    #[error("{child}: the shutdown timeout is zero, use Shutdown::Brutal to stop a child at once")]
    Shutdown {
        /// The child.
        child: Arc<str>,
    },
    /// The period of the intensity is zero.
    #[error("{supervisor}: the period of the intensity is zero, it must be longer")]
    Period {
        /// The supervisor.
        supervisor: Arc<str>,
    },
    /// The factor of the backoff would make delays shrink.
    #[error("{supervisor}: the factor of the backoff must be a finite number of at least 1")]
    BackoffFactor {
        /// The supervisor.
        supervisor: Arc<str>,
    },
    /// The jitter of the backoff is no part of a delay.
    #[error("{supervisor}: the jitter of the backoff must be between 0 and 1")]
    Jitter {
        /// The supervisor.
        supervisor: Arc<str>,
    },
}

/// All faults of a spec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpecFaults {
    faults: Vec<SpecFault>,
}

impl SpecFaults {
    /// An error, if there are any faults.
    pub(crate) fn none_of(faults: Vec<SpecFault>) -> Result<(), Self> {
        if faults.is_empty() {
            Ok(())
        } else {
            Err(Self { faults })
        }
    }

    /// The faults, in the order of the spec.
    pub fn iter(&self) -> impl Iterator<Item = &SpecFault> {
        self.faults.iter()
    }
}

impl fmt::Display for SpecFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the spec is wrong: ")?;
        for (at, fault) in self.faults.iter().enumerate() {
            let separator = if at == 0 { "" } else { "; " };
            write!(f, "{separator}{fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for SpecFaults {}

/// The faults of a supervisor's flags.
pub(crate) fn of_flags(supervisor: &Arc<str>, flags: &Flags) -> Vec<SpecFault> {
    let (mut faults, backoff) = (Vec::new(), flags.backoff);
    let supervisor = || Arc::clone(supervisor);
    if flags.intensity.period.is_zero() {
        faults.push(SpecFault::Period {
            supervisor: supervisor(),
        });
    }
    if !backoff.factor.is_finite() || backoff.factor < 1.0 {
        faults.push(SpecFault::BackoffFactor {
            supervisor: supervisor(),
        });
    }
    if !(0.0..=1.0).contains(&backoff.jitter) {
        faults.push(SpecFault::Jitter {
            supervisor: supervisor(),
        });
    }
    faults
}

/// The faults of one child's rules.
pub(crate) fn of_rules(supervisor: &Arc<str>, child: &Arc<str>, rules: &Rules) -> Vec<SpecFault> {
    let mut faults = Vec::new();
    let child = || Arc::clone(child);
    if child().is_empty() {
        let supervisor = Arc::clone(supervisor);
        faults.push(SpecFault::NoName { supervisor });
    }
    if rules.start_timeout.is_zero() {
        faults.push(SpecFault::StartTimeout { child: child() });
    }
    if rules.shutdown == Shutdown::Timeout(Duration::ZERO) {
        faults.push(SpecFault::Shutdown { child: child() });
    }
    faults
}

/// A fault for each name that occurs twice.
pub(crate) fn of_names(names: impl IntoIterator<Item = Arc<str>>) -> Vec<SpecFault> {
    let mut seen = BTreeSet::new();
    let twice = names
        .into_iter()
        .filter(|name| !seen.insert(Arc::clone(name)));
    twice.map(|name| SpecFault::NameTwice { name }).collect()
}
