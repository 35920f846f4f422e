//! One life of a child: its generation, and the fence that ends it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What one slot shares with everything its incarnations made.
#[derive(Debug)]
pub(crate) struct Vitals {
    /// The generation that may act; 0 while none may.
    pub(crate) current: AtomicU64,
    /// The generation that is to be there, ready or not; 0 once it is to end.
    pub(crate) wanted: AtomicU64,
    /// What the running incarnation has finished since it started.
    pub(crate) handled: AtomicU64,
}

/// The facts of one incarnation, given to the factory that makes it.
#[derive(Debug, Clone)]
pub struct Life {
    pub(crate) generation: u64,
    pub(crate) vitals: Arc<Vitals>,
}

impl Life {
    /// Which life of the child this is; the first is 1.
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

    /// Whether this life is still wanted: neither replaced nor asked to stop. For a start that waits for something.
    pub fn wanted(&self) -> bool {
        self.vitals.wanted.load(Ordering::SeqCst) == self.generation
    }

    /// Says that the incarnation has done something useful.
    ///
    /// A death without any progress makes the next start wait longer. Handled messages count by themselves; a child
    /// that works from [`run`](crate::supervision::Child::run) says it here.
    pub fn progress(&self) {
        self.vitals.handled.fetch_add(1, Ordering::Relaxed);
    }
}

/// Whether an incarnation is still the current one. Everything with a lasting effect asks it, last thing before the
/// effect: an incarnation that hung and wakes up late must not act.
#[derive(Debug, Clone)]
pub struct Fence {
    generation: u64,
    vitals: Arc<Vitals>,
}

impl Fence {
    /// True while the incarnation has not been replaced.
    pub fn holds(&self) -> bool {
        self.vitals.current.load(Ordering::SeqCst) == self.generation
    }
}
