//! Rows → index: what the indexer and repair share.
//!
//! The current rows of keys, loaded or read by a scan, are applied under the version guard once index and database
//! agree on the history. One try at a time: what waits for a system that is down is told apart from what failed by its
//! own fault, and the caller decides what becomes of both.

mod agreement;
mod attempt;
mod gate;
mod note;
mod page;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use self::agreement::Agreement;
pub(crate) use self::attempt::{Attempt, Written, alike};
use self::gate::{Condition, Gate};
pub(crate) use self::note::note;
use self::page::{Page, split_by_size};
use crate::error::{Error, ErrorKind, Remedy};
use crate::policy::BreakerConfig;
use crate::port::{Current, Outcome, Projection, Sink, Write};

/// Rows read longer ago are not written any more: a key deleted since may have been forgotten by the index, whose memory
/// of deletes lasts an hour unless it is told otherwise.
const FRESH: Duration = Duration::from_secs(5 * 60);

/// How much is done at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ApplierConfig {
    /// Keys loaded at once, at most.
    pub(crate) page_keys: usize,
    /// Bytes of documents in one request to the sink, about. A larger single document goes alone.
    pub(crate) batch_bytes: usize,
    /// Requests to the sink under way, at most; fewer while it is full or slow.
    pub(crate) in_flight: usize,
    /// When the sink is taken to be down, and is only asked now and then.
    pub(crate) breaker: BreakerConfig,
}

/// Rows as they were when they were read.
#[derive(Clone, Debug)]
pub(crate) struct Scanned {
    pub(crate) rows: Vec<Current>,
    read_at: Instant,
}

/// Puts rows into one index. Shared by all that work on it.
#[derive(Debug)]
pub(crate) struct Applier {
    projection: Arc<dyn Projection>,
    sink: Arc<dyn Sink>,
    config: ApplierConfig,
    agreement: Agreement,
    gate: Gate,
    page: Page,
}

impl Applier {
    pub(crate) fn new(projection: Arc<dyn Projection>, sink: Arc<dyn Sink>, config: ApplierConfig) -> Self {
        let gate = Gate::new(config.in_flight, config.breaker);
        Self { projection, sink, config, agreement: Agreement::default(), gate, page: Page::default() }
    }

    /// Where the rows are.
    pub(crate) fn projection(&self) -> &dyn Projection {
        &*self.projection
    }

    /// The index.
    pub(crate) fn sink(&self) -> &dyn Sink {
        &*self.sink
    }

    /// Reads from the database once index and database agree on the history.
    ///
    /// # Errors
    /// Those of reading, and those of agreeing on the history.
    pub(crate) async fn read<T>(&self, reading: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        self.agreement.reach(&*self.projection, &*self.sink, &self.gate).await?;
        match reading.await {
            Ok(read) => Ok(read),
            Err(error) => Err(self.unread(error).await),
        }
    }

    /// The documents after this key, as many as fit together and no more than `limit`; and whether these are the last.
    ///
    /// # Errors
    /// As for [`read`](Self::read).
    pub(crate) async fn scan(&self, after: Option<&str>, limit: usize) -> Result<(Scanned, bool), Error> {
        let limit = self.page.keys().min(limit).max(1);
        let reading = async {
            let read_at = Instant::now();
            self.projection.scan(after, limit).await.map(|rows| Scanned { rows, read_at })
        };
        let scanned = self.read(reading).await?;
        let is_last = scanned.rows.len() < limit;
        Ok((scanned, is_last))
    }

    /// Applies rows that were read by [`scan`](Self::scan), once.
    pub(crate) async fn apply_scanned(&self, Scanned { rows, read_at }: Scanned) -> Attempt {
        let mut attempt = Attempt::default();
        self.apply_page(rows, read_at, &mut attempt).await;
        attempt
    }

