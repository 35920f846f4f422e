//! Metric families, written row by row at a scrape: the one way in which a room exposes what it counts.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeLabelSet, EncodeMetric,
    MetricEncoder, NoLabelSet,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// A source of metrics. [`Metrics::add`](super::Metrics::add) takes it.
pub(crate) trait MetricSource: fmt::Debug + Send + Sync + 'static {
    /// Writes all families; called for each scrape.
    fn write(&self, rows: &mut Rows<'_>);
}

/// The distribution of a value: how often it fell into each bucket.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Histogram {
    /// All values added up.
    pub sum: f64,
    /// The upper bound of each bucket, the last one infinite, and how many values fell into this bucket alone.
    pub buckets: Vec<(f64, u64)>,
}

/// Takes the families of one source. A family is a name without the `_total` of its samples, a help text, and either one
/// value or a row for each set of labels.
#[derive(Debug)]
pub(crate) struct Rows<'a> {
    encoder: DescriptorEncoder<'a>,
    written: fmt::Result,
}

impl Rows<'_> {
    /// A counter without labels.
    pub(crate) fn counter<V: EncodeCounterValue>(&mut self, name: &str, help: &str, value: V) {
        self.metric(name, help, &ConstCounter::new(value));
    }

    /// A gauge without labels.
    pub(crate) fn gauge<V: EncodeGaugeValue>(&mut self, name: &str, help: &str, value: V) {
        self.metric(name, help, &ConstGauge::new(value));
    }

    /// A metric that the library keeps itself.
    pub(crate) fn metric(&mut self, name: &str, help: &str, metric: &impl EncodeMetric) {
        self.family(name, help, metric.metric_type(), |encoder| {
            metric.encode(encoder)
        });
    }

    /// A counter with a row for each set of labels.
    pub(crate) fn counters<L: EncodeLabelSet, V: EncodeCounterValue>(
        &mut self,
        name: &str,
        help: &str,
        rows: impl IntoIterator<Item = (L, V)>,
    ) {
        self.rows(name, help, MetricType::Counter, rows, |value, encoder| {
            ConstCounter::new(value).encode(encoder)
        });
    }

    /// A gauge with a row for each set of labels.
    pub(crate) fn gauges<L: EncodeLabelSet, V: EncodeGaugeValue>(
        &mut self,
        name: &str,
        help: &str,
        rows: impl IntoIterator<Item = (L, V)>,
    ) {
        self.rows(name, help, MetricType::Gauge, rows, |value, encoder| {
            ConstGauge::new(value).encode(encoder)
        });
    }

    /// A histogram with a row for each set of labels.
    pub(crate) fn histograms<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        rows: impl IntoIterator<Item = (L, Histogram)>,
    ) {
        let write = |Histogram { sum, buckets }, mut encoder: MetricEncoder<'_>| {
            let count = buckets.iter().map(|(_, count)| count).sum();
            encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
        };
        self.rows(name, help, MetricType::Histogram, rows, write);
    }

    /// A row for each set of labels.
    fn rows<L: EncodeLabelSet, V>(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        rows: impl IntoIterator<Item = (L, V)>,
        write: impl Fn(V, MetricEncoder<'_>) -> fmt::Result,
    ) {
        self.family(name, help, kind, |mut encoder| {
            let mut rows = rows.into_iter();
            rows.try_for_each(|(labels, value)| write(value, encoder.encode_family(&labels)?))
        });
    }

    /// Whatever can't be written is missing from the scrape, and what follows it too.
    fn family(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        samples: impl FnOnce(MetricEncoder<'_>) -> fmt::Result,
    ) {
        if self.written.is_ok() {
            let descriptor = self.encoder.encode_descriptor(name, help, None, kind);
            self.written = descriptor.and_then(samples);
        }
    }
}

/// Defines a struct whose fields are metrics, each with its name and its help text.
macro_rules! metrics {
    ($(#[$about:meta])* $visible:vis struct $struct:ident {
        $($(#[$doc:meta])* $field:ident: $kind:ty = $name:literal, $help:literal;)+
    }) => {
        $(#[$about])*
        #[derive(Debug, Default)]
        $visible struct $struct {
            $($(#[$doc])* $visible $field: $kind,)+
        }

        impl $crate::telemetry::MetricSource for $struct {
            fn write(&self, rows: &mut $crate::telemetry::Rows<'_>) {
                $(rows.metric($name, $help, &self.$field);)+
            }
        }
    };
}
pub(crate) use metrics;

/// A source as the library's registry takes it.
#[derive(Debug)]
pub(super) struct Collected<S>(pub(super) S);

impl<S: MetricSource> Collector for Collected<S> {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let written = Ok(());
        let mut rows = Rows { encoder, written };
        self.0.write(&mut rows);
        rows.written
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// All samples of a source, in the format that Prometheus asks for.
    pub(crate) fn exposed(source: impl MetricSource) -> String {
        let mut registry = prometheus_client::registry::Registry::default();
        registry.register_collector(Box::new(Collected(source)));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        text
    }

    #[derive(Debug)]
    struct Everything;

    impl MetricSource for Everything {
        fn write(&self, rows: &mut Rows<'_>) {
            rows.counter("a", "One", 1_u64);
            rows.gauge("b", "Two", 2.5);
            rows.counters("c", "Three", [([("x", "y"), ("z", "0")], 3_u64)]);
            rows.gauges("d", "Four", [([("x", "y")], 4_u64)]);
            let buckets = vec![(1.0, 1), (f64::INFINITY, 2)];
            let histogram = Histogram { sum: 7.0, buckets };
            rows.histograms("e", "Five", [([("x", "y")], histogram)]);
        }
    }

    #[test]
    fn every_kind_of_family_is_written() {
        let text = "# HELP a One\n# TYPE a counter\na_total 1\n\
                    # HELP b Two\n# TYPE b gauge\nb 2.5\n\
                    # HELP c Three\n# TYPE c counter\nc_total{x=\"y\",z=\"0\"} 3\n\
                    # HELP d Four\n# TYPE d gauge\nd{x=\"y\"} 4\n\
                    # HELP e Five\n# TYPE e histogram\ne_sum{x=\"y\"} 7.0\ne_count{x=\"y\"} 3\n\
                    e_bucket{le=\"1.0\",x=\"y\"} 1\ne_bucket{le=\"+Inf\",x=\"y\"} 3\n# EOF\n";
        assert_eq!(exposed(Everything), text);
    }
}
