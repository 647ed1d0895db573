//! What was seen, as metrics. What could not be asked is NaN, but for an index, which is as ill then as one can be.

use std::collections::BTreeMap;

use metrics::{counter, gauge};
use sync_core::adapter::postgres::PoolUsage;
use sync_core::alerts::Health;
use sync_core::port::{PastRun, RunKind, RunState};
use sync_core::repair::DifferenceKind;
use sync_core::telemetry::metrics::{
    BUS_LAG_MESSAGES, BUS_LAG_SECONDS, BUS_RETRY_MESSAGES, DEAD_LETTERS_COUNT, DEAD_LETTERS_OLDEST_SECONDS,
    INDEX_HEALTH, MONITOR_FAILED, Metric, OUTBOX_LAG_EVENTS, OUTBOX_LAG_SECONDS, OUTBOX_LEASE_HELD,
    OUTBOX_LEAVES_AHEAD, OUTBOX_RETAINED_BYTES, OUTBOX_RETAINED_DAYS, OUTBOX_WATCHES_FAULTY, POSTGRES_POOL_CONNECTIONS,
    POSTGRES_POOL_IDLE, POSTGRES_POOL_WAITING, RECONCILIATION_DIFFERENCES, RECONCILIATION_ENDED, RECONCILIATION_FIXED,
    RUNNER_INFO, SAGA_UNFINISHED, SYNC_LAG_SECONDS, seconds_since,
};
use sync_core::workspace::{CREATE, DELETE};

use super::Local;
use super::observed::sync_lag;
use crate::outbox::faulty_tables;
use crate::report::{Answer, Documents, Queue, Reading, Report};
use crate::workspaces::WorkspaceCounts;

/// Whose failures are counted: what a report asks, and what is asked beside it.
const PARTS: [&str; 10] =
    ["watches", "outbox", "bus", "index", "reindexes", "retained", "dead_letters", "runs", "workspaces", "count"];

/// Who this process is; and counters that are there before there is anything to count, so that the first of it is seen as
/// one more.
pub(super) fn begin(local: &Local) {
    let (version, roles) = (local.process.version, local.process.roles.join(","));
    gauge!(RUNNER_INFO.name, "version" => version, "roles" => roles).set(1.0);
    for part in PARTS {
        counter!(MONITOR_FAILED.name, "part" => part).increment(0);
    }
}

/// Sets all of them.
pub(super) fn set(
    report: &Report,
    runs: &Answer<Vec<PastRun>>,
    workspaces: Option<&Answer<WorkspaceCounts>>,
    subscription: &str,
    pool: PoolUsage,
) {
    for (stage, _) in report.refusals() {
        failed(stage);
    }
    let faulty = report.watches.said().map(|watches| faulty_tables(watches).len());
    gauge!(OUTBOX_WATCHES_FAULTY.name).set(or_nan(faulty.map(|count| count as f64)));
    outbox(report, subscription);
    for (index, answer) in &report.bus {
        bus(index, answer.said());
    }
    for (index, answer) in &report.indexes {
        health(index, answer.said());
        set_of(SYNC_LAG_SECONDS, index, sync_lag(report, index).map(|lag| lag.as_secs_f64()));
    }
    let letters = report.dead_letters.said();
    gauge!(DEAD_LETTERS_COUNT.name).set(or_nan(letters.map(|letters| letters.letters as f64)));
    let oldest = letters.map(|letters| letters.oldest.map_or(0.0, seconds_since));
    gauge!(DEAD_LETTERS_OLDEST_SECONDS.name).set(or_nan(oldest));
    leaves(report);
    match runs {
        Answer::Said(runs) => reconciliations(runs),
        Answer::Failed { .. } => failed("runs"),
    }
    if let Some(answer) = workspaces {
        if answer.refusal().is_some() {
            failed("workspaces");
        }
        for kind in [CREATE, DELETE] {
            let unfinished = answer.said().map(|said| said.unfinished.get(kind).copied().unwrap_or_default());
            gauge!(SAGA_UNFINISHED.name, "kind" => kind).set(or_nan(unfinished.map(|count| count as f64)));
        }
    }
    gauge!(POSTGRES_POOL_CONNECTIONS.name).set(pool.connections as f64);
    gauge!(POSTGRES_POOL_IDLE.name).set(pool.idle as f64);
    gauge!(POSTGRES_POOL_WAITING.name).set(pool.waiting as f64);
}

