//! What a running tree takes from outside: where its actors run, and its fault points.

use actix::prelude::{Arbiter, ArbiterHandle};

use crate::supervision::faults::Faults;

/// What a running tree takes from outside. The default is a thread for each child and no fault points.
#[derive(Debug, Clone, Default)]
pub struct Env {
    inline: bool,
    pub(crate) faults: Faults,
}

impl Env {
    /// All actors run on the thread that starts the tree: for tests, which pause the clock of that thread.
    pub fn inline() -> Self {
        Self {
            inline: true,
            ..Self::default()
        }
    }

    /// Uses these fault points: each child passes `<name>.idle` when it is [probed](crate::supervision::Tree::probe), each
    /// supervisor passes `<name>.event` at each event.
    #[must_use]
    pub fn with_faults(mut self, faults: Faults) -> Self {
        self.faults = faults;
        self
    }

    /// An arbiter for one child. Must be called on a thread of an actix system.
    pub(crate) fn arbiter(&self) -> ChildArbiter {
        let owned = (!self.inline).then(Arbiter::new);
        let handle = owned
            .as_ref()
            .map_or_else(Arbiter::current, Arbiter::handle);
        ChildArbiter { handle, owned }
    }
}

/// The arbiter, and so the thread, that a child runs on.
pub(crate) struct ChildArbiter {
    handle: ArbiterHandle,
    owned: Option<Arbiter>,
}

impl ChildArbiter {
    /// Runs the future that `make` returns. Returns false if the arbiter has stopped.
    pub(crate) fn spawn<F>(&self, make: impl FnOnce() -> F + Send + 'static) -> bool
    where
        F: Future<Output = ()> + 'static,
    {
        let spawn = move || drop(actix_rt::spawn(make()));
        self.handle.spawn_fn(spawn)
    }

    /// Stops the arbiter as soon as its thread is free. Does not wait for the thread, which may hang.
    pub(crate) fn stop(&self) {
        if let Some(owned) = &self.owned {
            owned.stop();
        }
    }
}
