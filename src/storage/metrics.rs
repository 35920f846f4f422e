//! What the store measures, for a scrape.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::Store;

/// The numbers of a store.
#[derive(Debug)]
pub(crate) struct StoreMetrics(pub Store);

impl Collector for StoreMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let measures = self.0.measure();
        let gauges = [
            (
                "perennial_storage_available_bytes",
                "Room on the disk of the data folder",
                measures.available_bytes,
            ),
            (
                "perennial_storage_reserve_bytes",
                "Below this much room writes are refused",
                measures.reserve_bytes,
            ),
        ];
        for (name, help, value) in gauges {
            let Some(value) = value.and_then(|value| i64::try_from(value).ok()) else {
                continue;
            };
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(value).encode(metric)?;
        }
        let counters = [
            (
                "perennial_storage_refused_writes",
                "Writes refused for lack of room",
                measures.refused_total,
            ),
            (
                "perennial_storage_durable_changes",
                "The number of the last change that is on the disk",
                measures.durable_seq,
            ),
        ];
        for (name, help, value) in counters {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            ConstCounter::new(value).encode(metric)?;
        }
        Ok(())
    }
}
