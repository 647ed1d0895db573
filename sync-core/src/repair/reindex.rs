//! An index made anew beside the one that is searched, which then takes its place, while changes go on.
//!
//! ```text
//!  live changes ──▶ follower ─┐
//!                             ├─▶ new index ──▶ compared with the database ──▶ searched ──▶ the old one is sealed
//!  every row ─────▶ backfill ─┘
//! ```
//!
//! The indexers know nothing of it: they write to the index that is searched, until that one refuses every write and
//! another has taken its place. Whatever they wrote to the old one before it was sealed, the follower writes to the new
//! one as well. Each step may be taken again, so a process that dies at any moment costs what it did since the last one.
//!
//! The way back is the same with the two exchanged; only that the old index has most documents already.

mod decisions;
mod progress;

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::time::{Instant, interval, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

pub use self::decisions::{abort_reindex, begin_reindex, finish_reindex, turn_reindex_back};
pub use self::progress::ReindexProgress;
use super::backfill::{Backfill, BackfillEnd};
use super::difference::DifferenceKind;
use super::mender::{Ended, Patience, answered, is_over};
use super::reconcile::{Reconcile, ReconcileCounts, ReconcileEnd, ReconcileScope};
use super::refusals::Refusals;
use crate::error::{Error, ErrorKind, Remedy};
use crate::policy::Backoff;
use crate::port::{ConcreteIndexes, ReindexOf, ReindexPhase, Reindexes, Reindexing};

/// How often it is told that somebody works on it.
const HOLD: Duration = Duration::from_secs(4);

/// Between two looks whether live changes have arrived.
const LOOK: Duration = Duration::from_millis(50);

/// Delays while a system is down.
const BACKOFF: Backoff = Backoff { first: Duration::from_millis(100), ceiling: Duration::from_secs(5) };

/// Comparisons until nothing differs, at most: each one mends, so the second finds nothing unless something is wrong.
const COMPARISONS: u32 = 5;

/// A follower that catches up within this time is not behind.
const SOON: Duration = Duration::from_secs(1);

/// Between the clocks of this process and the database.
const MARGIN: Duration = Duration::from_secs(1);

/// How a re-index ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReindexEnd {
    /// The new index is searched; the old one is kept.
    Switched,
    /// The old index is searched again; the new one is gone.
    RolledBack,
    /// It was told to stop; the next one goes on from there.
    Stopped,
}

/// What a re-index works with. `backfill`, `reconcile` and the follower write to the index that is not searched: the new
/// one, or on the way back the old one. Their dead letters are `refusals`.
#[derive(Debug)]
pub struct ReindexTools {
    /// Where it is recorded how far it is.
    pub reindexes: Arc<dyn Reindexes>,
    /// The concrete indexes.
    pub indexes: Arc<dyn ConcreteIndexes>,
    /// Every row.
    pub backfill: Backfill,
    /// The comparison with the database.
    pub reconcile: Reconcile,
    /// What only that index refuses.
    pub refusals: Arc<Refusals>,
}

/// One re-index, gone on with from where it is.
#[derive(Debug)]
pub struct Reindex {
    of: Reindexing,
    tools: ReindexTools,
    patience: Patience,
    progress: ReindexProgress,
}

impl Reindex {
    /// A re-index that does nothing until it is run.
    #[must_use]
    pub fn new(of: Reindexing, tools: ReindexTools) -> Self {
        let progress = ReindexProgress::new(of.phase, tools.backfill.progress(), tools.reconcile.progress());
        let (index, waiting) = (of.about.index.clone(), progress.waiting.clone());
        Self { of, tools, patience: Patience { index, backoff: BACKOFF, waiting }, progress }
    }

    /// How far it is; stays up to date while it runs.
    #[must_use]
    pub fn progress(&self) -> ReindexProgress {
        self.progress.clone()
    }

    /// Goes on until the other index is searched, through outages of the database and the index. `follower` carries what the
    /// [subscription](Reindexing::subscription) is given into the index that is not searched, until it is told to stop.
    ///
    /// On `shutdown` it ends where it is; once searches have moved it goes on until whatever was written to the old index is
    /// in the new one. Dropping it is a crash: the next one does again what was not recorded, and until then searches may
    /// lack what was written to the old index only.
    ///
    /// # Errors
    /// What a person has to mend, as the ports say; `Configuration` also when a key does not go into the new index, or
    /// when the two do not become alike; `Fenced` while another process has it. The next one goes on from there.
    pub async fn run(
        &self,
        follower: impl FnOnce(CancellationToken) -> BoxFuture<'static, Result<(), Error>>,
        shutdown: CancellationToken,
    ) -> Result<ReindexEnd, Error> {
        if !self.of.phase.is_followed() {
            let what = format!("the re-index of {} is {} and has no step to take", self.of.about.index, self.of.phase);
            return Err(Error::new(ErrorKind::Configuration, what));
        }
        let outcome = match self.go_on(follower, &shutdown).await {
            Ok(end) => Ok(end),
            Err(Ended::Stopped) => Ok(ReindexEnd::Stopped),
            Err(Ended::Failed(error)) => Err(error),
        };
        let problem = outcome.as_ref().err().map(ToString::to_string);
        if let Err(error) = self.tools.reindexes.release(&self.of, problem.as_deref()).await {
            tracing::warn!(index = self.of.about.index, %error, "the re-index is left to its lease");
        }
        outcome
    }

