//! Metric families in the encoder's own types.
//!
//! Invariant: a family without samples is left out, because the encoder refuses it.

use prometheus::TextEncoder;
use prometheus::proto;
use prometheus::proto::MetricType;

use crate::admin::hygiene::clean;
use crate::base::counters::HistogramSnapshot;

pub(super) type Labels = Vec<(&'static str, String)>;
pub(super) type Sample = (Labels, f64);

/// A sample without labels.
pub(super) fn one(value: f64) -> Vec<Sample> {
    vec![(Vec::new(), value)]
}

/// One label, a count for each of its values.
pub(super) fn counts(label: &'static str, values: &[(&'static str, u64)]) -> Vec<Sample> {
    let sample =
        |(text, count): &(&'static str, u64)| (vec![(label, (*text).to_owned())], *count as f64);
    values.iter().map(sample).collect()
}

#[derive(Default)]
pub(super) struct Page(Vec<proto::MetricFamily>);

impl Page {
    pub(super) fn gauge(&mut self, name: &str, help: &str, samples: Vec<Sample>) {
        self.family(name, help, MetricType::GAUGE, samples, |metric, value| {
            let mut gauge = proto::Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        });
    }

    pub(super) fn counter(&mut self, name: &str, help: &str, samples: Vec<Sample>) {
        debug_assert!(name.ends_with("_total"));
        self.family(name, help, MetricType::COUNTER, samples, |metric, value| {
            let mut counter = proto::Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        });
    }

    /// `bounds_us` stand in for those of a snapshot that nobody has filled.
    pub(super) fn histogram<'a>(
        &mut self,
        name: &str,
        help: &str,
        bounds_us: &[u64],
        samples: impl IntoIterator<Item = (Labels, &'a HistogramSnapshot)>,
    ) {
        let filled = |(labels, snapshot): (Labels, &HistogramSnapshot)| {
            (labels, histogram(snapshot, bounds_us))
        };
        let samples: Vec<_> = samples.into_iter().map(filled).collect();
        self.family(name, help, MetricType::HISTOGRAM, samples, |metric, histogram| {
            metric.set_histogram(histogram);
        });
    }

    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        TextEncoder::new()
            .encode_utf8(&self.0, &mut text)
            .expect("every family has a name and a sample, and a String takes everything");
        text
    }

    fn family<T>(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        samples: Vec<(Labels, T)>,
        put: impl Fn(&mut proto::Metric, T),
    ) {
        if samples.is_empty() {
            return;
        }
        let metrics = samples.into_iter().map(|(labels, value)| {
            let mut metric = proto::Metric::from_label(labels.into_iter().map(label).collect());
            put(&mut metric, value);
            metric
        });
        let mut family = proto::MetricFamily::default();
        family.set_name(format!("ringcast_{name}"));
        family.set_help(help.to_owned());
        family.set_field_type(kind);
        family.set_metric(metrics.collect());
        self.0.push(family);
    }
}

fn label((name, value): (&'static str, String)) -> proto::LabelPair {
    let mut pair = proto::LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(clean(&value).into_owned());
    pair
}

fn histogram(snapshot: &HistogramSnapshot, bounds_us: &[u64]) -> proto::Histogram {
    let filled = !snapshot.bounds_us.is_empty();
    let bounds_us = if filled { &snapshot.bounds_us } else { bounds_us };
    let mut sum = 0;
    let buckets = bounds_us.iter().enumerate().map(|(index, bound_us)| {
        sum += snapshot.counts.get(index).copied().unwrap_or(0);
        let mut bucket = proto::Bucket::default();
        bucket.set_upper_bound(*bound_us as f64 / 1e6);
        bucket.set_cumulative_count(sum);
        bucket
    });
    let buckets = buckets.collect();
    let mut histogram = proto::Histogram::default();
    histogram.set_bucket(buckets);
    histogram.set_sample_count(snapshot.total());
    histogram.set_sample_sum(snapshot.sum_us as f64 / 1e6);
    histogram
}
