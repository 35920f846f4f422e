//! The children that a reload adds and removes: request handlers, and listeners with their sockets.
//!
//! New sockets are opened first (`prepare`), then new children are started (`start`): they serve the edition in force, so they
//! harm nobody if the reload is refused after all. What is not wanted any more goes when the new edition is in force
//! (`finish`), and so does what is new if the reload is refused.

// Decision: New listeners start before the old ones go.

use std::sync::Arc;

use crate::admin::NotReloaded;
use crate::app::bounds::ServerBounds;
use crate::app::errors::with_causes;
use crate::app::handlers::{RequestHandlers, count};
use crate::app::listeners::Listeners;
use crate::app::sockets::{ListenAddress, OpenAddress, SocketOpener};
use crate::listener::{SharedListening, SocketError};
use crate::settings::Settings;

/// The children that a reload adds and removes; it outlives the incarnations of the child that reloads.
pub(in crate::app) struct LiveChildren {
    pub(in crate::app) opener: SocketOpener,
    pub(in crate::app) bounds: Arc<ServerBounds>,
    pub(in crate::app) handlers: RequestHandlers,
    pub(in crate::app) public: Listeners,
    pub(in crate::app) admin: Listeners,
}

/// New sockets. Dropping them closes them.
#[derive(Debug)]
pub(super) struct NewSockets {
    public: Vec<OpenAddress>,
    admin: Vec<OpenAddress>,
}

/// The addresses that are missing, and the sockets of those that are not wanted any more.
struct AddressChanges {
    public: Vec<ListenAddress>,
    admin: Vec<ListenAddress>,
    going: Vec<Arc<SharedListening>>,
}

fn told(failed: &[SocketError]) -> NotReloaded {
    NotReloaded::Unusable(failed.iter().map(|error| with_causes(error)).collect())
}

impl LiveChildren {
    /// Opens the sockets that are missing. The error says which can't be had, and why.
    pub(super) fn prepare(&self, settings: &Settings) -> Result<NewSockets, NotReloaded> {
        let changes = self.changes(settings);
        let opened = self
            .opener
            .open_both(&changes.public, &changes.admin, &changes.going);
        opened
            .map(|(public, admin)| NewSockets { public, admin })
            .map_err(|failed| told(&failed))
    }

    /// Refuses addresses whose sockets could not be opened now. Nobody notices.
    pub(super) fn look_at_addresses(&self, settings: &Settings) -> Result<(), NotReloaded> {
        let AddressChanges {
            mut public,
            admin,
            going,
        } = self.changes(settings);
        public.extend(admin);
        match self.opener.faults(&public, &going) {
            failed if failed.is_empty() => Ok(()),
            failed => Err(told(&failed)),
        }
    }

    fn changes(&self, settings: &Settings) -> AddressChanges {
        let (public, mut going) = self.public.changes(&ListenAddress::public(settings));
        let admin = ListenAddress::admin(&settings.server);
        let (admin, more) = self.admin.changes(&admin);
        going.extend(more);
        AddressChanges {
            public,
            admin,
            going,
        }
    }

    /// Starts the children that are missing, and waits until they are ready. The error says which are not, and why; then
    /// [`finish`](Self::finish) undoes it. Returns the URLs of the admin listener, if it is a new one.
    pub(super) async fn start(
        &self,
        new: NewSockets,
        settings: &Settings,
    ) -> Result<Option<String>, NotReloaded> {
        let limit = settings.supervision.start_timeout;
        let admin = new.admin.iter().flat_map(OpenAddress::urls).next();
        let public: Vec<_> = new.public.iter().flat_map(OpenAddress::urls).collect();
        self.handlers.start(count(&settings.server), limit).await?;
        self.public.start(new.public, limit).await?;
        self.admin.start(new.admin, limit).await?;
        for url in public {
            tracing::info!("listening on {url}");
        }
        if let Some(url) = &admin {
            tracing::info!("admin on {url}");
        }
        Ok(admin)
    }

    /// Removes what these settings, which are in force, do not ask for. Doing it twice changes nothing.
    pub(super) async fn finish(&self, settings: &Settings) {
        let server = &settings.server;
        self.bounds.set(server);
        let handlers = count(server);
        self.handlers.give_connections(handlers);
        self.public.finish(&ListenAddress::public(settings)).await;
        self.handlers.remove_surplus(handlers).await;
        self.admin.finish(&ListenAddress::admin(server)).await;
    }
}