    async fn go_on(
        &self,
        follower: impl FnOnce(CancellationToken) -> BoxFuture<'static, Result<(), Error>>,
        shutdown: &CancellationToken,
    ) -> Result<ReindexEnd, Ended> {
        let ReindexTools { reindexes, refusals, .. } = &self.tools;
        let hold = || answered(is_over, reindexes.hold(&self.of));
        self.patience.patiently(shutdown, hold).await??;
        let (working, following) = (CancellationToken::new(), CancellationToken::new());
        if self.of.phase == ReindexPhase::Filling {
            self.make(shutdown).await?;
        }
        let mut follower = follower(following.clone());
        let mut follows = true;
        let mut work = Box::pin(self.work(Until { asked: shutdown, failed: &working }));
        let interrupted = tokio::select! {
            worked = &mut work => Ok(worked),
            error = refusals.first() => Err(error),
            error = self.hold() => Err(error),
            ended = &mut follower => {
                follows = false;
                Err(ended.err().unwrap_or_else(ended_early))
            }
        };
        // Whatever ended it, what is under way records where it is, and the follower gives its lease back: it must not be
        // there when its subscription is taken away.
        working.cancel();
        let worked = match interrupted {
            Ok(worked) => worked,
            Err(error) => {
                drop(work.await);
                Err(error.into())
            }
        };
        following.cancel();
        let stopped = if follows { follower.await } else { Ok(()) };
        worked?;
        stopped?;
        self.end(&CancellationToken::new()).await
    }

    /// Makes the new index, so that the follower has one to write to.
    async fn make(&self, shutdown: &CancellationToken) -> Result<(), Ended> {
        let Reindexing { id, about: ReindexOf { old, new, .. }, .. } = &self.of;
        let make = || self.tools.indexes.make(new, *id, old);
        self.patience.patiently(shutdown, make).await
    }

    /// Keeps it in this process's hands; ends when it is somebody else's.
    async fn hold(&self) -> Error {
        let mut ticks = interval(HOLD);
        loop {
            ticks.tick().await;
            match self.tools.reindexes.hold(&self.of).await {
                Err(error) if error.kind() == ErrorKind::Fenced || error.remedy() != Remedy::Retry => return error,
                Ok(_) | Err(_) => {}
            }
        }
    }

    /// Phase after phase, until the other index is searched and every write is on its way there.
    async fn work(&self, until: Until<'_>) -> Result<(), Ended> {
        let ReindexOf { old, new, .. } = &self.of.about;
        let gently = until.either();
        let mut phase = self.of.phase;
        loop {
            self.progress.reach(phase);
            tracing::info!(index = self.of.about.index, new, %phase, "re-index");
            phase = match phase {
                ReindexPhase::Filling => {
                    self.fill(&gently).await?;
                    ReindexPhase::Comparing
                }
                ReindexPhase::Comparing => {
                    self.compare(phase, &gently).await?;
                    ReindexPhase::Switching
                }
                ReindexPhase::Returning => {
                    self.compare(phase, &gently).await?;
                    ReindexPhase::SwitchingBack
                }
                ReindexPhase::Switching => return self.switch(old, new, until, &gently).await,
                ReindexPhase::SwitchingBack => return self.switch(new, old, until, &gently).await,
                ReindexPhase::Switched | ReindexPhase::Finished | ReindexPhase::Aborted | ReindexPhase::RolledBack => {
                    return Ok(());
                }
            };
            self.reach(phase, &gently).await?;
        }
    }

    async fn fill(&self, shutdown: &CancellationToken) -> Result<(), Ended> {
        match self.tools.backfill.run(shutdown.clone()).await? {
            BackfillEnd::Finished => Ok(()),
            BackfillEnd::Stopped => Err(Ended::Stopped),
        }
    }

