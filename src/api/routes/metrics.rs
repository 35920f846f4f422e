//! The metrics of routes: their queues, their rates, and the keys of their clients.

use std::sync::Arc;

use super::gate::Gate;
use super::rate::RateLimit;
use super::table::RouteTable;
use crate::api::site::Site;
use crate::num::as_u64;
use crate::telemetry::{MetricSource, Rows};
use crate::wire::Editions;

impl MetricSource for Arc<Editions<Site>> {
    fn write(&self, rows: &mut Rows<'_>) {
        let site = &self.current().responder;
        site.routes.write(rows);
        site.feeds.write(rows);
    }
}

impl MetricSource for Arc<RouteTable> {
    fn write(&self, rows: &mut Rows<'_>) {
        let each = |value: fn(&Gate) -> u64| {
            self.all.iter().filter_map(move |route| {
                let gate = route.rules.gate.as_ref()?;
                Some(([("route", route.pattern.as_str())], value(gate)))
            })
        };
        rows.gauges(
            "perennial_http_queue_requests",
            "Requests that wait for their turn at a route with max_in_flight",
            each(|gate| as_u64(gate.waiting())),
        );
        rows.counters(
            "perennial_http_queue_waited",
            "Requests that had to wait for their turn at a route with max_in_flight",
            each(|gate| gate.waited.get()),
        );
        rows.counters(
            "perennial_http_queue_refused",
            "Requests refused with 503 because the queue of their route was full",
            each(|gate| gate.refused.get()),
        );
        let each = |value: fn(&RateLimit) -> u64| {
            self.all.iter().filter_map(move |route| {
                let rate = route.rules.rate.as_ref()?;
                Some(([("route", route.pattern.as_str())], value(rate)))
            })
        };
        rows.counters(
            "perennial_http_rate_refused",
            "Requests refused with 429 because their client had sent more than the rate of the route",
            each(|rate| rate.refused.get()),
        );
        rows.counters(
            "perennial_http_rate_forgotten",
            "Clients that were forgotten, with the requests that they had sent, because a route with a rate had too many",
            each(|rate| rate.forgotten.get()),
        );
        self.identities.write(rows);
    }
}
