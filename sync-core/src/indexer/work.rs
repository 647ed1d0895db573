//! One batch, until all of it is in the index.

use std::collections::HashSet;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::IndexerConfig;
use super::batch::Batch;
use super::progress::IndexerProgress;
use crate::error::{Error, ErrorKind, Remedy};
use crate::port::{Current, Outcome, Partition, Projection, Sink, Write};

/// What every batch needs.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) projection: Arc<dyn Projection>,
    pub(super) sink: Arc<dyn Sink>,
    pub(super) config: IndexerConfig,
    pub(super) permits: Semaphore,
    pub(super) progress: IndexerProgress,
}

/// A batch that is done, or was abandoned.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) partition: Partition,
    pub(super) generation: u64,
    pub(super) next: i64,
}

impl Worker {
    /// Works on a batch until nothing of it is left, or until the partition is somebody else's.
    pub(super) async fn work(&self, batch: Batch, generation: u64, abandoned: CancellationToken) -> Done {
        let done = Done { partition: batch.partition.clone(), generation, next: batch.next };
        tokio::select! {
            () = abandoned.cancelled() => {}
            () = self.until_applied(batch) => {}
        }
        done
    }

    async fn until_applied(&self, batch: Batch) {
        let mut keys = batch.keys;
        let mut poison = batch.poison;
        // An outage of hours does not make a person's mend wait a minute longer.
        let (mut outages, mut stops): (u32, u32) = (0, 0);
        loop {
            let attempt = match poison.take() {
                Some(error) => Attempt { failed: Vec::new(), error: Some(error) },
                None => self.attempt(std::mem::take(&mut keys)).await,
            };
            let Some(error) = attempt.error else {
                self.progress.messages(batch.messages);
                if outages > 0 || stops > 0 {
                    tracing::info!(partition = %batch.partition, "going on");
                    self.progress.going(&batch.partition, batch.next);
                }
                return;
            };
            let delay = match error.remedy() {
                Remedy::Retry => {
                    outages = outages.saturating_add(1);
                    let delay = self.config.backoff.delay(outages, rand::random());
                    // An outage of hours is told a dozen times, not thousands.
                    if outages.is_power_of_two() {
                        tracing::warn!(partition = %batch.partition, %error, outages, "waiting {delay:?}");
                    }
                    self.progress.going(&batch.partition, batch.next);
                    delay
                }
                Remedy::Park | Remedy::Halt => {
                    stops = stops.saturating_add(1);
                    let delay = self.config.stopped.delay(stops, rand::random());
                    tracing::error!(
                        partition = %batch.partition, %error,
                        "this partition stopped; nothing is lost, it is tried again in {delay:?}"
                    );
                    self.progress.stopped(&batch.partition, batch.next, &error);
                    delay
                }
            };
            keys = attempt.failed;
            if keys.is_empty() {
                poison = Some(error);
            }
            sleep(delay).await;
        }
    }

    /// Loads and applies these keys once.
    async fn attempt(&self, keys: Vec<String>) -> Attempt {
        let Ok(_permit) = self.permits.acquire().await else {
            return Attempt { failed: keys, error: Some(Error::new(ErrorKind::Internal, "no more permits")) };
        };
        let current = match self.projection.load(&keys).await {
            Ok(current) if current.len() == keys.len() => current,
            Ok(current) => {
                return Attempt { error: Some(short("projection", current.len(), keys.len())), failed: keys };
            }
            Err(error) => return Attempt { failed: keys, error: Some(error) },
        };
        let writes = current.into_iter().map(|Current { key, version, document }| Write { key, version, document });
        let attempt = self.apply(writes.collect()).await;
        let failed: HashSet<&str> = attempt.failed.iter().map(String::as_str).collect();
        let synced: Vec<_> = keys.iter().filter(|key| !failed.contains(key.as_str())).cloned().collect();
        match self.projection.mark_synced(&synced).await {
            Ok(()) => attempt,
            Err(error) => {
                // The index has these documents; applying them again finds them stale.
                let mut attempt = attempt;
                attempt.fail(synced, error);
                attempt
            }
        }
    }

    async fn apply(&self, writes: Vec<Write>) -> Attempt {
        let mut attempt = Attempt { failed: Vec::new(), error: None };
        let mut waiting = split_by_size(writes, self.config.batch_bytes);
        while let Some(mut writes) = waiting.pop() {
            match self.sink.apply(&writes).await {
                Ok(outcomes) if outcomes.len() == writes.len() => attempt.count(&self.progress, writes, outcomes),
                Ok(outcomes) => {
                    let error = short("sink", outcomes.len(), writes.len());
                    attempt.fail(writes.into_iter().map(|write| write.key), error);
                }
                Err(error) if error.kind() == ErrorKind::TooLarge && writes.len() > 1 => {
                    let rest = writes.split_off(writes.len() / 2);
                    waiting.extend([rest, writes]);
                }
                Err(error) => attempt.fail(writes.into_iter().map(|write| write.key), error),
            }
        }
        attempt
    }
}

/// What is left of a batch after one try, and why.
struct Attempt {
    failed: Vec<String>,
    error: Option<Error>,
}

impl Attempt {
    fn count(&mut self, progress: &IndexerProgress, writes: Vec<Write>, outcomes: Vec<Outcome>) {
        for (write, outcome) in writes.into_iter().zip(outcomes) {
            match outcome {
                Outcome::Applied if write.document.is_some() => progress.applied(),
                Outcome::Applied => progress.deleted(),
                Outcome::Stale => progress.stale(),
                Outcome::Failed(error) => self.fail([write.key], error),
            }
        }
    }

    /// What a person has to mend is what the batch is said to have failed with.
    fn fail(&mut self, keys: impl IntoIterator<Item = String>, error: Error) {
        self.failed.extend(keys);
        let graver = self.error.as_ref().is_none_or(|earlier| earlier.remedy() == Remedy::Retry);
        if graver {
            self.error = Some(error);
        }
    }
}

/// An adapter that leaves something out would have it passed over.
fn short(port: &str, answers: usize, asked: usize) -> Error {
    Error::new(ErrorKind::Contract, format!("the {port} gave {answers} answers for {asked} keys"))
}

/// Requests of about `bytes` of documents each, in order, the first one last.
fn split_by_size(writes: Vec<Write>, bytes: usize) -> Vec<Vec<Write>> {
    let mut requests: Vec<Vec<Write>> = Vec::new();
    let mut room = 0;
    for write in writes {
        let size = write.key.len() + write.document.as_ref().map_or(0, String::len);
        match requests.last_mut() {
            Some(request) if size <= room => request.push(write),
            _ => {
                requests.push(vec![write]);
                room = bytes;
            }
        }
        room = room.saturating_sub(size);
    }
    requests.reverse();
    requests
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::version::Version;

    #[test]
    fn requests_are_cut_by_size_and_a_large_document_goes_alone() {
        let write = |key: &str, size: usize| Write {
            key: key.to_owned(),
            version: Version::default(),
            document: Some("x".repeat(size)),
        };
        let requests = split_by_size(vec![write("a", 40), write("b", 40), write("c", 500), write("d", 10)], 100);
        let keys: Vec<Vec<_>> =
            requests.iter().rev().map(|request| request.iter().map(|write| write.key.as_str()).collect()).collect();
        assert_eq!(keys, [vec!["a", "b"], vec!["c"], vec!["d"]]);
    }
}
