//! One batch, until nothing of it waits for a system that is down.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::sleep;

use super::IndexerConfig;
use super::batch::Batch;
use super::failure::Failure;
use super::patience::Patience;
use super::progress::IndexerProgress;
use super::traces::Traces;
use crate::applier::{Applier, Attempt, alike};
use crate::error::{Error, ErrorKind};
use crate::policy::triage::{Triage, triage};
use crate::telemetry::trace;

/// What every batch needs. Clones share everything that counts or limits.
#[derive(Clone, Debug)]
pub(super) struct Worker {
    pub(super) applier: Arc<Applier>,
    pub(super) config: IndexerConfig,
    pub(super) permits: Arc<Semaphore>,
    pub(super) progress: IndexerProgress,
    pub(super) traces: Traces,
}

impl Worker {
    /// Works on a batch until every key is in the index or has failed by its own fault.
    ///
    /// `suspicious` failures of a batch of which nothing is taken are no poison: it is tried again as a whole.
    pub(super) async fn work(&self, mut batch: Batch, suspicious: usize, permit: OwnedSemaphorePermit) -> Rest {
        let (traced, partition) = (std::mem::take(&mut batch.traced), batch.partition.clone());
        // A request is done for many; it bears the name of the first.
        let context = traced.first().map(|traced| traced.context);
        let rest = trace::within(context, self.work_on(batch, suspicious, permit)).await;
        self.traces.worked_on(self.progress.index(), &partition.topic, traced, &rest.failures);
        rest
    }

    async fn work_on(&self, mut batch: Batch, suspicious: usize, permit: OwnedSemaphorePermit) -> Rest {
        let mut keys: Vec<_> = batch.keys.keys().cloned().collect();
        // Neighbours in the table's index and in the sink's are near each other there, too.
        keys.sort_unstable();
        self.progress.begun(keys.len());
        let (mut failed, mut unnoted) = (Vec::new(), Vec::new());
        let (mut taken, mut was_everything, mut is_second_look) = (0, false, false);
        let mut permit = Some(permit);
        let mut patience = Patience::new(&self.config, &self.progress, &batch.partition, batch.next);
        while !keys.is_empty() {
            let attempt = self.attempt(keys, permit.take()).await;
            taken += attempt.taken;
            failed.extend(attempt.failed);
            unnoted.extend(attempt.unnoted);
            keys = attempt.waiting;
            let Some(error) = attempt.error else {
                let verdict = triage(taken, failed.len(), suspicious, was_everything, is_second_look);
                if verdict == Triage::Poison {
                    break;
                }
                let again = std::mem::take(&mut failed);
                if verdict == Triage::Everything {
                    was_everything = true;
                    sleep(patience.after(&alike(&again))).await;
                } else {
                    is_second_look = true;
                }
                keys = again.into_iter().map(|(key, _): (String, Error)| key).collect();
                continue;
            };
            sleep(patience.after(&error)).await;
        }
        patience.over();
        let failed = failed.into_iter().filter_map(|(key, error)| {
            let provenance = batch.keys.remove(&key)?;
            Some(Failure { key: Some(key), provenance, error, shown: None })
        });
        Rest { failures: batch.poison.into_iter().chain(failed).collect(), unnoted }
    }

    /// Loads and applies these keys once. Without a permit it waits for one.
    async fn attempt(&self, keys: Vec<String>, permit: Option<OwnedSemaphorePermit>) -> Attempt {
        let permit = match permit {
            Some(permit) => Ok(permit),
            None => Arc::clone(&self.permits).acquire_owned().await,
        };
        let Ok(_permit) = permit else {
            let error = Some(Error::new(ErrorKind::Internal, "no more permits"));
            return Attempt { waiting: keys, error, ..Attempt::default() };
        };
        let attempt = self.applier.load_and_apply(keys).await;
        self.progress.written(attempt.written);
        attempt
    }
}

/// What is left to do of a batch that was worked on.
#[derive(Debug, Default)]
pub(super) struct Rest {
    /// What was not taken, by its own fault.
    pub(super) failures: Vec<Failure>,
    /// Keys that are in the index and could not be noted as such, because somebody held their rows.
    pub(super) unnoted: Vec<String>,
}
