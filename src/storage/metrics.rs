//! The store's families of `/metrics`.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

use super::{CollectionMeasures, Store};

/// Reads the figures of a store at each scrape.
#[derive(Debug)]
pub(crate) struct StoreMetrics(pub(crate) Arc<dyn Store>);

impl Collector for StoreMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let measures = self.0.measures();
        gauge(
            &mut encoder,
            "perennial_storage_available_bytes",
            "Free bytes on the disk of the data folder",
            measures.available_bytes,
        )?;
        gauge(
            &mut encoder,
            "perennial_storage_reserve_bytes",
            "Writes are refused while fewer bytes than this are free",
            measures.reserve_bytes,
        )?;
        counter(
            &mut encoder,
            "perennial_storage_refused_writes",
            "Writes refused because the disk was full",
            measures.refused_total,
        )?;
        counter(
            &mut encoder,
            "perennial_storage_durable_changes",
            "The number of the last change that is on the disk",
            measures.durable_seq,
        )?;
        let name = "perennial_storage_queries";
        let help = "Lists answered by reading a page (page), the records of the ids asked for (ids), or the whole \
                    resource (scan)";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (plan, count) in measures.queries {
            ConstCounter::new(count).encode(family.encode_family(&[("plan", plan)])?)?;
        }
        by_resource(
            &mut encoder,
            "perennial_storage_records",
            "Records of a resource",
            &measures.collections,
            |collection| collection.records,
        )?;
        by_resource(
            &mut encoder,
            "perennial_storage_record_bytes",
            "Bytes of all records of a resource, as they are served",
            &measures.collections,
            |collection| collection.bytes,
        )?;
        let metric = encoder.encode_descriptor(
            "perennial_storage_commit",
            "How long a group of writes takes until it is on the disk",
            Some(&Unit::Seconds),
            MetricType::Histogram,
        )?;
        measures.commit_seconds.encode(metric)
    }
}

fn counter(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    let metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    ConstCounter::new(value).encode(metric)
}

/// Leaves the family out if the value is not known.
fn gauge(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    value: Option<u64>,
) -> fmt::Result {
    let Some(value) = value else { return Ok(()) };
    let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    ConstGauge::new(signed(value)).encode(metric)
}

fn by_resource(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    collections: &[CollectionMeasures],
    figure: fn(&CollectionMeasures) -> u64,
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for collection in collections {
        let labels = [("resource", collection.name.as_str())];
        ConstGauge::new(signed(figure(collection))).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
