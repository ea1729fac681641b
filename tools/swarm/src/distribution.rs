//! Times in a HdrHistogram, given as milliseconds.

use hdrhistogram::Histogram;
use serde::Serialize;

/// An hour; what takes longer counts as that.
const US_MAX: u64 = 3_600_000_000;

#[derive(Debug)]
pub(crate) struct Distribution(Histogram<u64>);

/// What the report says of one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Percentiles {
    pub(crate) n: u64,
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
}

impl Distribution {
    pub(crate) fn new() -> Distribution {
        let histogram = Histogram::new_with_bounds(1, US_MAX, 3);
        Distribution(histogram.expect("the bounds are in order, three digits are allowed"))
    }

    pub(crate) fn record_us(&mut self, us: u64) {
        self.0.saturating_record(us);
    }

    /// `None` when nothing was recorded.
    pub(crate) fn percentiles(&self) -> Option<Percentiles> {
        if self.0.is_empty() {
            return None;
        }
        let at = |quantile| self.0.value_at_quantile(quantile) as f64 / 1_000.0;
        let max = self.0.max() as f64 / 1_000.0;
        Some(Percentiles { n: self.0.len(), p50: at(0.5), p90: at(0.9), p99: at(0.99), max })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn microseconds_come_back_as_milliseconds() {
        let mut times = Distribution::new();
        assert_eq!(times.percentiles(), None);
        (1..=1_000).for_each(|ms| times.record_us(ms * 1_000));
        times.record_us(u64::MAX);
        let found = times.percentiles().unwrap();
        assert_eq!(found.n, 1_001);
        assert!((500.0..502.0).contains(&found.p50), "{found:?}");
        assert!((990.0..993.0).contains(&found.p99), "{found:?}");
        assert!(found.max >= 3_600_000.0);
    }
}
