//! One membership of a group: the partitions it has, and the batches in work.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::batch::Batch;
use super::lane::{Lane, Waiting};
use super::message::{self, Message};
use super::note;
use super::parking::Parking;
use super::patience::Patience;
use super::work::{Rest, Worker};
use crate::error::{Error, ErrorKind, Remedy};
use crate::port::{Consumer, Incoming, OffsetCommit, Partition, Polled};

/// Failed polls in a row after which the membership is given up and begun anew: a consumer may be beyond recovery.
const POLLS: u32 = 20;

/// One membership of a group.
pub(super) struct Session {
    consumer: Box<dyn Consumer>,
    worker: Arc<Worker>,
    parking: Arc<Parking>,
    lanes: BTreeMap<Partition, Lane>,
    working: JoinSet<Step>,
    generation: u64,
}

/// A batch as the session knows it while others work on it.
#[derive(Clone, Debug)]
struct Begun {
    partition: Partition,
    generation: u64,
    next: i64,
    messages: u64,
    /// When the last of them was written, of those of which that was read.
    created_at: Option<Timestamp>,
}

/// A step of a batch that is done.
#[derive(Debug)]
enum Step {
    /// The index has all of it that it takes.
    Applied(Begun, Rest),
    /// The rest is done too.
    Finished(Begun),
    /// The partition is somebody else's.
    Abandoned,
}

impl Session {
    pub(super) fn new(consumer: Box<dyn Consumer>, worker: Arc<Worker>, parking: Arc<Parking>) -> Self {
        Self { consumer, worker, parking, lanes: BTreeMap::new(), working: JoinSet::new(), generation: 0 }
    }

