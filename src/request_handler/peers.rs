//! Limits the connections that one peer may have open on all public listeners together.

// Decision: A connection over the bound of its peer is closed without an answer.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::wire::Network;

/// After a search found no idle connection of a peer, it is refused for so long without another search, which looks at all
/// connections.
const SEARCH_PAUSE: Duration = Duration::from_millis(50);
/// The time between two lines of the log about peers that have reached the bound.
const WARN_PAUSE: Duration = Duration::from_secs(60);

/// One peer, by its network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct PeerKey(Network);

impl PeerKey {
    /// The peer of an address; `None` if it has no bound. A proxy on this machine brings all connections from one address, so
    /// loopback has none, save in tests.
    fn of(address: Option<SocketAddr>, with_loopback: bool) -> Option<Self> {
        let address = address?.ip().to_canonical();
        if address.is_loopback() && !with_loopback {
            return None;
        }
        Some(Self(Network::of(address)))
    }
}

/// The connections of one peer.
#[derive(Debug, Default)]
struct PeerCount {
    open: usize,
    /// The time of the last search for an idle one that found none.
    searched: Option<Instant>,
}

/// The decision about one more connection of a peer.
#[derive(Debug, PartialEq, Eq)]
enum PeerVerdict {
    Admit,
    /// It takes the place of an idle one, if there is one.
    Replace,
    Refuse,
}

/// Decides on one more connection of a peer that may have `most`.
fn decide(count: &PeerCount, most: usize, now: Instant) -> PeerVerdict {
    if count.open < most {
        PeerVerdict::Admit
    } else if is_over(count.searched, SEARCH_PAUSE, now) {
        PeerVerdict::Replace
    } else {
        PeerVerdict::Refuse
    }
}

/// Whether a pause since an event is over; it is if there was no event.
fn is_over(since: Option<Instant>, pause: Duration, now: Instant) -> bool {
    since.is_none_or(|since| now.duration_since(since) >= pause)
}

/// The bound of the connections of each peer.
#[derive(Debug, Default)]
pub(crate) struct PeerBound {
    most: AtomicUsize,
    with_loopback: bool,
    peers: Mutex<HashMap<PeerKey, PeerCount>>,
    warned: Mutex<Option<Instant>>,
}

impl PeerBound {
    /// A bound of `most` connections.
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            most: AtomicUsize::new(most),
            ..Self::default()
        })
    }

    /// The same, for connections from this machine too.
    #[cfg(test)]
    pub(crate) fn with_loopback(most: usize) -> Arc<Self> {
        Arc::new(Self {
            most: AtomicUsize::new(most),
            with_loopback: true,
            ..Self::default()
        })
    }

    /// Counts one more connection of this address. At the bound, `give_way` closes an idle one of the peer and returns its
    /// place. `Ok(None)` is a connection without a bound.
    pub(crate) fn admit(
        self: &Arc<Self>,
        address: Option<SocketAddr>,
        now: Instant,
        give_way: impl FnOnce(PeerKey) -> Option<PeerPlace>,
    ) -> Result<Option<PeerPlace>, PeerFull> {
        let Some(key) = PeerKey::of(address, self.with_loopback) else {
            return Ok(None);
        };
        let verdict = {
            let mut peers = self.peers.lock();
            let count = peers.entry(key).or_default();
            let verdict = decide(count, self.most(), now);
            if verdict == PeerVerdict::Admit {
                count.open += 1;
            }
            verdict
        };
        // Not under the lock, which a place that is given up takes.
        let place = match verdict {
            PeerVerdict::Admit => Some(PeerPlace {
                bound: Arc::clone(self),
                key,
            }),
            PeerVerdict::Replace => give_way(key),
            PeerVerdict::Refuse => None,
        };
        if place.is_none() && verdict == PeerVerdict::Replace {
            let mut peers = self.peers.lock();
            peers
                .entry(key)
                .and_modify(|count| count.searched = Some(now));
        }
        place.map(Some).ok_or(PeerFull(key))
    }

    /// Changes the bound. A peer with more connections keeps them.
    pub(crate) fn set_most(&self, most: usize) {
        self.most.store(most, Ordering::Relaxed);
    }

    fn most(&self) -> usize {
        self.most.load(Ordering::Relaxed)
    }

    /// Tells of a peer that was refused, once a minute at most: no client may fill the log.
    pub(crate) fn warn(&self, PeerFull(PeerKey(peer)): PeerFull) {
        let now = Instant::now();
        let mut warned = self.warned.lock();
        if is_over(*warned, WARN_PAUSE, now) {
            *warned = Some(now);
            tracing::warn!(
                %peer,
                most = self.most(),
                "connections of a peer are closed at once, because it has as many open as server.max_connections_per_peer allows; if it is a proxy, raise that setting"
            );
        }
    }
}

