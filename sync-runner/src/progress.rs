//! A line in the log now and then, when something moved: how much was done, and how much is left.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use sync_core::indexer::{IndexerCounts, IndexerProgress};
use sync_core::port::{Source, Subscriber};
use sync_core::relay::{RelayCounts, RelayProgress};
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use tokio_util::sync::CancellationToken;

use crate::http::SearchedIndex;

/// How often to look.
const EVERY: Duration = Duration::from_secs(10);

/// How long counting what is left may take; it is left out of the line otherwise.
const PATIENCE: Duration = Duration::from_secs(3);

/// The counters of this process's roles, and whom to ask what is left.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// Of the relay, where it runs here.
    pub(crate) relay: Option<(RelayProgress, Arc<dyn Source>)>,
    /// Of the indexers, each with its index, where they run here.
    pub(crate) indexers: Vec<(String, IndexerProgress, Arc<dyn Subscriber>)>,
    /// The indexes that are searched here.
    pub(crate) searched: Arc<BTreeMap<String, SearchedIndex>>,
}

/// What was done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    relayed: RelayCounts,
    indexed: IndexerCounts,
}

impl Counts {
    fn since(mut self, earlier: Self) -> Self {
        self.relayed.published -= earlier.relayed.published;
        self.relayed.parked -= earlier.relayed.parked;
        self.indexed.messages -= earlier.indexed.messages;
        self.indexed.applied -= earlier.indexed.applied;
        self.indexed.deleted -= earlier.indexed.deleted;
        self.indexed.stale -= earlier.indexed.stale;
        self.indexed.retried -= earlier.indexed.retried;
        self.indexed.parked -= earlier.indexed.parked;
        self
    }
}

impl Progress {
    /// Reports until `shutdown`.
    pub(crate) async fn report(&self, shutdown: &CancellationToken) {
        let mut tick = interval_at(Instant::now() + EVERY, EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last = (Instant::now(), self.counts());
        while shutdown.run_until_cancelled(tick.tick()).await.is_some() {
            let (now, counts) = (Instant::now(), self.counts());
            let done = counts.since(last.1);
            if done != Counts::default() {
                let seconds = now.duration_since(last.0).as_secs_f64().max(f64::MIN_POSITIVE);
                let per_second = |count: u64| (count as f64 / seconds).round() as u64;
                tracing::info!(
                    published_per_second = per_second(done.relayed.published),
                    applied_per_second = per_second(done.indexed.applied + done.indexed.deleted),
                    stale = done.indexed.stale,
                    retried = done.indexed.retried,
                    parked = done.relayed.parked + done.indexed.parked,
                    events_behind = self.events_behind().await,
                    messages_behind = self.messages_behind().await,
                    "progress"
                );
            }
            last = (now, counts);
        }
    }

    fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        if let Some((relay, _)) = &self.relay {
            counts.relayed = relay.counts();
        }
        for (_, indexer, _) in &self.indexers {
            let one = indexer.counts();
            let all = &mut counts.indexed;
            all.messages += one.messages;
            all.applied += one.applied;
            all.deleted += one.deleted;
            all.stale += one.stale;
            all.retried += one.retried;
            all.parked += one.parked;
        }
        counts
    }

    /// Events in the outbox that are not published. `None` where that is not this process's work, and while the
    /// database does not answer, which its role tells.
    async fn events_behind(&self) -> Option<u64> {
        let (_, source) = self.relay.as_ref()?;
        timeout(PATIENCE, source.lag()).await.ok()?.ok().map(|lag| lag.events)
    }

    /// Messages on the bus that are not indexed, all indexes together; `None` as above.
    async fn messages_behind(&self) -> Option<u64> {
        let mut behind = None;
        for (_, _, subscriber) in &self.indexers {
            let lag = timeout(PATIENCE, subscriber.lag()).await.ok()?.ok()?;
            *behind.get_or_insert(0) += lag.iter().map(|partition| partition.behind).sum::<u64>();
        }
        behind
    }
}
