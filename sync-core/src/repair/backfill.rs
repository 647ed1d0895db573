//! Every row of the projection into the index, through the same guard as live changes.
//!
//! ```text
//!  scan in the order of keys ──page──▶ apply ──in order──▶ record how far
//! ```
//!
//! Live changes go on meanwhile: of the row that was scanned and the change, the newer version stays. A row behind the
//! scan that is written later has an event of its own.

mod page;
mod progress;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use tokio_util::sync::CancellationToken;

use self::page::{Done, Page};
pub use self::progress::{BackfillCounts, BackfillProgress};
use super::mender::{Ended, Mender, Patience, RepairOf};
use super::pace::Pace;
use super::recording::{finish, record, release, ticks};
use crate::applier::{Applier, ApplierConfig};
use crate::error::{Error, Remedy};
use crate::policy::Backoff;
use crate::policy::BreakerConfig;
use crate::port::{Clock, DeadLetters, Projection, Run, RunKind, Runs, Sink};

/// How a backfill works.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct BackfillConfig {
    /// Rows read at once, at most; 4,000 unless said.
    pub page_keys: usize,
    /// Bytes of documents in one request to the sink, about; 8 MiB unless said. A larger single document goes alone.
    pub batch_bytes: usize,
    /// Pages in work at the same time; 4 unless said.
    pub in_flight: usize,
    /// Rows read in a second, at most; `None` unless said, which is as fast as it goes.
    pub per_second: Option<NonZeroU32>,
    /// When the sink is taken to be down, and is only asked now and then; [`BreakerConfig::default`] with an `open_for` of
    /// 2 seconds unless said. A breaker put in its place brings its own `open_for`;
    /// `config.breaker(config.breaker.window(20))` keeps this one.
    pub breaker: BreakerConfig,
    /// Delays while a system is down or full, and while another process holds the run; from 100 milliseconds to 5 seconds
    /// unless said.
    pub backoff: Backoff,
    /// When that many keys of a page or more fail and none is taken, nothing is parked and the backfill ends; 10 unless
    /// said. Zero: whatever fails is parked.
    pub suspicious: usize,
}

impl Default for BackfillConfig {
    fn default() -> Self {
        Self {
            page_keys: 4_000,
            batch_bytes: 8 << 20,
            in_flight: 4,
            per_second: None,
            breaker: BreakerConfig { open_for: Duration::from_secs(2), ..BreakerConfig::default() },
            backoff: Backoff { first: Duration::from_millis(100), ceiling: Duration::from_secs(5) },
            suspicious: 10,
        }
    }
}

setters! {
    BackfillConfig {
        page_keys: usize,
        batch_bytes: usize,
        in_flight: usize,
        per_second: Option<NonZeroU32>,
        breaker: BreakerConfig,
        backoff: Backoff,
        suspicious: usize,
    }
}

/// How a backfill ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackfillEnd {
    /// Every row that there was when it was passed is in the index, or parked.
    Finished,
    /// It was told to stop; the next one goes on from there.
    Stopped,
}

/// Puts every row of a projection into its index.
#[derive(Debug)]
pub struct Backfill {
    mender: Mender,
    runs: Arc<dyn Runs>,
    config: BackfillConfig,
    progress: BackfillProgress,
}

impl Backfill {
    /// A backfill that does nothing until it is run. Documents the index does not take go to `letters`.
    #[must_use]
    pub fn new(
        of: RepairOf,
        projection: Arc<dyn Projection>,
        sink: Arc<dyn Sink>,
        runs: Arc<dyn Runs>,
        letters: Arc<dyn DeadLetters>,
        clock: Arc<dyn Clock>,
        config: BackfillConfig,
    ) -> Self {
        let BackfillConfig { page_keys, batch_bytes, in_flight, breaker, backoff, suspicious, per_second: _ } = config;
        let applier = Applier::new(projection, sink, ApplierConfig { page_keys, batch_bytes, in_flight, breaker });
        let progress = BackfillProgress::default();
        let patience = Patience { index: of.index.clone(), backoff, waiting: progress.waiting.clone() };
        let mender = Mender { of, applier, letters, clock, suspicious, patience };
        Self { mender, runs, config, progress }
    }

    /// Counters that stay up to date while it runs.
    #[must_use]
    pub fn progress(&self) -> BackfillProgress {
        self.progress.clone()
    }