    /// Compares until nothing differs, or only what the follower is late with. What changed just now is left to the
    /// follower; on the way back it has followed only since then, so a comparison counts once what changed before that is
    /// told as a difference too.
    async fn compare(&self, phase: ReindexPhase, shutdown: &CancellationToken) -> Result<(), Ended> {
        let reconcile = &self.tools.reconcile;
        let grace = if phase == ReindexPhase::Returning { reconcile.grace() + MARGIN } else { Duration::ZERO };
        let counts_from = Instant::now() + grace;
        let all = ReconcileScope::default();
        for comparison in 1..=COMPARISONS {
            self.until_caught_up(shutdown).await?;
            let began = Instant::now();
            // Of a process that died, the comparison is its own until its lease is over.
            let end = self.patience.patiently(shutdown, || reconcile.run(&all, shutdown.clone())).await?;
            if end == ReconcileEnd::Stopped {
                return Err(Ended::Stopped);
            }
            let counts = reconcile.progress().counts();
            let (differing, fixed) = (counts.differing(), counts.fixed);
            tracing::info!(index = self.of.about.index, comparison, differing, fixed, "compared with the database");
            if began >= counts_from && (differing == 0 || comparison > 1 && is_only_late(&counts)) {
                return Ok(());
            }
            shutdown.run_until_cancelled(sleep_until(counts_from)).await.ok_or(Ended::Stopped)?;
        }
        let what = format!(
            "after {COMPARISONS} comparisons the new index of {} still differs from the database; `sync-runner reconcile \
             --dry-run` (`ReconcileScope::dry_run`) tells whether the one that is searched does, too",
            self.of.about.index
        );
        Err(Error::new(ErrorKind::Configuration, what).into())
    }

    /// Has `to` be searched. What was written to `from` until nothing can be written to it any more, the follower has
    /// written to `to` when this returns: once begun, only a failure ends it before that.
    async fn switch(&self, from: &str, to: &str, until: Until<'_>, gently: &CancellationToken) -> Result<(), Ended> {
        let indexes = &self.tools.indexes;
        // A follower that takes its time would have searches go back by as much.
        loop {
            let began = Instant::now();
            self.until_caught_up(gently).await?;
            if began.elapsed() < SOON {
                break;
            }
        }
        self.patience.patiently(gently, || indexes.refresh(to)).await?;
        // Somebody else may have decided otherwise while this process stood still.
        self.patience.patiently(gently, || answered(is_over, self.tools.reindexes.hold(&self.of))).await??;
        self.patience.patiently(until.failed, || indexes.switch(from, to)).await?;
        self.patience.patiently(until.failed, || indexes.seal(from)).await?;
        self.until_caught_up(until.failed).await?;
        self.patience.patiently(until.failed, || indexes.refresh(to)).await
    }

    /// Waits until all that is committed now has reached the index that is not searched.
    async fn until_caught_up(&self, shutdown: &CancellationToken) -> Result<(), Ended> {
        let reindexes = &self.tools.reindexes;
        let committed = self.patience.patiently(shutdown, || reindexes.committed()).await?;
        while !self.patience.patiently(shutdown, || reindexes.has_passed(&self.of, &committed)).await? {
            shutdown.run_until_cancelled(sleep(LOOK)).await.ok_or(Ended::Stopped)?;
        }
        Ok(())
    }

    async fn reach(&self, phase: ReindexPhase, shutdown: &CancellationToken) -> Result<(), Ended> {
        let reach = || answered(is_over, self.tools.reindexes.reach(&self.of, phase));
        Ok(self.patience.patiently(shutdown, reach).await??)
    }

    /// Records that it is done; on the way back the new index goes.
    async fn end(&self, shutdown: &CancellationToken) -> Result<ReindexEnd, Ended> {
        let (phase, end) = if self.of.phase.is_return() {
            let delete = || self.tools.indexes.delete(&self.of.about.new);
            self.patience.patiently(shutdown, delete).await?;
            (ReindexPhase::RolledBack, ReindexEnd::RolledBack)
        } else {
            (ReindexPhase::Switched, ReindexEnd::Switched)
        };
        self.reach(phase, shutdown).await?;
        self.progress.reach(phase);
        Ok(end)
    }
}

/// When the work ends before it is done.
#[derive(Clone, Copy)]
struct Until<'a> {
    /// A person asked for it: where nobody is hurt by it.
    asked: &'a CancellationToken,
    /// Something else failed: at once.
    failed: &'a CancellationToken,
}

impl Until<'_> {
    /// Cancelled by either.
    fn either(self) -> CancellationToken {
        let either = self.failed.child_token();
        let (asked, cancels) = (self.asked.clone(), either.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = asked.cancelled() => cancels.cancel(),
                () = cancels.cancelled() => {}
            }
        });
        either
    }
}

/// Whether all that differed was put right, and could be what a follower that is behind had yet to write; or was refused,
/// as by the index that is searched.
fn is_only_late(counts: &ReconcileCounts) -> bool {
    let is_wrong = [DifferenceKind::Ahead, DifferenceKind::Drifted].iter().any(|kind| counts.of(*kind) > 0);
    counts.differing() == counts.fixed + counts.parked && !is_wrong
}

fn ended_early() -> Error {
    Error::new(ErrorKind::Internal, "what carries live changes into the new index ended before it was told to")
}

#[cfg(feature = "testkit")]
#[cfg(test)]
mod tests;
