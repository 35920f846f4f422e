//! One incarnation as its child sees it: its generation, and the fence that tells whether it may still act.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The state that a slot shares with its incarnations and their fences.
#[derive(Debug, Default)]
pub(crate) struct Vitals {
    /// The generation that may act; 0 while none may.
    pub(crate) current: AtomicU64,
    /// The generation that should be there, ready or not; 0 once it is asked to stop.
    pub(crate) wanted: AtomicU64,
    /// The number of messages that the present incarnation has handled.
    pub(crate) handled: AtomicU64,
}

/// One incarnation of a child: given to the factory that makes the child, and found in
/// [`ChildContext::incarnation`](crate::supervision::ChildContext::incarnation).
#[derive(Debug, Clone)]
pub struct Incarnation {
    pub(crate) generation: u64,
    pub(crate) vitals: Arc<Vitals>,
}

impl Incarnation {
    /// The number of this incarnation; the child's first one is 1.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// A handle that tells whether this incarnation may still act.
    pub fn fence(&self) -> Fence {
        Fence {
            generation: self.generation,
            vitals: Arc::clone(&self.vitals),
        }
    }

    /// Whether this incarnation is still wanted: neither replaced nor asked to stop. A start that waits for something
    /// checks it while it waits.
    pub fn wanted(&self) -> bool {
        self.vitals.wanted.load(Ordering::SeqCst) == self.generation
    }

    /// Says that the incarnation has done something useful.
    ///
    /// After a death without progress the next start waits longer. A handled message counts by itself; a child that works
    /// in [`run`](crate::supervision::Child::run) calls this.
    pub fn progress(&self) {
        self.vitals.handled.fetch_add(1, Ordering::Relaxed);
    }
}

/// Tells whether an incarnation is still the current one.
///
/// Check it last thing before every lasting effect: an incarnation that hung and was replaced must change nothing when it
/// wakes up.
#[derive(Debug, Clone)]
pub struct Fence {
    generation: u64,
    vitals: Arc<Vitals>,
}

impl Fence {
    /// True as long as the incarnation has not been replaced.
    pub fn holds(&self) -> bool {
        self.vitals.current.load(Ordering::SeqCst) == self.generation
    }
}