    /// Goes through all rows, from where the last unfinished backfill of this index was, and through outages of the
    /// database and the index. While another process works on it, it waits.
    ///
    /// On `shutdown` it ends what is in flight and records where it is. Dropping it is a crash: the next one does again
    /// what was not recorded, which the guard makes harmless.
    ///
    /// # Errors
    /// What a person has to mend, as the ports say; `Configuration` also when a whole page is refused; `Fenced` when
    /// another process has taken the run. The next one goes on from there.
    pub async fn run(&self, shutdown: CancellationToken) -> Result<BackfillEnd, Error> {
        match self.begin_and_pass(&shutdown).await {
            Ok(()) => Ok(BackfillEnd::Finished),
            Err(Ended::Stopped) => Ok(BackfillEnd::Stopped),
            Err(Ended::Failed(error)) => Err(error),
        }
    }

    async fn begin_and_pass(&self, shutdown: &CancellationToken) -> Result<(), Ended> {
        let Mender { of, applier, .. } = &self.mender;
        self.mender.patiently(shutdown, || applier.sink().prepare()).await?;
        let begin = || self.runs.begin(RunKind::Backfill, &of.index);
        let mut run = self.mender.patiently(shutdown, begin).await?;
        self.progress.begin(&run, applier.projection().estimate().await);
        let passed = self.pages(&mut run, shutdown).await;
        if passed.is_err() {
            self.let_go(&run).await;
        }
        passed?;
        self.mender.patiently(shutdown, || finish(&*self.runs, &run, &of.index)).await
    }

    /// Passes all pages behind the run's place.
    async fn pages(&self, run: &mut Run, shutdown: &CancellationToken) -> Result<(), Ended> {
        let mut done = self.done(run.after.clone(), shutdown);
        let mut ticks = ticks();
        loop {
            tokio::select! {
                biased;
                _ = ticks.tick() => {
                    record(&*self.runs, run, shutdown).await?;
                    // The next one is due a while after this one, however long it took.
                    ticks.reset();
                }
                done = done.next() => {
                    let Some(done) = done.transpose()? else { return Ok(()) };
                    self.progress.add(&done);
                    run.after = Some(done.last);
                    run.counts = self.progress.counts().into();
                }
            }
        }
    }

    /// The pages behind `after`, applied in order, several at a time. Boxed here, where the compiler sees what it borrows:
    /// inside an async function it could not tell that it may be sent.
    fn done<'a>(
        &'a self,
        after: Option<String>,
        shutdown: &'a CancellationToken,
    ) -> BoxStream<'a, Result<Done, Ended>> {
        let scan = Scan { after, pace: Pace::new(self.config.per_second), is_over: false };
        let pages = stream::unfold(scan, move |mut scan| async move {
            if scan.is_over {
                return None;
            }
            let page = self.page(&mut scan, shutdown).await;
            scan.is_over |= page.is_err();
            page.transpose().map(|page| (page, scan))
        });
        let apply = move |page: Result<Page, Ended>| async move { self.finish(page?, shutdown).await };
        pages.map(apply).buffered(self.config.in_flight.max(1)).boxed()
    }

    /// The next page; `None` when there is none.
    async fn page(&self, scan: &mut Scan, shutdown: &CancellationToken) -> Result<Option<Page>, Ended> {
        shutdown.run_until_cancelled(scan.pace.wait()).await.ok_or(Ended::Stopped)?;
        let limit = scan.pace.at_once(self.config.page_keys);
        let read = || self.read(scan.after.as_deref(), limit);
        let (page, is_last) = self.mender.patiently(shutdown, read).await?;
        scan.is_over = is_last;
        scan.pace.spend(page.len());
        scan.after = page.last().map(str::to_owned);
        Ok(scan.after.is_some().then_some(page))
    }

    /// Reads a page with its documents. Where one row makes that fail, only its keys: they are loaded in smaller and
    /// smaller parts, until it is alone.
    async fn read(&self, after: Option<&str>, limit: usize) -> Result<(Page, bool), Error> {
        let applier = &self.mender.applier;
        match applier.scan(after, limit).await {
            Ok((scanned, is_last)) => Ok((Page::Rows(scanned), is_last)),
            Err(error) if error.remedy() == Remedy::Park => {
                let keys = applier.projection().keys(after, limit).await?;
                let is_last = keys.len() < limit;
                Ok((Page::Keys(keys), is_last))
            }
            Err(error) => Err(error),
        }
    }

    async fn let_go(&self, run: &Run) {
        if let Err(error) = release(&*self.runs, run).await {
            tracing::warn!(index = self.mender.of.index, %error, "where the backfill was is not recorded; a part is done again");
        }
    }
}

/// Where the scan is.
struct Scan {
    after: Option<String>,
    pace: Pace,
    is_over: bool,
}

#[cfg(feature = "testkit")]
#[cfg(test)]
mod tests;
