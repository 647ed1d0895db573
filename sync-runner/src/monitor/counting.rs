//! Rows and documents side by side, counted now and then: it takes as long as it takes.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use metrics::{counter, gauge};
use sync_core::port::Projection as _;
use sync_core::telemetry::metrics::{INDEX_DOCUMENTS, INDEX_ROWS, MONITOR_FAILED};
use tokio::time::{MissedTickBehavior, interval};

use crate::config::{Config, Index};
use crate::wire::Wire;

/// How many rows there are that should be documents, by index.
#[derive(Debug, Default)]
pub(super) struct Counting(Mutex<BTreeMap<String, u64>>);

impl Counting {
    /// As they were counted last.
    pub(super) fn rows(&self) -> BTreeMap<String, u64> {
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
        let documents = wire.sink(name, index)?.documents().await?;
        set(name, Some((rows, documents.unwrap_or_default())));
        self.lock().insert(name.to_owned(), rows);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn set(index: &str, counted: Option<(u64, u64)>) {
    let (rows, documents) = counted.map_or((f64::NAN, f64::NAN), |(rows, documents)| (rows as f64, documents as f64));
    gauge!(INDEX_ROWS.name, "index" => index.to_owned()).set(rows);
    gauge!(INDEX_DOCUMENTS.name, "index" => index.to_owned()).set(documents);
}
