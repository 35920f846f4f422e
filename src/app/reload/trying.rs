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
    /// Makes the next edition, asks its routes and compares the stored records with its rules. Nothing is changed, and nobody
    /// notices; dropping the result takes it back. If several of these steps are refused, all reasons are told.
    pub(super) fn try_out(
        &self,
        number: u64,
        settings: &Arc<Settings>,
        changes: &[NodeChange],
        wanted: impl Fn() -> Result<(), NotReloaded>,
    ) -> Result<TriedEdition, NotReloaded> {
        let limited = self.limited.prepare(settings);
        let (store, before) = (&*self.serving.store, self.site.current());
        let proposed = store.propose(&settings.resources);
        let routes = &before.responder.routes;
        let edition = self
            .serving
            .edition(number, settings, &proposed, Some(routes));
        let edition = edition.map_err(NotReloaded::unusable).and_then(|edition| {
            asking::look_at_folders(&edition, &wanted)?;
            asking::ask_routes(&edition, &before, settings, changes, &wanted)?;
            Ok(edition)
        });
        let prepared = resources::prepare(store, &proposed, &wanted);
        let tried = NotReloaded::both(edition, prepared);
        let ((), (edition, prepared)) = NotReloaded::both(limited, tried)?;
        Ok(TriedEdition {
            edition,
            proposed,
            prepared,
        })
    }
}
