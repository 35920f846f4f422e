//! Limits the requests that a client may send to a route in a time (`rate`), by the generic cell rate algorithm (ITU-T I.371,
//! annex A).
//!
//! Nobody waits: a request is let in or refused at once. All handlers share the table of a route, which forgets clients before it
//! grows past its bound.

// Decision: The table of rates is a hash table of a fixed size.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::LazyLock;
use std::time::Duration;

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::num::as_usize;
use crate::settings::{RatePer, RateSettings};
use crate::telemetry::Counter;
use crate::wire::{Code, Incoming, Network, Problem, RateLeft};

/// The sets of the table. The clients of a set share a lock.
const SETS: u64 = 8192;
/// The most clients of a set, so that a table knows 65 536 clients and holds 1.3 MiB.
const CLIENTS_OF_SET: usize = 8;
/// In nanoseconds.
const SECOND: u64 = 1_000_000_000;
const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// A rate in nanoseconds.
#[derive(Debug, Clone, Copy)]
struct Rate {
    /// The time after which one more request is allowed.
    interval: u64,
    /// The time after which a whole burst is allowed again.
    burst: u64,
}

/// A client whose last requests still count.
#[derive(Debug, Clone, Copy)]
struct CountedClient {
    /// Its hash, with a key that nobody else knows.
    client: u64,
    /// The time at which it may send a whole burst again.
    whole_at: u64,
}

/// Those who are counted together.
#[derive(Debug, Hash)]
enum Client<'a> {
    All,
    Known(&'a str),
    Network(Network),
    /// Clients of unix sockets have no address.
    OfUnixSockets,
}

/// The rate of one route, and its clients.
#[derive(Debug)]
pub(crate) struct RateLimit {
    written: RateSettings,
    rate: Rate,
    policy: Option<HeaderValue>,
    begun: Instant,
    hasher: RandomState,
    /// Made for the first client, so that a route that nobody asks for needs no memory.
    sets: LazyLock<Box<[Mutex<Vec<CountedClient>>]>>,
    /// Requests that were refused.
    pub(super) refused: Counter,
    /// Clients that were forgotten for others while their requests still counted.
    pub(super) forgotten: Counter,
}

impl Rate {
    fn new(written: &RateSettings) -> Self {
        let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let interval = (written.window / written.requests.get()).max(Duration::from_nanos(1));
        Self {
            interval: nanoseconds(interval),
            burst: nanoseconds(interval.saturating_mul(written.burst().get())),
        }
    }

    /// Decides at the time `now` on a request of a client that may send a whole burst again at `whole_at`: the next such time if it
    /// is let in, or else how long the client has to wait.
    fn decide(self, whole_at: u64, now: u64) -> Result<u64, u64> {
        let next = whole_at.max(now).saturating_add(self.interval);
        let latest = now.saturating_add(self.burst);
        if next <= latest {
            Ok(next)
        } else {
            Err(next - latest)
        }
    }

    /// The requests that are left at the time `now`, when a whole burst is allowed at `whole_at`.
    fn left(self, whole_at: u64, now: u64) -> RateLeft {
        let wait = whole_at.saturating_sub(now);
        let requests = self.burst.saturating_sub(wait) / self.interval;
        let seconds = wait.div_ceil(SECOND);
        RateLeft {
            requests: u32::try_from(requests).unwrap_or(u32::MAX),
            seconds: u32::try_from(seconds).unwrap_or(u32::MAX),
            wait: None,
        }
    }
}

/// The bytes of the header that tells what is left.
const LEFT_BYTES: usize = 40;

impl RateLimit {
    /// The rate of the settings. No client has sent anything.
    pub(super) fn new(written: &RateSettings) -> Self {
        let RateSettings {
            requests,
            window,
            per,
            ..
        } = written;
        let seconds = window.as_millis().div_ceil(1000);
        let policy = format!("\"{}\";q={requests};w={seconds}", per.word());
        Self {
            written: written.clone(),
            rate: Rate::new(written),
            policy: HeaderValue::from_str(&policy).ok(),
            begun: Instant::now(),
            hasher: RandomState::new(),
            sets: LazyLock::new(|| (0..SETS).map(|_| Mutex::default()).collect()),
            refused: Counter::default(),
            forgotten: Counter::default(),
        }
    }

