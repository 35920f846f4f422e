//! The rules of a route for all its answers: clients, headers, pages of other sites, error pages, delay, and how many requests are served
//! at a time.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::Method;
use actix_web::http::header::{self, HeaderName, HeaderValue};
use tokio::time::Instant;

use super::access::AccessRule;
use super::cors::CorsRule;
use super::gate::{Gate, WAITING_MAX};
use super::rate::RateLimit;
use crate::settings::{Permission, RuleSettings};
use crate::supervision::RETRY_AFTER;
use crate::wire::{Code, Incoming, Pass, Problem, RateLeft, Response};

/// The rules of one route.
#[derive(Debug, Clone, Default)]
pub(crate) struct RouteRules {
    headers: Vec<(HeaderName, HeaderValue)>,
    /// The methods that are allowed beside OPTIONS; `None` if all are.
    methods: Option<Vec<Method>>,
    /// The clients that may use it.
    pub(crate) access: AccessRule,
    /// The requests that a client may send in a time.
    pub(crate) rate: Option<Arc<RateLimit>>,
    /// The pages of other sites that may use it.
    pub(crate) cors: CorsRule,
    /// The pages that are shown in the place of errors, by status.
    pub(crate) errors: BTreeMap<u16, String>,
    /// The shortest time between a request and its answer.
    pub(crate) delay: Duration,
    /// The queue of requests, if the route limits how many are served at a time. All handlers share it.
    pub(crate) gate: Option<Arc<Gate>>,
    max_in_flight: Option<NonZeroUsize>,
}

impl RouteRules {
    /// The rules from the settings. If the route has had some before, its requests share its queue, and its clients have the rate that
    /// they had, unless it was changed.
    pub(crate) fn new(written: &RuleSettings, access: AccessRule, before: Option<&Self>) -> Self {
        // Invalid names and values are violations of the settings, so none is left out here.
        let headers = written.headers.iter().filter_map(|(name, value)| {
            let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
            Some((name, HeaderValue::from_str(value).ok()?))
        });
        let kept = before.and_then(|before| before.gate.clone());
        let gate = |places: NonZeroUsize| {
            kept.unwrap_or_else(|| Arc::new(Gate::new(places.get(), WAITING_MAX)))
        };
        let rate = written.rate.as_ref().map(|written| {
            let kept = before.and_then(|before| before.rate.clone());
            let kept = kept.filter(|rate| rate.is_of(written));
            kept.unwrap_or_else(|| Arc::new(RateLimit::new(written)))
        });
        Self {
            headers: headers.collect(),
            methods: allowed_methods(&written.methods),
            access,
            rate,
            cors: CorsRule::new(&written.cors),
            errors: written.errors.clone(),
            delay: written.delay,
            gate: written.max_in_flight.map(gate),
            max_in_flight: written.max_in_flight,
        }
    }

    /// Applies the limit of these rules to the queue that they share with those before.
    pub(super) fn resize(&self) {
        if let Some((gate, places)) = self.gate.as_ref().zip(self.max_in_flight) {
            gate.resize(places.get());
        }
    }

    /// Refuses a part of a request to another route, such as an operation of a batch, if its client has not this permission, or has
    /// sent too much. It is counted in any case, so that nobody can try many keys or passwords.
    pub(crate) async fn admit_part(
        &self,
        request: &Incoming,
        permission: Permission,
    ) -> Result<(), Problem> {
        let count = |by_client: bool| {
            let rate = self.rate.as_ref();
            let rate = rate.filter(|rate| rate.is_by_client() == by_client);
            rate.map_or(Ok(()), |rate| rate.count(request))
        };
        // A password costs more than an answer.
        count(false)?;
        let allowed = self.access.check(request, permission).await;
        count(true)?;
        allowed
    }

    /// Counts a request for its address, if clients are counted by that, before it is found out who its client is: that may cost
    /// more than an answer.
    pub(crate) fn count_address(&self, request: &Incoming) -> Result<(), Problem> {
        let rate = self.rate.as_ref().filter(|rate| !rate.is_by_client());
        rate.map_or(Ok(()), |_| self.count_once(request))
    }

    /// Counts a request for its client, unless that was done. Refuses it if there were too many.
    pub(crate) fn count_once(&self, request: &Incoming) -> Result<(), Problem> {
        let rate = self.rate.as_ref();
        rate.map_or(Ok(()), |rate| match request.rate() {
            Some(left) => rate.verdict(left),
            None => rate.count(request),
        })
    }

    /// Whether a method is allowed here.
    pub(crate) fn takes(&self, method: &Method) -> bool {
        let methods = self.methods.as_ref();
        methods.is_none_or(|methods| methods.contains(method) || *method == Method::OPTIONS)
    }

    /// Refuses a method that is not allowed here, of those that the target takes.
    pub(crate) fn must_take(&self, method: &Method, of_target: &str) -> Result<(), Problem> {
        if self.takes(method) {
            return Ok(());
        }
        Err(Problem::not_allowed(self.left_of(of_target)))
    }

