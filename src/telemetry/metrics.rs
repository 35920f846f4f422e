//! The exposition of every number, made when it is asked for. Nothing here is on the way of a request.

use std::sync::Arc;

use parking_lot::Mutex;
use prometheus_client::encoding::text;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::exposition::Exposition;
use super::process::ProcessMetrics;
use super::rows::{Collected, Histogram, MetricSource, Rows};
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
        registry.register_collector(Box::new(Collected(ProcessMetrics::new())));
        registry.register_collector(Box::new(Collected(TreeMetrics { tree })));
        Self {
            registry: Arc::new(Mutex::new(registry)),
        }
    }

    /// Adds what another part of the daemon counts.
    pub(crate) fn add(&self, source: impl MetricSource) {
        let collector = Box::new(Collected(source));
        self.registry.lock().register_collector(collector);
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

/// The numbers of the tree.
#[derive(Debug)]
struct TreeMetrics {
    tree: Tree,
}

impl MetricSource for TreeMetrics {
    fn write(&self, rows: &mut Rows<'_>) {
        let view = self.tree.view();
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
        let lost: u64 = slots(&nodes).map(|(_, slot)| slot.lost_total).sum();
        rows.counter(
            "perennial_lost_messages",
            "Accepted messages that were dropped without an answer; anything but 0 is a bug",
            lost,
        );
        for (name, help, value) in GAUGES {
            let values = nodes.iter().filter_map(|node| {
                value(node).map(|value| ([("child", node.name.as_str())], value))
            });
            rows.gauges(name, help, values);
        }
        for (name, help, value) in SLOT_COUNTERS {
            let values = slots(&nodes).map(|(name, slot)| ([("child", name)], value(slot)));
            rows.counters(name, help, values);
        }
    }
}

fn slots<'a>(nodes: &'a [&'a NodeView]) -> impl Iterator<Item = (&'a str, &'a SlotView)> {
    nodes
        .iter()
        .filter_map(|node| Some((node.name.as_str(), node.slot.as_ref()?)))
}

type Gauge = (&'static str, &'static str, fn(&NodeView) -> Option<f64>);

const GAUGES: [Gauge; 6] = [
    (
        "perennial_child_up",
        "1 while an incarnation of the child runs",
        |node| Some(f64::from(u8::from(node.state == "running"))),
    ),
    (
        "perennial_child_queue_messages",
        "Messages that wait in the queue of the child",
        |node| {
            node.slot
                .as_ref()
                .map(|slot| as_f64(as_u64(slot.queue_messages)))
        },
    ),
    (
        "perennial_child_in_flight",
        "Messages that the child is handling",
        |node| {
            node.slot
                .as_ref()
                .map(|slot| as_f64(as_u64(slot.in_flight)))
        },
    ),
    (
        "perennial_child_oldest_message_seconds",
        "Age of the oldest waiting message",
        |node| {
            node.slot
                .as_ref()
                .map(|slot| slot.oldest_message.as_secs_f64())
        },
    ),
    (
        "perennial_child_backoff_seconds",
        "How long the child still waits before it is started again",
        |node| Some(node.backoff_seconds),
    ),
    (
        "perennial_child_zombies",
        "Incarnations that were left behind because they did not end",
        |node| Some(as_f64(node.zombies)),
    ),
];

type SlotCounter = (&'static str, &'static str, fn(&SlotView) -> u64);

const SLOT_COUNTERS: [SlotCounter; 4] = [
    (
        "perennial_child_messages_accepted",
        "Messages accepted",
        |slot| slot.accepted_total,
    ),
    (
        "perennial_child_messages_refused",
        "Messages not accepted: the queue was full, or the child had stopped",
        |slot| slot.refused_total,
    ),
    (
        "perennial_child_messages_redelivered",
        "Messages handed out a second time",
        |slot| slot.redelivered_total,
    ),
    (
        "perennial_child_messages_failed",
        "Messages answered with an error because the child died",
        |slot| slot.failed_total,
    ),
];