/// Before a relay has run for the first time, nobody knows how far it is behind.
fn outbox(report: &Report, subscription: &str) {
    let of = |metric: Metric, value: Option<f64>| {
        gauge!(metric.name, "subscription" => subscription.to_owned()).set(or_nan(value));
    };
    let reading = report.outbox.said().map(|outbox| outbox.reading.as_ref());
    of(OUTBOX_LAG_EVENTS, reading.flatten().map(|reading| reading.events_behind as f64));
    of(OUTBOX_LAG_SECONDS, reading.flatten().map(|reading| reading.seconds_behind));
    let is_held = |reading: &Reading| reading.place.holder.is_some();
    of(OUTBOX_LEASE_HELD, reading.map(|reading| f64::from(u8::from(reading.is_some_and(is_held)))));
}

fn bus(index: &str, queue: Option<&Queue>) {
    set_of(BUS_LAG_MESSAGES, index, queue.map(|queue| queue.messages_behind as f64));
    set_of(BUS_LAG_SECONDS, index, queue.and_then(|queue| queue.seconds_behind));
    set_of(BUS_RETRY_MESSAGES, index, queue.map(|queue| queue.waiting_for_retry as f64));
}

/// An index that cannot be asked is as ill as one can be.
fn health(index: &str, said: Option<&Documents>) {
    let health = match said.map_or(Health::Silent, |said| said.health) {
        Health::Green => Some(0.0),
        Health::Yellow => Some(1.0),
        Health::Red | Health::Silent => Some(2.0),
        Health::Untold => None,
    };
    set_of(INDEX_HEALTH, index, health);
}

fn leaves(report: &Report) {
    let leaves = report.retained.said();
    gauge!(OUTBOX_RETAINED_BYTES.name).set(or_nan(leaves.map(|leaves| leaves.retained.bytes as f64)));
    gauge!(OUTBOX_RETAINED_DAYS.name).set(or_nan(leaves.map(|leaves| leaves.retained.days as f64)));
    gauge!(OUTBOX_LEAVES_AHEAD.name).set(or_nan(leaves.map(|leaves| leaves.days_ahead as f64)));
}

/// Of each index the reconciliation that ended last, whichever process ran it.
fn reconciliations(runs: &[PastRun]) {
    let is_one = |past: &&PastRun| past.kind == RunKind::Reconcile.name() && past.state == RunState::Finished;
    let mut last: BTreeMap<&str, &PastRun> = BTreeMap::new();
    for past in runs.iter().filter(is_one) {
        last.entry(&past.index).or_insert(past);
    }
    for (index, past) in last {
        let count = |name: &str| past.run.counts.get(name).copied().unwrap_or_default() as f64;
        set_of(RECONCILIATION_FIXED, index, Some(count("fixed")));
        set_of(RECONCILIATION_ENDED, index, past.ended_at.map(|at| at.as_second() as f64));
        for kind in DifferenceKind::ALL.iter().map(|kind| kind.name()) {
            let gauge = gauge!(RECONCILIATION_DIFFERENCES.name, "index" => index.to_owned(), "kind" => kind);
            gauge.set(count(kind));
        }
    }
}

fn failed(part: &'static str) {
    counter!(MONITOR_FAILED.name, "part" => part).increment(1);
}

fn set_of(metric: Metric, index: &str, value: Option<f64>) {
    gauge!(metric.name, "index" => index.to_owned()).set(or_nan(value));
}

fn or_nan(value: Option<f64>) -> f64 {
    value.unwrap_or(f64::NAN)
}
