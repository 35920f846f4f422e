//! Why an incarnation ended: the vocabulary of the tree, the log and the metrics.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Why an incarnation ended.
///
/// `Normal` and `Shutdown` are what OTP calls a normal termination; everything else is abnormal, which is what
/// [`Restart::Transient`](super::Restart::Transient) asks about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExitReason {
    /// It had no more to do.
    Normal,
    /// It was asked to stop, and did.
    Shutdown,
    /// It gave up by itself, and said why.
    Error(Arc<str>),
    /// Something it ran panicked.
    Panic(Panic),
    /// One message took longer than allowed; the thread was left behind.
    Hung {
        /// How long it had been at it.
        age: Duration,
    },
    /// It could not start.
    StartFailed(Arc<str>),
    /// A supervisor whose children could not all be started; those that had been were stopped again.
    ChildrenFailed(Causes),
    /// It did not become ready in time.
    StartTimeout {
        /// How long it was given.
        limit: Duration,
    },
    /// It did not stop by its deadline, or was to be stopped at once.
    Killed,
    /// It was gone without a word; the drop guard noticed.
    Lost,
    /// A supervisor whose children died more often than its intensity allows.
    Escalated {
        /// The child whose death was one too many.
        child: Arc<str>,
        /// Why that child died.
        cause: Arc<str>,
    },
}

/// What is known of a panic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Panic {
    /// The panic's text.
    pub message: Arc<str>,
    /// `file:line`, where the [panic hook](super::install_panic_hook) is installed.
    pub location: Option<Arc<str>>,
    /// The kind of the message in hand, if there was one.
    pub during: Option<&'static str>,
}

impl ExitReason {
    /// A panic that was raised while `during` was in hand.
    pub(crate) fn during(self, during: Option<&'static str>) -> Self {
        match self {
            Self::Panic(panic) => Self::Panic(Panic { during, ..panic }),
            Self::Normal
            | Self::Shutdown
            | Self::Error(_)
            | Self::Hung { .. }
            | Self::StartFailed(_)
            | Self::ChildrenFailed(_)
            | Self::StartTimeout { .. }
            | Self::Killed
            | Self::Lost
            | Self::Escalated { .. } => self,
        }
    }

    /// Whether a transient child stays down after it (OTP: `normal`, `shutdown`).
    pub fn is_normal(&self) -> bool {
        matches!(self, Self::Normal | Self::Shutdown)
    }

    /// One word for metrics; the set is closed.
    pub fn cause(&self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Shutdown => "shutdown",
            Self::Error(_) => "error",
            Self::Panic(_) => "panic",
            Self::Hung { .. } => "hung",
            Self::StartFailed(_) | Self::ChildrenFailed(_) => "start_failed",
            Self::StartTimeout { .. } => "start_timeout",
            Self::Killed => "killed",
            Self::Lost => "lost",
            Self::Escalated { .. } => "escalated",
        }
    }
}

impl fmt::Display for ExitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Normal => f.write_str("normal"),
            Self::Shutdown => f.write_str("shutdown"),
            Self::Error(cause) => write!(f, "error: {cause}"),
            Self::Panic(panic) => panic.fmt(f),
            Self::Hung { age } => write!(f, "hung for {age:?}"),
            Self::StartFailed(cause) => write!(f, "could not start: {cause}"),
            Self::ChildrenFailed(causes) => write!(f, "could not start: {causes}"),
            Self::StartTimeout { limit } => write!(f, "not ready within {limit:?}"),
            Self::Killed => f.write_str("killed"),
            Self::Lost => f.write_str("gone without a report"),
            Self::Escalated { child, cause } => {
                write!(f, "gave up: child {child} died too often, last of {cause}")
            }
        }
    }
}

impl fmt::Display for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "panic: {}", self.message)?;
        if let Some(location) = &self.location {
            write!(f, " at {location}")?;
        }
        if let Some(during) = self.during {
            write!(f, " during {during}")?;
        }
        Ok(())
    }
}

/// One child that failed while its supervisor was starting, or while that start was being cancelled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// The child's name.
    pub child: Arc<str>,
    /// What it ended with.
    pub reason: ExitReason,
}

/// All causes of one failed start, in the order they came: a group of errors, whose members may be groups themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Causes {
    causes: Arc<[Cause]>,
}

impl Causes {
    pub(crate) fn new(causes: Vec<Cause>) -> Self {
        Self {
            causes: causes.into(),
        }
    }

    /// The causes, one a child.
    pub fn iter(&self) -> impl Iterator<Item = &Cause> {
        self.causes.iter()
    }

    /// What failed at the bottom of it, each with the path to it, such as `storage/writer`.
    pub fn leaves(&self) -> Vec<(String, &ExitReason)> {
        let mut leaves = Vec::new();
        // The last to be looked at first, so that they come out in order.
        let mut open: Vec<_> = self
            .causes
            .iter()
            .rev()
            .map(|c| (c.child.to_string(), c))
            .collect();
        while let Some((path, cause)) = open.pop() {
            if let ExitReason::ChildrenFailed(inner) = &cause.reason {
                let below = inner.causes.iter().rev();
                open.extend(below.map(|c| (format!("{path}/{}", c.child), c)));
            } else {
                leaves.push((path, &cause.reason));
            }
        }
        leaves
    }
}

impl fmt::Display for Causes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (path, reason)) in self.leaves().into_iter().enumerate() {
            let separator = if at == 0 { "" } else { "; " };
            write!(f, "{separator}{path}: {reason}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_of_causes_are_told_by_their_path_and_in_order() {
        let cause = |child: &str, reason| Cause {
            child: child.into(),
            reason,
        };
        let failed = |text: &str| ExitReason::StartFailed(text.into());
        let inner = Causes::new(vec![
            cause("a", failed("no port")),
            cause("b", ExitReason::Lost),
        ]);
        let causes = Causes::new(vec![
            cause("doors", ExitReason::ChildrenFailed(inner)),
            cause("disk", failed("full")),
        ]);
        let text = "doors/a: could not start: no port; doors/b: gone without a report; \
                    disk: could not start: full";
        assert_eq!(causes.to_string(), text);
        assert_eq!(causes.iter().count(), 2);
    }
}
