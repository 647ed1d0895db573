//! Outbox → bus: reads committed events, publishes them, records how far it came.
//!
//! ```text
//!  reader ──batches──▶ publisher ──acknowledgements──▶ cursor
//!                                                      (and a heartbeat for the lease)
//! ```
//!
//! The three run at the same time: the next batch is read while the one before it is being stored. The position moves
//! only once the bus has acknowledged, so a crash anywhere repeats events and never skips one
//! (`relay/at_least_once.rs`); or messages and position are stored in one transaction of the bus
//! (`relay/exactly_once.rs`). After any error the feed is dropped and opened again, which reads the position from the
//! source, or from that transaction.

mod at_least_once;
mod builder;
mod exactly_once;
mod lease;
mod parking;
mod progress;
mod suspects;
mod traces;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

pub use self::builder::RelayBuilder;
use self::parking::{Parking, Unpublished};
pub use self::progress::{RelayCounts, RelayProgress};
use self::suspects::Suspects;
use self::traces::Traces;
use crate::error::{Error, ErrorKind, Remedy};
use crate::event::{Encoding, Event, Outgoing};
use crate::policy::Backoff;
use crate::port::{Batch, LedgerSource, Publisher, Reader, Source, Transactor, Withheld};

/// Batches between the reader and the publisher, at most: one read, one in the channel, one being published.
const READ_AHEAD: usize = 3;

/// How a relay works.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RelayConfig {
    /// Batches handed to the bus and not yet acknowledged, at most; 8 unless said. To publish exactly once: batches of one
    /// transaction; as many wait for the next.
    pub in_flight: usize,
    /// Delays between tries while a system is down; from 100 milliseconds to 5 seconds unless said.
    pub backoff: Backoff,
    /// How often to look, while somebody else holds the lease, whether it is free; every second unless said. A take-over
    /// comes that much later.
    pub standby: Duration,
    /// How long a shutdown waits for acknowledgements before it leaves what is in flight to be repeated; 5 seconds unless
    /// said.
    pub drain: Duration,
    /// How events are written into messages; [`Encoding::Standard`] unless said.
    pub encoding: Encoding,
}

impl Default for RelayConfig {
    fn default() -> Self {
        Self {
            in_flight: 8,
            backoff: Backoff { first: Duration::from_millis(100), ceiling: Duration::from_secs(5) },
            standby: Duration::from_secs(1),
            drain: Duration::from_secs(5),
            encoding: Encoding::Standard,
        }
    }
}

setters! {
    RelayConfig {
        in_flight: usize,
        encoding: Encoding,
        backoff: Backoff,
        standby: Duration,
        drain: Duration,
    }
}

/// Moves events from one source to one bus.
#[derive(Debug)]
pub struct Relay {
    way: Way,
    parking: Option<Parking>,
    config: RelayConfig,
    progress: RelayProgress,
    traces: Traces,
}

/// Where the position is kept, which decides what a crash repeats.
#[derive(Debug)]
enum Way {
    /// In the source, after the bus has acknowledged.
    AtLeastOnce { source: Arc<dyn Source>, publisher: Arc<dyn Publisher> },
    /// In the bus, together with the messages.
    ExactlyOnce { source: Arc<dyn LedgerSource>, transactor: Arc<dyn Transactor> },
}

impl Relay {
    /// Moves events to a bus that acknowledges them. A crash repeats events. Metrics and dead letters call it by the
    /// subscription the source reads.
    pub fn builder(
        subscription: impl Into<String>,
        source: Arc<dyn Source>,
        publisher: Arc<dyn Publisher>,
    ) -> RelayBuilder {
        RelayBuilder::new(subscription.into(), Way::AtLeastOnce { source, publisher })
    }

    /// Moves events to a bus that stores them together with the position. A crash repeats nothing, for readers that leave out
    /// what is not committed.
    pub fn exactly_once(
        subscription: impl Into<String>,
        source: Arc<dyn LedgerSource>,
        transactor: Arc<dyn Transactor>,
    ) -> RelayBuilder {
        RelayBuilder::new(subscription.into(), Way::ExactlyOnce { source, transactor })
    }

