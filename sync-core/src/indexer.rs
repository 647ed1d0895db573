//! Bus → index: takes messages, reads the current rows of their keys, applies them under the version guard.
//!
//! ```text
//!  consumer ──messages──▶ lane (one a partition) ──batch──▶ load ──▶ apply ──▶ note ──▶ settle ──▶ commit
//!                                                                       │        │          ▲
//!                                                                       └──▶ parking, notes ┘
//! ```
//!
//! A message only says that a key changed; what the index gets is the row as it is now, with its version. That is why
//! repeats and late messages are harmless, why only the last message of a key in a batch matters, and why batches of
//! one partition may overlap in time: only the offsets are put back in order, by `settle`. It is also why what
//! failed may be tried again later, out of order, from a retry topic.
//!
//! While a system is down a batch waits in place, and no try is counted. What fails by its own fault goes to
//! [`Parking`], and the rest of its batch is not held up.

mod batch;
mod builder;
mod failure;
mod lane;
mod message;
mod note;
mod parking;
mod patience;
mod progress;
mod session;
#[cfg_attr(not(feature = "testkit"), expect(unreachable_pub, reason = "only the suites reach it from outside"))]
mod settle;
mod traces;
mod work;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

pub use self::builder::IndexerBuilder;
pub use self::parking::Parking;
pub use self::progress::{IndexerCounts, IndexerProgress, Stopped};
use self::session::Session;
#[cfg(feature = "testkit")]
pub use self::settle::Settle;
use self::work::Worker;
use crate::error::{Error, Remedy};
use crate::policy::Backoff;
use crate::policy::BreakerConfig;
use crate::policy::RetryPolicy;
use crate::port::{Projection, Sink, Subscriber};

/// How long leaving the group may take at a shutdown.
const CLOSE: Duration = Duration::from_secs(4);

/// How an indexer works.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct IndexerConfig {
    /// Messages of one partition taken together, at most; 4,000 unless said.
    pub batch_messages: usize,
    /// Bytes of documents in one request to the sink, about; 8 MiB unless said. A larger single document goes alone.
    pub batch_bytes: usize,
    /// Batches in work at the same time, all partitions together; 4 unless said. While the sink is full or slow, fewer of
    /// them are sent to it at a time.
    pub in_flight: usize,
    /// When the sink is taken to be down, and is only asked now and then; [`BreakerConfig::default`] with an `open_for` of
    /// 2 seconds unless said. A breaker put in its place brings its own `open_for`;
    /// `config.breaker(config.breaker.window(20))` keeps this one.
    pub breaker: BreakerConfig,
    /// Delays while a system is down or full; from 100 milliseconds to 5 seconds unless said.
    pub backoff: Backoff,
    /// Delays between tries of a partition that stopped at something a person has to mend; from 5 to 60 seconds unless
    /// said.
    pub stopped: Backoff,
    /// Tries of a message that fails for a reason nobody knows; [`RetryPolicy::default`] unless said.
    pub retries: RetryPolicy,
    /// When that many keys of a batch or more fail and none is taken, nothing is parked: the partition stops until a person
    /// has seen to the mapping or the projection; 10 unless said. Zero: whatever fails is parked.
    pub suspicious: usize,
    /// How long a shutdown waits for what is in flight; 5 seconds unless said.
    pub drain: Duration,
}

impl Default for IndexerConfig {
    fn default() -> Self {
        Self {
            batch_messages: 4_000,
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

setters! {
    IndexerConfig {
        batch_messages: usize,
        batch_bytes: usize,
        in_flight: usize,
        breaker: BreakerConfig,
        backoff: Backoff,
        stopped: Backoff,
        retries: RetryPolicy,
        suspicious: usize,
        drain: Duration,
    }
}

/// Keeps one index true to what one subscriber says changed.
#[derive(Debug)]
pub struct Indexer {
    subscriber: Arc<dyn Subscriber>,
    worker: Worker,
    parking: Arc<Parking>,
    config: IndexerConfig,
    progress: IndexerProgress,
}

impl Indexer {
    /// Reads the messages of `subscriber`, and has the rows they are about be in the index. What it cannot apply goes to
    /// `parking`; messages that wait for another try are in topics of their own, each of which wants an indexer too.
    pub fn builder(
        subscriber: Arc<dyn Subscriber>,
        projection: Arc<dyn Projection>,
        sink: Arc<dyn Sink>,
        parking: Parking,
    ) -> IndexerBuilder {
        IndexerBuilder { subscriber, projection, sink, parking, config: IndexerConfig::default(), tracer: None }
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
            let error = match self.one_membership(&shutdown).await {
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

    /// Joins the group, works and leaves it.
    async fn one_membership(&self, shutdown: &CancellationToken) -> Result<(), Error> {
        let subscribed = async {
            self.worker.applier.sink().prepare().await?;
            self.subscriber.subscribe().await
        };
        let consumer = tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            consumer = subscribed => consumer?,
        };
        let mut session = Session::new(consumer, Arc::new(self.worker.clone()), Arc::clone(&self.parking));
        let outcome = session.index(shutdown).await;
        if outcome.is_ok() && timeout(self.config.drain, session.drain()).await.is_err() {
            tracing::warn!("shutting down with batches in flight; their messages will come again");
        }
        match timeout(CLOSE, session.end().await.close()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "leaving the group; messages since the last commit come again"),
            Err(_) => tracing::warn!("leaving the group took too long; messages since the last commit come again"),
        }
        outcome
    }
}
