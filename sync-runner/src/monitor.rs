//! Looks at every stage again and again: for metrics, for people who are to be told, for the status page.
//!
//! ```text
//!  stages ──report──▶ gauges
//!                 ├─▶ conditions ──▶ people
//!                 └─▶ snapshot (with rates and history) ──▶ admin server
//! ```

mod counting;
mod gauges;
mod history;
mod past;
mod readiness;
mod snapshot;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use sync_core::alerts::ConditionWatch;
use sync_core::alerts::conditions::{Observation, ObservedIndex};
use sync_core::indexer::IndexerProgress;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use self::counting::Counting;
use self::history::{Fallbacks, History};
use self::past::Past;
pub(crate) use self::readiness::Readiness;
pub(crate) use self::snapshot::Process;
use crate::config::Config;
use crate::http::SearchedIndex;
use crate::report::{Report, Told};
use crate::wire::Wire;

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
    local: Local,
    conditions: ConditionWatch,
    seen: watch::Sender<Seen>,
}

impl<'a> Monitor<'a> {
    /// Has not looked yet.
    ///
    /// # Errors
    /// `Configuration` when a setting can be seen to be wrong without connecting.
    pub(crate) fn new(config: &'a Config, wire: &'a Wire<'a>, local: Local) -> Result<Self, sync_core::Error> {
        let conditions = wire.conditions()?;
        Ok(Self { config, wire, local, conditions, seen: watch::Sender::new(Seen::default()) })
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
        let looking = shutdown.run_until_cancelled(self.look_again_and_again(&counting));
        tokio::join!(looking, shutdown.run_until_cancelled(counting.run(config, wire)));
    }

    async fn look_again_and_again(mut self, counting: &Counting) {
        let mut tick = interval(self.config.admin.interval);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut history, mut fallbacks) = (History::default(), Fallbacks::default());
        loop {
            tick.tick().await;
            self.look(&mut history, &mut fallbacks, counting).await;
        }
    }

    async fn look(&mut self, history: &mut History, fallbacks: &mut Fallbacks, counting: &Counting) {
        let (report, past) = tokio::join!(Report::ask(self.config, self.wire), Past::ask(self.config, self.wire));
        let (now, at) = (Instant::now(), Timestamp::now());
        let counts = self.local.searched.iter().map(|(name, index)| (name.as_str(), index.search.fallbacks()));
        let fallbacks = fallbacks.in_last_minute(now, counts.collect());
        gauges::set(&report, &past, self.wire.database().usage());
        self.conditions.observe(&observed(&report, &fallbacks), at).await;
        history.push(&report, now, at);
        let told = snapshot::Told {
            report: &report,
            past: &past,
            local: &self.local,
            rows: counting.rows(),
            fallbacks: &fallbacks,
            history,
            alerts: self.conditions.met(),
        };
        let readiness = Readiness::of(&report, &self.local, self.config, now);
        self.seen.send_replace(Seen { snapshot: told.to_json(at).into(), readiness });
    }
}

/// What the conditions are judged by.
fn observed(report: &Report, fallbacks: &BTreeMap<String, u64>) -> Observation {
    let index = |(name, told): (&String, &Told<crate::report::Documents>)| {
        let health = match told {
            Told::Said(said) => said.health.clone(),
            Told::Failed { .. } => Some("not answering".to_owned()),
        };
        let consumer_lag = report.bus.get(name).and_then(|queue| Some(queue.said()?.messages_behind));
        let observed = ObservedIndex {
            health,
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

/// Age of the oldest change that is not in this index, wherever it waits; `None` when a stage cannot be asked.
fn sync_lag(report: &Report, index: &str) -> Option<Duration> {
    let outbox = report.outbox.said()?.reading.as_ref().map_or(0.0, |reading| reading.seconds_behind);
    let bus = match report.bus.get(index) {
        Some(queue) => queue.said()?.seconds_behind,
        None => 0.0,
    };
    Duration::try_from_secs_f64(outbox.max(bus)).ok()
}
