//! Dead letters → people: each is told of, and never more at a time than people can read.
//!
//! What is told is kept beside the letters, so that it survives a crash and is shared by all processes: a crash between
//! telling and noting it tells once more. What comes too fast waits, or is told of together.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::plan::plan;
use super::telling::{PATIENCE, tell};
use crate::error::{Error, Remedy};
use crate::policy::rate::Rate;
use crate::port::{Alert, AlertHandler, Unannounced};

/// Letters claimed at once, and so at most told of together.
const LETTERS: usize = 100;

/// For so long nobody else tells of what this process claimed. An alert is begun in the first half of it and has the
/// other half to end, or another process tells it too.
const LEASE: Duration = Duration::from_secs(60);

/// How people are told.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct AlertsConfig {
    /// Alerts in any minute, at most, of this process; 10 unless said.
    pub per_minute: usize,
    /// How often to look for new letters; every 5 seconds unless said.
    pub poll_interval: Duration,
}

impl Default for AlertsConfig {
    fn default() -> Self {
        Self { per_minute: 10, poll_interval: Duration::from_secs(5) }
    }
}

setters! {
    AlertsConfig {
        per_minute: usize,
        poll_interval: Duration,
    }
}

/// Tells people of dead letters.
#[derive(Debug)]
pub struct Alerts {
    letters: Arc<dyn Unannounced>,
    handlers: Vec<Arc<dyn AlertHandler>>,
    config: AlertsConfig,
}

impl Alerts {
    /// Does nothing until it is run. Handlers are told one after the other, within 30 s together; when one fails, those behind
    /// it wait with it, and those before it are told again.
    #[must_use]
    pub fn new(letters: Arc<dyn Unannounced>, handlers: Vec<Arc<dyn AlertHandler>>, config: AlertsConfig) -> Self {
        Self { letters, handlers, config }
    }

    /// Runs until `shutdown`. Whatever fails is logged and tried again. Dropping it is a crash: what was being told
    /// is told again, by whoever asks first.
    pub async fn run(&self, shutdown: CancellationToken) {
        let mut rate = Rate::new(self.config.per_minute);
        let began = Instant::now();
        let work = async {
            loop {
                if let Err(error) = self.announce(&mut rate, began).await {
                    tracing::warn!(%error, "people were not told of dead letters; they are told later");
                }
                sleep(self.config.poll_interval).await;
            }
        };
        shutdown.run_until_cancelled(work).await.unwrap_or_default()
    }

    /// Tells what there is to tell, as far as may be told now.
    async fn announce(&self, rate: &mut Rate, began: Instant) -> Result<(), Error> {
        loop {
            let free = rate.free(began.elapsed());
            if free == 0 {
                return Ok(());
            }
            let claimed_at = Instant::now();
            let claimed = self.letters.claim(LETTERS, LEASE).await?;
            let more = claimed.len() == LETTERS;
            for alert in plan(claimed, free) {
                // Somebody else may tell of the others once the lease is over.
                if claimed_at.elapsed() + PATIENCE > LEASE {
                    return Ok(());
                }
                rate.spend(began.elapsed());
                match tell(&self.handlers, &Alert::Letters(alert.clone())).await {
                    Ok(()) => {}
                    // Nobody can be told now. Otherwise it may be about this one, and the others are told all the same.
                    Err(error) if error.remedy() == Remedy::Retry => {
                        tracing::warn!("of this nobody was told yet: {alert}");
                        return Err(error);
                    }
                    Err(error) => {
                        tracing::warn!(%error, "people were not told of a dead letter; they are told later: {alert}");
                        continue;
                    }
                }
                let ids: Vec<_> = alert.letters.iter().map(|kept| kept.id).collect();
                self.letters.announced(&ids).await?;
            }
            if !more {
                return Ok(());
            }
        }
    }
}
