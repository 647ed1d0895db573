//! Outbox → bus: reads committed events, publishes them, records how far it came.
//!
//! ```text
//!  reader ──batches──▶ publisher ──acknowledgements──▶ cursor
//!                                                      (and a heartbeat for the lease)
//! ```
//!
//! The three run at the same time: the next batch is read while the one before it is being stored. The position moves
//! only once the bus has acknowledged, so a crash anywhere repeats events and never skips one. After any error the
//! feed is dropped and opened again, which reads the position from the source itself.
//!
//! A relay made by [`Relay::exactly_once`] stores messages and position in one transaction of the bus instead: see
//! `relay/exactly_once.rs`.

mod exactly_once;
mod parking;
mod progress;
mod suspects;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::try_join_all;
use tokio::sync::mpsc;
use tokio::time::{interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use self::parking::Parking;
pub use self::progress::{RelayCounts, RelayProgress};
use self::suspects::Suspects;
use crate::error::{Error, ErrorKind, Remedy};
use crate::event::Event;
use crate::policy::backoff::Backoff;
use crate::port::{
    Acknowledgement, Batch, Clock, Cursor, DeadLetters, Feed, LedgerSource, Position, Publisher, Reader, Source,
    Transactor,
};

/// Sources make room for days, so an hour is often enough.
const UPKEEP: Duration = Duration::from_secs(3600);

/// Batches between the reader and the publisher, at most: one read, one in the channel, one being published.
const READ_AHEAD: usize = 3;

/// How long giving the lease back may take.
const RELEASE: Duration = Duration::from_secs(2);

/// How a relay works.
#[derive(Clone, Copy, Debug)]
pub struct RelayConfig {
    /// Batches handed to the bus and not yet acknowledged, at most. To publish exactly once: batches of one transaction;
    /// as many wait for the next.
    pub in_flight: usize,
    /// Delays between tries while a system is down.
    pub backoff: Backoff,
    /// How often to look, while somebody else holds the lease, whether it is free. A take-over comes that much later.
    pub standby: Duration,
    /// How long a shutdown waits for acknowledgements before it leaves what is in flight to be repeated.
    pub drain: Duration,
}

impl Default for RelayConfig {
    fn default() -> Self {
        Self {
            in_flight: 8,
            backoff: Backoff { first: Duration::from_millis(100), ceiling: Duration::from_secs(5) },
            standby: Duration::from_secs(1),
            drain: Duration::from_secs(5),
        }
    }
}

/// Moves events from one source to one bus.
#[derive(Debug)]
pub struct Relay {
    way: Way,
    parking: Option<Parking>,
    config: RelayConfig,
    progress: RelayProgress,
}

/// Where the position is kept, which decides what a crash repeats.
#[derive(Debug)]
enum Way {
    /// In the source, after the bus has acknowledged.
    AtLeastOnce { source: Arc<dyn Source>, publisher: Arc<dyn Publisher> },
    /// In the bus, together with the messages.
    ExactlyOnce { source: Arc<dyn LedgerSource>, transactor: Arc<dyn Transactor> },
}

/// A batch on the bus, and what is done once it is acknowledged.
struct InFlight {
    acknowledgement: Acknowledgement,
    events: u64,
    position: Position,
}

impl Relay {
    /// A relay that does nothing until it is run. A crash repeats events.
    #[must_use]
    pub fn new(source: Arc<dyn Source>, publisher: Arc<dyn Publisher>, config: RelayConfig) -> Self {
        Self::by(Way::AtLeastOnce { source, publisher }, config)
    }

    /// A relay that does nothing until it is run. A crash repeats nothing, for readers that leave out what is not
    /// committed.
    #[must_use]
    pub fn exactly_once(source: Arc<dyn LedgerSource>, transactor: Arc<dyn Transactor>, config: RelayConfig) -> Self {
        Self::by(Way::ExactlyOnce { source, transactor }, config)
    }

    fn by(way: Way, config: RelayConfig) -> Self {
        Self { way, parking: None, config, progress: RelayProgress::default() }
    }

    /// Events the bus will never take, because they are too large, go to `letters` in the name of `subscription`, and
    /// the relay goes on behind them. Without this it ends at the first one.
    #[must_use]
    pub fn with_dead_letters(
        self,
        subscription: impl Into<String>,
        letters: Arc<dyn DeadLetters>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { parking: Some(Parking { subscription: subscription.into(), letters, clock }), ..self }
    }

    /// Counters that stay up to date while it runs.
    #[must_use]
    pub fn progress(&self) -> RelayProgress {
        self.progress.clone()
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
        let mut failures = 0;
        let suspects = Suspects::default();
        while !shutdown.is_cancelled() {
            let before = self.progress.counts();
            let session = match &self.way {
                Way::AtLeastOnce { source, publisher } => {
                    self.session(source.as_ref(), publisher.as_ref(), &shutdown, &suspects).await
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
            let delay = if error.kind() == ErrorKind::Fenced {
                // Another relay works: that is what standing by is, and no failure.
                tracing::debug!(%error, "standing by");
                failures = 0;
                self.config.standby
            } else {
                // Published or parked: it got further.
                failures = if self.progress.counts() == before { failures + 1 } else { 1 };
                let delay = self.config.backoff.delay(failures, rand::random());
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

    /// Works on one feed until it fails, or until shutdown. The next suspects are published event by event.
    async fn session(
        &self,
        source: &dyn Source,
        publisher: &dyn Publisher,
        shutdown: &CancellationToken,
        suspects: &Suspects,
    ) -> Result<(), Error> {
        let feed = tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            feed = source.open() => feed?,
        };
        let Feed { mut reader, cursor, epoch } = feed;
        tracing::info!(epoch, "the relay holds the lease and reads");
        let (batches, mut read) = mpsc::channel::<Batch>(1);
        let (sent, mut in_flight) = mpsc::channel::<InFlight>(self.config.in_flight.max(1));

        let reading = read_batches(reader.as_mut(), batches, shutdown);
        let publishing = async {
            while let Some(batch) = read.recv().await {
                let (acknowledgement, events) = match &self.parking {
                    Some(parking) if suspects.take() => {
                        self.publish_singly(publisher, batch.events, epoch, parking).await?
                    }
                    Some(_) | None => {
                        let messages: Vec<_> =
                            batch.events.into_iter().map(|event| event.into_message(epoch)).collect();
                        let events = messages.len() as u64;
                        (publisher.publish(messages).await?, events)
                    }
                };
                let message = InFlight { acknowledgement, events, position: batch.position };
                if sent.send(message).await.is_err() {
                    break;
                }
            }
            drop(sent);
            Ok(())
        };
        let recording = async {
            while let Some(batch) = in_flight.recv().await {
                batch.acknowledgement.await?;
                cursor.advance(&batch.position).await?;
                self.progress.published(batch.events);
            }
            Ok(())
        };
        // Reading ends at shutdown, which closes the first channel, then the second: the others end by themselves.
        let work = async { tokio::try_join!(reading, publishing, recording).map(|_| ()) };
        self.under_lease(source, cursor.as_ref(), shutdown, work).await
    }

    /// Does `work` while the lease is kept; gives it back when this relay will not go on.
    async fn under_lease(
        &self,
        source: &dyn Source,
        cursor: &dyn Cursor,
        shutdown: &CancellationToken,
        work: impl Future<Output = Result<(), Error>>,
    ) -> Result<(), Error> {
        let outcome = tokio::select! {
            outcome = work => outcome,
            error = keep_lease(cursor) => Err(error),
            never = upkeep(source) => match never {},
            () = overtime(shutdown, self.config.drain) => {
                tracing::warn!("shutting down with events in flight; the next relay goes on from the position");
                Ok(())
            }
        };
        if shutdown.is_cancelled() || outcome.as_ref().is_err_and(|error| error.remedy() != Remedy::Retry) {
            give_back(cursor).await;
        }
        outcome
    }
}

impl Relay {
    /// Publishes each event on its own, in order; those that are refused are parked. Says how many others there are.
    async fn publish_singly(
        &self,
        publisher: &dyn Publisher,
        events: Vec<Event>,
        epoch: i32,
        parking: &Parking,
    ) -> Result<(Acknowledgement, u64), Error> {
        let mut acknowledgements = Vec::with_capacity(events.len());
        for event in events {
            match publisher.publish(vec![event.clone().into_message(epoch)]).await {
                Ok(acknowledgement) => acknowledgements.push(acknowledgement),
                Err(error) if error.remedy() == Remedy::Park => {
                    parking.park(event, &error).await?;
                    self.progress.parked();
                }
                Err(error) => return Err(error),
            }
        }
        let published = acknowledgements.len() as u64;
        Ok((try_join_all(acknowledgements).map(|stored| stored.map(drop)).boxed(), published))
    }
}

/// Reads until shutdown; ends by dropping the channel.
async fn read_batches(
    reader: &mut dyn Reader,
    batches: mpsc::Sender<Batch>,
    shutdown: &CancellationToken,
) -> Result<(), Error> {
    let read = async {
        loop {
            match reader.next().await? {
                Some(batch) => {
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

/// Renews the lease three times in its life; ends only with an error.
async fn keep_lease(cursor: &dyn Cursor) -> Error {
    let mut beat = interval((cursor.lease() / 3).max(Duration::from_millis(1)));
    loop {
        beat.tick().await;
        // Unanswered for that long it is lost, and what does not answer may have been replaced by another server.
        let silence = |_| Err(Error::new(ErrorKind::Unavailable, "the lease ran out before its renewal was answered"));
        if let Err(error) = timeout(cursor.lease(), cursor.renew()).await.unwrap_or_else(silence) {
            return error;
        }
    }
}

/// Has the source make room for what is to come; a failure is told and tried again.
async fn upkeep(source: &dyn Source) -> Infallible {
    let mut beat = interval(UPKEEP);
    loop {
        beat.tick().await;
        if let Err(error) = source.maintain().await {
            tracing::warn!(%error, "maintenance of the source; tried again in {UPKEEP:?}");
        }
    }
}

/// Lets the next one go on at once. A source that says nothing must not hold up the end.
async fn give_back(cursor: &dyn Cursor) {
    let silence = |_| Err(Error::new(ErrorKind::Unavailable, format!("no answer within {RELEASE:?}")));
    if let Err(error) = timeout(RELEASE, cursor.release()).await.unwrap_or_else(silence) {
        tracing::warn!(%error, "the lease was not given back; it runs out by itself");
    }
}

async fn overtime(shutdown: &CancellationToken, drain: Duration) {
    shutdown.cancelled().await;
    sleep(drain).await;
}
