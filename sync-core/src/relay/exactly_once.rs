//! Messages and position in one transaction of the bus.
//!
//! ```text
//!  claim ──▶ begin ──▶ lease again ──▶ mark ──▶ resume          reader ──batches──▶ transactions ──positions──▶ mirror
//!  (lease)   (shuts     (was it taken            (the ledger                        (with the mark)
//!            others out) meanwhile?)              knows it?)
//! ```
//!
//! What is committed and where the subscription stands cannot come apart, so after any error the mark says what became
//! of the last transaction, and events are neither repeated nor skipped. The source's own position follows behind: for
//! lag and retention, for a relay of the other kind, and for a history in which the mark means nothing.

use jiff::Timestamp;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::lease::{opened_or_given_back, under_lease};
use super::parking::Unpublished;
use super::suspects::Suspects;
use super::traces::Traced;
use super::{Relay, read_batches};
use crate::error::{Error, ErrorKind, Remedy};
use crate::event::Outgoing;
use crate::port::{Batch, Claim, Cursor, LedgerSource, Mark, Position, Resumed, Transactions, Transactor};

/// Works on one claim until it fails, or until shutdown.
pub(super) async fn session(
    relay: &Relay,
    source: &dyn LedgerSource,
    transactor: &dyn Transactor,
    shutdown: &CancellationToken,
    suspects: &Suspects,
) -> Result<(), Error> {
    let claimed = opened_or_given_back(source.claim(), |claim| claim.cursor, shutdown).await?;
    let Some(Claim { name, cursor, unresumed }) = claimed else { return Ok(()) };
    let work = async {
        let opening = async {
            let mut transactions = transactor.begin(&name).await?;
            // Whoever slept between taking the lease and shutting others out has shut out its successor. It must not
            // publish in its place.
            cursor.renew().await?;
            let mark = transactions.mark().await?;
            Ok::<_, Error>((transactions, unresumed.resume(mark).await?))
        };
        let (mut transactions, Resumed { mut reader, position, epoch }) = tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            opened = opening => opened?,
        };
        let _active = relay.progress.active();
        tracing::info!(epoch, "the relay holds the lease and reads, to publish exactly once");
        suspects.forget_epochs_before(epoch);
        let (batches, mut read) = mpsc::channel::<Batch>(1);
        let (passed, mut positions) = watch::channel(Some(position));
        // Whoever published last may have died before it was mirrored, and nothing may follow for long.
        positions.mark_changed();

        let reading = read_batches(relay, epoch, reader.as_mut(), batches, suspects, shutdown);
        let publishing = async {
            let most = relay.config.in_flight.max(1);
            let mut waiting = Parcel::default();
            loop {
                if waiting.batches == 0 && suspects.any() {
                    let Some(batch) = read.recv().await else { break };
                    let position = batch.position.clone();
                    publish_singly(relay, transactions.as_mut(), batch, epoch, suspects).await?;
                    passed.send_replace(Some(position));
                    continue;
                }
                if !waiting.gather(&mut read, epoch, most, relay, suspects).await {
                    break;
                }
                let mut parcel = std::mem::take(&mut waiting);
                parcel.sort_out(relay, transactions.as_mut(), epoch, suspects).await?;
                let events = parcel.messages.len() as u64;
                if let Some(mark) = &parcel.mark {
                    let mut published = std::pin::pin!(transactions.publish(parcel.messages, mark));
                    // What is read meanwhile is the next transaction: the slower the bus, the more goes into one.
                    let outcome = loop {
                        tokio::select! {
                            outcome = &mut published => break outcome,
                            Some(batch) = read.recv(), if waiting.batches < most => waiting.add(batch, epoch, relay, suspects),
                        }
                    };
                    outcome?;
                }
                passed.send_replace(parcel.position);
                relay.traces.published(parcel.traced);
                relay.progress.acknowledged(events, parcel.created_at);
                relay.progress.published(events);
                suspects.forget_parked(epoch, parcel.parked);
            }
            drop(passed);
            Ok(())
        };
        tokio::try_join!(reading, publishing, mirror(positions, cursor.as_ref())).map(|_| ())
    };
    under_lease(relay, source, cursor.as_ref(), shutdown, work).await
}

/// What one transaction stores.
#[derive(Default)]
struct Parcel {
    batches: usize,
    messages: Vec<Outgoing>,
    /// Of each message, its event, and whether that had a payload.
    events: Vec<(i64, bool)>,
    /// Events that are parked, and not among the messages.
    parked: Vec<i64>,
    /// Of the last batch that has events.
    mark: Option<Mark>,
    /// When the last of them was written.
    created_at: Option<Timestamp>,
    traced: Vec<Traced>,
    /// Of the last batch.
    position: Option<Position>,
}