    /// The methods that are left of a list.
    fn left_of(&self, listed: &str) -> String {
        let takes = |method: &&str| method.parse().is_ok_and(|method| self.takes(&method));
        let left: Vec<_> = listed.split(", ").filter(takes).collect();
        left.join(", ")
    }

    /// The methods that are allowed, for people; `None` if all are.
    pub(crate) fn methods_text(&self) -> Option<String> {
        let methods = self.methods.as_ref()?.iter().map(Method::as_str);
        let methods = methods.chain(["OPTIONS"]);
        Some(methods.collect::<Vec<_>>().join(", "))
    }

    /// Takes the methods that are not allowed here out of an answer that lists those of the target.
    pub(crate) fn leave_methods(&self, response: &mut Response) {
        if self.methods.is_none() {
            return;
        }
        for name in [header::ALLOW, header::ACCESS_CONTROL_ALLOW_METHODS] {
            let listed = response.headers().get(&name);
            let Some(listed) = listed.and_then(|listed| listed.to_str().ok()) else {
                continue;
            };
            if let Ok(left) = HeaderValue::from_str(&self.left_of(listed)) {
                response.headers_mut().insert(name, left);
            }
        }
    }

    /// Whether a request may have to wait before it is answered.
    pub(crate) fn waits(&self) -> bool {
        self.gate.is_some() || !self.delay.is_zero()
    }

    /// Waits for the request's turn. The delay counts from then on: with `max_in_flight = 1`, the second of two requests is
    /// answered after two delays.
    pub(crate) async fn admit(&self) -> Result<Pass, Problem> {
        let place = match &self.gate {
            Some(gate) => Some(gate.enter().await.ok_or_else(|| self.full())?),
            None => None,
        };
        let not_before = (!self.delay.is_zero()).then(|| Instant::now() + self.delay);
        Ok(Pass::new(not_before, place))
    }

    fn full(&self) -> Problem {
        Problem::new(Code::Overloaded)
            .detail("the queue of this route is full")
            .retry_after(self.delay.max(RETRY_AFTER))
    }

    /// The page that is shown in the place of an error of this status, below the route's folder.
    pub(crate) fn page(&self, status: u16) -> Option<&str> {
        self.errors.get(&status).map(String::as_str)
    }

    /// Adds the route's headers to an answer, and those of its rate if the client was counted. What the answer varies by stays.
    pub(crate) fn add_headers(&self, left: Option<RateLeft>, response: &mut Response) {
        self.leave_methods(response);
        if let Some((rate, left)) = self.rate.as_ref().zip(left) {
            rate.add_headers(left, response.headers_mut());
        }
        for (name, value) in &self.headers {
            if *name == header::VARY {
                response.headers_mut().append(name.clone(), value.clone());
            } else {
                response.headers_mut().insert(name.clone(), value.clone());
            }
        }
    }
}

/// The methods of the settings, and HEAD with GET.
fn allowed_methods(written: &[String]) -> Option<Vec<Method>> {
    let methods = written.iter().filter_map(|method| method.parse().ok());
    let methods = methods.flat_map(|method: Method| {
        let head = (method == Method::GET).then_some(Method::HEAD);
        std::iter::once(method).chain(head)
    });
    (!written.is_empty()).then(|| methods.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(delay: Duration, max_in_flight: Option<usize>) -> Arc<RouteRules> {
        let written = RuleSettings {
            delay,
            max_in_flight: max_in_flight.and_then(NonZeroUsize::new),
            ..RuleSettings::default()
        };
        Arc::new(RouteRules::new(&written, AccessRule::default(), None))
    }

    /// The time that so many requests at once take, each with its turn and its delay.
    async fn together(rules: &Arc<RouteRules>, requests: usize) -> Duration {
        let begun = Instant::now();
        let all: Vec<_> = (0..requests)
            .map(|_| {
                let rules = Arc::clone(rules);
                tokio::spawn(async move { rules.admit().await.unwrap().wait_delay().await })
            })
            .collect();
        for one in all {
            one.await.unwrap();
        }
        begun.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_delay_is_waited_for_together_unless_it_is_one_at_a_time() {
        let two = Duration::from_secs(2);
        let near = |took: Duration, seconds: u64| {
            let over = took.saturating_sub(Duration::from_secs(seconds));
            took >= Duration::from_secs(seconds) && over < Duration::from_millis(50)
        };
        for requests in [1, 2, 1000] {
            let took = together(&rules(two, None), requests).await;
            assert!(near(took, 2), "{requests}: {took:?}");
        }
        let took = together(&rules(two, Some(1)), 5).await;
        assert!(near(took, 10), "one after the other: {took:?}");
        let took = together(&rules(two, Some(2)), 5).await;
        assert!(near(took, 6), "two by two: {took:?}");
    }

    #[test]
    fn a_full_queue_says_when_to_come_again() {
        let rules = rules(Duration::from_secs(7), Some(1));
        let problem = Problem::new(Code::Overloaded)
            .detail("the queue of this route is full")
            .retry_after(Duration::from_secs(7));
        assert_eq!(rules.full(), problem);
    }
}
