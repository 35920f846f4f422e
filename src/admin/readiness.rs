//! The checks of `/readyz`: one for each part of the tree, and those that rooms add.

use crate::supervision::NodeView;

/// The part of the tree that answers `/readyz`: it is left out, since whoever asks is being answered.
pub(super) const ASKED: &str = "admin";

/// Makes the checks of this moment. It must not wait: it is called on the admin's thread.
pub(crate) type Checks = dyn Fn() -> Vec<Check> + Send + Sync;

/// A part that has to serve for the daemon to be ready.
pub(crate) struct Check {
    /// A check named like a part of the tree belongs to that part; any other name is a part of its own in `/readyz`.
    pub name: String,
    /// The reason why it can't serve, for an operator.
    pub fault: Option<String>,
    /// The work on it that is under way, and how far that is.
    pub doing: Option<String>,
}

/// One part of the daemon, as `/readyz` tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) name: String,
    /// The reason why it can't serve; `None` if it can.
    pub(super) fault: Option<String>,
    /// The work on it that is under way.
    pub(super) doing: Option<String>,
}

/// All parts: those of the tree in their order, then those that only a check names.
pub(super) fn parts(root: Option<&NodeView>, checks: Vec<Check>) -> Vec<Part> {
    let children = root.map_or(&[][..], |root| root.children.as_slice());
    let children = children.iter().filter(|child| child.name != ASKED);
    let mut parts: Vec<_> = children
        .map(|child| Part {
            name: child.name.clone(),
            fault: trouble(child),
            doing: None,
        })
        .collect();
    // Before there is a tree there is nothing to check.
    if parts.is_empty() {
        return parts;
    }
    for Check { name, fault, doing } in checks {
        if let Some(part) = parts.iter_mut().find(|part| part.name == name) {
            part.fault = part.fault.take().or(fault);
            part.doing = doing;
        } else {
            parts.push(Part { name, fault, doing });
        }
    }
    parts
}

/// The reason why a part of the tree is not running, if it is not: its own state, or that of a child below it.
pub(super) fn trouble(part: &NodeView) -> Option<String> {
    let nodes = part.walk();
    let needed = |node: &&NodeView| node.state != "running" && !node.in_passing();
    let node = nodes.into_iter().find(needed)?;
    let name = if node.name == part.name {
        "it"
    } else {
        &node.name
    };
    let last = node.exits.last();
    let ordered = node.state == "ended" && last.is_some_and(|exit| exit.cause == "ordered");
    Some(if ordered {
        format!("{name} is stopped by order: perennial start {}", node.name)
    } else {
        format!("{name} is {}", node.state)
    })
}
