//! What `/readyz` asks: the parts of the tree, and the checks that rooms add to them.

use crate::supervision::NodeView;

/// The part of the tree that answers `/readyz`: it is left out, since whoever asks is being answered.
const ASKED: &str = "admin";

type Ask = dyn Fn() -> Result<(), String> + Send + Sync;

/// A named question whose answer decides whether the daemon is ready. It must not wait: it is asked on the admin's thread.
pub(crate) struct Check {
    /// A check named like a part of the tree belongs to that part; any other name is a part of its own in `/readyz`.
    pub name: String,
    /// The error says for an operator what is wrong.
    pub ask: Box<Ask>,
}

/// One part of the daemon, as `/readyz` tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) name: String,
    /// The reason why it can't serve; `None` if it can.
    pub(super) fault: Option<String>,
}

/// All parts: those of the tree in their order, then those that only a check names.
pub(super) fn parts(root: Option<&NodeView>, checks: &[Check]) -> Vec<Part> {
    let children = root.map_or(&[][..], |root| root.children.as_slice());
    let children = children.iter().filter(|child| child.name != ASKED);
    let mut parts: Vec<_> = children
        .map(|child| Part {
            name: child.name.clone(),
            fault: (!child.running()).then(|| format!("it is {}", child.state)),
        })
        .collect();
    // Before there is a tree there is nothing to check.
    if parts.is_empty() {
        return parts;
    }
    for check in checks {
        let fault = (check.ask)().err();
        match parts.iter_mut().find(|part| part.name == check.name) {
            Some(part) => part.fault = part.fault.take().or(fault),
            None => parts.push(Part {
                name: check.name.clone(),
                fault,
            }),
        }
    }
    parts
}
