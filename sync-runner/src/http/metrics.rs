//! What the rooms tell of themselves, as Prometheus reads it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State as Shared;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use metrics::{describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use sync_core::telemetry::metrics::{ALL, MetricKind, SEARCH_SECONDS};
use sync_core::{Error, ErrorKind};
use tokio::time::sleep;

use super::State;

/// Bounds of the buckets of times, in seconds.
const SECONDS: [f64; 14] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.08, 0.1, 0.2, 0.3, 0.5, 1.0, 2.5, 5.0];

/// How often what was recorded is summed up.
const KEEP_UP: Duration = Duration::from_secs(5);

/// The recorder of this process.
pub(super) struct Metrics(PrometheusHandle);

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

impl Metrics {
    /// Installs it.
    pub(super) fn install() -> Result<Self, Error> {
        let failed = |error: metrics_exporter_prometheus::BuildError| {
            Error::new(ErrorKind::Internal, "installing the recorder of metrics").with_source(error)
        };
        let builder = PrometheusBuilder::new();
        let builder =
            builder.set_buckets_for_metric(Matcher::Full(SEARCH_SECONDS.name.to_owned()), &SECONDS).map_err(failed)?;
        let handle = builder.install_recorder().map_err(failed)?;
        for metric in ALL {
            match metric.kind {
                MetricKind::Counter => describe_counter!(metric.name, metric.what),
                MetricKind::Gauge => describe_gauge!(metric.name, metric.what),
                MetricKind::Histogram => describe_histogram!(metric.name, metric.what),
            }
        }
        Ok(Self(handle))
    }

    /// Sums up what was recorded, for ever: it would pile up where nobody reads it.
    pub(super) async fn keep_up(&self) {
        loop {
            sleep(KEEP_UP).await;
            self.0.run_upkeep();
        }
    }
}

/// `GET /metrics`.
pub(super) async fn render(Shared(state): Shared<Arc<State>>) -> impl IntoResponse {
    let Metrics(handle) = &state.metrics;
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], handle.render())
}
