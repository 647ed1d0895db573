//! Looks at every stage again and again: for metrics, for people who are to be told, for the status page.
//!
//! ```text
//!  stages ──report──▶ gauges
//!                 ├─▶ conditions ─ ─ (beside the looks) ─ ─▶ people
//!                 └─▶ snapshot (with rates and history) ──▶ admin server
//! ```

mod counting;
mod gauges;
mod history;
mod readiness;
mod snapshot;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use sync_core::adapter::postgres::Postgres;
use sync_core::alerts::{ConditionWatch, Health, Moment, Observation, ObservedIndex};
use sync_core::indexer::IndexerProgress;
use sync_core::port::{PastRun, Runs as _};
use tokio::sync::watch;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use self::counting::Counting;
use self::history::{Fallbacks, History};
pub(crate) use self::readiness::Readiness;
pub(crate) use self::snapshot::Process;
use self::snapshot::Snapshot;
use crate::config::Config;
use crate::http::SearchedIndex;
use crate::report::{Answer, Documents, Report, Stages, in_time};
use crate::wire::Wire;
use crate::workspaces::{self, WorkspaceCounts};

/// Runs that are looked at; the page shows fewer.
const RUNS: usize = 200;

/// What was seen last.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// The snapshot as JSON, on one line; empty before the first look.
    pub(crate) snapshot: Arc<str>,
    /// Whether this process can do its work.
    pub(crate) readiness: Readiness,
}

/// What of this process is looked at beside the stages.
#[derive(Debug)]
pub(crate) struct Local {
    /// Who it is.
    pub(crate) process: Process,
    /// The connections its roles work with.
    pub(crate) working: Postgres,
    /// Of its indexers, by index.
    pub(crate) indexers: Vec<(String, IndexerProgress)>,
    /// The indexes it searches.
    pub(crate) searched: Arc<BTreeMap<String, SearchedIndex>>,
}

/// Looks at the stages.
#[derive(Debug)]
pub(crate) struct Monitor<'a> {
    config: &'a Config,
    wire: &'a Wire<'a>,
    stages: Stages<'a>,
    local: Local,
    conditions: ConditionWatch,
    /// What spans are measured from.
    began: Instant,
    seen: watch::Sender<Seen>,
}

impl<'a> Monitor<'a> {
    /// Has not looked yet.
    ///
    /// # Errors
    /// `Configuration` when a setting can be seen to be wrong without connecting.
    pub(crate) fn new(config: &'a Config, wire: &'a Wire<'a>, local: Local) -> Result<Self, sync_core::Error> {
        let (stages, conditions) = (Stages::new(config, wire)?, wire.conditions()?);
        Ok(Self {
            config,
            wire,
            stages,
            local,
            conditions,
            began: Instant::now(),
            seen: watch::Sender::new(Seen::default()),
        })
    }

    /// What is seen from now on.
    pub(crate) fn seen(&self) -> watch::Receiver<Seen> {
        self.seen.subscribe()
    }

    /// Looks until `shutdown`.
    pub(crate) async fn run(self, shutdown: &CancellationToken) {
        gauges::begin(&self.local);
        let (config, wire) = (self.config, self.wire);
        let counting = Counting::default();
        let work =
            async { tokio::join!(self.look_again_and_again(&counting), counting.run(config, wire), self.tell()) };
        shutdown.run_until_cancelled(work).await;
    }

    fn moment(&self) -> Moment {
        Moment { at: Timestamp::now(), elapsed: self.began.elapsed() }
    }

    fn beat(&self) -> Interval {
        let mut beat = interval(self.config.admin.interval);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        beat
    }

    async fn look_again_and_again(&self, counting: &Counting) {
        let mut beat = self.beat();
        let (mut history, mut fallbacks) = (History::default(), Fallbacks::default());
        loop {
            beat.tick().await;
            self.look(&mut history, &mut fallbacks, counting).await;
        }
    }

    /// Whoever is told may take long to answer, and holds up no look.
    async fn tell(&self) {
        let mut beat = self.beat();
        loop {
            beat.tick().await;
            self.conditions.tell(self.moment()).await;
        }
    }

    /// The last long repairs, the newest first.
    async fn runs(&self) -> Result<Vec<PastRun>, sync_core::Error> {
        self.wire.runs().list(None, RUNS).await
    }

    /// `None` where no host is configured.
    async fn workspaces(&self) -> Option<Answer<WorkspaceCounts>> {
        if self.config.workspaces.hosts.is_empty() {
            return None;
        }
        Some(in_time(workspaces::count(self.wire)).await)
    }