    /// Counters that stay up to date while it runs.
    #[must_use]
    pub fn progress(&self) -> RelayProgress {
        self.progress.clone()
    }

    /// The message of an event.
    fn message(&self, event: Event, epoch: i32) -> Outgoing {
        event.into_message(epoch, &self.config.encoding)
    }

    /// Those that are safe among the dead letters already are left out.
    async fn park_withheld(&self, events: &[Withheld], epoch: i32, suspects: &Suspects) -> Result<(), Error> {
        for event in events.iter().filter(|event| !suspects.is_parked(epoch, event.id)) {
            let Withheld { bytes, limit, .. } = event;
            let what = format!(
                "its payload has {bytes} bytes, and those that are read {limit} at most; raise that and replay the letter"
            );
            let error = Error::new(ErrorKind::Refused, what);
            let Some(parking) = &self.parking else { return Err(error) };
            parking.park(Unpublished::withheld(event.clone()), &error).await?;
            suspects.note_parked(epoch, event.id);
            self.progress.parked();
        }
        Ok(())
    }

    /// Runs until `shutdown`, through outages of either side and through other relays' leases.
    ///
    /// On shutdown it stops reading, waits up to [`RelayConfig::drain`] for acknowledgements, records the position and
    /// gives the lease back. Dropping it is a crash: events in flight come again.
    ///
    /// # Errors
    /// Only what a person has to mend: anything but [`Remedy::Retry`]. The position is before the batch with the event
    /// at fault, nothing is lost.
    pub async fn run(&self, shutdown: CancellationToken) -> Result<(), Error> {
        let (mut failures, mut stands_by) = (0, false);
        let suspects = Suspects::default();
        while !shutdown.is_cancelled() {
            let before = self.progress.counts();
            let session = match &self.way {
                Way::AtLeastOnce { source, publisher } => {
                    at_least_once::session(self, source.as_ref(), publisher.as_ref(), &shutdown, &suspects).await
                }
                Way::ExactlyOnce { source, transactor } => {
                    exactly_once::session(self, source.as_ref(), transactor.as_ref(), &shutdown, &suspects).await
                }
            };
            let error = match session {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            match error.remedy() {
                Remedy::Park if self.parking.is_some() && !suspects.any() => {
                    // A batch is refused as a whole. It is among those that were in flight and read ahead; they are
                    // read again, and judged event by event.
                    tracing::warn!(%error, "looking for the event at fault");
                    suspects.suspect(self.config.in_flight.saturating_add(READ_AHEAD));
                    continue;
                }
                Remedy::Halt | Remedy::Park | Remedy::TryLater => return Err(error),
                Remedy::Retry => {}
            }
            let got_further = self.progress.counts() != before;
            stands_by &= !got_further;
            let delay = if error.kind() == ErrorKind::Fenced {
                // Another relay works: that is what standing by is, and no failure. People are told once.
                if stands_by {
                    tracing::debug!(%error, "standing by");
                } else {
                    tracing::info!(%error, "standing by");
                }
                (failures, stands_by) = (0, true);
                self.config.standby
            } else {
                // Published or parked something.
                failures = if got_further { 1 } else { failures + 1 };
                let delay = self.config.backoff.delay(failures, rand::random());
                self.progress.failed(&error);
                tracing::warn!(%error, failures, "the relay tries again in {delay:?}");
                delay
            };
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = sleep(delay) => {}
            }
        }
        Ok(())
    }
}

/// Reads until shutdown; ends by dropping the channel. What its source withholds is parked before others can pass it.
async fn read_batches(
    relay: &Relay,
    epoch: i32,
    reader: &mut dyn Reader,
    batches: mpsc::Sender<Batch>,
    suspects: &Suspects,
    shutdown: &CancellationToken,
) -> Result<(), Error> {
    let read = async {
        loop {
            match reader.next().await? {
                Some(batch) => {
                    relay.park_withheld(&batch.withheld, epoch, suspects).await?;
                    if batches.send(batch).await.is_err() {
                        return Ok(());
                    }
                }
                None => reader.wait().await?,
            }
        }
    };
    tokio::select! {
        () = shutdown.cancelled() => Ok(()),
        outcome = read => outcome,
    }
}
