//! The store's families of `/metrics`.

use std::sync::Arc;

use super::{CollectionMeasures, Store};
use crate::telemetry::{MetricSource, Rows};

/// Reads the figures of a store at each scrape.
#[derive(Debug)]
pub(crate) struct StoreMetrics(pub(crate) Arc<dyn Store>);

impl MetricSource for StoreMetrics {
    fn write(&self, rows: &mut Rows<'_>) {
        let measures = self.0.measures();
        if let Some(bytes) = measures.available_bytes {
            let help = "Free bytes on the disk of the data folder";
            rows.gauge("perennial_storage_available_bytes", help, bytes);
        }
        if let Some(bytes) = measures.reserve_bytes {
            let help = "Writes are refused while fewer bytes than this are free";
            rows.gauge("perennial_storage_reserve_bytes", help, bytes);
        }
        rows.counter(
            "perennial_storage_refused_writes",
            "Writes refused because the disk was full",
            measures.refused_total,
        );
        rows.counter(
            "perennial_storage_durable_changes",
            "The number of the last change that is on the disk",
            measures.durable_seq,
        );
        let queries = measures.queries.into_iter();
        rows.counters(
            "perennial_storage_queries",
            "Lists answered by reading a page (page), the records of the ids asked for (ids), or the whole \
             resource (scan)",
            queries.map(|(plan, count)| ([("plan", plan)], count)),
        );
        let by_resource = |value: fn(&CollectionMeasures) -> u64| {
            let collections = measures.collections.iter();
            collections.map(move |of| ([("resource", of.name.as_str())], value(of)))
        };
        rows.gauges(
            "perennial_storage_records",
            "Records of a resource",
            by_resource(|collection| collection.records),
        );
        rows.gauges(
            "perennial_storage_record_bytes",
            "Bytes of all records of a resource, as they are served",
            by_resource(|collection| collection.bytes),
        );
        rows.metric(
            "perennial_storage_commit_seconds",
            "How long a group of writes takes until it is on the disk",
            &measures.commit_seconds,
        );
    }
}
