//! What the rooms tell of themselves, as Prometheus reads it.

use std::fmt;
use std::time::Duration;

use metrics::{describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use sync_core::telemetry::metrics::{ALL, MetricKind};
use sync_core::{Error, ErrorKind};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// Bounds of the buckets of times, in seconds: of searches, and of a change that waited for an outage to end.
const SECONDS: [f64; 19] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.08, 0.1, 0.2, 0.3, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 1_800.0,
    7_200.0,
];

/// Bounds of the buckets of sizes.
const SIZES: [f64; 8] = [1.0, 4.0, 16.0, 64.0, 256.0, 1_024.0, 4_096.0, 16_384.0];

/// How often what was recorded is summed up.
const KEEP_UP: Duration = Duration::from_secs(5);

/// The recorder of this process.
#[derive(Clone)]
pub(crate) struct Metrics(PrometheusHandle);

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

impl Metrics {
    /// Installs it.
    ///
    /// # Errors
    /// `Internal` when the process has one already.
    pub(crate) fn install() -> Result<Self, Error> {
        let failed = |error: metrics_exporter_prometheus::BuildError| {
            Error::new(ErrorKind::Internal, "installing the recorder of metrics").with_source(error)
        };
        let mut builder = PrometheusBuilder::new().with_recommended_naming(true);
        for metric in ALL.iter().filter(|metric| metric.kind == MetricKind::Histogram) {
            let buckets: &[f64] = if metric.name.ends_with("seconds") { &SECONDS } else { &SIZES };
            builder = builder.set_buckets_for_metric(Matcher::Full(metric.name.to_owned()), buckets).map_err(failed)?;
        }
        let handle = builder.install_recorder().map_err(failed)?;
        for metric in ALL {
            match metric.kind {
                MetricKind::Counter => describe_counter!(metric.name, metric.what),
                MetricKind::Gauge => describe_gauge!(metric.name, metric.what),
                MetricKind::Histogram => describe_histogram!(metric.name, metric.what),
                // It is served all the same, without a word about it.
                _ => {}
            }
        }
        Ok(Self(handle))
    }

    /// Sums up what was recorded, until `shutdown`: it would pile up where nobody reads it.
    pub(crate) async fn keep_up(&self, shutdown: &CancellationToken) {
        while shutdown.run_until_cancelled(sleep(KEEP_UP)).await.is_some() {
            self.0.run_upkeep();
        }
    }

    /// All of them, as Prometheus reads them.
    pub(super) fn render(&self) -> String {
        self.0.render()
    }
}
