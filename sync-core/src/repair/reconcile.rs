//! Finds where index and database differ, and puts it right, while live changes go on.
//!
//! ```text
//!  keys of the database ──page──▶ versions there and in the index ──differ?──▶ confirm ──▶ set apart ──▶ mend ──▶ verify
//!  keys of the index    ──page──▶ any without a row? ─────────────────────────────┘
//! ```
//!
//! Only what differs is looked at a second time, so a comparison costs two cheap reads a key. What is on its way, and
//! what waits as a dead letter for a person, is told apart and left alone.

mod confirm;
mod known_keys;
mod limit;
mod mend;
mod page;
mod progress;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use self::known_keys::KnownKeys;
use self::limit::Limit;
use self::page::Page;
pub use self::progress::{ReconcileCounts, ReconcileProgress};
use super::mender::{Ended, Mender, Patience, RepairOf, answered, is_over};
use super::pace::Pace;
use super::recording::{finish, record, release, ticks};
use crate::applier::{Applier, ApplierConfig};
use crate::error::{Error, Remedy};
use crate::policy::Backoff;
use crate::policy::BreakerConfig;
use crate::port::{Changed, Clock, DeadLetters, Inventory, InventoryCursor, Run, RunKind, Runs, Versions};

/// How a reconciliation works.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct ReconcileConfig {
    /// Keys compared at once; 4,000 unless said.
    pub page_keys: usize,
    /// Pages in work at the same time; 4 unless said.
    pub in_flight: usize,
    /// Bytes of documents in one request to the sink, about, where something is put right; 8 MiB unless said.
    pub batch_bytes: usize,
    /// Keys compared in a second, at most; `None` unless said, which is as fast as it goes.
    pub per_second: Option<NonZeroU32>,
    /// A key that changed less long ago may still be on its way, and is no difference yet; 60 seconds unless said.
    pub grace: Duration,
    /// Of so many keys, about one has its document compared too; 100 unless said. Zero: none has.
    pub sample: u32,
    /// When the sink is taken to be down, and is only asked now and then; [`BreakerConfig::default`] with an `open_for` of
    /// 2 seconds unless said. A breaker put in its place brings its own `open_for`;
    /// `config.breaker(config.breaker.window(20))` keeps this one.
    pub breaker: BreakerConfig,
    /// Delays while a system is down or full; from 100 milliseconds to 5 seconds unless said.
    pub backoff: Backoff,
    /// When that many documents together are refused and none is taken, nothing is parked and the reconciliation ends; 10
    /// unless said. Zero: whatever fails is parked.
    pub suspicious: usize,
}

impl Default for ReconcileConfig {
    fn default() -> Self {
        Self {
            page_keys: 4_000,
            in_flight: 4,
            batch_bytes: 8 << 20,
            per_second: None,
            grace: Duration::from_secs(60),
            sample: 100,
            breaker: BreakerConfig { open_for: Duration::from_secs(2), ..BreakerConfig::default() },
            backoff: Backoff { first: Duration::from_millis(100), ceiling: Duration::from_secs(5) },
            suspicious: 10,
        }
    }
}

setters! {
    ReconcileConfig {
        page_keys: usize,
        in_flight: usize,
        batch_bytes: usize,
        per_second: Option<NonZeroU32>,
        grace: Duration,
        sample: u32,
        breaker: BreakerConfig,
        backoff: Backoff,
        suspicious: usize,
    }
}

/// What is compared: all of it, by its versions, and what differs is put right, where nothing else is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReconcileScope {
    /// Only keys that changed since then; `None` unless said: all, and what the index has beside them.
    pub since: Option<Timestamp>,
    /// Every document's content, not only that of a sample; `false` unless said.
    pub deep: bool,
    /// Only look: nothing is put right, and no run recorded; `false` unless said.
    pub dry_run: bool,
}

setters! {
    ReconcileScope {
        since: maybe Timestamp,
        deep: bool,
        dry_run: bool,
    }
}

/// How a reconciliation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReconcileEnd {
    /// All was compared.
    Finished,
    /// It was told to stop.
    Stopped,
}

/// Compares one index with its database.
#[derive(Debug)]
pub struct Reconcile {
    mender: Mender,
    versions: Arc<dyn Versions>,
    inventory: Arc<dyn Inventory>,
    runs: Arc<dyn Runs>,
    config: ReconcileConfig,
    progress: ReconcileProgress,
    keys_at_once: Limit,
    documents_at_once: Limit,
}

