//! The tree as anyone can see it, at any time and from any thread, without asking a supervisor.

mod node;
mod view;

pub(crate) use node::Node;
pub use view::{ExitView, NodeView, RestartTimes, TreeChange};

use std::sync::Arc;

use tokio::time::Instant;

/// A whole tree of children. Cheap to clone.
#[derive(Clone)]
pub struct Tree {
    pub(crate) root: Arc<Node>,
}

// The registry of metrics demands `Debug` of what it collects from.
impl std::fmt::Debug for Tree {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tree({})", self.root.name)
    }
}

impl Tree {
    /// A snapshot of all nodes.
    pub fn view(&self) -> NodeView {
        self.root.view(Instant::now())
    }

    /// Makes the child `name` pass its fault point `<name>.idle` on its own thread. Returns false if there is no such child.
    pub fn probe(&self, name: &str) -> bool {
        self.root.probe(name)
    }
}
