//! The exposition of every number, made when it is asked for. Nothing here is on the way of a request.

use std::sync::Arc;

use parking_lot::Mutex;
use prometheus_client::encoding::text;
pub(crate) use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::exposition::Exposition;
use super::process::ProcessMetrics;
use super::rows::{Collected, Histogram, MetricSource, Rows};
use crate::incidents::Incidents;
use crate::num::{as_f64, as_u64};
use crate::supervision::{ExitReason, NodeView, SlotView, Tree};

/// All metrics of the process.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    registry: Arc<Mutex<Registry>>,
}

impl Metrics {
    /// Build information and the tree; others are [added](Self::add).
    pub(crate) fn new(tree: Tree) -> Self {
        let mut registry = Registry::default();
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("perennial_build", "What runs", build);
        let metrics = Self {
            registry: Arc::new(Mutex::new(registry)),
        };
        metrics.add(ProcessMetrics::new());
        metrics.add(tree);
        metrics
    }

    /// Adds what another part of the daemon counts.
    pub(crate) fn add(&self, source: impl MetricSource) {
        let collector = Box::new(Collected(source));
        self.registry.lock().register_collector(collector);
    }

    /// The same of a part that may not run.
    pub(crate) fn add_some(&self, source: Option<impl MetricSource>) {
        if let Some(source) = source {
            self.add(source);
        }
    }

    /// All numbers, in this format.
    pub(crate) fn encode(&self, exposition: Exposition) -> String {
        let mut out = String::new();
        let registry = self.registry.lock();
        // Writing into a String does not fail, and what a collector could not write is missing and nothing else.
        if let Err(error) = text::encode(&mut out, &registry) {
            tracing::error!(%error, "a metric could not be written");
        }
        exposition.of(out)
    }
}

impl MetricSource for Tree {
    fn write(&self, rows: &mut Rows<'_>) {
        let view = self.view();
        let nodes = view.walk();
        // Every child with every cause, the zeros too: a counter that appears at 1 hides its first step from `increase()`.
        let children = || nodes.iter().skip(1);
        let restarts = children().flat_map(|node| {
            let name = node.name.as_str();
            ExitReason::CAUSES.map(|cause| {
                let n = node.restarts.get(cause).copied().unwrap_or(0);
                ([("child", name), ("cause", cause)], n)
            })
        });
        rows.counters(
            "perennial_child_restarts",
            "Restarts of a child, by the cause of the death before",
            restarts,
        );
        rows.histograms(
            "perennial_child_restart_seconds",
            "Time from the death of a child until it was ready again",
            children().map(|node| {
                let histogram = Histogram {
                    sum: node.restart_times.sum(),
                    buckets: node.restart_times.buckets(),
                };
                ([("child", node.name.as_str())], histogram)
            }),
        );
        let lost: u64 = slots(&nodes, |slot| slot.lost_total)
            .map(|(_, lost)| lost)
            .sum();
        rows.counter(
            "perennial_lost_messages",
            "Accepted messages that were dropped without an answer; anything but 0 is a bug",
            lost,
        );
        write_children(&nodes, rows);
        write_slots(&nodes, rows);
    }
}

impl MetricSource for Arc<Incidents> {
    fn write(&self, rows: &mut Rows<'_>) {
        rows.counters(
            "perennial_incidents",
            "What was damaged or failed, by its kind; /incidents lists the last ones",
            self.counts().map(|(kind, count)| ([("kind", kind)], count)),
        );
        rows.counter(
            "perennial_incidents_unwritten",
            "Incidents that could not be written to the data folder",
            self.unwritten(),
        );
    }
}

fn write_children(nodes: &[&NodeView], rows: &mut Rows<'_>) {
    let each = |value: fn(&NodeView) -> f64| {
        let nodes = nodes.iter();
        nodes.map(move |node| ([("child", node.name.as_str())], value(node)))
    };
    rows.gauges(
        "perennial_child_up",
        "1 while an incarnation of the child runs",
        each(|node| f64::from(u8::from(node.state == "running"))),
    );
    rows.gauges(
        "perennial_child_backoff_seconds",
        "How long the child still waits before it is started again",
        each(|node| node.backoff_seconds),
    );
    rows.gauges(
        "perennial_child_zombies",
        "Incarnations that were left behind because they did not end",
        each(|node| as_f64(node.zombies)),
    );
}

fn write_slots(nodes: &[&NodeView], rows: &mut Rows<'_>) {
    rows.gauges(
        "perennial_child_queue_messages",
        "Messages that wait in the queue of the child",
        slots(nodes, |slot| as_f64(as_u64(slot.queue_messages))),
    );
    rows.gauges(
        "perennial_child_in_flight",
        "Messages that the child is handling",
        slots(nodes, |slot| as_f64(as_u64(slot.in_flight))),
    );
    rows.gauges(
        "perennial_child_oldest_message_seconds",
        "Age of the oldest waiting message",
        slots(nodes, |slot| slot.oldest_message_seconds),
    );
    rows.counters(
        "perennial_child_messages_accepted",
        "Messages accepted",
        slots(nodes, |slot| slot.accepted_total),
    );
    rows.counters(
        "perennial_child_messages_refused",
        "Messages not accepted: the queue was full, or the child had stopped",
        slots(nodes, |slot| slot.refused_total),
    );
    rows.counters(
        "perennial_child_messages_redelivered",
        "Messages handed out a second time",
        slots(nodes, |slot| slot.redelivered_total),
    );
    rows.counters(
        "perennial_child_messages_failed",
        "Messages answered with an error because the child died",
        slots(nodes, |slot| slot.failed_total),
    );
}

/// A row for each child that has a slot.
fn slots<'a, V>(
    nodes: &'a [&NodeView],
    value: fn(&SlotView) -> V,
) -> impl Iterator<Item = ([(&'static str, &'a str); 1], V)> {
    nodes.iter().filter_map(move |node| {
        let slot = node.slot.as_ref()?;
        Some(([("child", node.name.as_str())], value(slot)))
    })
}
