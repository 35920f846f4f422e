//! The recipe of a child: how it is made, restarted and stopped.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::batch::BatchLimits;
use super::bed::Bed;
use super::blocking;
use super::child::{BlockingChild, Child, LocalBoxFuture, StartError};
use super::clock::Clock;
use super::control::Control;
use super::event::Reporter;
use super::exit_reason::ExitReason;
use super::faults::Faults;
use super::incarnation;
use super::life::Life;
use super::nested::Nested;
use super::placement::{Place, Placement, Placer};
use super::rules::{Rules, Sequel};
use super::slot::{Shared, Signal, Slot};
use super::spec_fault::{self, SpecFault};
use super::strategy::{Restart, Shutdown};
use super::supervisor_spec::SupervisorSpec;
use super::tree::Node;

/// How long a child is given to become ready, unless its spec says otherwise.
pub const START_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a child is given to stop, unless its spec says otherwise (OTP: 5 000 ms).
pub const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

/// What a supervisor can do to a child, whatever it is.
pub(crate) trait Runtime: Send + Sync {
    /// Begins a life; it reports itself.
    fn start(&self, generation: u64, reporter: Reporter, placer: &Placer, clock: Clock);
    /// Asks it to stop.
    fn stop(&self, sequel: Sequel);
    /// Fences it and leaves it behind.
    fn kill(&self, generation: u64, reason: &ExitReason);
    /// Gives back its threads; it will not be started again.
    fn release(&self);
}

/// The recipe of a child.
pub struct ChildSpec {
    pub(crate) rules: Rules,
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) node: Node,
    /// What is wrong below it.
    faults: Vec<SpecFault>,
}

impl std::fmt::Debug for ChildSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChildSpec")
            .field("rules", &self.rules)
            .finish_non_exhaustive()
    }
}

impl ChildSpec {
    fn new(node: Node, runtime: Arc<dyn Runtime>, supervisor: bool) -> Self {
        // OTP: a supervisor is given all the time its children need.
        let shutdown = if supervisor {
            Shutdown::Infinity
        } else {
            Shutdown::Timeout(SHUTDOWN_TIMEOUT)
        };
        let rules = Rules {
            restart: Restart::Permanent,
            shutdown,
            start_timeout: START_TIMEOUT,
            supervisor,
        };
        Self {
            rules,
            runtime,
            node,
            faults: Vec::new(),
        }
    }

    /// What is wrong with it as a child of `supervisor`, and with everything below.
    pub(crate) fn faults(&self, supervisor: &Arc<str>) -> Vec<SpecFault> {
        let mut faults = spec_fault::of_rules(supervisor, self.node.name(), &self.rules);
        faults.extend(self.faults.iter().cloned());
        faults
    }

    /// A child that is an actor. `factory` is called for every incarnation, on the child's own thread.
    pub fn actor<C: Child>(
        slot: &Slot<C::Message>,
        placement: Placement,
        faults: Faults,
        factory: impl Fn(Life) -> LocalBoxFuture<'static, Result<C, StartError>> + Send + Sync + 'static,
    ) -> Self {
        let shared = Arc::clone(&slot.shared);
        let node = Node::child(&shared.name, Some(control_of(&shared)));
        let factory: Arc<incarnation::Factory<C>> = Arc::new(factory);
        let runtime = ActorRuntime {
            shared,
            placement,
            faults,
            factory,
            place: Mutex::new(None),
        };
        Self::new(node, Arc::new(runtime), false)
    }

    /// A child that is an OS thread and takes batches. `factory` is called for every incarnation, on that thread.
    pub fn blocking<C: BlockingChild>(
        slot: &Slot<C::Message>,
        limits: BatchLimits,
        faults: Faults,
        factory: impl Fn(Life) -> Result<C, StartError> + Send + Sync + 'static,
    ) -> Self {
        let shared = Arc::clone(&slot.shared);
        let node = Node::child(&shared.name, Some(control_of(&shared)));
        let factory: Arc<blocking::Factory<C>> = Arc::new(factory);
        let runtime = ThreadRuntime {
            shared,
            limits,
            faults,
            factory,
        };
        Self::new(node, Arc::new(runtime), false)
    }

