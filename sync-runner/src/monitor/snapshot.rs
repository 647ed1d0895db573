//! What was seen, as JSON for the status page and for scripts.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};
use sync_core::port::{ConditionAlert, PastRun};

use super::Local;
use super::counting::Counted;
use super::history::History;
use super::observed::sync_lag;
use crate::report::{Answer, Refusal, Report};
use crate::workspaces::WorkspaceCounts;

/// Runs the page shows.
const RUNS: usize = 10;

/// All that was seen at one moment.
pub(super) struct Snapshot<'a> {
    pub(super) report: &'a Report,
    /// Long repairs, the newest first.
    pub(super) runs: &'a Answer<Vec<PastRun>>,
    /// `None` where no host is configured.
    pub(super) workspaces: Option<&'a Answer<WorkspaceCounts>>,
    pub(super) local: &'a Local,
    /// Rows that should be documents, and documents, by index.
    pub(super) counted: BTreeMap<String, Counted>,
    /// Searches of the last minute the database answered, by index.
    pub(super) fallbacks: &'a BTreeMap<String, u64>,
    pub(super) history: &'a History,
    pub(super) alerts: Vec<ConditionAlert>,
}

impl Snapshot<'_> {
    /// On one line.
    pub(super) fn to_json(&self, at: Timestamp) -> String {
        let mut told = json!(self.report);
        let rates = self.history.rates();
        told["at"] = json!(at);
        told["process"] = json!(self.local.process);
        told["outbox"]["events_per_second"] = json!(rates.events);
        for (name, rate) in &rates.indexed {
            if let Some(queue) = told["bus"].get_mut(name) {
                queue["messages_per_second"] = json!(rate);
            }
        }
        for name in self.report.indexes.keys() {
            let index = &mut told["indexes"][name];
            let searched = self.local.searched.get(name);
            index["counted"] = json!(self.counted.get(name));
            index["breaker"] = json!(searched.map(|searched| searched.search.breaker().name()));
            index["fallbacks_per_minute"] = json!(self.fallbacks.get(name).copied().unwrap_or_default());
            index["stopped_partitions"] = json!(self.stopped(name));
            index["indexed_per_second"] = json!(rates.indexed.get(name));
            index["sync_lag_seconds"] = json!(sync_lag(self.report, name).map(|lag| lag.as_secs_f64()));
        }
        told["runs"] = match self.runs {
            Answer::Said(runs) => runs.iter().take(RUNS).map(run).collect(),
            Answer::Failed { error } => refused(error),
        };
        told["workspaces"] = match self.workspaces {
            None => Value::Null,
            Some(Answer::Said(counts)) => json!(counts.states),
            Some(Answer::Failed { error }) => refused(error),
        };
        told["alerts"] = self.alerts.iter().map(alert).collect();
        told["history"] = self.history.to_json();
        told.to_string()
    }

    fn stopped(&self, index: &str) -> usize {
        let ours = self.local.indexers.iter().filter(|(name, _)| name == index);
        ours.map(|(_, indexer)| indexer.partitions_stopped().len()).sum()
    }
}

fn refused(error: &Refusal) -> Value {
    json!({ "error": error })
}

fn run(past: &PastRun) -> Value {
    let counts: Vec<_> = past.run.counts.iter().filter(|(name, _)| *name != "since").collect();
    let summary: Vec<_> =
        counts.into_iter().map(|(name, count)| format!("{} {count}", name.replace('_', " "))).collect();
    json!({
        "id": past.run.id,
        "kind": past.kind,
        "index": past.index,
        "state": past.state.name(),
        "began_at": past.run.began_at,
        "ended_at": past.ended_at,
        "summary": summary.join(", "),
    })
}

fn alert(alert: &ConditionAlert) -> Value {
    json!({
        "name": alert.name,
        "subject": alert.subject,
        "severity": alert.severity,
        "state": alert.state,
        "since": alert.since,
        "summary": alert.summary,
        "runbook": alert.runbook(),
    })
}
