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

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::{Relay, read_batches};
use crate::error::Error;
use crate::event::Outgoing;
use crate::port::{Batch, Claim, Cursor, LedgerSource, Mark, Position, Resumed, Transactor};

/// Works on one claim until it fails, or until shutdown.
pub(super) async fn session(
    relay: &Relay,
    source: &dyn LedgerSource,
    transactor: &dyn Transactor,
    shutdown: &CancellationToken,
) -> Result<(), Error> {
    let claim = tokio::select! {
        () = shutdown.cancelled() => return Ok(()),
        claim = source.claim() => claim?,
    };
    let Claim { name, cursor, unresumed } = claim;
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
        tracing::info!(epoch, "the relay holds the lease and reads, to publish exactly once");
        let (batches, mut read) = mpsc::channel::<Batch>(1);
        let (passed, mut positions) = watch::channel(Some(position));
        // Whoever published last may have died before it was mirrored, and nothing may follow for long.
        positions.mark_changed();

        let reading = read_batches(reader.as_mut(), batches, shutdown);
        let publishing = async {
            let most = relay.config.in_flight.max(1);
            let mut waiting = Parcel::default();
            while waiting.gather(&mut read, epoch, most).await {
                let parcel = std::mem::take(&mut waiting);
                let events = parcel.messages.len() as u64;
                if let Some(mark) = &parcel.mark {
                    let mut published = std::pin::pin!(transactions.publish(parcel.messages, mark));
                    // What is read meanwhile is the next transaction: the slower the bus, the more goes into one.
                    let outcome = loop {
                        tokio::select! {
                            outcome = &mut published => break outcome,
                            Some(batch) = read.recv(), if waiting.batches < most => waiting.add(batch, epoch),
                        }
                    };
                    outcome?;
                }
                passed.send_replace(parcel.position);
                relay.progress.published(events);
            }
            drop(passed);
            Ok(())
        };
        tokio::try_join!(reading, publishing, mirror(positions, cursor.as_ref())).map(|_| ())
    };
    relay.under_lease(source, cursor.as_ref(), shutdown, work).await
}

/// What one transaction stores.
#[derive(Default)]
struct Parcel {
    batches: usize,
    messages: Vec<Outgoing>,
    /// Of the last batch that has events.
    mark: Option<Mark>,
    /// Of the last batch.
    position: Option<Position>,
}

impl Parcel {
    /// Waits for a batch unless there is one, and adds those that are there already; `false` when no more will come.
    async fn gather(&mut self, read: &mut mpsc::Receiver<Batch>, epoch: i32, most: usize) -> bool {
        if self.batches == 0 {
            let Some(batch) = read.recv().await else { return false };
            self.add(batch, epoch);
        }
        while self.batches < most
            && let Ok(batch) = read.try_recv()
        {
            self.add(batch, epoch);
        }
        true
    }

    fn add(&mut self, batch: Batch, epoch: i32) {
        self.batches += 1;
        self.messages.extend(batch.events.into_iter().map(|event| event.into_message(epoch)));
        self.mark = batch.mark.or(self.mark.take());
        self.position = Some(batch.position);
    }
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
