//! The simplest way to run a tree: with a runtime of its own, on the calling thread.

use std::pin::pin;

use futures_util::future::{Either, select};

use super::order::SupervisorRef;
use super::prepared_tree::PreparedTree;
use super::spec::SupervisorSpec;
use crate::supervision::exit_reason::ExitReason;
use crate::supervision::life::Env;
use crate::supervision::spec_fault::SpecFaults;

/// The error of [`run`], if it did not reach the end of its function.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// The specs have faults; nothing was started.
    #[error(transparent)]
    Spec(#[from] SpecFaults),
    /// The tree ended before all of its children were ready, or before the function returned.
    #[error("the tree ended: {0}")]
    Ended(ExitReason),
}

/// Runs a tree on the calling thread: starts a runtime and the tree, waits until all children are ready, runs `work` beside
/// them, stops the tree in order, and returns what `work` returned.
///
/// `work` gets the root supervisor's [address](crate::supervision::SupervisorRef). It is dropped if the tree ends before it.
///
/// Must not be called inside a runtime; there, use [`PreparedTree::start`].
pub fn run<T>(
    spec: SupervisorSpec,
    work: impl AsyncFnOnce(SupervisorRef) -> T,
) -> Result<T, TreeError> {
    let prepared = PreparedTree::new(spec)?;
    actix_rt::System::new().block_on(async {
        let mut tree = prepared.start(Env::default());
        if (&mut tree.ready).await.is_err() {
            return Err(TreeError::Ended(tree.stop().await));
        }
        let supervisor = tree.supervisor.clone();
        let result = match select(pin!(work(supervisor)), pin!(tree.ended())).await {
            Either::Left((result, _)) => Ok(result),
            Either::Right((reason, _)) => Err(TreeError::Ended(reason)),
        };
        tree.stop().await;
        result
    })
}