impl Parcel {
    /// Waits for a batch unless there is one, and adds those that are there already; `false` when no more will come.
    async fn gather(
        &mut self,
        read: &mut mpsc::Receiver<Batch>,
        epoch: i32,
        most: usize,
        relay: &Relay,
        suspects: &Suspects,
    ) -> bool {
        if self.batches == 0 {
            let Some(batch) = read.recv().await else { return false };
            self.add(batch, epoch, relay, suspects);
        }
        while self.batches < most
            && let Ok(batch) = read.try_recv()
        {
            self.add(batch, epoch, relay, suspects);
        }
        true
    }

    fn add(&mut self, batch: Batch, epoch: i32, relay: &Relay, suspects: &Suspects) {
        self.batches += 1;
        self.traced.extend(relay.traces.of(&batch.events));
        self.created_at = batch.events.last().map(|event| event.created_at).or(self.created_at);
        self.parked.extend(batch.withheld_ids());
        for event in batch.events {
            if suspects.is_parked(epoch, event.id) {
                self.parked.push(event.id);
                continue;
            }
            self.events.push((event.id, event.payload.is_some()));
            self.messages.push(relay.message(event, epoch));
        }
        self.mark = batch.mark.or(self.mark.take());
        self.position = Some(batch.position);
    }

    /// Parks what the bus is known never to take, while no transaction is there that it would spoil.
    async fn sort_out(
        &mut self,
        relay: &Relay,
        transactions: &mut dyn Transactions,
        epoch: i32,
        suspects: &Suspects,
    ) -> Result<(), Error> {
        let Some(parking) = &relay.parking else { return Ok(()) };
        let refused = transactions.refusals(&self.messages).await?;
        if refused.is_empty() {
            return Ok(());
        }
        let mut refused = refused.into_iter().peekable();
        let all = std::mem::take(&mut self.messages).into_iter().zip(std::mem::take(&mut self.events));
        for (place, (message, (id, has_payload))) in all.enumerate() {
            let Some((_, error)) = refused.next_if(|(at, _)| *at == place) else {
                self.messages.push(message);
                self.events.push((id, has_payload));
                continue;
            };
            parking.park(Unpublished::new(id, has_payload, message), &error).await?;
            // Should the transaction fail, it is read again, and known.
            suspects.note_parked(epoch, id);
            self.parked.push(id);
            relay.progress.parked();
        }
        Ok(())
    }
}

/// Publishes each event of a suspect batch in a transaction of its own. The one that is refused is parked; then all
/// begins anew behind the one before it, because a transaction that failed cannot be gone on with.
async fn publish_singly(
    relay: &Relay,
    transactions: &mut dyn Transactions,
    batch: Batch,
    epoch: i32,
    suspects: &Suspects,
) -> Result<(), Error> {
    let mut parked: Vec<_> = batch.withheld_ids().collect();
    // A batch of nothing has no mark, and without a parking there are no suspects.
    let (Some(mark), Some(parking)) = (batch.mark, &relay.parking) else { return Ok(()) };
    for event in batch.events {
        let (id, created_at, has_payload) = (event.id, event.created_at, event.payload.is_some());
        if suspects.is_parked(epoch, id) {
            parked.push(id);
            continue;
        }
        let here = Mark { last: Some(id), ..mark.clone() };
        let message = relay.message(event, epoch);
        match transactions.publish(vec![message.clone()], &here).await {
            Ok(()) => {
                relay.progress.acknowledged(1, Some(created_at));
                relay.progress.published(1);
            }
            Err(error) if error.remedy() == Remedy::Park => {
                parking.park(Unpublished::new(id, has_payload, message), &error).await?;
                suspects.note_parked(epoch, id);
                relay.progress.parked();
                let what = "an event was parked; publishing goes on behind it";
                return Err(Error::new(ErrorKind::Unavailable, what).with_source(error));
            }
            Err(error) => return Err(error),
        }
    }
    transactions.publish(Vec::new(), &mark).await?;
    suspects.take();
    suspects.forget_parked(epoch, parked);
    Ok(())
}

/// Lets the source's position follow, as fast as the source takes it; of several only the last.
async fn mirror(mut positions: watch::Receiver<Option<Position>>, cursor: &dyn Cursor) -> Result<(), Error> {
    while positions.changed().await.is_ok() {
        let position = positions.borrow_and_update().clone();
        if let Some(position) = position {
            cursor.advance(&position).await?;
        }
    }
    Ok(())
}