impl Reconcile {
    /// A reconciliation that does nothing until it is run. Documents the index does not take go to `letters`; keys that
    /// are among them already are left alone.
    #[must_use]
    pub fn new(
        of: RepairOf,
        versions: Arc<dyn Versions>,
        inventory: Arc<dyn Inventory>,
        runs: Arc<dyn Runs>,
        letters: Arc<dyn DeadLetters>,
        clock: Arc<dyn Clock>,
        config: ReconcileConfig,
    ) -> Self {
        let ReconcileConfig { page_keys, batch_bytes, in_flight, breaker, backoff, suspicious, .. } = config;
        let applier = ApplierConfig { page_keys, batch_bytes, in_flight, breaker };
        let applier =
            Applier::new(Arc::<dyn Versions>::clone(&versions), Arc::<dyn Inventory>::clone(&inventory), applier);
        let progress = ReconcileProgress::default();
        let patience = Patience { index: of.index.clone(), backoff, waiting: progress.waiting.clone() };
        let mender = Mender { of, applier, letters, clock, suspicious, patience };
        let keys_at_once = Limit::new(page_keys, page_keys);
        // Before anything is known of their size.
        let documents_at_once = Limit::new(50, 500);
        Self { mender, versions, inventory, runs, config, progress, keys_at_once, documents_at_once }
    }

    /// A key that changed less long ago is no difference yet.
    pub(super) fn grace(&self) -> Duration {
        self.config.grace
    }

    /// Counters that stay up to date while it runs.
    #[must_use]
    pub fn progress(&self) -> ReconcileProgress {
        self.progress.clone()
    }

    /// Compares, and puts right what differs, through outages of the database and the index.
    ///
    /// On `shutdown`, or dropped, it ends where it is: what was put right is right, and the next one begins anew.
    ///
    /// # Errors
    /// `Fenced` while another process reconciles the same index, or when one has taken the run. What a person has to
    /// mend, as the ports say; `Configuration` also when the index refuses everything.
    pub async fn run(&self, scope: &ReconcileScope, shutdown: CancellationToken) -> Result<ReconcileEnd, Error> {
        match self.begin_and_compare(scope, &shutdown).await {
            Ok(()) => Ok(ReconcileEnd::Finished),
            Err(Ended::Stopped) => Ok(ReconcileEnd::Stopped),
            Err(Ended::Failed(error)) => Err(error),
        }
    }

    async fn begin_and_compare(&self, scope: &ReconcileScope, shutdown: &CancellationToken) -> Result<(), Ended> {
        let applier = &self.mender.applier;
        self.mender.patiently(shutdown, || applier.sink().prepare()).await?;
        if scope.dry_run {
            return self.compare(scope, None, shutdown).await;
        }
        let mut run = self.begin(shutdown).await?;
        let compared = self.compare(scope, Some(&mut run), shutdown).await;
        run.counts = self.progress.counts().into();
        match compared {
            Ok(()) => self.mender.patiently(shutdown, || finish(&*self.runs, &run, &self.mender.of.index)).await,
            Err(ended) => {
                if let Err(error) = release(&*self.runs, &run).await {
                    tracing::warn!(index = self.mender.of.index, %error, "the run is left to its lease");
                }
                Err(ended)
            }
        }
    }

    /// Begins a run; one that was left half-way is given up for it.
    async fn begin(&self, shutdown: &CancellationToken) -> Result<Run, Ended> {
        let index = &self.mender.of.index;
        let begin = || answered(is_over, self.runs.begin(RunKind::Reconcile, index));
        let run = self.mender.patiently(shutdown, begin).await??;
        if run.counts.is_empty() {
            return Ok(run);
        }
        self.mender.patiently(shutdown, || self.runs.abandon(RunKind::Reconcile, index)).await?;
        Ok(self.mender.patiently(shutdown, begin).await??)
    }

    async fn compare(
        &self,
        scope: &ReconcileScope,
        mut run: Option<&mut Run>,
        shutdown: &CancellationToken,
    ) -> Result<(), Ended> {
        let expected = match scope.since {
            None => self.mender.applier.projection().estimate().await.ok(),
            Some(_) => None,
        };
        self.progress.begin(scope.since, expected);
        let known = KnownKeys::default();
        let pass = Pass { scope, known: &known, shutdown };
        self.pages(self.rows(pass), run.as_deref_mut(), shutdown).await?;
        if scope.since.is_none() {
            known.sort();
            self.progress.list(self.inventory.count().await.ok());
            self.pages(self.listed(pass), run, shutdown).await?;
        }
        Ok(())
    }

    /// Pages of keys of the database, compared in order, several at a time. Boxed here, where the compiler sees what it
    /// borrows: inside an async function it could not tell that it may be sent.
    fn rows<'a>(&'a self, pass: Pass<'a>) -> BoxStream<'a, Result<(), Ended>> {
        let pages = stream::unfold(Scan::new(self), move |mut scan| async move {
            let page = if scan.is_over { return None } else { self.read_rows(&mut scan, pass).await };
            Some(scan.read(page))
        });
        let compare = move |page: Result<Page, Ended>| async move { self.page(page?, pass).await };
        pages.map(compare).buffered(self.config.in_flight.max(1)).boxed()
    }