    /// Polls and works until `shutdown`.
    pub(super) async fn index(&mut self, shutdown: &CancellationToken) -> Result<(), Error> {
        let mut failures = 0;
        loop {
            let due = self.lanes.values().filter_map(Lane::due).min();
            let is_ready = due.is_some_and(|due| due <= Instant::now());
            let permit = Arc::clone(&self.worker.permits).acquire_owned();
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                () = until(due), if !is_ready => {}
                Ok(permit) = permit, if is_ready => self.begin(permit)?,
                polled = self.consumer.poll() => match polled {
                    Ok(polled) => {
                        failures = 0;
                        self.take(polled)?;
                    }
                    Err(error)
                        if error.remedy() == Remedy::Retry && failures < POLLS && !self.consumer.is_over() =>
                    {
                        failures += 1;
                        let delay = self.worker.config.backoff.delay(failures, rand::random());
                        if failures.is_power_of_two() {
                            tracing::warn!(%error, failures, "polling again in {delay:?}");
                        }
                        tokio::select! {
                            () = shutdown.cancelled() => return Ok(()),
                            () = sleep(delay) => {}
                        }
                    }
                    Err(error) => return Err(error),
                },
                Some(step) = self.working.join_next() => self.go_on(step.map_err(unexpected)?)?,
            }
        }
    }

    /// Takes in what a poll said.
    fn take(&mut self, polled: Polled) -> Result<(), Error> {
        match polled {
            Polled::Messages(messages) => {
                let (now, time) = (Instant::now(), self.parking.clock().now());
                // Of a poll one is enough to tell how long it took.
                let created_at = messages.last().and_then(|last| message::created_at(last, Timestamp::now()));
                let last = messages.len().saturating_sub(1);
                for (place, message) in messages.into_iter().enumerate() {
                    let created_at = created_at.filter(|_| place == last);
                    self.receive(message, now, time, created_at)?;
                }
            }
            Polled::Assigned(partitions) => {
                for partition in partitions {
                    tracing::info!(%partition, "indexing");
                    self.generation += 1;
                    self.lanes.insert(partition, Lane::new(self.generation));
                }
            }
            Polled::Revoked(partitions) => {
                for partition in partitions {
                    // What is in flight may still be applied. The guard makes that harmless beside the next owner.
                    if self.lanes.remove(&partition).is_some() {
                        tracing::info!(%partition, "handed over");
                        self.worker.progress.handed_over(&partition);
                    }
                }
            }
        }
        Ok(())
    }

    fn receive(
        &mut self,
        message: Incoming,
        now: Instant,
        time: Timestamp,
        created_at: Option<Timestamp>,
    ) -> Result<(), Error> {
        let partition = message.partition.clone();
        let Some(lane) = self.lanes.get_mut(&partition) else {
            return Err(Error::new(ErrorKind::Internal, format!("a message of {partition}, which was not assigned")));
        };
        let longest = 2 * self.worker.config.retries.longest_delay();
        let traced = self.worker.traces.of(&message, time);
        let message = Message { created_at, traced, ..Message::read(&message, self.parking.followed(), time, longest) };
        lane.buffer.push_back(Waiting { due: now + message.wait, message });
        if !lane.paused && lane.buffer.len() >= 2 * self.worker.config.batch_messages {
            self.consumer.pause(&partition)?;
            lane.paused = true;
        }
        Ok(())
    }

    /// Starts the batch whose first message waits longest. It is made only now that there is a permit: while it waited,
    /// it grew.
    fn begin(&mut self, permit: OwnedSemaphorePermit) -> Result<(), Error> {
        let waiting = self.lanes.iter_mut().filter_map(|(partition, lane)| Some((lane.due()?, partition, lane)));
        let Some((_, partition, lane)) = waiting.min_by_key(|(due, ..)| *due) else { return Ok(()) };
        let limit = self.worker.config.batch_messages;
        let Some(batch) = lane.next_batch(partition, limit, Instant::now()) else { return Ok(()) };
        // In a retry topic are only those that failed before: that all of them fail says nothing.
        let is_retry = self.parking.followed().is_retry(partition);
        let suspicious = if is_retry { 0 } else { self.worker.config.suspicious };
        let Batch { next, messages, created_at, .. } = batch;
        let begun = Begun { partition: partition.clone(), generation: lane.generation, next, messages, created_at };
        let worker = Arc::clone(&self.worker);
        let work = async move { Step::Applied(begun, worker.work(batch, suspicious, permit).await) };
        self.working.spawn(unless(lane.abandoned.clone(), work));
        if lane.paused && lane.buffer.len() < limit {
            self.consumer.resume(partition)?;
            lane.paused = false;
        }
        Ok(())
    }

    /// A batch has come a step further.
    fn go_on(&mut self, step: Step) -> Result<(), Error> {
        match step {
            Step::Applied(begun, Rest { failures, unnoted }) => {
                let Some(lane) = lane_of(&mut self.lanes, &begun) else { return Ok(()) };
                lane.applying -= 1;
                if failures.is_empty() && unnoted.is_empty() {
                    return self.settle(begun);
                }
                let (worker, parking) = (Arc::clone(&self.worker), Arc::clone(&self.parking));
                let finish = async move {
                    let Worker { applier, config, progress, .. } = &*worker;
                    let patience = || Patience::new(config, progress, &begun.partition, begun.next);
                    parking.settle(failures, &begun.partition, patience(), config, progress).await;
                    note::note_later(applier.projection(), unnoted, patience()).await;
                    Step::Finished(begun)
                };
                self.working.spawn(unless(lane.abandoned.clone(), finish));
                Ok(())
            }
            Step::Finished(begun) => self.settle(begun),
            Step::Abandoned => Ok(()),
        }
    }

    /// A batch is done: commits what is safe now.
    fn settle(&mut self, begun: Begun) -> Result<(), Error> {
        let Some(lane) = lane_of(&mut self.lanes, &begun) else { return Ok(()) };
        self.worker.progress.messages(begun.messages, begun.created_at);
        let Some(next) = lane.settle.done(begun.next) else { return Ok(()) };
        match self.consumer.commit(&[OffsetCommit { partition: begun.partition, next }]) {
            Ok(()) => Ok(()),
            Err(error) if error.remedy() == Remedy::Retry => {
                // The next commit says the same and more; until then these messages may come again.
                tracing::warn!(%error, "an offset was not committed");
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Finishes the batches that were begun. What was polled and waits comes again, as does what waits for a person.
    pub(super) async fn drain(&mut self) {
        let stopped = self.worker.progress.partitions_stopped();
        for (_, lane) in self.lanes.iter().filter(|(partition, _)| stopped.contains_key(partition)) {
            lane.abandoned.cancel();
        }
        while let Some(step) = self.working.join_next().await {
            if let Err(error) = step.map_err(unexpected).and_then(|step| self.go_on(step)) {
                tracing::warn!(%error, "while shutting down; these messages will come again");
            }
        }
    }

    /// Abandons what is in work, and gives the consumer back to be closed.
    pub(super) async fn end(mut self) -> Box<dyn Consumer> {
        self.working.shutdown().await;
        for partition in self.lanes.keys() {
            self.worker.progress.handed_over(partition);
        }
        self.consumer
    }
}

/// The lane a batch is of, if the partition is still ours and was so all the time.
fn lane_of<'a>(lanes: &'a mut BTreeMap<Partition, Lane>, begun: &Begun) -> Option<&'a mut Lane> {
    lanes.get_mut(&begun.partition).filter(|lane| lane.generation == begun.generation)
}

async fn unless(abandoned: CancellationToken, work: impl Future<Output = Step>) -> Step {
    abandoned.run_until_cancelled(work).await.unwrap_or(Step::Abandoned)
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

fn unexpected(error: tokio::task::JoinError) -> Error {
    Error::new(ErrorKind::Internal, "a batch ended unexpectedly").with_source(error)
}
