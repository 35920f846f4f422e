//! Why a supervisor did not come up: every cause, not only the first.

use std::fmt;
use std::sync::Arc;

use super::exit_reason::ExitReason;

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
