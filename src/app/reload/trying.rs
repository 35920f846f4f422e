//! Tries everything of the next edition that nobody notices: all that a dry run does.

use std::sync::Arc;

use super::asking::{self, AskedRoutes};
use super::{Reloading, logs, resources};
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
        let prepared = resources::prepare(store, &proposed, &wanted);
        let edition = self
            .serving
            .edition(number, settings, &proposed, Some(routes));
        let edition = edition.map_err(NotReloaded::unusable).and_then(|edition| {
            asking::look_at_folders(&edition, &wanted)?;
            let asked = AskedRoutes {
                changes,
                // Resources that are refused already tell nothing more.
                resources: prepared.is_ok(),
            };
            asking::ask_routes(&edition, &before, asked, &wanted)?;
            Ok(edition)
        });
        let edition = NotReloaded::both(self.children.look_at_addresses(settings), edition);
        let tried = NotReloaded::both(edition.map(|((), edition)| edition), prepared);
        let old = &before.responder.settings.logging;
        let limited = NotReloaded::both(limited, logs::try_out(old, &settings.logging));
        let (_, (edition, prepared)) = NotReloaded::both(limited, tried)?;
        Ok(TriedEdition {
            edition,
            proposed,
            prepared,
        })
    }
}
