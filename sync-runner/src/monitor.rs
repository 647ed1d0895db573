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
mod observed;
mod process;
mod readiness;
mod snapshot;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use sync_core::adapter::postgres::Postgres;
use sync_core::alerts::{ConditionWatch, Moment};
use sync_core::indexer::IndexerProgress;
use sync_core::port::{PastRun, Runs as _};
use tokio::sync::watch;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use self::counting::Counting;
use self::history::{Fallbacks, History};
use self::observed::observed;
pub(crate) use self::process::Process;
pub(crate) use self::readiness::Readiness;
use self::snapshot::Snapshot;
use crate::config::Config;
use crate::http::SearchedIndex;
use crate::report::{Answer, Report, Stages, in_time};
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
            counted: counting.counted(),
            fallbacks: &fallbacks,
            history,
            alerts: self.conditions.met(),
        };
        let readiness = Readiness::of(&report, &self.local, self.config, now);
        self.seen.send_replace(Seen { snapshot: snapshot.to_json(at).into(), readiness });
    }
}
