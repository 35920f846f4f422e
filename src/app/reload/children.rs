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
use crate::settings::{ServerSettings, Settings};

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

impl LiveChildren {
    /// Opens the sockets that are missing. The error says which can't be had, and why.
    pub(super) fn prepare(&self, settings: &Settings) -> Result<NewSockets, NotReloaded> {
        let server = &settings.server;
        let (public, mut going) = self.public.changes(&ListenAddress::public(server));
        let (admin, more) = self.admin.changes(&ListenAddress::admin(server));
        going.extend(more);
        let opened = self.opener.open_both(&public, &admin, &going);
        let told = |failed: Vec<_>| {
            NotReloaded::Unusable(failed.iter().map(|error| with_causes(error)).collect())
        };
        opened
            .map(|(public, admin)| NewSockets { public, admin })
            .map_err(told)
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
    pub(super) async fn finish(&self, server: &ServerSettings) {
        self.bounds.set(server);
        let handlers = count(server);
        self.handlers.give_connections(handlers);
        self.public.finish(&ListenAddress::public(server)).await;
        self.handlers.remove_surplus(handlers).await;
        self.admin.finish(&ListenAddress::admin(server)).await;
    }
}
