//! Rows and documents side by side, counted now and then: it takes as long as it takes.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use metrics::{counter, gauge};
use serde::Serialize;
use sync_core::port::Projection as _;
use sync_core::telemetry::metrics::{INDEX_DOCUMENTS, INDEX_ROWS, MONITOR_FAILED};
use tokio::time::{MissedTickBehavior, interval};

use crate::config::{Config, Index};
use crate::wire::Wire;

/// Rows that should be documents, and the documents there were at about the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Counted {
    rows: u64,
    documents: u64,
    at: Timestamp,
}

/// What was counted last, by index.
#[derive(Debug, Default)]
pub(super) struct Counting(Mutex<BTreeMap<String, Counted>>);

impl Counting {
    /// As it was counted last.
    pub(super) fn counted(&self) -> BTreeMap<String, Counted> {
        self.lock().clone()
    }

    /// Counts for ever, unless nobody wants it.
    pub(super) async fn run(&self, config: &Config, wire: &Wire<'_>) {
        let Some(every) = config.admin.count_interval else { return };
        let mut tick = interval(every);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            for (name, index) in &config.indexes {
                if let Err(error) = self.count(wire, name, index).await {
                    self.lock().remove(name);
                    set(name, None);
                    counter!(MONITOR_FAILED.name, "part" => "count").increment(1);
                    tracing::debug!(index = name, %error, "rows and documents are not counted now");
                }
            }
        }
    }

    /// Both at about one time: while many are written, they would seem to differ otherwise.
    async fn count(&self, wire: &Wire<'_>, name: &str, index: &Index) -> Result<(), sync_core::Error> {
        let rows = wire.projection(name, index).count().await?;
        let documents = wire.sink(name, index)?.documents().await?.unwrap_or_default();
        let counted = Counted { rows, documents, at: Timestamp::now() };
        set(name, Some(counted));
        self.lock().insert(name.to_owned(), counted);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Counted>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn set(index: &str, counted: Option<Counted>) {
    let of = |count: fn(Counted) -> u64| counted.map_or(f64::NAN, |counted| count(counted) as f64);
    gauge!(INDEX_ROWS.name, "index" => index.to_owned()).set(of(|counted| counted.rows));
    gauge!(INDEX_DOCUMENTS.name, "index" => index.to_owned()).set(of(|counted| counted.documents));
}
