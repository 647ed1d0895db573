//! One batch, until nothing of it waits for a system that is down.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::sleep;

use super::IndexerConfig;
use super::agreement::Agreement;
use super::batch::Batch;
use super::failure::Failure;
use super::gate::{Condition, Gate};
use super::note::note;
use super::patience::Patience;
use super::progress::IndexerProgress;
use crate::error::{Error, ErrorKind, Remedy};
use crate::policy::triage::refuses_everything;
use crate::port::{Current, Outcome, Projection, Sink, Write};

/// What every batch needs.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) projection: Arc<dyn Projection>,
    pub(super) sink: Arc<dyn Sink>,
    pub(super) config: IndexerConfig,
    pub(super) permits: Arc<Semaphore>,
    pub(super) agreement: Agreement,
    pub(super) gate: Gate,
    pub(super) page: Page,
    pub(super) progress: IndexerProgress,
}

impl Worker {
    /// Works on a batch until every key is in the index or has failed by its own fault.
    ///
    /// `suspicious` failures of a batch of which nothing is taken are no poison: it is tried again as a whole.
    pub(super) async fn work(&self, mut batch: Batch, suspicious: usize, permit: OwnedSemaphorePermit) -> Rest {
        let mut keys: Vec<_> = batch.keys.keys().cloned().collect();
        // Neighbours in the table's index and in the sink's are near each other there, too.
        keys.sort_unstable();
        let (mut failed, mut unnoted) = (Vec::new(), Vec::new());
        let mut taken = 0;
        let mut permit = Some(permit);
        let mut patience = Patience::new(&self.config, &self.progress, &batch.partition, batch.next);
        while !keys.is_empty() {
            let attempt = self.attempt(keys, permit.take()).await;
            taken += attempt.taken;
            failed.extend(attempt.failed);
            unnoted.extend(attempt.unnoted);
            keys = attempt.waiting;
            let Some(error) = attempt.error else {
                if !refuses_everything(taken, failed.len(), suspicious) {
                    break;
                }
                keys = failed.iter().map(|(key, _): &(String, Error)| key.clone()).collect();
                sleep(patience.after(&alike(std::mem::take(&mut failed)))).await;
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

    /// Loads and applies these keys once, page by page. Without a permit it waits for one.
    async fn attempt(&self, keys: Vec<String>, permit: Option<OwnedSemaphorePermit>) -> Attempt {
        let mut attempt = Attempt::default();
        let permit = match permit {
            Some(permit) => Ok(permit),
            None => Arc::clone(&self.permits).acquire_owned().await,
        };
        let Ok(_permit) = permit else {
            attempt.wait(keys, Error::new(ErrorKind::Internal, "no more permits"));
            return attempt;
        };
        if let Err(error) = self.agreement.reach(&*self.projection, &*self.sink, &self.gate).await {
            attempt.wait(keys, error);
            return attempt;
        }
        let mut waiting = vec![keys];
        while let Some(mut page) = waiting.pop() {
            let limit = self.page.keys();
            if page.len() > limit {
                waiting.push(page.split_off(limit));
            }
            match self.projection.load(&page).await {
                Ok(current) if current.len() == page.len() => {
                    let (keys, bytes) = (page.len(), current.iter().map(size).sum());
                    if self.apply_page(page, current, &mut attempt).await == Condition::Well {
                        self.page.learn(keys, bytes, &self.config);
                    }
                }
                Ok(current) => {
                    let error = short("projection", current.len(), page.len());
                    attempt.wait(page, error);
                }
                // One key at fault fails the statement for all of them: the others are found by halving.
                Err(error) if error.kind() == ErrorKind::Contract && page.len() > 1 => {
                    let rest = page.split_off(page.len() / 2);
                    waiting.extend([rest, page]);
                }
                Err(error) if error.remedy() == Remedy::Retry => {
                    // It may have taken too long because it was too many.
                    self.page.shrink();
                    if error.kind() == ErrorKind::Fenced {
                        self.agreement.doubt().await;
                    }
                    attempt.wait(waiting.drain(..).flatten().chain(page), error);
                }
                Err(error) => attempt.judge(page, error),
            }
        }
        attempt
    }

    /// Says whether the sink took it well.
    async fn apply_page(&self, page: Vec<String>, current: Vec<Current>, attempt: &mut Attempt) -> Condition {
        // A delete that is taken says nothing about the mapping.
        let deletes: HashSet<String> =
            current.iter().filter(|row| row.document.is_none()).map(|row| row.key.clone()).collect();
        let writes = current.into_iter().map(|Current { key, version, document }| Write { key, version, document });
        let (applied, condition) = self.apply(writes.collect()).await;
        let not_taken: HashSet<&str> =
            applied.waiting.iter().chain(applied.failed.iter().map(|(key, _)| key)).map(String::as_str).collect();
        let taken: Vec<_> = page.into_iter().filter(|key| !not_taken.contains(key.as_str())).collect();
        attempt.taken += taken.iter().filter(|key| !deletes.contains(*key)).count() as u64;
        match note(&*self.projection, &taken).await {
            Ok(unnoted) => attempt.unnoted.extend(unnoted),
            // The index has these documents; applying them again finds them stale.
            Err(error) => attempt.wait(taken, error),
        }
        attempt.failed.extend(applied.failed);
        if let Some(error) = applied.error {
            attempt.wait(applied.waiting, error);
        }
        condition
    }

    async fn apply(&self, writes: Vec<Write>) -> (Attempt, Condition) {
        let (mut attempt, mut worst) = (Attempt::default(), Condition::Well);
        let mut waiting = split_by_size(writes, self.config.batch_bytes);
        while let Some(mut writes) = waiting.pop() {
            let pass = self.gate.enter().await;
            let answer = self.sink.apply(&writes).await;
            let condition = condition(&answer);
            if condition == Condition::Overloaded || pass.is_late() {
                self.page.shrink();
                worst = Condition::Overloaded;
            }
            pass.leave(condition);
            match answer {
                Ok(outcomes) if outcomes.len() == writes.len() => attempt.count(&self.progress, writes, outcomes),
                Ok(outcomes) => {
                    let error = short("sink", outcomes.len(), writes.len());
                    attempt.wait(writes.into_iter().map(|write| write.key), error);
                }
                Err(error) if error.kind() == ErrorKind::TooLarge && writes.len() > 1 => {
                    let rest = writes.split_off(writes.len() / 2);
                    waiting.extend([rest, writes]);
                }
                Err(error) => attempt.judge(writes.into_iter().map(|write| write.key).collect(), error),
            }
        }
        (attempt, worst)
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

/// What became of some keys in one try.
#[derive(Default)]
struct Attempt {
    /// How many documents the index has now.
    taken: u64,
    /// By their own fault, each with its reason.
    failed: Vec<(String, Error)>,
    /// Taken, and not noted at the source.
    unnoted: Vec<String>,
    /// Not by their own fault: they are tried again in place.
    waiting: Vec<String>,
    /// Why they wait.
    error: Option<Error>,
}

impl Attempt {
    fn count(&mut self, progress: &IndexerProgress, writes: Vec<Write>, outcomes: Vec<Outcome>) {
        for (write, outcome) in writes.into_iter().zip(outcomes) {
            match outcome {
                Outcome::Applied if write.document.is_some() => progress.applied(),
                Outcome::Applied => progress.deleted(),
                Outcome::Stale => progress.stale(),
                Outcome::Failed(error) => self.judge(vec![write.key], error),
            }
        }
    }

    /// A call failed for these keys: is it the fault of the one key that was in it?
    fn judge(&mut self, mut keys: Vec<String>, error: Error) {
        match (error.remedy(), keys.pop()) {
            (Remedy::TryLater | Remedy::Park, Some(key)) if keys.is_empty() => self.failed.push((key, error)),
            (Remedy::Retry | Remedy::TryLater | Remedy::Park | Remedy::Halt, last) => {
                self.wait(keys.into_iter().chain(last), error);
            }
        }
    }

    /// Of several reasons, one that a person has to mend is kept.
    fn wait(&mut self, keys: impl IntoIterator<Item = String>, error: Error) {
        self.waiting.extend(keys);
        let graver = self.error.as_ref().is_none_or(|earlier| earlier.remedy() == Remedy::Retry);
        if graver {
            self.error = Some(error);
        }
    }
}

/// What to tell when nothing of a batch was taken.
fn alike(failed: Vec<(String, Error)>) -> Error {
    let count = failed.len();
    let first = failed.into_iter().next().map(|(key, error)| format!("key {key:?}: {error}")).unwrap_or_default();
    let what = format!(
        "all {count} keys of a batch failed, which looks like a wrong mapping or projection rather than like bad \
         documents; mend it, or set indexer.suspicious to 0 to park whatever fails. The first was {first}"
    );
    Error::new(ErrorKind::Configuration, what)
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

    /// The index was full: less at a time may pass.
    fn shrink(&self) {
        self.0.store((self.keys() / 2).max(1), Ordering::Relaxed);
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

/// Whether the sink is down or full, by what it answered.
fn condition(answer: &Result<Vec<Outcome>, Error>) -> Condition {
    let is_overload = |error: &Error| error.kind() == ErrorKind::Unavailable;
    let is_failed = |outcome: &Outcome| matches!(outcome, Outcome::Failed(error) if is_overload(error));
    let overloaded = match answer {
        Ok(outcomes) => outcomes.iter().any(is_failed),
        Err(error) => is_overload(error),
    };
    if overloaded { Condition::Overloaded } else { Condition::Well }
}

/// An adapter that leaves something out would have it passed over.
fn short(port: &str, answers: usize, asked: usize) -> Error {
    Error::new(ErrorKind::Internal, format!("the {port} gave {answers} answers for {asked} keys"))
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
