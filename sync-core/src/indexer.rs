//! Bus → index: takes messages, reads the current rows of their keys, applies them under the version guard.
//!
//! ```text
//!  consumer ──messages──▶ lane (one a partition) ──batch──▶ load ──▶ apply ──▶ mark ──▶ settle ──▶ commit
//!                                                                       │                ▲
//!                                                                       └──▶ parking ────┘
//! ```
//!
//! A message only says that a key changed; what the index gets is the row as it is now, with its version. That is why
//! repeats and late messages are harmless, why only the last message of a key in a batch matters, and why batches of
//! one partition may overlap in time: only the offsets are put back in order, by [`settle`]. It is also why what
//! failed may be tried again later, out of order, from a retry topic.
//!
//! While a system is down a batch waits in place, and no try is counted. What fails by its own fault goes to
//! [`Parking`], and the rest of its batch is not held up.

mod agreement;
mod batch;
mod failure;
mod gate;
mod lane;
mod message;
mod parking;
mod patience;
mod progress;
pub mod settle;
mod work;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use self::agreement::Agreement;
use self::batch::Batch;
use self::failure::Failure;
use self::gate::Gate;
use self::lane::{Lane, Waiting};
use self::message::Message;
pub use self::parking::Parking;
pub use self::progress::{IndexerCounts, IndexerProgress, Stopped};
use self::work::{Page, Worker};
use crate::error::{Error, ErrorKind, Remedy};
use crate::policy::backoff::Backoff;
use crate::policy::breaker::BreakerConfig;
use crate::policy::retries::RetryPolicy;
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
    /// Batches in work at the same time, all partitions together. While the sink is full or slow, fewer of them are
    /// sent to it at a time.
    pub in_flight: usize,
    /// When the sink is taken to be down, and is only asked now and then.
    pub breaker: BreakerConfig,
    /// Delays while a system is down or full.
    pub backoff: Backoff,
    /// Delays between tries of a partition that stopped at something a person has to mend.
    pub stopped: Backoff,
    /// Tries of a message that fails for a reason nobody knows.
    pub retries: RetryPolicy,
    /// When that many keys of a batch or more fail and none is taken, nothing is parked: the partition stops until a
    /// person has seen to the mapping or the projection. Zero: whatever fails is parked.
    pub suspicious: usize,
    /// How long a shutdown waits for what is in flight.
    pub drain: Duration,
}

impl Default for IndexerConfig {
    fn default() -> Self {
        Self {
            batch_messages: 1_000,
            batch_bytes: 8 << 20,
            in_flight: 4,
            breaker: BreakerConfig { open_for: Duration::from_secs(2), ..BreakerConfig::default() },
            backoff: Backoff { first: Duration::from_millis(100), ceiling: Duration::from_secs(5) },
            stopped: Backoff { first: Duration::from_secs(5), ceiling: Duration::from_secs(60) },
            retries: RetryPolicy::default(),
            suspicious: 10,
            drain: Duration::from_secs(5),
        }
    }
}

/// Keeps one index true to what one subscriber says changed.
#[derive(Debug)]
pub struct Indexer {
    subscriber: Arc<dyn Subscriber>,
    worker: Arc<Worker>,
    parking: Arc<Parking>,
    config: IndexerConfig,
    progress: IndexerProgress,
}

impl Indexer {
    /// An indexer that does nothing until it is run. What it cannot apply goes to `parking`; messages that wait for
    /// another try are in topics of their own, each of which wants an indexer too.
    #[must_use]
    pub fn new(
        subscriber: Arc<dyn Subscriber>,
        projection: Arc<dyn Projection>,
        sink: Arc<dyn Sink>,
        parking: Parking,
        config: IndexerConfig,
    ) -> Self {
        let progress = IndexerProgress::default();
        let worker = Arc::new(Worker {
            projection,
            sink,
            config,
            permits: Semaphore::new(config.in_flight.max(1)),
            agreement: Agreement::default(),
            gate: Gate::new(config.in_flight, config.breaker),
            page: Page::default(),
            progress: progress.clone(),
        });
        Self { subscriber, worker, parking: Arc::new(parking), config, progress }
    }

