//! What is measured of one turn.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One contestant's figures in one round. What a benchmark does not measure is absent.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Figures {
    /// Events, documents or transactions a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rate: Option<f64>,
    /// Half of them took at most so long.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) p50_ms: Option<f64>,
    /// All but one of a hundred took at most so long.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) p99_ms: Option<f64>,
    /// The most memory the contestant's own processes had resident, without the servers everyone uses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rss_mb: Option<f64>,
    /// Processor time of the same processes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cpu_s: Option<f64>,
    /// What only this benchmark measures.
    #[serde(flatten)]
    pub(crate) more: BTreeMap<String, f64>,
}

impl Figures {
    /// `count` of something in `seconds`.
    pub(crate) fn rate(count: u64, seconds: f64) -> Self {
        Self { rate: Some(count as f64 / seconds), ..Self::default() }
    }

    /// Adds a figure of this benchmark's own.
    pub(crate) fn with(mut self, name: &str, value: f64) -> Self {
        self.more.insert(name.to_owned(), value);
        self
    }

    /// By its name in the JSON.
    pub(crate) fn get(&self, name: &str) -> Option<f64> {
        match name {
            "rate" => self.rate,
            "p50_ms" => self.p50_ms,
            "p99_ms" => self.p99_ms,
            "rss_mb" => self.rss_mb,
            "cpu_s" => self.cpu_s,
            other => self.more.get(other).copied(),
        }
    }
}

/// The least, the median and the most of some values; `None` of none.
pub(crate) fn spread(values: impl IntoIterator<Item = f64>) -> Option<(f64, f64, f64)> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let (least, most) = (*values.first()?, *values.last()?);
    let middle = values.len() / 2;
    let median = if values.len() % 2 == 1 { values[middle] } else { f64::midpoint(values[middle - 1], values[middle]) };
    Some((least, median, most))
}

/// The value that so large a part of the values do not exceed. They are sorted on the way.
pub(crate) fn quantile(values: &mut [f64], part: f64) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let place = (values.len() as f64 * part).ceil() as usize;
    values.get(place.saturating_sub(1)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_a_value_that_was_seen() {
        let mut values: Vec<f64> = (1..=200).rev().map(f64::from).collect();
        assert_eq!(quantile(&mut values, 0.5), Some(100.0));
        assert_eq!(quantile(&mut values, 0.99), Some(198.0));
        assert_eq!(quantile(&mut [], 0.5), None);
    }

    #[test]
    fn the_median_of_an_even_number_of_values_is_between_the_middle_ones() {
        assert_eq!(spread([4.0, 1.0, 3.0, 2.0]), Some((1.0, 2.5, 4.0)));
        assert_eq!(spread([2.0]), Some((2.0, 2.0, 2.0)));
    }
}
