//! What can be wrong with a spec, by name (OTP: `supervisor:check_childspecs/1`, and the checks of its flags).
//!
//! What OTP has to check and a Rust type can't get wrong (a strategy, a restart type, a start function) is not here.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::supervision::rules::{Flags, Rules};
use crate::supervision::strategy::Shutdown;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecFault {
    /// Nothing can be told about a child without a name.
    #[error("a child of {supervisor} has no name")]
    NoName {
        /// Whose child.
        supervisor: Arc<str>,
    },
    /// A name means one child of the tree.
    #[error("two children are named {name}")]
    NameTwice {
        /// The name.
        name: Arc<str>,
    },
    /// No child is ready in no time.
    #[error("{child}: a start timeout of zero")]
    StartTimeout {
        /// Which child.
        child: Arc<str>,
    },
    /// To stop a child at once is `Brutal`.
    #[error("{child}: a shutdown timeout of zero")]
    Shutdown {
        /// Which child.
        child: Arc<str>,
    },
    /// A window of no length counts nothing.
    #[error("{supervisor}: an intensity period of zero")]
    Period {
        /// Whose.
        supervisor: Arc<str>,
    },
    /// Delays that shrink, or none.
    #[error("{supervisor}: a backoff factor below 1")]
    BackoffFactor {
        /// Whose.
        supervisor: Arc<str>,
    },
    /// A part is between none and all.
    #[error("{supervisor}: a jitter that is not in 0..=1")]
    Jitter {
        /// Whose.
        supervisor: Arc<str>,
    },
}

/// Everything that is wrong with a spec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpecFaults {
    faults: Vec<SpecFault>,
}

impl SpecFaults {
    /// An error, if there are any.
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
    if backoff.factor.is_nan() || backoff.factor < 1.0 {
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

/// The faults of one child's spec.
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

/// Names that are there twice.
pub(crate) fn of_names(names: impl IntoIterator<Item = Arc<str>>) -> Vec<SpecFault> {
    let mut seen = BTreeSet::new();
    let twice = names
        .into_iter()
        .filter(|name| !seen.insert(Arc::clone(name)));
    twice.map(|name| SpecFault::NameTwice { name }).collect()
}
