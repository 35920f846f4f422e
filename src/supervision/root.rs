//! The root of a tree: planted, grown, and asked to stop.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::{oneshot, watch};

use super::clock::Clock;
use super::event::Event;
use super::exit_reason::ExitReason;
use super::placement::Placer;
use super::sentinel::Pulse;
use super::supervisor::{Above, Bed, SupervisorSpec, Surroundings, begin};
use super::tree::Tree;

/// The root of a running tree.
#[derive(Debug)]
pub struct Root {
    events: UnboundedSender<Event>,
    /// Completes when all children are ready for the first time; fails if the tree ends before.
    pub ready: oneshot::Receiver<()>,
    /// Why the tree has ended, once it has.
    pub exit: watch::Receiver<Option<ExitReason>>,
}

/// Asks a tree to stop.
#[derive(Debug, Clone)]
pub struct Stopper {
    events: UnboundedSender<Event>,
}

impl Stopper {
    /// Asks: children stop in reverse order, each within its deadline.
    pub fn stop(&self) {
        // A tree that is gone has stopped.
        drop(self.events.send(Event::Stop));
    }

    pub(crate) fn tick(&self) -> bool {
        self.events.send(Event::Tick).is_ok()
    }
}

impl Root {
    /// A handle that can stop the tree from anywhere.
    pub fn stopper(&self) -> Stopper {
        Stopper {
            events: self.events.clone(),
        }
    }

    /// Tells the supervisor that an incarnation hangs: the sentinel's verdict, for whoever plays the sentinel.
    pub fn hung(&self, child: usize, generation: u64, age: Duration) {
        // A tree that is gone has no hung children.
        drop(self.events.send(Event::Hung {
            child,
            generation,
            age,
        }));
    }
}

/// The observable tree of `spec`, whose supervisor is not started yet.
#[derive(Debug)]
pub struct Seed {
    spec: SupervisorSpec,
    tree: Tree,
}

impl Seed {
    /// Prepares a tree: what it looks like can be asked before it grows.
    pub fn new(spec: SupervisorSpec, clock: Clock) -> Self {
        let tree = Tree::new(spec.node(), clock);
        Self { spec, tree }
    }

    /// The tree, for everybody who wants to look at it.
    pub fn tree(&self) -> Tree {
        self.tree.clone()
    }

    /// Starts the root supervisor on the current arbiter.
    pub fn grow(self, clock: Clock, placer: Placer, pulse: Option<Arc<Pulse>>) -> Root {
        let (events, inbox) = unbounded_channel();
        let (ready_tx, ready) = oneshot::channel();
        let (exit_tx, exit) = watch::channel(None);
        let around = Surroundings {
            node: self.tree.root(),
            above: Above::App {
                ready: Some(ready_tx),
                exit: exit_tx,
            },
            clock,
            placer,
            pulse,
        };
        begin(Bed::new(self.spec), around, (events.clone(), inbox));
        Root {
            events,
            ready,
            exit,
        }
    }
}