    async fn look(&self, history: &mut History, fallbacks: &mut Fallbacks, counting: &Counting) {
        let (report, runs, workspaces) =
            tokio::join!(Report::ask(&self.stages), in_time(self.runs()), self.workspaces());
        let (now, at) = (Instant::now(), Timestamp::now());
        let counts = self.local.searched.iter().map(|(name, index)| (name.as_str(), index.search.fallbacks()));
        let fallbacks = fallbacks.in_last_minute(now, counts.collect());
        gauges::set(&report, &runs, workspaces.as_ref(), &self.config.relay.subscription, self.local.working.usage());
        self.conditions.observe(&observed(&report, &fallbacks), self.moment());
        history.push(&report, now, at);
        let snapshot = Snapshot {
            report: &report,
            runs: &runs,
            workspaces: workspaces.as_ref(),
            local: &self.local,
            rows: counting.rows(),
            fallbacks: &fallbacks,
            history,
            alerts: self.conditions.met(),
        };
        let readiness = Readiness::of(&report, &self.local, self.config, now);
        self.seen.send_replace(Seen { snapshot: snapshot.to_json(at).into(), readiness });
    }
}

/// What the conditions are judged by.
fn observed(report: &Report, fallbacks: &BTreeMap<String, u64>) -> Observation {
    let index = |(name, answer): (&String, &Answer<Documents>)| {
        let health = match answer {
            Answer::Said(said) => said.health,
            Answer::Failed { .. } => Health::Silent,
        };
        let consumer_lag = report.bus.get(name).and_then(|queue| Some(queue.said()?.messages_behind));
        let observed = ObservedIndex {
            health: Some(health),
            sync_lag: sync_lag(report, name),
            consumer_lag,
            fallbacks_per_minute: fallbacks.get(name).map(|count| *count as f64),
        };
        (name.clone(), observed)
    };
    Observation {
        indexes: report.indexes.iter().map(index).collect(),
        dead_letters: report.dead_letters.said().map(|letters| letters.letters),
    }
}

/// Age of the oldest change that is not in this index, as far as it is known where it may wait; `None` when nothing is.
fn sync_lag(report: &Report, index: &str) -> Option<Duration> {
    let outbox = report.outbox.said().and_then(|outbox| Some(outbox.reading.as_ref()?.seconds_behind));
    let bus = report.bus.get(index).and_then(|queue| queue.said()?.seconds_behind);
    let oldest = [outbox, bus].into_iter().flatten().reduce(f64::max)?;
    Duration::try_from_secs_f64(oldest).ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::outbox::Subscription;
    use crate::report::{Leaves, Letters, Outbox, Queue, Reading};

    async fn away<T>() -> Answer<T> {
        in_time(async { Err(sync_core::Error::new(sync_core::ErrorKind::Unavailable, "away")) }).await
    }

    async fn report(outbox: Option<f64>, bus: Option<f64>) -> Report {
        let place = Subscription { holder: None, term: 1, position: "1:1:".to_owned(), mirrored: false };
        let outbox = match outbox {
            Some(seconds_behind) => Answer::Said(Outbox {
                subscription: "main".to_owned(),
                reading: Some(Reading { events_behind: 1, seconds_behind, place }),
                last_event: None,
            }),
            None => away().await,
        };
        let queue = match bus {
            Some(seconds) => Answer::Said(Queue {
                topic: "jobs".to_owned(),
                messages_behind: 1,
                seconds_behind: Some(seconds),
                waiting_for_retry: 0,
                partitions: Vec::new(),
            }),
            None => away().await,
        };
        Report {
            outbox,
            bus: [("jobs".to_owned(), queue)].into(),
            indexes: BTreeMap::new(),
            reindexes: Answer::Said(BTreeMap::new()),
            retained: Answer::Said(Leaves::default()),
            dead_letters: Answer::Said(Letters { letters: 0, oldest: None }),
        }
    }

    #[tokio::test]
    async fn a_change_waits_for_as_long_as_is_known_also_while_a_stage_cannot_be_asked() {
        for (outbox, bus, lag) in [
            (Some(3.0), Some(400.0), Some(400)),
            (Some(400.0), None, Some(400)),
            (None, Some(7.0), Some(7)),
            (None, None, None),
        ] {
            let known = sync_lag(&report(outbox, bus).await, "jobs").map(|lag| lag.as_secs());
            assert_eq!(known, lag, "{outbox:?} {bus:?}");
        }
    }
}
