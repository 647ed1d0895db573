//! Runs in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::time::Instant;

use crate::error::{Error, ErrorKind};
use crate::port::{PastRun, Run, RunKind, RunState, Runs};

/// Runs in memory, gone with it. Clones share them, and are one holder.
#[derive(Clone, Debug)]
pub struct MemoryRuns {
    shelf: Arc<Mutex<Vec<Kept>>>,
    holder: u64,
    lease: Duration,
}

#[derive(Debug)]
struct Kept {
    past: PastRun,
    held: Option<(u64, Instant)>,
}

impl MemoryRuns {
    /// No runs.
    #[must_use]
    pub fn new(lease: Duration) -> Self {
        Self { shelf: Arc::default(), holder: rand::random(), lease }
    }

    /// The same runs for another holder.
    #[must_use]
    pub fn another(&self) -> Self {
        Self { holder: rand::random(), ..self.clone() }
    }

    fn shelf(&self) -> MutexGuard<'_, Vec<Kept>> {
        // No change leaves the shelf half-done, so what a panicking holder left is whole.
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, run: &Run, change: impl FnOnce(&mut Kept)) -> Result<(), Error> {
        let mut shelf = self.shelf();
        let is_ours = |kept: &&mut Kept| kept.held.is_some_and(|(holder, _)| holder == self.holder);
        let open = shelf.iter_mut().filter(|kept| kept.past.ended_at.is_none());
        let Some(kept) = open.filter(is_ours).find(|kept| kept.past.run.id == run.id) else {
            return Err(Error::new(ErrorKind::Fenced, format!("run {} is over, or somebody else's", run.id)));
        };
        kept.past.run = Run { began_at: kept.past.run.began_at, ..run.clone() };
        change(kept);
        Ok(())
    }
}

#[async_trait]
impl Runs for MemoryRuns {
    async fn begin(&self, kind: RunKind, index: &str) -> Result<Run, Error> {
        let mut shelf = self.shelf();
        let held = Some((self.holder, Instant::now() + self.lease));
        let unfinished = |kept: &&mut Kept| kept.past.ended_at.is_none() && is_of(kept, kind, index);
        if let Some(kept) = shelf.iter_mut().find(unfinished) {
            let is_others = |(holder, until): (u64, Instant)| holder != self.holder && until > Instant::now();
            if kept.held.is_some_and(is_others) {
                let what = format!("a {} of {index} is at work elsewhere", kind.name());
                return Err(Error::new(ErrorKind::Fenced, what));
            }
            kept.held = held;
            return Ok(kept.past.run.clone());
        }
        let id = shelf.len() as i64 + 1;
        let run = Run { id, after: None, counts: BTreeMap::new(), began_at: Timestamp::now() };
        let past = PastRun {
            run: run.clone(),
            kind: kind.name().to_owned(),
            index: index.to_owned(),
            ended_at: None,
            state: RunState::Running,
        };
        shelf.push(Kept { past, held });
        Ok(run)
    }

    async fn record(&self, run: &Run) -> Result<(), Error> {
        self.change(run, |kept| kept.held = Some((self.holder, Instant::now() + self.lease)))
    }

    async fn release(&self, run: &Run) -> Result<(), Error> {
        self.change(run, |kept| kept.held = None)
    }

    async fn finish(&self, run: &Run) -> Result<(), Error> {
        self.change(run, |kept| (kept.past.ended_at, kept.past.state) = (Some(Timestamp::now()), RunState::Finished))
    }

    async fn abandon(&self, kind: RunKind, index: &str) -> Result<bool, Error> {
        let mut shelf = self.shelf();
        let unfinished = |kept: &&mut Kept| kept.past.ended_at.is_none() && is_of(kept, kind, index);
        let Some(kept) = shelf.iter_mut().find(unfinished) else { return Ok(false) };
        (kept.past.ended_at, kept.past.state) = (Some(Timestamp::now()), RunState::GivenUp);
        Ok(true)
    }

    async fn list(&self, index: Option<&str>, limit: usize) -> Result<Vec<PastRun>, Error> {
        let shelf = self.shelf();
        let of = shelf.iter().rev().filter(|kept| index.is_none_or(|index| kept.past.index == index));
        let past = |kept: &Kept| {
            let is_held = kept.held.is_some_and(|(_, until)| until > Instant::now());
            let state = RunState::of(is_held, kept.past.ended_at.is_some(), kept.past.state == RunState::GivenUp);
            PastRun { state, ..kept.past.clone() }
        };
        Ok(of.take(limit).map(past).collect())
    }
}

fn is_of(kept: &Kept, kind: RunKind, index: &str) -> bool {
    kept.past.kind == kind.name() && kept.past.index == index
}

#[cfg(feature = "testkit")]
#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::conformance;

    #[tokio::test]
    async fn runs_in_memory_keep_the_promises_of_runs() {
        conformance::runs(async |lease| {
            let runs = MemoryRuns::new(lease);
            [Arc::new(runs.another()) as Arc<dyn Runs>, Arc::new(runs)]
        })
        .await;
    }
}