    /// Counters that stay up to date while it runs.
    #[must_use]
    pub fn progress(&self) -> IndexerProgress {
        self.progress.clone()
    }

    /// Runs until `shutdown`, through outages of the bus, the database and the index.
    ///
    /// A message that fails by its own fault is tried again later or parked, and holds up nothing. Where a person has
    /// to mend something, the partition stops: that is reported, tried again at long intervals, and nothing behind it
    /// in that partition is passed over. Other partitions go on. On shutdown it stops polling, waits up to
    /// [`IndexerConfig::drain`] for what is in flight, commits and leaves the group. Dropping it is a crash: messages
    /// that were not committed come again.
    ///
    /// # Errors
    /// Only what a person has to mend before anything can be indexed: anything but [`Remedy::Retry`].
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
            parking: Arc::clone(&self.parking),
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
}

/// A step of a batch that is done.
#[derive(Debug)]
enum Step {
    /// The index has all of it, but for these.
    Applied(Begun, Vec<Failure>),
    /// Everything is in the index or in the parking.
    Parked(Begun),
    /// The partition is somebody else's.
    Abandoned,
}

impl Session {
    async fn index(&mut self, shutdown: &CancellationToken) -> Result<(), Error> {
        let mut failures = 0;
        loop {
            self.start_work()?;
            let due = self.lanes.values().filter_map(Lane::due).min();
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                () = until(due) => {}
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
                Some(step) = self.working.join_next() => self.go_on(step.map_err(unexpected)?)?,
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
        let longest = 2 * self.worker.config.retries.longest_delay();
        let message = Message::read(&message, self.parking.reader(), self.parking.clock().now(), longest);
        lane.buffer.push_back(Waiting { due: Instant::now() + message.wait, message });
        if !lane.paused && lane.buffer.len() >= 2 * self.worker.config.batch_messages {
            self.consumer.pause(&partition)?;
            lane.paused = true;
        }
        Ok(())
    }

    /// Starts a batch wherever one is waiting.
    fn start_work(&mut self) -> Result<(), Error> {
        let now = Instant::now();
        for (partition, lane) in &mut self.lanes {
            while let Some(batch) = lane.next_batch(partition, self.worker.config.batch_messages, now) {
                let Batch { next, messages, .. } = batch;
                let begun = Begun { partition: partition.clone(), generation: lane.generation, next, messages };
                let worker = Arc::clone(&self.worker);
                let work = async move { Step::Applied(begun, worker.work(batch).await) };
                self.working.spawn(unless(lane.abandoned.clone(), work));
            }
            if lane.paused && lane.buffer.len() < self.worker.config.batch_messages {
                self.consumer.resume(partition)?;
                lane.paused = false;
            }
        }
        Ok(())
    }

    /// A batch has come a step further.
    fn go_on(&mut self, step: Step) -> Result<(), Error> {
        match step {
            Step::Applied(begun, failures) => {
                let Some(lane) = lane_of(&mut self.lanes, &begun) else { return Ok(()) };
                lane.applying -= 1;
                if failures.is_empty() {
                    return self.settle(begun);
                }
                let (worker, parking) = (Arc::clone(&self.worker), Arc::clone(&self.parking));
                let park = async move {
                    let Begun { partition, next, .. } = &begun;
                    parking.settle(failures, partition, *next, &worker.config, &worker.progress).await;
                    Step::Parked(begun)
                };
                self.working.spawn(unless(lane.abandoned.clone(), park));
                Ok(())
            }
            Step::Parked(begun) => self.settle(begun),
            Step::Abandoned => Ok(()),
        }
    }

    /// A batch is done: commits what is safe now.
    fn settle(&mut self, begun: Begun) -> Result<(), Error> {
        let Some(lane) = lane_of(&mut self.lanes, &begun) else { return Ok(()) };
        self.worker.progress.messages(begun.messages);
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

    /// Finishes what was polled before the shutdown.
    async fn drain(&mut self) {
        while let Some(step) = self.working.join_next().await {
            if let Err(error) = step.map_err(unexpected).and_then(|step| self.go_on(step)) {
                tracing::warn!(%error, "while shutting down; these messages will come again");
            }
        }
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
