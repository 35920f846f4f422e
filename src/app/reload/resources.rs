//! The resources of a reload. The edition that is built has the numbers that are proposed for them; then the stored records are
//! compared with them, which may take long; then the store adopts them, right before the edition is replaced.

use std::time::Duration;

use tokio::time::timeout;

use super::wait_for;
use crate::admin::NotReloaded;
use crate::storage::{PreparedResources, ProposedResources, ResourcesFault, Store};

/// The time between two looks whether what is waited for is still wanted.
pub(super) const LOOK: Duration = Duration::from_millis(100);

/// Compares proposed resources with the stored records, as long as somebody wants to know the outcome.
pub(super) fn prepare(
    store: &dyn Store,
    proposed: &ProposedResources,
    wanted: impl Fn() -> bool,
) -> Result<PreparedResources, NotReloaded> {
    wait_for(async {
        let mut preparing = store.prepare(proposed.clone());
        loop {
            match timeout(LOOK, &mut preparing).await {
                Ok(prepared) => return prepared.map_err(|fault| told(store, fault)),
                Err(_) if !wanted() => return Err(NotReloaded::Expired),
                Err(_) => {}
            }
        }
    })?
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
