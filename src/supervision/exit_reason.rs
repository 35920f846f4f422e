//! The reasons for which an incarnation ends, in the words of the tree, the log and the metrics.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The reason for the end of an incarnation.
///
/// `Normal`, `Shutdown` and `Ordered` are normal ends, as in OTP; all others are abnormal. A
/// [transient](crate::supervision::Restart::Transient) child is restarted only after an abnormal end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExitReason {
    /// It had nothing more to do.
    #[error("normal")]
    Normal,
    /// It was asked to stop and did so.
    #[error("shutdown")]
    Shutdown,
    /// It was stopped by an order for it alone, and did so.
    #[error("stopped by order")]
    Ordered,
    /// It gave up by itself; the text says why.
    #[error("error: {0}")]
    Error(Arc<str>),
    /// It panicked.
    #[error("{0}")]
    Panic(Panic),
    /// It handled one message for longer than allowed.
    #[error("hung for {age:?}")]
    Hung {
        /// The time for which it had been handling the message.
        age: Duration,
    },
    /// It could not start; the text says why.
    #[error("could not start: {0}")]
    StartFailed(Arc<str>),
    /// A supervisor could not start all of its children, and stopped those that it had started.
    #[error("could not start: {0}")]
    ChildrenFailed(Causes),
    /// It was not ready in time.
    #[error("not ready within {limit:?}")]
    StartTimeout {
        /// The time that it had.
        limit: Duration,
    },
    /// It did not stop in time, or was to be stopped without being asked.
    #[error("killed")]
    Killed,
    /// It disappeared without reporting a reason.
    #[error("gone without a report")]
    Lost,
    /// A supervisor gave up, because its children died more often than its intensity allows.
    #[error("gave up: child {child} died too often, the last time because of {cause}")]
    Escalated {
        /// The child whose death was one too many.
        child: Arc<str>,
        /// The reason for the failure of that child.
        cause: Arc<str>,
    },
}

/// The message and the location of a panic.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("panic: {message}{}{}", known(" at ", location.as_deref()), known(" during ", *during))]
pub struct Panic {
    /// The text of the panic.
    pub message: Arc<str>,
    /// `file:line`, if the [panic hook](crate::supervision::install_panic_hook) is installed.
    pub location: Option<Arc<str>>,
    /// The kind of the message that was being handled, if any.
    pub during: Option<&'static str>,
}

impl ExitReason {
    /// Every word that [`cause`](Self::cause) can return.
    pub const CAUSES: [&str; 11] = [
        "normal",
        "shutdown",
        "ordered",
        "error",
        "panic",
        "hung",
        "start_failed",
        "start_timeout",
        "killed",
        "lost",
        "escalated",
    ];

    /// Adds to a panic what was being handled.
    pub(crate) fn during(self, during: Option<&'static str>) -> Self {
        if let Self::Panic(panic) = self {
            Self::Panic(Panic { during, ..panic })
        } else {
            self
        }
    }

    /// Whether this is a normal end (OTP: `normal`, `shutdown`).
    pub fn is_normal(&self) -> bool {
        matches!(self, Self::Normal | Self::Shutdown | Self::Ordered)
    }

    /// The word for it in metrics: one of [`CAUSES`](Self::CAUSES).
    pub fn cause(&self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Shutdown => "shutdown",
            Self::Ordered => "ordered",
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

fn known(before: &str, what: Option<&str>) -> String {
    what.map_or_else(String::new, |what| format!("{before}{what}"))
}

/// A child that failed while its supervisor was starting, or while that start was being cancelled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// The child's name.
    pub child: Arc<str>,
    /// The reason for its end.
    pub reason: ExitReason,
}

/// All causes of one failed start, one for each child that failed, in the order in which they happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Causes(pub Arc<[Cause]>);

impl Causes {
    /// The causes that are no group of causes themselves, each with its path, such as `storage/writer`.
    pub fn leaves(&self) -> Vec<(String, &ExitReason)> {
        let mut leaves = Vec::new();
        for Cause { child, reason } in &*self.0 {
            if let ExitReason::ChildrenFailed(inner) = reason {
                let below = inner.leaves().into_iter();
                leaves.extend(below.map(|(path, reason)| (format!("{child}/{path}"), reason)));
            } else {
                leaves.push((child.to_string(), reason));
            }
        }
        leaves
    }
}

impl fmt::Display for Causes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let leaves = self.leaves().into_iter();
        let leaves = leaves.map(|(path, reason)| format!("{path}: {reason}"));
        f.write_str(&leaves.collect::<Vec<_>>().join("; "))
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
        let inner = Causes(Arc::new([
            cause("a", failed("no port")),
            cause("b", ExitReason::Lost),
        ]));
        let causes = Causes(Arc::new([
            cause("doors", ExitReason::ChildrenFailed(inner)),
            cause("disk", failed("full")),
        ]));
        let text = "doors/a: could not start: no port; doors/b: gone without a report; \
                    disk: could not start: full";
        assert_eq!(causes.to_string(), text);
        assert_eq!(causes.0.len(), 2);
    }

    #[test]
    fn every_cause_is_in_the_list_of_causes() {
        let none = || Causes(Arc::new([]));
        let text = || Arc::from("text");
        let age = Duration::ZERO;
        let panic = Panic {
            message: text(),
            location: None,
            during: None,
        };
        let reasons = [
            ExitReason::Normal,
            ExitReason::Shutdown,
            ExitReason::Ordered,
            ExitReason::Error(text()),
            ExitReason::Panic(panic),
            ExitReason::Hung { age },
            ExitReason::StartFailed(text()),
            ExitReason::ChildrenFailed(none()),
            ExitReason::StartTimeout { limit: age },
            ExitReason::Killed,
            ExitReason::Lost,
            ExitReason::Escalated {
                child: text(),
                cause: text(),
            },
        ];
        for reason in reasons {
            assert!(ExitReason::CAUSES.contains(&reason.cause()), "{reason}");
        }
    }
}