    /// The same of what the index holds.
    fn listed<'a>(&'a self, pass: Pass<'a>) -> BoxStream<'a, Result<(), Ended>> {
        let pages = stream::unfold(Scan::new(self), move |mut scan| async move {
            let page =
                if scan.is_over { return None } else { self.list(&mut scan, pass.scope.dry_run, pass.shutdown).await };
            Some(scan.read(page))
        });
        let compare = move |page: Result<Page, Ended>| async move { self.page(page?, pass).await };
        pages.map(compare).buffered(self.config.in_flight.max(1)).boxed()
    }

    /// Sees to it that all of these are done.
    async fn pages(
        &self,
        mut done: BoxStream<'_, Result<(), Ended>>,
        mut run: Option<&mut Run>,
        shutdown: &CancellationToken,
    ) -> Result<(), Ended> {
        let mut ticks = ticks();
        loop {
            tokio::select! {
                biased;
                _ = ticks.tick() => {
                    if let Some(run) = run.as_deref_mut() {
                        run.counts = self.progress.counts().into();
                        record(&*self.runs, run, shutdown).await?;
                        // The next one is due a while after this one, however long it took.
                        ticks.reset();
                    }
                }
                done = done.next() => match done {
                    None => return Ok(()),
                    Some(done) => done?,
                },
            }
        }
    }

    /// The next keys of the database.
    async fn read_rows(&self, scan: &mut Scan, pass: Pass<'_>) -> Result<Page, Ended> {
        pass.shutdown.run_until_cancelled(scan.pace.wait()).await.ok_or(Ended::Stopped)?;
        let after = scan.after.clone();
        let read = || async {
            let limit = scan.pace.at_once(self.keys_at_once.get());
            let read = self.read_page(pass.scope.since, after.as_deref(), limit).await;
            read.map_err(|error| self.too_long(error))
        };
        let (page, next) = self.mender.patiently(pass.shutdown, read).await?;
        self.keys_at_once.grow(usize::MAX);
        scan.pace.spend(page.len());
        scan.is_over = next.is_none();
        scan.after = next;
        Ok(page)
    }

    /// Keys with their states, and the key the next page is after; where one row makes that fail, only the keys.
    async fn read_page(
        &self,
        since: Option<Timestamp>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<(Page, Option<String>), Error> {
        let applier = &self.mender.applier;
        if let Some(since) = since {
            let Changed { keys, next } = applier.read(self.versions.changed(since, after, limit)).await?;
            return Ok((Page::Keys(keys), next));
        }
        let page = match applier.read(self.versions.scan_states(after, limit)).await {
            Err(error) if error.remedy() == Remedy::Park => Page::Keys(applier.projection().keys(after, limit).await?),
            states => Page::States(states?),
        };
        let next = page.last().filter(|_| page.len() >= limit).map(str::to_owned);
        Ok((page, next))
    }

    /// The next documents of the index.
    async fn list(&self, scan: &mut Scan, dry_run: bool, shutdown: &CancellationToken) -> Result<Page, Ended> {
        shutdown.run_until_cancelled(scan.pace.wait()).await.ok_or(Ended::Stopped)?;
        let limit = scan.pace.at_once(self.config.page_keys);
        let part = match self
            .mender
            .patiently(shutdown, || answered(is_over, self.inventory.inventory(scan.cursor.as_ref(), limit)))
            .await?
        {
            Ok(part) => part,
            Err(error) => {
                tracing::info!(index = self.mender.of.index, %error, "the index is listed again");
                self.progress.list_anew(dry_run);
                scan.cursor = None;
                return Ok(Page::Listed(Vec::new()));
            }
        };
        scan.pace.spend(part.documents.len());
        scan.is_over = part.next.is_none();
        scan.cursor = part.next;
        Ok(Page::Listed(part.documents.into_iter().map(|(key, _)| key).collect()))
    }
}

/// What a comparison is about.
#[derive(Clone, Copy)]
struct Pass<'a> {
    scope: &'a ReconcileScope,
    known: &'a KnownKeys,
    shutdown: &'a CancellationToken,
}

/// Where a scan is.
struct Scan {
    after: Option<String>,
    cursor: Option<InventoryCursor>,
    pace: Pace,
    is_over: bool,
}

impl Scan {
    fn new(of: &Reconcile) -> Self {
        Self { after: None, cursor: None, pace: Pace::new(of.config.per_second), is_over: false }
    }

    /// What was read, and where it goes on: nowhere after what failed.
    fn read(mut self, page: Result<Page, Ended>) -> (Result<Page, Ended>, Self) {
        self.is_over |= page.is_err();
        (page, self)
    }
}

#[cfg(feature = "testkit")]
#[cfg(test)]
mod tests;
