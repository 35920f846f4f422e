//! The settings in force and those that a reload is putting in force, and a lock that one incarnation at a time holds to work on them. One that was
//! killed goes on until its thread sees that: meanwhile it has the turn, and the next incarnation waits for it.

// Decision: A reload is one turn.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use super::logs::OpenedLogs;
use super::waiting::LOOK;
use crate::admin::{NotReloaded, ReloadOrder, Reloaded};
use crate::api::Site;
use crate::settings::SettingValues;
use crate::storage::ProposedResources;
use crate::supervision::{Delivery, Incarnation, MessageId, StartError};
use crate::wire::Edition;

/// Values with the number of their edition.
pub(in crate::app) struct Values {
    pub(super) in_force: (u64, SettingValues),
    pub(super) next: Option<NextSettings>,
    /// The last order that was carried out. It comes again if the child died before it had answered.
    pub(super) done: Option<(MessageId, Reloaded)>,
    /// The order whose outcome is not noted yet.
    pub(super) begun: Option<BegunOrder>,
}

/// An order that an incarnation has begun to carry out.
pub(super) struct BegunOrder {
    id: MessageId,
    comes_again: Box<dyn Fn() -> bool + Send>,
}

/// Settings that are being put in force, which is decided once the store has adopted their resources.
pub(super) struct NextSettings {
    pub(super) resources: ProposedResources,
    pub(super) edition: Arc<Edition<Site>>,
    pub(super) values: SettingValues,
    pub(super) logs: Mutex<OpenedLogs>,
    /// The order that they follow, and its outcome.
    pub(super) order: MessageId,
    pub(super) reloaded: Reloaded,
}

impl Values {
    /// Those of the start.
    pub(in crate::app) fn first(values: SettingValues) -> Mutex<Self> {
        Mutex::new(Self {
            in_force: (1, values),
            next: None,
            done: None,
            begun: None,
        })
    }

    /// Keeps in mind that this order was begun.
    pub(super) fn begin(&mut self, order: &Delivery<ReloadOrder>) {
        self.begun = Some(BegunOrder {
            id: order.id(),
            comes_again: Box::new(order.comes_again()),
        });
    }

    /// The outcome of the order at which the incarnation before died, unless it comes again. What was decided is finished by
    /// then.
    pub(super) fn outcome_of_the_dead(&mut self) -> Option<Result<Reloaded, NotReloaded>> {
        let BegunOrder { id, comes_again } = self.begun.take()?;
        match self.done(id) {
            Some(reloaded) => Some(Ok(reloaded)),
            None => (!comes_again()).then_some(Err(NotReloaded::Died)),
        }
    }

    /// The outcome of this order, if the incarnation before carried it out and did not answer it.
    pub(super) fn done(&self, order: MessageId) -> Option<Reloaded> {
        let done = self.done.as_ref().filter(|(id, _)| *id == order);
        done.map(|(_, reloaded)| reloaded.clone())
    }
}

/// Waits until no other incarnation is at work on `state`, but not longer than `limit`, nor when nobody wants this incarnation
/// any more. It is started again if it has waited in vain.
pub(super) fn wait_for_turn<'a, T>(
    state: &'a Mutex<T>,
    incarnation: &Incarnation,
    limit: Duration,
) -> Result<MutexGuard<'a, T>, StartError> {
    let begun = Instant::now();
    loop {
        if let Some(turn) = state.try_lock_for(LOOK.min(limit)) {
            return Ok(turn);
        }
        if !incarnation.wanted() || begun.elapsed() >= limit {
            return Err(StartError::failed(
                "the reload before, which was stopped, is still at one of its steps",
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;

    #[test]
    fn an_incarnation_waits_for_the_turn_of_the_one_before_but_not_for_ever() {
        let incarnation = Incarnation {
            generation: 2,
            vitals: Arc::default(),
        };
        let wanted = &incarnation.vitals.wanted;
        wanted.store(2, Ordering::SeqCst);
        let (long, state) = (Duration::from_secs(600), Mutex::new(0));
        let held = state.lock();
        assert!(wait_for_turn(&state, &incarnation, Duration::ZERO).is_err());
        let (waits, begins) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            let next = scope.spawn(|| {
                waits.send(()).unwrap();
                *wait_for_turn(&state, &incarnation, long).unwrap()
            });
            begins.recv().unwrap();
            let mut held = held;
            *held = 1;
            drop(held);
            assert_eq!(next.join().unwrap(), 1, "it sees all that was done before");
        });
        let held = state.lock();
        wanted.store(0, Ordering::SeqCst);
        assert!(wait_for_turn(&state, &incarnation, long).is_err());
        drop(held);
    }
}
