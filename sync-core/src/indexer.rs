//! Bus → index: takes messages, reads the current rows of their keys, applies them under the version guard.
//!
//! ```text
//!  consumer ──messages──▶ lane (one a partition) ──batch──▶ load ──▶ apply ──▶ mark ──▶ settle ──▶ commit
//! ```
//!
//! A message only says that a key changed; what the index gets is the row as it is now, with its version. That is why
//! repeats and late messages are harmless, why only the last message of a key in a batch matters, and why batches of
//! one partition may overlap in time: only the offsets are put back in order, by [`settle`].

mod batch;
mod lane;
mod progress;
pub mod settle;
mod work;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use self::lane::Lane;
pub use self::progress::{IndexerCounts, IndexerProgress, Stopped};
use self::work::{Done, Page, Worker};
use crate::error::{Error, ErrorKind, Remedy};
use crate::policy::backoff::Backoff;
use crate::port::{Consumer, Incoming, OffsetCommit, Partition, Polled, Projection, Sink, Subscriber};

/// How long leaving the group may take at a shutdown.
const CLOSE: Duration = Duration::from_secs(4);

/// Failed polls in a row after which the membership is given up and begun anew: a consumer may be beyond recovery.
const POLLS: u32 = 20;

/// How an indexer works.
#[derive(Clone, Copy, Debug)]
pub struct IndexerConfig {
    /// Messages of one partition taken together, at most.
    pub batch_messages: usize,
    /// Bytes of documents in one request to the sink, about. A larger single document goes alone.
    pub batch_bytes: usize,
    /// Batches in work at the same time, all partitions together.
    pub in_flight: usize,
    /// Delays while a system is down or full.
    pub backoff: Backoff,
    /// Delays between tries of a partition that stopped at something a person has to mend.
    pub stopped: Backoff,
    /// How long a shutdown waits for what is in flight.
    pub drain: Duration,
}

impl Default for IndexerConfig {
    fn default() -> Self {
        Self {
            batch_messages: 1_000,
            batch_bytes: 8 << 20,
            in_flight: 4,
            backoff: Backoff { first: Duration::from_millis(100), ceiling: Duration::from_secs(5) },
            stopped: Backoff { first: Duration::from_secs(5), ceiling: Duration::from_secs(60) },
            drain: Duration::from_secs(5),
        }
    }
}

/// Keeps one index true to what one subscriber says changed.
#[derive(Debug)]
pub struct Indexer {
    subscriber: Arc<dyn Subscriber>,
    worker: Arc<Worker>,
    config: IndexerConfig,
    progress: IndexerProgress,
}

impl Indexer {
    /// An indexer that does nothing until it is run.
    #[must_use]
    pub fn new(
        subscriber: Arc<dyn Subscriber>,
        projection: Arc<dyn Projection>,
        sink: Arc<dyn Sink>,
        config: IndexerConfig,
    ) -> Self {
        let progress = IndexerProgress::default();
        let permits = Semaphore::new(config.in_flight.max(1));
        let worker =
            Arc::new(Worker { projection, sink, config, permits, page: Page::default(), progress: progress.clone() });
        Self { subscriber, worker, config, progress }
    }

    /// Counters that stay up to date while it runs.
    #[must_use]
    pub fn progress(&self) -> IndexerProgress {
        self.progress.clone()
    }

    /// Runs until `shutdown`, through outages of the bus, the database and the index.
    ///
    /// What cannot be applied stops its partition: it is reported, tried again at long intervals, and nothing behind it
    /// in that partition is passed over. Other partitions go on. On shutdown it stops polling, waits up to
    /// [`IndexerConfig::drain`] for what is in flight, commits and leaves the group. Dropping it is a crash: messages
    /// that were not committed come again.
    ///
    /// # Errors
    /// Only what a person has to mend before anything can be indexed: [`Remedy::Halt`] and [`Remedy::Park`].
    pub async fn run(&self, shutdown: CancellationToken) -> Result<(), Error> {
        let mut failures = 0;
        while !shutdown.is_cancelled() {
            let done = self.progress.counts().messages;
            let error = match self.session(&shutdown).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            if error.remedy() != Remedy::Retry {
                return Err(error);
            }
            failures = if self.progress.counts().messages > done { 1 } else { failures + 1 };
            let delay = self.config.backoff.delay(failures, rand::random());
            tracing::warn!(%error, failures, "the indexer tries again in {delay:?}");
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = sleep(delay) => {}
            }
        }
        Ok(())
    }

    /// One membership of the group.
    async fn session(&self, shutdown: &CancellationToken) -> Result<(), Error> {
        let subscribed = async {
            self.worker.sink.prepare().await?;
            self.subscriber.subscribe().await
        };
        let consumer = tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            consumer = subscribed => consumer?,
        };
        let mut session = Session {
            consumer,
            worker: Arc::clone(&self.worker),
            lanes: BTreeMap::new(),
            working: JoinSet::new(),
            generation: 0,
        };
        let outcome = session.index(shutdown).await;
        if outcome.is_ok() && timeout(self.config.drain, session.drain()).await.is_err() {
            tracing::warn!("shutting down with batches in flight; their messages will come again");
        }
        session.working.shutdown().await;
        for partition in session.lanes.keys() {
            self.progress.handed_over(partition);
        }
        match timeout(CLOSE, session.consumer.close()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "leaving the group; messages since the last commit come again"),
            Err(_) => tracing::warn!("leaving the group took too long; messages since the last commit come again"),
        }
        outcome
    }
}

