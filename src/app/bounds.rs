//! The limits of the public connections from the settings: their number, also for each peer, and the bytes that they hold.

use std::sync::Arc;

use super::memory;
use crate::descriptors;
use crate::listener::ConnectionBounds;
use crate::places::Places;
use crate::request_handler::PeerBound;
use crate::settings::{AutoCount, ServerSettings};
use crate::wire::ConnectionCounters;

/// The bounds that all public listeners and handlers share.
#[derive(Debug)]
pub(super) struct ServerBounds {
    pub(super) connections: ConnectionBounds,
    pub(super) counters: Arc<ConnectionCounters>,
}

impl ServerBounds {
    /// The bounds of the start.
    pub(super) fn new(server: &ServerSettings) -> Self {
        let this = Self {
            connections: ConnectionBounds {
                places: Places::new(0),
                peers: PeerBound::new(0),
            },
            counters: Arc::new(ConnectionCounters::new(0)),
        };
        this.set(server);
        this
    }

    /// Changes the bounds. What is over a new one stays; connections that are idle are closed when newcomers need their places.
    pub(super) fn set(&self, server: &ServerSettings) {
        let ConnectionBounds { places, peers } = &self.connections;
        let most = descriptors::places(server.max_connections.get());
        if most != places.size() {
            descriptors::tell_fewer(server.max_connections.get(), most);
            places.resize(most);
        }
        peers.set_most(match server.max_connections_per_peer {
            AutoCount::Auto => most.div_ceil(4),
            AutoCount::Count(most) => most.get(),
        });
        let bytes = memory::buffered_bytes(server.max_buffered);
        self.counters.set_most_buffered(bytes);
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;
    use crate::settings::Settings;

    #[test]
    fn bounds_are_set_again_without_losing_what_is_taken() {
        let mut server = Settings::default().server;
        let count = |count| NonZeroUsize::new(count).unwrap();
        server.max_connections = count(4);
        let bounds = ServerBounds::new(&server);
        let places = &bounds.connections.places;
        let taken = [places.try_take(), places.try_take(), places.try_take()];
        server.max_connections = count(2);
        bounds.set(&server);
        bounds.set(&server);
        assert!(places.size() == 2 && places.try_take().is_none());
        drop(taken);
        let [one, two] = [places.try_take(), places.try_take()];
        assert!(one.is_some() && two.is_some() && places.try_take().is_none());
    }
}
