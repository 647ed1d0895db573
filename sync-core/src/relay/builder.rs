//! A relay is put together.

use std::sync::Arc;

use super::parking::Parking;
use super::progress::RelayProgress;
use super::traces::Traces;
use super::{Relay, RelayConfig, Way};
use crate::port::{Clock, DeadLetters, Tracer};

/// A relay that is put together; [`build`](Self::build) makes it.
#[derive(Debug)]
#[must_use = "a relay is made by `build`"]
pub struct RelayBuilder(Relay);

impl RelayBuilder {
    pub(super) fn new(subscription: String, way: Way) -> Self {
        let (config, progress) = (RelayConfig::default(), RelayProgress::of(subscription));
        Self(Relay { way, parking: None, config, progress, traces: Traces::default() })
    }

    /// How it works; [`RelayConfig::default`] otherwise.
    pub fn config(self, config: RelayConfig) -> Self {
        Self(Relay { config, ..self.0 })
    }

    /// Events the bus will never take, because they are too large, go to `letters` in the name of the subscription, and the
    /// relay goes on behind them. Without this it ends at the first one.
    pub fn dead_letters(self, letters: Arc<dyn DeadLetters>, clock: Arc<dyn Clock>) -> Self {
        let parking = Some(Parking { subscription: self.0.progress.subscription(), letters, clock });
        Self(Relay { parking, ..self.0 })
    }

    /// What is done for events whose emitter is traced is told there, if anywhere.
    pub fn tracer(self, tracer: impl Into<Option<Arc<dyn Tracer>>>) -> Self {
        Self(Relay { traces: Traces(tracer.into()), ..self.0 })
    }

    /// The relay. It does nothing until it is run.
    #[must_use]
    pub fn build(self) -> Relay {
        self.0
    }
}