    /// Whether it is the rate of these settings.
    pub(super) fn is_of(&self, written: &RateSettings) -> bool {
        self.written == *written
    }

    /// Whether those who show who they are are counted by that.
    pub(super) fn is_by_client(&self) -> bool {
        self.written.per == RatePer::Key
    }

    /// Counts one request for its client, and refuses it if there were too many.
    pub(super) fn count(&self, request: &Incoming) -> Result<(), Problem> {
        let network = || match request.client_address() {
            Some(address) => Client::Network(Network::of(address)),
            None => Client::OfUnixSockets,
        };
        let client = match self.written.per {
            RatePer::Route => Client::All,
            RatePer::Ip => network(),
            RatePer::Key => request
                .identity()
                .map_or_else(network, |identity| Client::Known(&identity.name)),
        };
        let left = self.count_client(&client, request.arrived_at());
        request.note_rate(left);
        self.verdict(left)
    }

    /// The refusal of a request that was counted, if it has to wait.
    pub(super) fn verdict(&self, left: RateLeft) -> Result<(), Problem> {
        let Some(wait) = left.wait else {
            return Ok(());
        };
        let RateSettings {
            requests, window, ..
        } = self.written;
        let who = self.written.per.whose();
        let window = humantime::format_duration(window);
        let detail = format!("{requests} requests in {window} are allowed here {who}");
        Err(Problem::new(Code::TooManyRequests)
            .detail(detail)
            .retry_after(wait))
    }

    /// Counts one request of a client at this time.
    fn count_client(&self, client: &Client<'_>, at: Instant) -> RateLeft {
        let now = at.saturating_duration_since(self.begun).as_nanos();
        // From 1 on, since a client that is not known has 0.
        let now = u64::try_from(now).unwrap_or(u64::MAX).saturating_add(1);
        let client = self.hasher.hash_one(client);
        let Some(set) = self.sets.get(as_usize(client % SETS)) else {
            return self.rate.left(0, now);
        };
        let mut set = set.lock();
        let known = set.iter().position(|counted| counted.client == client);
        let whole_at = known.and_then(|at| set.get(at));
        let whole_at = whole_at.map_or(0, |counted| counted.whole_at);
        let next = match self.rate.decide(whole_at, now) {
            Ok(next) => next,
            Err(wait) => {
                self.refused.inc();
                return RateLeft {
                    wait: Some(Duration::from_nanos(wait)),
                    ..self.rate.left(whole_at, now)
                };
            }
        };
        let counted = CountedClient {
            client,
            whole_at: next,
        };
        let place = match known {
            Some(place) => Some(place),
            None if set.len() < CLIENTS_OF_SET => None,
            // The one that has least to wait for: nothing is lost if its time is over.
            None => (0..set.len()).min_by_key(|at| set.get(*at).map(|counted| counted.whole_at)),
        };
        match place.and_then(|place| set.get_mut(place)) {
            None => set.push(counted),
            Some(place) => {
                if place.client != client && place.whole_at > now {
                    self.forgotten.inc();
                }
                *place = counted;
            }
        }
        self.rate.left(next, now)
    }

    /// Tells the client what is left (draft-ietf-httpapi-ratelimit-headers-10).
    pub(super) fn add_headers(&self, left: RateLeft, headers: &mut HeaderMap) {
        let RateLeft {
            requests, seconds, ..
        } = left;
        // Written by hand, since every answer has it.
        let mut text = Vec::with_capacity(LEFT_BYTES);
        let mut digits = itoa::Buffer::new();
        text.extend_from_slice(b"\"");
        text.extend_from_slice(self.written.per.word().as_bytes());
        text.extend_from_slice(b"\";r=");
        text.extend_from_slice(digits.format(requests).as_bytes());
        text.extend_from_slice(b";t=");
        text.extend_from_slice(digits.format(seconds).as_bytes());
        let left = HeaderValue::from_maybe_shared(Bytes::from(text));
        if let (Ok(left), Some(policy)) = (left, &self.policy) {
            headers.insert(RATE_LIMIT, left);
            headers.insert(RATE_LIMIT_POLICY, policy.clone());
        }
    }

