//! `[alerts]`: who is told of dead letters and of the pipeline's conditions, and from when on.

use std::time::Duration;

use sync_core::alerts::Thresholds;

use super::reader::Section;
use super::secret::Secret;

/// How people are told of dead letters, and of how the pipeline stands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Alerts {
    /// Whether they are written in the log.
    pub(crate) log: bool,
    /// Alerts in any minute, at most, of this process.
    pub(crate) per_minute: usize,
    /// How often to look for new letters.
    pub(crate) poll_interval: Duration,
    /// From when on people are told how the pipeline stands.
    pub(crate) thresholds: Thresholds,
    /// Where they are sent.
    pub(crate) webhook: Option<Webhook>,
}

/// Where alerts are sent.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Webhook {
    /// The address, which may hold a secret.
    pub(crate) url: Secret,
    /// Sent along.
    pub(crate) headers: Vec<(String, Secret)>,
    /// How long one request may take.
    pub(crate) timeout: Duration,
}

/// How long one request may take where nobody says.
const TIMEOUT: Duration = Duration::from_secs(10);

impl Default for Alerts {
    fn default() -> Self {
        Self {
            log: true,
            per_minute: 10,
            poll_interval: Duration::from_secs(5),
            thresholds: Thresholds::default(),
            webhook: None,
        }
    }
}

impl Alerts {
    pub(super) fn read(mut section: Section<'_>) -> Self {
        let default = Self::default();
        let intervals = Duration::from_millis(100)..=Duration::from_secs(3_600);
        Self {
            log: section.boolean("log").unwrap_or(default.log),
            per_minute: section.integer("per_minute", 1..=1_000).unwrap_or(default.per_minute),
            poll_interval: section.duration("poll_interval", intervals).unwrap_or(default.poll_interval),
            thresholds: thresholds(section.section("conditions")),
            webhook: Webhook::read(section.section("webhook")),
        }
    }
}

fn thresholds(mut section: Section<'_>) -> Thresholds {
    let default = Thresholds::default();
    let (second, day) = (Duration::from_secs(1), Duration::from_secs(24 * 3_600));
    let fallbacks: Option<u32> = section.integer("fallbacks_per_minute", 0..=1_000_000_000);
    default
        .sync_lag(section.duration("sync_lag", second..=day).unwrap_or(default.sync_lag))
        .sync_lag_noticed(section.duration("sync_lag_noticed", second..=day).unwrap_or(default.sync_lag_noticed))
        .fallbacks_per_minute(fallbacks.map_or(default.fallbacks_per_minute, f64::from))
        .dead_letters(section.integer("dead_letters", 0..=1_000_000_000).unwrap_or(default.dead_letters))
        .consumer_lag(section.integer("consumer_lag", 0..=1_000_000_000).unwrap_or(default.consumer_lag))
        .hold(section.duration("hold", Duration::ZERO..=day).unwrap_or(default.hold))
        .settle(section.duration("settle", Duration::ZERO..=day).unwrap_or(default.settle))
}

impl Webhook {
    fn read(mut section: Section<'_>) -> Option<Self> {
        let given = section.has_secret("url");
        let url = section.secret("url");
        let headers = section.section("headers").everything();
        let timeout = section.duration("timeout", Duration::from_millis(100)..=Duration::from_secs(20));
        if !given && (!headers.is_empty() || timeout.is_some()) {
            section.problem("url", "is missing: the rest of alerts.webhook is set");
        }
        Some(Self { url: url?, headers, timeout: timeout.unwrap_or(TIMEOUT) })
    }
}
