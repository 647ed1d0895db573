//! `[traces]`: where it is told what was done for traced transactions.

use std::time::Duration;

use super::reader::Section;

/// Where traces are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Traces {
    /// The collector; without one nothing is told.
    pub(crate) endpoint: Option<String>,
    /// What this service is called there.
    pub(crate) service: String,
    /// How long one request may take.
    pub(crate) timeout: Duration,
}

impl Default for Traces {
    fn default() -> Self {
        Self { endpoint: None, service: "sync-runner".to_owned(), timeout: Duration::from_secs(10) }
    }
}

impl Traces {
    pub(super) fn read(mut section: Section<'_>) -> Self {
        let default = Self::default();
        let limits = Duration::from_millis(100)..=Duration::from_secs(60);
        Self {
            endpoint: section.text("endpoint"),
            service: section.text("service").unwrap_or(default.service),
            timeout: section.duration("timeout", limits).unwrap_or(default.timeout),
        }
    }
}