    /// The rate, for people.
    pub(crate) fn text(&self) -> String {
        let RateSettings {
            requests, window, ..
        } = self.written;
        let (burst, who) = (self.written.burst(), self.written.per.whose());
        let window = humantime::format_duration(window);
        format!("{requests} requests in {window} {who}, at most {burst} at once; more get 429")
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use proptest::prelude::*;

    use super::*;
    use crate::num::as_u64;

    fn written(requests: u32, seconds: u64, burst: Option<u32>) -> RateSettings {
        RateSettings {
            requests: NonZeroU32::new(requests).unwrap(),
            window: Duration::from_secs(seconds),
            burst: burst.and_then(NonZeroU32::new),
            per: RatePer::Ip,
        }
    }

    #[test]
    fn a_burst_is_let_in_and_then_one_for_each_interval() {
        let rate = Rate::new(&written(10, 1, Some(3)));
        let tenth = SECOND / 10;
        let mut whole_at = 0;
        let mut ask = |now: u64| {
            let decided = rate.decide(whole_at, now);
            whole_at = decided.unwrap_or(whole_at);
            decided.err()
        };
        let start = 5 * SECOND;
        for _ in 0..3 {
            assert_eq!(ask(start), None);
        }
        assert_eq!(ask(start), Some(tenth));
        assert_eq!(ask(start + tenth - 1), Some(1));
        assert_eq!(ask(start + tenth), None);
        assert_eq!(ask(start + tenth), Some(tenth));
        // After a pause, a burst and no more.
        let later = start + 60 * SECOND;
        for _ in 0..3 {
            assert_eq!(ask(later), None);
        }
        assert_eq!(ask(later), Some(tenth));
        assert_eq!(
            rate.left(whole_at, later),
            RateLeft {
                requests: 0,
                seconds: 1,
                wait: None
            }
        );
        assert_eq!(
            rate.left(0, later),
            RateLeft {
                requests: 3,
                seconds: 0,
                wait: None
            }
        );
    }

    proptest! {
        /// Within any time, no client gets more than a burst and what the rate allows in that time.
        #[test]
        fn a_client_never_gets_more_than_its_rate(
            requests in 1..50_u32,
            burst in 1..50_u32,
            pauses in proptest::collection::vec(0..SECOND / 4, 1..200),
        ) {
            let rate = Rate::new(&written(requests, 1, Some(burst)));
            let (mut now, mut whole_at, mut let_in) = (1, 0, Vec::new());
            for pause in pauses {
                now += pause;
                if let Ok(next) = rate.decide(whole_at, now) {
                    whole_at = next;
                    let_in.push(now);
                }
            }
            for (at, first) in let_in.iter().enumerate() {
                for (count, last) in let_in[at..].iter().enumerate() {
                    let allowed = u64::from(burst) + (last - first) / rate.interval;
                    prop_assert!(as_u64(count) < allowed, "{count} more from {first} to {last}");
                }
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_client_has_its_own_rate_and_many_forget_only_those_that_have_least_to_wait_for() {
        let limit = RateLimit::new(&written(2, 1000, None));
        let network = |number: u32| Client::Network(Network::of(number.to_be_bytes().into()));
        let is_let_in =
            |client: &Client<'_>| limit.count_client(client, Instant::now()).wait.is_none();
        for client in [
            Client::Known("a"),
            Client::Known("b"),
            network(1),
            Client::OfUnixSockets,
        ] {
            assert_eq!(
                [(); 3].map(|()| is_let_in(&client)),
                [true, true, false],
                "{client:?}"
            );
        }
        assert_eq!((limit.refused.get(), limit.forgotten.get()), (4, 0));
        // A million clients need no more memory than the table has.
        for number in 0..1_000_000 {
            assert!(is_let_in(&network(number)) || number == 1);
        }
        let most = limit.sets.iter().map(|set| set.lock().len()).max();
        assert_eq!(most, Some(CLIENTS_OF_SET));
        assert!(limit.forgotten.get() > 900_000);
        // Once the time is over, nobody is forgotten.
        tokio::time::advance(Duration::from_secs(2000)).await;
        let forgotten = limit.forgotten.get();
        for number in 0..1000 {
            assert!(is_let_in(&network(number)));
        }
        assert_eq!(limit.forgotten.get(), forgotten);
    }
}