    /// Loads and applies these keys once, page by page.
    pub(crate) async fn load_and_apply(&self, keys: Vec<String>) -> Attempt {
        let mut attempt = Attempt::default();
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
            let read_at = Instant::now();
            match self.projection.load(&page).await {
                Ok(current) if current.len() == page.len() => self.apply_page(current, read_at, &mut attempt).await,
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
                    let error = self.unread(error).await;
                    attempt.wait(waiting.drain(..).flatten().chain(page), error);
                }
                Err(error) => attempt.judge(page, error),
            }
        }
        attempt
    }

    /// What reading says about the next time.
    async fn unread(&self, error: Error) -> Error {
        if error.remedy() == Remedy::Retry {
            // It may have taken too long because it was too many.
            self.page.shrink();
        }
        if error.kind() == ErrorKind::Fenced {
            self.agreement.doubt().await;
        }
        error
    }

    async fn apply_page(&self, rows: Vec<Current>, read_at: Instant, attempt: &mut Attempt) {
        let (keys, bytes) = (rows.len(), rows.iter().map(size).sum());
        let page: Vec<_> = rows.iter().map(|row| row.key.clone()).collect();
        // A delete that is taken says nothing about the mapping.
        let deletes: HashSet<String> =
            rows.iter().filter(|row| row.document.is_none()).map(|row| row.key.clone()).collect();
        let writes = rows.into_iter().map(|Current { key, version, document }| Write { key, version, document });
        let (applied, condition) = self.apply(writes.collect(), read_at).await;
        if condition == Condition::Well {
            self.page.learn(keys, bytes, &self.config);
        }
        let not_taken: HashSet<&str> =
            applied.waiting.iter().chain(applied.failed.iter().map(|(key, _)| key)).map(String::as_str).collect();
        let taken: Vec<_> = page.into_iter().filter(|key| !not_taken.contains(key.as_str())).collect();
        attempt.taken += taken.iter().filter(|key| !deletes.contains(*key)).count() as u64;
        match note(&*self.projection, &taken).await {
            Ok(unnoted) => attempt.unnoted.extend(unnoted),
            // The index has these documents; applying them again finds them stale.
            Err(error) => attempt.wait(taken, error),
        }
        attempt.add(applied);
    }

    async fn apply(&self, writes: Vec<Write>, read_at: Instant) -> (Attempt, Condition) {
        let (mut attempt, mut worst) = (Attempt::default(), Condition::Well);
        let mut waiting = split_by_size(writes, self.config.batch_bytes);
        while let Some(mut writes) = waiting.pop() {
            let pass = self.gate.enter().await;
            if let Some(error) = self.outdated(read_at) {
                attempt.wait(waiting.drain(..).flatten().chain(writes).map(|write| write.key), error);
                break;
            }
            let answer = self.sink.apply(&writes).await;
            let condition = condition(&answer);
            if condition == Condition::Overloaded || pass.is_late() {
                self.page.shrink();
                worst = Condition::Overloaded;
            }
            pass.leave(condition);
            match answer {
                Ok(outcomes) if outcomes.len() == writes.len() => attempt.count(writes, outcomes),
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

impl Applier {
    /// Why rows that were read then are not written any more.
    fn outdated(&self, read_at: Instant) -> Option<Error> {
        if read_at.elapsed() > FRESH {
            let what = "rows that waited long for the index are read again";
            return Some(Error::new(ErrorKind::Unavailable, what));
        }
        let has_moved = self.sink.moved_at().is_some_and(|moved_at| read_at <= moved_at);
        has_moved.then(|| {
            Error::new(ErrorKind::Blocked, "rows that were read before another index took its place are read again")
        })
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

#[cfg(feature = "testkit")]
#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;
    use tokio::time::sleep;

    use super::*;
    use crate::adapter::memory::{MemoryDatabase, MemorySink};
    use crate::port::{History, Stored};
    use crate::testkit::faults::{Fault, Faulty, Hold, Script};

    #[tokio::test(start_paused = true)]
    async fn rows_that_waited_long_for_the_index_are_not_written_as_they_were() {
        let (database, script, hold) = (MemoryDatabase::default(), Script::default(), Hold::default());
        let mut transaction = database.begin("jobs");
        transaction.put("a", "{}");
        transaction.commit();
        script.then([Fault::Hold(hold.clone())]);
        let config =
            ApplierConfig { page_keys: 10, batch_bytes: 1_000, in_flight: 1, breaker: BreakerConfig::default() };
        let applier = Applier::new(Arc::new(database), Arc::new(Faulty::new(MemorySink::new(), script)), config);
        let scanned = applier.scan(None, 10).await.unwrap().0;
        // The one request that may be under way is held up for an hour; the other waits behind it.
        let late = async {
            hold.reached().await;
            tokio::join!(applier.apply_scanned(scanned.clone()), async {
                sleep(Duration::from_secs(3_600)).await;
                hold.release();
            })
            .0
        };
        let (first, late) = tokio::join!(applier.apply_scanned(scanned.clone()), late);
        assert_eq!((first.written.applied, late.written, late.waiting), (1, Written::default(), vec!["a".to_owned()]));
        assert_eq!(applier.load_and_apply(vec!["a".to_owned()]).await.written.stale, 1, "read again");
    }

    /// An index whose place another one takes.
    #[derive(Debug)]
    struct Moving(MemorySink, Mutex<Option<Instant>>);

    #[async_trait]
    impl Sink for Moving {
        async fn prepare(&self) -> Result<(), Error> {
            self.0.prepare().await
        }

        async fn apply(&self, writes: &[Write]) -> Result<Vec<Outcome>, Error> {
            self.0.apply(writes).await
        }

        async fn fetch(&self, keys: &[String]) -> Result<Vec<Option<Stored>>, Error> {
            self.0.fetch(keys).await
        }

        async fn history(&self) -> Result<Option<History>, Error> {
            self.0.history().await
        }

        async fn record(&self, history: &History) -> Result<(), Error> {
            self.0.record(history).await
        }

        fn moved_at(&self) -> Option<Instant> {
            *self.1.lock().unwrap()
        }

        async fn count(&self) -> Result<u64, Error> {
            self.0.count().await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn rows_that_were_read_before_another_index_took_the_place_are_read_again_by_whoever_has_them() {
        let database = MemoryDatabase::default();
        let mut transaction = database.begin("jobs");
        transaction.put("a", "{}");
        transaction.commit();
        let config =
            ApplierConfig { page_keys: 10, batch_bytes: 1_000, in_flight: 1, breaker: BreakerConfig::default() };
        let sink = Arc::new(Moving(MemorySink::new(), Mutex::default()));
        let applier = Applier::new(Arc::new(database), Arc::<Moving>::clone(&sink), config);
        let scanned = applier.scan(None, 10).await.unwrap().0;
        sleep(Duration::from_millis(1)).await;
        *sink.1.lock().unwrap() = Some(Instant::now());
        // Whoever has them may have been held up in between.
        sleep(Duration::from_millis(1)).await;
        let attempt = applier.apply_scanned(scanned).await;
        assert_eq!((attempt.waiting, sink.count().await.unwrap()), (vec!["a".to_owned()], 0));
        sleep(Duration::from_millis(1)).await;
        assert_eq!(applier.load_and_apply(vec!["a".to_owned()]).await.written.applied, 1);
    }
}
