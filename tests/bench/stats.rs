//! Medians and latencies.

use std::time::Duration;

use anyhow::Context as _;
use hdrhistogram::Histogram;
use serde::Serialize;

/// Latencies from 1 microsecond to a minute, recorded in nanoseconds with three digits.
pub(crate) struct Latencies(Histogram<u64>);

/// What is reported of a histogram, microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Percentiles {
    /// Half of all were faster.
    pub(crate) p50: f64,
    /// 99 of 100 were faster.
    pub(crate) p99: f64,
    /// The slowest.
    pub(crate) max: f64,
    /// How many were recorded.
    pub(crate) count: u64,
}

impl Latencies {
    /// An empty histogram.
    ///
    /// # Errors
    /// Never with these bounds; the library checks them at run time.
    pub(crate) fn new() -> anyhow::Result<Self> {
        Histogram::new_with_bounds(1_000, 60_000_000_000, 3)
            .map(Self)
            .context("histogram bounds")
    }

    /// Adds one; what is beyond the bounds counts as the bound.
    pub(crate) fn record(&mut self, latency: Duration) {
        self.0
            .saturating_record(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Adds all of another.
    ///
    /// # Errors
    /// Never, as both have the same bounds.
    pub(crate) fn add(&mut self, other: &Self) -> anyhow::Result<()> {
        self.0.add(&other.0).context("histogram bounds")
    }

    /// The summary, all 0 if nothing was recorded.
    pub(crate) fn percentiles(&self) -> Percentiles {
        let micros = |nanos: u64| nanos as f64 / 1000.0;
        Percentiles {
            p50: micros(self.0.value_at_quantile(0.50)),
            p99: micros(self.0.value_at_quantile(0.99)),
            max: micros(self.0.max()),
            count: self.0.len(),
        }
    }
}

/// The middle value, or the mean of the two middle ones; `None` of nothing.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    if values.len() % 2 == 1 {
        return Some(upper);
    }
    let lower = values.get(middle.checked_sub(1)?)?;
    Some((lower + upper) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_of_odd_even_and_none() {
        assert_eq!(median([3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median([]), None);
    }

    #[test]
    fn percentiles_are_in_microseconds() {
        let mut latencies = Latencies::new().unwrap();
        for millis in 1..=100 {
            latencies.record(Duration::from_millis(millis));
        }
        let summary = latencies.percentiles();
        assert_eq!(summary.count, 100);
        assert!((summary.p50 / 50_000.0 - 1.0).abs() < 0.01);
        assert!((summary.p99 / 99_000.0 - 1.0).abs() < 0.01);
    }
}
