//! The faults of a spec (OTP: `supervisor:check_childspecs/1`, and the checks of the supervisor's flags).
//!
//! All specs are checked here: the first ones by [`PreparedTree::new`](crate::supervision::PreparedTree::new), those that are
//! added later by [`start_child`](crate::supervision::SupervisorRef::start_child). What OTP checks and a Rust type rules
//! out (an unknown strategy, a start that is no function) needs no check.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::supervision::rules::{Flags, Rules};
use crate::supervision::strategy::Shutdown;

/// One fault of a spec.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecFault {
    /// A child of this supervisor has no name.
    #[error("a child of {0} has no name: give it one")]
    NoName(Arc<str>),
    /// Two nodes of the tree have this name.
    #[error("two children are named {0}: names are unique in a tree")]
    NameTwice(Arc<str>),
    /// The start timeout of this child, or of the children of this supervisor, is zero.
    #[error("{0}: the start timeout is zero, it must be longer")]
    StartTimeout(Arc<str>),
    /// The shutdown timeout of this child, or of the children of this supervisor, is zero.
    #[error("{0}: the shutdown timeout is zero, use Shutdown::Brutal to stop a child at once")]
    Shutdown(Arc<str>),
    /// The period of this supervisor's intensity is zero.
    #[error("{0}: the period of the intensity is zero, it must be longer")]
    Period(Arc<str>),
    /// The factor of this supervisor's backoff would make delays shrink.
    #[error("{0}: the factor of the backoff must be a finite number of at least 1")]
    BackoffFactor(Arc<str>),
    /// The jitter of this supervisor's backoff is no part of a delay.
    #[error("{0}: the jitter of the backoff must be between 0 and 1")]
    Jitter(Arc<str>),
}

/// All faults of a spec, in its order.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the spec is wrong: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct SpecFaults(pub Vec<SpecFault>);

/// The faults of a supervisor's flags.
pub(crate) fn of_flags(supervisor: &Arc<str>, flags: &Flags) -> Vec<SpecFault> {
    let (mut faults, backoff) = (Vec::new(), flags.backoff);
    if flags.intensity.period.is_zero() {
        faults.push(SpecFault::Period(Arc::clone(supervisor)));
    }
    if !backoff.factor.is_finite() || backoff.factor < 1.0 {
        faults.push(SpecFault::BackoffFactor(Arc::clone(supervisor)));
    }
    if flags.start_timeout == Some(Duration::ZERO) {
        faults.push(SpecFault::StartTimeout(Arc::clone(supervisor)));
    }
    if flags.stop_timeout == Some(Duration::ZERO) {
        faults.push(SpecFault::Shutdown(Arc::clone(supervisor)));
    }
    if !(0.0..=1.0).contains(&backoff.jitter) {
        faults.push(SpecFault::Jitter(Arc::clone(supervisor)));
    }
    faults
}

/// The faults of one child's rules.
pub(crate) fn of_rules(supervisor: &Arc<str>, child: &Arc<str>, rules: &Rules) -> Vec<SpecFault> {
    let mut faults = Vec::new();
    if child.is_empty() {
        faults.push(SpecFault::NoName(Arc::clone(supervisor)));
    }
    if rules.start_timeout.is_zero() {
        faults.push(SpecFault::StartTimeout(Arc::clone(child)));
    }
    if rules.shutdown == Shutdown::Timeout(Duration::ZERO) {
        faults.push(SpecFault::Shutdown(Arc::clone(child)));
    }
    faults
}

/// An error, if there are `faults`, or if a name occurs twice.
pub(crate) fn none_of(
    mut faults: Vec<SpecFault>,
    names: impl IntoIterator<Item = Arc<str>>,
) -> Result<(), SpecFaults> {
    let mut seen = BTreeSet::new();
    let names = names.into_iter();
    let twice = names.filter(|name| !seen.insert(Arc::clone(name)));
    faults.extend(twice.map(SpecFault::NameTwice));
    if faults.is_empty() {
        Ok(())
    } else {
        Err(SpecFaults(faults))
    }
}
