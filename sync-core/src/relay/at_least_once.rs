//! Messages first, then the position: a crash in between repeats events.
//!
//! ```text
//!  open ──▶ reader ──batches──▶ publisher ──acknowledgements──▶ cursor
//! ```

use futures::FutureExt;
use futures::future::try_join_all;
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::lease::{opened_or_given_back, under_lease};
use super::parking::{Parking, Unpublished};
use super::suspects::Suspects;
use super::traces::Traced;
use super::{Relay, read_batches};
use crate::error::{Error, Remedy};
use crate::event::Event;
use crate::port::{Acknowledgement, Batch, Feed, Position, Publisher, Source};

/// A batch on the bus, and what is done once it is acknowledged.
struct InFlight {
    acknowledgement: Acknowledgement,
    events: u64,
    /// When the last of them was written.
    created_at: Option<Timestamp>,
    traced: Vec<Traced>,
    /// Events that were withheld, and are parked.
    parked: Vec<i64>,
    position: Position,
}

/// Works on one feed until it fails, or until shutdown. The next suspects are published event by event.
pub(super) async fn session(
    relay: &Relay,
    source: &dyn Source,
    publisher: &dyn Publisher,
    shutdown: &CancellationToken,
    suspects: &Suspects,
) -> Result<(), Error> {
    let opened = opened_or_given_back(source.open(), |feed| feed.cursor, shutdown).await?;
    let Some(Feed { mut reader, cursor, epoch }) = opened else { return Ok(()) };
    let _active = relay.progress.active();
    tracing::info!(epoch, "the relay holds the lease and reads");
    let (batches, mut read) = mpsc::channel::<Batch>(1);
    let (sent, mut in_flight) = mpsc::channel::<InFlight>(relay.config.in_flight.max(1));

    let reading = read_batches(relay, epoch, reader.as_mut(), batches, suspects, shutdown);
    let publishing = async {
        while let Some(batch) = read.recv().await {
            let created_at = batch.events.last().map(|event| event.created_at);
            let parked = batch.withheld_ids().collect();
            let mut traced = relay.traces.of(&batch.events);
            let (acknowledgement, events) = match &relay.parking {
                Some(parking) if suspects.take() => {
                    // Some of them may be parked.
                    traced.clear();
                    publish_singly(relay, publisher, batch.events, epoch, parking).await?
                }
                Some(_) | None => {
                    let messages: Vec<_> = batch.events.into_iter().map(|event| relay.message(event, epoch)).collect();
                    let events = messages.len() as u64;
                    (publisher.publish(messages).await?, events)
                }
            };
            let message = InFlight { acknowledgement, events, created_at, traced, parked, position: batch.position };
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
            relay.progress.acknowledged(batch.events, batch.created_at);
            relay.traces.published(batch.traced);
            cursor.advance(&batch.position).await?;
            relay.progress.published(batch.events);
            suspects.forget_parked(epoch, batch.parked);
        }
        Ok(())
    };
    // Reading ends at shutdown, which closes the first channel, then the second: the others end by themselves.
    let work = async { tokio::try_join!(reading, publishing, recording).map(|_| ()) };
    under_lease(relay, source, cursor.as_ref(), shutdown, work).await
}

/// Publishes each event on its own, in order; those that are refused are parked. Says how many others there are.
async fn publish_singly(
    relay: &Relay,
    publisher: &dyn Publisher,
    events: Vec<Event>,
    epoch: i32,
    parking: &Parking,
) -> Result<(Acknowledgement, u64), Error> {
    let mut acknowledgements = Vec::with_capacity(events.len());
    for event in events {
        let (id, has_payload) = (event.id, event.payload.is_some());
        let message = relay.message(event, epoch);
        match publisher.publish(vec![message.clone()]).await {
            Ok(acknowledgement) => acknowledgements.push(acknowledgement),
            Err(error) if error.remedy() == Remedy::Park => {
                parking.park(Unpublished::new(id, has_payload, message), &error).await?;
                relay.progress.parked();
            }
            Err(error) => return Err(error),
        }
    }
    let published = acknowledgements.len() as u64;
    Ok((try_join_all(acknowledgements).map(|stored| stored.map(drop)).boxed(), published))
}
