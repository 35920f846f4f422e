//! Resources on their way to be declared, as callers of a store hold them: first proposed, then prepared. The content is the
//! engine's, which takes it out again when the next step is asked for.

use std::any::Any;
use std::sync::Arc;

use super::store::CollectionId;

/// The part of proposed resources that belongs to an engine.
pub(crate) trait Proposal: std::fmt::Debug + Any + Send + Sync {
    /// The number of one of the resources, from the moment on that they are adopted.
    fn collection(&self, name: &str) -> Option<CollectionId>;

    /// Whether they were adopted.
    fn adopted(&self) -> bool;
}

/// Resources that are proposed.
#[derive(Debug, Clone)]
pub(crate) struct ProposedResources(Arc<dyn Proposal>);

impl ProposedResources {
    pub(super) fn new(proposal: Arc<dyn Proposal>) -> Self {
        Self(proposal)
    }

    /// The number of one of them, from the moment on that they are adopted.
    pub(crate) fn collection(&self, name: &str) -> Option<CollectionId> {
        self.0.collection(name)
    }

    /// Whether they were adopted.
    pub(crate) fn adopted(&self) -> bool {
        self.0.adopted()
    }

    /// The engine's part; `None` if another engine proposed them.
    pub(super) fn into_part<T: Proposal>(self) -> Option<Arc<T>> {
        let part: Arc<dyn Any + Send + Sync> = self.0;
        part.downcast().ok()
    }
}

/// Resources that may be declared. They may not any more once this is dropped.
#[derive(Debug)]
pub(crate) struct PreparedResources(Box<dyn Any>);

impl PreparedResources {
    /// With the engine's part, which takes everything back when it is dropped.
    pub(super) fn new(part: impl Any) -> Self {
        Self(Box::new(part))
    }

    /// The engine's part; `None` if another engine prepared them.
    pub(super) fn into_part<T: Any>(self) -> Option<T> {
        self.0.downcast().ok().map(|part| *part)
    }
}