    /// A child that is a supervisor.
    pub fn supervisor(spec: SupervisorSpec) -> Self {
        let faults = spec.faults();
        let bed = Bed::new(spec);
        let spec = Self::new(bed.node.clone(), Arc::new(Nested::new(bed)), true);
        Self { faults, ..spec }
    }

    /// When it is started again.
    #[must_use]
    pub fn restart(mut self, restart: Restart) -> Self {
        self.rules.restart = restart;
        self
    }

    /// How it is stopped.
    #[must_use]
    pub fn shutdown(mut self, shutdown: Shutdown) -> Self {
        self.rules.shutdown = shutdown;
        self
    }

    /// How long it is given to become ready.
    #[must_use]
    pub fn start_timeout(mut self, limit: Duration) -> Self {
        self.rules.start_timeout = limit;
        self
    }
}

fn control_of<M: super::Message>(shared: &Arc<Shared<M>>) -> Arc<dyn Control> {
    Arc::<Shared<M>>::clone(shared)
}

struct ActorRuntime<C: Child> {
    shared: Arc<Shared<C::Message>>,
    placement: Placement,
    faults: Faults,
    factory: Arc<incarnation::Factory<C>>,
    place: Mutex<Option<Place>>,
}

impl<C: Child> Runtime for ActorRuntime<C> {
    fn start(&self, generation: u64, reporter: Reporter, placer: &Placer, _: Clock) {
        let life = self.shared.begin(generation);
        let mut place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        let on = place.get_or_insert_with(|| placer.place(&self.placement));
        let (factory, shared, faults) = (
            Arc::clone(&self.factory),
            Arc::clone(&self.shared),
            self.faults.clone(),
        );
        let report = reporter.clone();
        let spawned = on.spawn(move || incarnation::begin(factory, shared, life, report, faults));
        if !spawned {
            // The arbiter is gone; the next try makes a new one.
            *place = None;
            let reason = ExitReason::StartFailed(Arc::from("its arbiter has stopped"));
            self.shared.fence(generation, &reason);
            reporter.exited(generation, reason, false);
        }
    }

    fn stop(&self, sequel: Sequel) {
        self.shared.signal(Signal::Stop(sequel));
    }

    fn kill(&self, generation: u64, reason: &ExitReason) {
        self.shared.fence(generation, reason);
        // Its thread may never come back: what it runs on is left behind with it.
        if self.placement == Placement::Own {
            self.release();
        }
    }

    fn release(&self) {
        if let Some(place) = self
            .place
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
        {
            place.stop();
        }
    }
}

struct ThreadRuntime<C: BlockingChild> {
    shared: Arc<Shared<C::Message>>,
    limits: BatchLimits,
    faults: Faults,
    factory: Arc<blocking::Factory<C>>,
}

impl<C: BlockingChild> Runtime for ThreadRuntime<C> {
    fn start(&self, generation: u64, reporter: Reporter, _: &Placer, _: Clock) {
        let thread = blocking::Thread {
            factory: Arc::clone(&self.factory),
            shared: Arc::clone(&self.shared),
            limits: self.limits,
            life: self.shared.begin(generation),
            reporter: reporter.clone(),
            faults: self.faults.clone(),
        };
        let spawned = std::thread::Builder::new()
            .name(self.shared.name.to_string())
            .spawn(move || thread.live());
        if let Err(error) = spawned {
            let reason = ExitReason::StartFailed(format!("no thread: {error}").into());
            self.shared.fence(generation, &reason);
            reporter.exited(generation, reason, false);
        }
    }

    fn stop(&self, sequel: Sequel) {
        self.shared.signal(Signal::Stop(sequel));
    }

    fn kill(&self, generation: u64, reason: &ExitReason) {
        self.shared.fence(generation, reason);
    }

    fn release(&self) {}
}
