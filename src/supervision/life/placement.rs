//! Where incarnations run.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use actix::prelude::{Arbiter, ArbiterHandle};

/// Which thread a child runs on.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub enum Placement {
    /// An arbiter of its own: a hang costs this child only.
    #[default]
    Own,
    /// An arbiter shared by all children that name it.
    Shared(Arc<str>),
}

/// Makes arbiters, or, for tests on one thread with a paused clock, lends the current one.
#[derive(Debug, Clone)]
pub struct Placer {
    inline: bool,
    shared: Arc<Mutex<HashMap<Arc<str>, Place>>>,
}

/// An arbiter that somebody runs on.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    handle: ArbiterHandle,
    owned: Option<Arc<Mutex<Option<Arbiter>>>>,
}

impl Placer {
    /// Arbiters are threads.
    pub fn threads() -> Self {
        Self {
            inline: false,
            shared: Arc::default(),
        }
    }

    /// Everything runs on the arbiter of the supervisor: for tests, whose clock is that thread's.
    pub fn inline() -> Self {
        Self {
            inline: true,
            shared: Arc::default(),
        }
    }

    /// The place for `placement`. Must be called on a thread of an actix system.
    pub(crate) fn place(&self, placement: &Placement) -> Place {
        if self.inline {
            return Place {
                handle: Arbiter::current(),
                owned: None,
            };
        }
        match placement {
            Placement::Own => Place::new(),
            Placement::Shared(id) => {
                let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
                shared
                    .entry(Arc::clone(id))
                    .or_insert_with(Place::new)
                    .clone()
            }
        }
    }
}

impl Place {
    fn new() -> Self {
        let arbiter = Arbiter::new();
        let handle = arbiter.handle();
        Self {
            handle,
            owned: Some(Arc::new(Mutex::new(Some(arbiter)))),
        }
    }

    /// Runs `future`, made on the arbiter's thread. False if the arbiter has stopped.
    pub(crate) fn spawn<F>(&self, future: impl FnOnce() -> F + Send + 'static) -> bool
    where
        F: Future<Output = ()> + 'static,
    {
        self.handle
            .spawn_fn(move || drop(actix_rt::spawn(future())))
    }

    /// Stops the arbiter, when its thread gets to it. The thread is not waited for: it may hang.
    pub(crate) fn stop(&self) {
        if let Some(owned) = &self.owned {
            self.handle.stop();
            drop(owned.lock().unwrap_or_else(PoisonError::into_inner).take());
        }
    }
}
