//! The resources of a reload. The edition that is built has the numbers that are proposed for them; then the stored records are
//! compared with them, which may take long; then the store adopts them, right before the edition is replaced.

use super::waiting::{wait_for, wait_while};
use crate::admin::NotReloaded;
use crate::storage::{PreparedResources, ProposedResources, ResourcesFault, Store};

/// Compares proposed resources with the stored records, as long as somebody wants to know the outcome.
pub(super) fn prepare(
    store: &dyn Store,
    proposed: &ProposedResources,
    wanted: impl Fn() -> Result<(), NotReloaded>,
) -> Result<PreparedResources, NotReloaded> {
    let prepared = wait_while(wanted, store.prepare(proposed.clone()))?;
    prepared.map_err(|fault| told(store, fault))
}

/// Declares prepared resources, or none of them.
pub(super) fn adopt(store: &dyn Store, prepared: PreparedResources) -> Result<(), NotReloaded> {
    let adopted = wait_for(store.adopt(prepared))?;
    adopted.map_err(|fault| told(store, fault))
}

/// The reason, for whoever asked for the reload.
fn told(store: &dyn Store, fault: ResourcesFault) -> NotReloaded {
    match fault {
        ResourcesFault::Misfits(found) => {
            NotReloaded::Misfits(found.iter().map(ToString::to_string).collect())
        }
        ResourcesFault::Overtaken => NotReloaded::NotNow(fault.to_string()),
        ResourcesFault::Store(error) => {
            let why = store.trouble().unwrap_or_else(|| error.to_string());
            NotReloaded::NotNow(format!(
                "resources, their fields and their ids are changed only while the store takes writes, and it does not: {why}. Reload again when it does, or start the daemon again; settings that do not concern them can be reloaded meanwhile"
            ))
        }
    }
}
