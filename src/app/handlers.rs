//! The request handlers: as many as the settings want, each with a thread of its own.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use parking_lot::Mutex;

use super::reload::difference::free_name;
use crate::admin::NotReloaded;
use crate::api::Site;
use crate::request_handler::{self, GiveWay, HandlerRef, Handlers};
use crate::settings::{AutoCount, ServerSettings};
use crate::supervision::{ChildSpec, Faults, OrderError, QueueLimits, SupervisorRef, TreeChange};
use crate::telemetry::AccessSink;
use crate::wire::{
    Access, ConnectionCounters, Drain, Editions, HandlerCounters, Parts, RoutePatterns, TlsAcceptor,
};

/// Connections that may wait for one handler; they are few bytes each, and the listener waits when it is full.
pub(super) const HANDLER_QUEUE: QueueLimits = QueueLimits {
    messages: 1024,
    bytes: 1 << 20,
};

/// The parts that all request handlers share.
pub(super) struct HandlerParts {
    pub(super) site: Arc<Editions<Site>>,
    pub(super) patterns: Arc<RoutePatterns>,
    pub(super) counters: Arc<ConnectionCounters>,
    pub(super) metrics: Arc<HandlerCounters>,
    pub(super) access: AccessSink,
    pub(super) faults: Faults,
    pub(super) drain: Drain,
    pub(super) tls: Arc<TlsAcceptor>,
}

/// The request handlers.
pub(super) struct RequestHandlers {
    supervisor: SupervisorRef,
    parts: HandlerParts,
    /// Those that run and are not being removed, the oldest first.
    running: Mutex<Vec<HandlerRef>>,
    /// Those that take new connections.
    pub(super) taking: Arc<Handlers>,
}

/// The number of request handlers that the settings want.
pub(super) fn count(server: &ServerSettings) -> usize {
    match server.handlers {
        AutoCount::Auto => std::thread::available_parallelism().map_or(1, NonZeroUsize::get),
        AutoCount::Count(count) => count.get(),
    }
}

impl RequestHandlers {
    /// None yet; `supervisor` will have them.
    pub(super) fn new(supervisor: SupervisorRef, parts: HandlerParts) -> Self {
        Self {
            supervisor,
            parts,
            running: Mutex::default(),
            taking: Arc::default(),
        }
    }

    /// The specs of as many handlers as are missing, with their names.
    pub(super) fn missing(&self, wanted: usize, limit: Duration) -> Vec<(String, ChildSpec)> {
        let mut running = self.running.lock();
        let mut taken: Vec<String> = running.iter().map(|one| one.child.name().into()).collect();
        taken.extend(self.supervisor.children().into_iter().map(|view| view.name));
        let mut specs = Vec::new();
        while running.len() < wanted {
            let name = |number| format!("handler-{number}");
            let (number, name) = free_name(name, |name| taken.iter().any(|one| one == name));
            let (spec, handler) = self.handler(&name, number);
            taken.push(name.clone());
            running.push(handler);
            specs.push((name, spec.start_timeout(limit)));
        }
        specs
    }

    fn handler(&self, name: &str, number: usize) -> (ChildSpec, HandlerRef) {
        let HandlerParts {
            site,
            patterns,
            counters,
            metrics,
            access,
            faults,
            drain,
            tls,
        } = &self.parts;
        let access = Some(Access {
            sink: access.clone(),
            patterns: Arc::clone(patterns),
        });
        let parts = Parts {
            editions: Arc::clone(site),
            metrics: metrics.of(number),
            counters: Arc::clone(counters),
            drain: drain.another(),
            access,
            tls: Arc::clone(tls),
        };
        request_handler::prepare(name, HANDLER_QUEUE, parts, GiveWay::Unasked, faults.clone())
    }

    /// Starts as many as are missing, and waits until they are ready. The error says which are not, and why.
    pub(super) async fn start(&self, wanted: usize, limit: Duration) -> Result<(), NotReloaded> {
        let missing = self.missing(wanted, limit);
        add(&self.supervisor, None, missing).await?;
        self.give_connections(wanted);
        Ok(())
    }

    /// From now on the first `wanted` handlers get the new connections.
    pub(super) fn give_connections(&self, wanted: usize) {
        let mut taking = self.running.lock().clone();
        taking.truncate(wanted);
        if taking.len() != self.taking.load().len() {
            self.taking.store(Arc::new(taking));
        }
    }

    /// Removes all but the first `wanted`. Their connections go on until they are drained, which is not waited for.
    pub(super) async fn remove_surplus(&self, wanted: usize) {
        let kept = {
            let mut running = self.running.lock();
            running.truncate(wanted);
            running.clone()
        };
        for view in self.supervisor.children() {
            let is_kept = kept.iter().any(|kept| kept.child.name() == view.name);
            if !is_kept && view.change != Some(TreeChange::Removed) {
                match self.supervisor.begin_removal(&view.name, false).await {
                    Ok(_drains) => tracing::info!(child = view.name, "reload: being removed"),
                    Err(error) => not_removed(&view.name, &error),
                }
            }
        }
    }
}

/// The next reload tries it again, even if no setting has changed.
pub(super) fn not_removed(child: &str, error: &OrderError) {
    tracing::error!(child, %error, "reload: a child that is not wanted any more could not be removed yet");
}

/// Adds children to a running supervisor, and waits until all of them are ready. The error says which are not, and why.
pub(super) async fn add(
    supervisor: &SupervisorRef,
    before: Option<&str>,
    children: Vec<(String, ChildSpec)>,
) -> Result<(), NotReloaded> {
    let added = children.into_iter().map(|(name, spec)| async move {
        let added = supervisor.add_child(spec, before).await;
        added.map_err(|error| (name.clone(), error))?;
        tracing::info!(child = name, "reload: added");
        Ok(())
    });
    let failed = join_all(added).await.into_iter();
    not_added(supervisor.name(), failed.filter_map(Result::err).collect())
}

/// The reason for which children could not be added, unless none of them failed.
fn not_added(supervisor: &str, failed: Vec<(String, OrderError)>) -> Result<(), NotReloaded> {
    if failed.is_empty() {
        return Ok(());
    }
    if failed
        .iter()
        .any(|(_, error)| *error == OrderError::NotRunning)
    {
        return Err(NotReloaded::NotNow(format!(
            "{supervisor} is down or being restarted, and takes no new children; reload again when `perennial status` shows that it runs"
        )));
    }
    let told = failed
        .iter()
        .map(|(name, error)| format!("{name}: {error}"));
    Err(NotReloaded::Unusable(told.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervision::ExitReason;

    #[test]
    fn a_supervisor_that_is_down_is_told_apart_from_a_child_that_does_not_start() {
        let failed = |error| not_added("listeners", vec![("listener-1".to_owned(), error)]);
        assert_eq!(not_added("listeners", Vec::new()), Ok(()));
        let late = OrderError::StartFailed(ExitReason::Killed);
        assert!(
            matches!(failed(late), Err(NotReloaded::Unusable(told)) if told[0].starts_with("listener-1: "))
        );
        let down = failed(OrderError::NotRunning);
        assert!(
            matches!(down, Err(NotReloaded::NotNow(told)) if told.starts_with("listeners is down"))
        );
    }
}