/// One membership of a group: the partitions it has, and the batches in work.
struct Session {
    consumer: Box<dyn Consumer>,
    worker: Arc<Worker>,
    lanes: BTreeMap<Partition, Lane>,
    working: JoinSet<Done>,
    generation: u64,
}

impl Session {
    async fn index(&mut self, shutdown: &CancellationToken) -> Result<(), Error> {
        let mut failures = 0;
        loop {
            self.start_work()?;
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                polled = self.consumer.poll() => match polled {
                    Ok(polled) => {
                        failures = 0;
                        self.take(polled)?;
                    }
                    Err(error) if error.remedy() == Remedy::Retry && failures < POLLS => {
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
                Some(done) = self.working.join_next() => self.settle(done.map_err(|error| {
                    Error::new(ErrorKind::Internal, "a batch ended unexpectedly").with_source(error)
                })?)?,
            }
        }
    }

    /// Takes in what a poll said.
    fn take(&mut self, polled: Polled) -> Result<(), Error> {
        match polled {
            Polled::Messages(messages) => {
                for message in messages {
                    self.receive(message)?;
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

    fn receive(&mut self, message: Incoming) -> Result<(), Error> {
        let partition = message.partition.clone();
        let Some(lane) = self.lanes.get_mut(&partition) else {
            return Err(Error::new(ErrorKind::Internal, format!("a message of {partition}, which was not assigned")));
        };
        // Only the key counts. Values of any size wait nowhere: what waits is bounded by the number of messages.
        lane.buffer.push_back(Incoming { value: None, headers: Vec::new(), ..message });
        if !lane.paused && lane.buffer.len() >= 2 * self.worker.config.batch_messages {
            self.consumer.pause(&partition)?;
            lane.paused = true;
        }
        Ok(())
    }

    /// Starts a batch wherever one is waiting.
    fn start_work(&mut self) -> Result<(), Error> {
        for (partition, lane) in &mut self.lanes {
            while let Some(batch) = lane.next_batch(partition, self.worker.config.batch_messages) {
                let worker = Arc::clone(&self.worker);
                let abandoned = lane.abandoned.clone();
                let generation = lane.generation;
                self.working.spawn(async move { worker.work(batch, generation, abandoned).await });
            }
            if lane.paused && lane.buffer.len() < self.worker.config.batch_messages {
                self.consumer.resume(partition)?;
                lane.paused = false;
            }
        }
        Ok(())
    }

    /// A batch is done: commits what is safe now.
    fn settle(&mut self, done: Done) -> Result<(), Error> {
        let Some(lane) = self.lanes.get_mut(&done.partition).filter(|lane| lane.generation == done.generation) else {
            return Ok(());
        };
        let Some(next) = lane.settle.done(done.next) else {
            return Ok(());
        };
        match self.consumer.commit(&[OffsetCommit { partition: done.partition, next }]) {
            Ok(()) => Ok(()),
            Err(error) if error.remedy() == Remedy::Retry => {
                // The next commit says the same and more; until then these messages may come again.
                tracing::warn!(%error, "an offset was not committed");
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Finishes what was polled before the shutdown.
    async fn drain(&mut self) {
        while let Some(done) = self.working.join_next().await {
            let settled = match done {
                Ok(done) => self.settle(done),
                Err(error) => Err(Error::new(ErrorKind::Internal, "a batch ended unexpectedly").with_source(error)),
            };
            if let Err(error) = settled {
                tracing::warn!(%error, "while shutting down; these messages will come again");
            }
        }
    }
}
