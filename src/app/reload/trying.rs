//! Tries everything of the next edition that nobody notices: all that a dry run does.

use std::sync::Arc;

use super::{Reloading, asking, resources};
use crate::admin::NotReloaded;
use crate::api::Site;
use crate::settings::{NodeChange, Settings};
use crate::storage::{PreparedResources, ProposedResources};
use crate::wire::Edition;

/// The next edition, of which everything was tried that nobody notices.
pub(super) struct TriedEdition {
    pub(super) edition: Edition<Site>,
    pub(super) proposed: ProposedResources,
    pub(super) prepared: PreparedResources,
}

impl Reloading {
    /// Makes the next edition, compares the stored records with its rules and asks its routes. Nothing is changed, and nobody
    /// notices; dropping the result takes it back.
    pub(super) fn try_out(
        &self,
        number: u64,
        settings: &Arc<Settings>,
        changes: &[NodeChange],
        wanted: impl Fn() -> Result<(), NotReloaded>,
    ) -> Result<TriedEdition, NotReloaded> {
        self.limited.prepare(settings)?;
        let (store, before) = (&*self.serving.store, self.site.current());
        let proposed = store.propose(&settings.resources);
        let routes = &before.responder.routes;
        let edition = self
            .serving
            .edition(number, settings, &proposed, Some(routes));
        let edition = edition.map_err(NotReloaded::unusable)?;
        asking::look_at_folders(&edition, &wanted)?;
        let prepared = resources::prepare(store, &proposed, &wanted)?;
        asking::ask_routes(&edition, &before, settings, changes, &wanted)?;
        Ok(TriedEdition {
            edition,
            proposed,
            prepared,
        })
    }
}
