//! One batch, until all of it is in the index.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

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
    pub(super) page: Page,
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

    /// Loads and applies these keys once, page by page.
    async fn attempt(&self, keys: Vec<String>) -> Attempt {
        let mut attempt = Attempt { failed: Vec::new(), error: None };
        let Ok(_permit) = self.permits.acquire().await else {
            attempt.fail(keys, Error::new(ErrorKind::Internal, "no more permits"));
            return attempt;
        };
        let mut waiting = vec![keys];
        while let Some(mut page) = waiting.pop() {
            let limit = self.page.keys();
            if page.len() > limit {
                waiting.push(page.split_off(limit));
            }
            match self.projection.load(&page).await {
                Ok(current) if current.len() == page.len() => {
                    self.page.learn(page.len(), current.iter().map(size).sum(), &self.config);
                    self.apply_page(page, current, &mut attempt).await;
                }
                Ok(current) => {
                    let error = short("projection", current.len(), page.len());
                    attempt.fail(page, error);
                }
                // One key at fault fails the statement for all of them: the others are found by halving.
                Err(error) if error.kind() == ErrorKind::Contract && page.len() > 1 => {
                    let rest = page.split_off(page.len() / 2);
                    waiting.extend([rest, page]);
                }
                Err(error) if error.remedy() == Remedy::Retry => {
                    attempt.fail(waiting.drain(..).flatten().chain(page), error);
                }
                Err(error) => attempt.fail(page, error),
            }
        }
        attempt
    }

    async fn apply_page(&self, page: Vec<String>, current: Vec<Current>, attempt: &mut Attempt) {
        let writes = current.into_iter().map(|Current { key, version, document }| Write { key, version, document });
        let applied = self.apply(writes.collect()).await;
        let failed: HashSet<&str> = applied.failed.iter().map(String::as_str).collect();
        let synced: Vec<_> = page.into_iter().filter(|key| !failed.contains(key.as_str())).collect();
        if let Err(error) = self.projection.mark_synced(&synced).await {
            // The index has these documents; applying them again finds them stale.
            attempt.fail(synced, error);
        }
        if let Some(error) = applied.error {
            attempt.fail(applied.failed, error);
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

/// How many keys to load at once, so that their documents take about as much memory as one request may.
#[derive(Debug)]
pub(super) struct Page(AtomicUsize);

/// Before anything is known of the documents' size.
const FIRST_PAGE: usize = 50;

impl Default for Page {
    fn default() -> Self {
        Self(AtomicUsize::new(FIRST_PAGE))
    }
}

impl Page {
    fn keys(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// `keys` documents took `bytes`. Grows at most to twice as many, because the next ones may be larger.
    fn learn(&self, keys: usize, bytes: usize, config: &IndexerConfig) {
        let fitting = keys.saturating_mul(config.batch_bytes) / bytes.max(1);
        let next = fitting.min(self.keys().saturating_mul(2)).clamp(1, config.batch_messages.max(1));
        self.0.store(next, Ordering::Relaxed);
    }
}

fn size(current: &Current) -> usize {
    current.key.len() + current.document.as_ref().map_or(0, String::len)
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
    fn large_documents_are_loaded_few_at_a_time_and_small_ones_many() {
        let config = IndexerConfig { batch_messages: 1_000, batch_bytes: 1_000_000, ..IndexerConfig::default() };
        let page = Page::default();
        for expected in [100, 200, 400, 800, 1_000, 1_000] {
            page.learn(page.keys(), page.keys() * 100, &config);
            assert_eq!(page.keys(), expected);
        }
        page.learn(1_000, 4_000_000_000, &config);
        assert_eq!(page.keys(), 1, "a document larger than a request is loaded alone");
        page.learn(1, 0, &config);
        assert_eq!(page.keys(), 2, "deletes take nothing");
    }

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