/// A peer has as many connections as it may have, and none of them is idle.
#[derive(Debug)]
pub(crate) struct PeerFull(PeerKey);

/// Counts one connection of a peer until it is dropped.
#[derive(Debug)]
pub(crate) struct PeerPlace {
    bound: Arc<PeerBound>,
    /// The peer of the connection.
    pub(super) key: PeerKey,
}

impl Drop for PeerPlace {
    fn drop(&mut self) {
        if let Entry::Occupied(mut peer) = self.bound.peers.lock().entry(self.key) {
            let open = peer.get().open.saturating_sub(1);
            if open == 0 {
                peer.remove();
            } else {
                peer.get_mut().open = open;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        SocketAddr::new(text.parse().unwrap(), 80)
    }

    fn none(_: PeerKey) -> Option<PeerPlace> {
        None
    }

    #[test]
    fn a_peer_is_an_address_of_ipv4_or_a_prefix_of_ipv6() {
        for (a, b, same) in [
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("192.0.2.1", "::ffff:192.0.2.1", true),
            ("2001:db8:1:2::1", "2001:db8:1:2:ffff::", true),
            ("2001:db8:1:2::1", "2001:db8:1:3::1", false),
        ] {
            let key = |text| PeerKey::of(Some(address(text)), false).unwrap();
            assert_eq!(key(a) == key(b), same, "{a} and {b}");
        }
        for text in ["127.0.0.1", "127.8.0.1", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(PeerKey::of(Some(address(text)), false), None);
            assert!(PeerKey::of(Some(address(text)), true).is_some());
        }
        assert_eq!(PeerKey::of(None, true), None, "a unix socket");
    }

    #[test]
    fn a_peer_at_its_bound_gets_the_place_of_an_idle_connection_or_none() {
        let now = Instant::now();
        let later = now + SEARCH_PAUSE;
        for (open, searched, at, verdict) in [
            (1, None, now, PeerVerdict::Admit),
            (1, Some(now), now, PeerVerdict::Admit),
            (2, None, now, PeerVerdict::Replace),
            (2, Some(now), now, PeerVerdict::Refuse),
            (2, Some(now), later, PeerVerdict::Replace),
            (3, None, now, PeerVerdict::Replace),
        ] {
            let count = PeerCount { open, searched };
            assert_eq!(decide(&count, 2, at), verdict, "{count:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_peer_is_refused_while_others_are_admitted() {
        let bound = PeerBound::new(2);
        let admit = |text| bound.admit(Some(address(text)), Instant::now(), none);
        let first = admit("192.0.2.1").unwrap();
        let second = admit("192.0.2.1").unwrap();
        assert!(first.is_some() && second.is_some());
        assert!(admit("192.0.2.1").is_err());
        assert!(admit("192.0.2.2").unwrap().is_some());
        for exempt in [Some(address("127.0.0.1")), Some(address("::1")), None] {
            assert!(bound.admit(exempt, Instant::now(), none).unwrap().is_none());
        }
        // It was searched a moment ago, so it is not searched again.
        let full = Some(address("192.0.2.1"));
        let searched = bound.admit(full, Instant::now(), |_| panic!("a search"));
        assert!(searched.is_err());
        tokio::time::advance(SEARCH_PAUSE).await;
        let replaced = bound.admit(full, Instant::now(), |_| first);
        assert!(replaced.unwrap().is_some(), "the place is handed on");
        assert!(admit("192.0.2.1").unwrap().is_some(), "and then dropped");
        bound.set_most(1);
        assert!(admit("192.0.2.1").is_err(), "it keeps the one it has");
        bound.set_most(2);
        assert!(admit("192.0.2.1").is_ok());
        drop(second);
        assert!(bound.peers.lock().is_empty(), "nothing is remembered");
    }
}
