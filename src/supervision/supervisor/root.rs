//! The root of a tree: planted, grown, and asked to stop.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::{oneshot, watch};

use super::actor::{Above, Surroundings, begin};
use super::order::SupervisorRef;
use super::pulse::Pulse;
use super::spec::SupervisorSpec;
use super::state::Bed;
use crate::supervision::clock::Clock;
use crate::supervision::exit_reason::ExitReason;
use crate::supervision::life::{Event, Input, Placer};
use crate::supervision::rules::Sequel;
use crate::supervision::spec_fault::{self, SpecFaults};
use crate::supervision::tree::Tree;

/// The root of a running tree.
#[derive(Debug)]
pub struct Root {
    input: UnboundedSender<Input>,
    supervisor: SupervisorRef,
    /// Completes when all children are ready for the first time; fails if the tree ends before.
    pub ready: oneshot::Receiver<()>,
    /// Why the tree has ended, once it has.
    pub exit: watch::Receiver<Option<ExitReason>>,
}

/// Asks a tree to stop.
#[derive(Debug, Clone)]
pub struct Stopper {
    input: UnboundedSender<Input>,
}

impl Stopper {
    /// Asks: children stop in reverse order, each within its deadline.
    pub fn stop(&self) {
        // A tree that is gone has stopped.
        drop(self.input.send(Input::Event(Event::Stop(Sequel::End))));
    }

    pub(crate) fn tick(&self) -> bool {
        self.input.send(Input::Tick).is_ok()
    }
}

impl Root {
    /// A handle that can stop the tree from anywhere.
    pub fn stopper(&self) -> Stopper {
        Stopper {
            input: self.input.clone(),
        }
    }

    /// What administers the root's children.
    pub fn supervisor_ref(&self) -> SupervisorRef {
        self.supervisor.clone()
    }

    /// Tells the supervisor that an incarnation hangs: the sentinel's verdict, for whoever plays the sentinel.
    pub fn hung(&self, child: usize, generation: u64, age: Duration) {
        // A tree that is gone has no hung children.
        drop(self.input.send(Input::Event(Event::Hung {
            child,
            generation,
            age,
        })));
    }
}

/// A tree that is not grown yet.
pub struct Seed {
    bed: Arc<Bed>,
    tree: Tree,
}

impl std::fmt::Debug for Seed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Seed({:?})", self.tree)
    }
}

impl Seed {
    /// Prepares a tree: what it looks like can be asked before it grows. The error is everything that is wrong with
    /// the spec.
    pub fn new(spec: SupervisorSpec, clock: Clock) -> Result<Self, SpecFaults> {
        let mut faults = spec.faults();
        let bed = Bed::new(spec);
        faults.extend(spec_fault::of_names(bed.node.names()));
        SpecFaults::none_of(faults)?;
        let tree = Tree::new(bed.node.clone(), clock);
        Ok(Self { bed, tree })
    }

    /// The tree, for everybody who wants to look at it.
    pub fn tree(&self) -> Tree {
        self.tree.clone()
    }

    /// Starts the root supervisor on the current arbiter.
    pub fn grow(self, clock: Clock, placer: Placer, pulse: Option<Arc<Pulse>>) -> Root {
        let (input, inbox) = unbounded_channel();
        let (ready_tx, ready) = oneshot::channel();
        let (exit_tx, exit) = watch::channel(None);
        let supervisor = self.bed.supervisor_ref();
        let around = Surroundings {
            above: Above::App {
                ready: Some(ready_tx),
                exit: exit_tx,
            },
            clock,
            placer,
            pulse,
        };
        begin(self.bed, around, (input.clone(), inbox));
        Root {
            input,
            supervisor,
            ready,
            exit,
        }
    }
}
