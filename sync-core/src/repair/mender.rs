//! What every repair does alike: puts keys right through the guard, waits out outages, parks what is refused.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::applier::{Applier, Attempt, Written, alike};
use crate::error::{Error, ErrorKind, Remedy};
use crate::policy::Backoff;
use crate::policy::triage::{Triage, triage};
use crate::port::{Clock, DeadLetter, DeadLetters, Origin};

/// Which index is repaired, and the topic whose keys it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RepairOf {
    /// The index, as its runs and dead letters name it.
    pub index: String,
    /// The topic it follows.
    pub topic: String,
}

impl RepairOf {
    /// Of this index and topic.
    #[must_use]
    pub fn new(index: impl Into<String>, topic: impl Into<String>) -> Self {
        Self { index: index.into(), topic: topic.into() }
    }
}

/// Why a repair does not go on.
#[derive(Debug)]
pub(super) enum Ended {
    /// It was told to stop.
    Stopped,
    /// Waiting does not mend it.
    Failed(Error),
}

impl From<Error> for Ended {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// What a repair waits for, for people to see. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Waiting(Arc<Mutex<Option<String>>>);

impl Waiting {
    pub(super) fn what(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, error: Option<&Error>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = error.map(ToString::to_string);
    }
}

/// Waits out what passes by itself.
#[derive(Debug)]
pub(super) struct Patience {
    /// The index, for the log.
    pub(super) index: String,
    pub(super) backoff: Backoff,
    pub(super) waiting: Waiting,
}

impl Patience {
    /// Has it again until it succeeds or fails by something that waiting does not mend.
    pub(super) async fn patiently<T, F: Future<Output = Result<T, Error>>>(
        &self,
        shutdown: &CancellationToken,
        mut doing: impl FnMut() -> F,
    ) -> Result<T, Ended> {
        let mut failures = 0;
        loop {
            match shutdown.run_until_cancelled(doing()).await.ok_or(Ended::Stopped)? {
                Ok(done) => return Ok(done),
                Err(error) if error.remedy() == Remedy::Retry => {
                    failures += 1;
                    self.wait_out(failures, &error, shutdown).await?;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn wait_out(&self, failures: u32, error: &Error, shutdown: &CancellationToken) -> Result<(), Ended> {
        let delay = self.backoff.delay(failures, rand::random());
        // An outage of hours is told a dozen times, not thousands.
        if failures.is_power_of_two() {
            tracing::warn!(index = self.index, %error, failures, "waiting {delay:?}");
        }
        self.waiting.set(Some(error));
        let waited = shutdown.run_until_cancelled(sleep(delay)).await;
        self.waiting.set(None);
        waited.ok_or(Ended::Stopped)
    }
}

/// How long what is in flight is waited for once a repair was told to stop.
pub(super) const DRAIN: Duration = Duration::from_secs(5);

/// Ends what is in flight, also when it was told to stop meanwhile, but then waits for it no longer than [`DRAIN`].
pub(super) async fn ended<T>(shutdown: &CancellationToken, doing: impl Future<Output = T>) -> Result<T, Ended> {
    let late = async {
        shutdown.cancelled().await;
        sleep(DRAIN).await;
    };
    tokio::select! {
        biased;
        done = doing => Ok(done),
        () = late => Err(Ended::Stopped),
    }
}

/// What became of keys that were put right.
#[derive(Debug, Default)]
pub(super) struct Mended {
    pub(super) written: Written,
    /// Keys the index refused.
    pub(super) parked: Vec<String>,
}

/// Works on one index.
#[derive(Debug)]
pub(super) struct Mender {
    pub(super) of: RepairOf,
    pub(super) applier: Applier,
    pub(super) letters: Arc<dyn DeadLetters>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) suspicious: usize,
    pub(super) patience: Patience,
}

impl Mender {
    /// Has it again as its [`Patience`] says.
    pub(super) async fn patiently<T, F: Future<Output = Result<T, Error>>>(
        &self,
        shutdown: &CancellationToken,
        doing: impl FnMut() -> F,
    ) -> Result<T, Ended> {
        self.patience.patiently(shutdown, doing).await
    }

    /// Loads these keys and applies them as they are now.
    pub(super) async fn mend(&self, keys: Vec<String>, shutdown: &CancellationToken) -> Result<Mended, Ended> {
        let first = ended(shutdown, self.applier.load_and_apply(keys)).await?;
        self.settle(first, shutdown).await
    }

    /// Tries again what waits, parks what the index refuses, until nothing is left. What was written stays written when it
    /// ends before that.
    pub(super) async fn settle(&self, first: Attempt, shutdown: &CancellationToken) -> Result<Mended, Ended> {
        let (mut mended, mut taken, mut failed, mut failures) = (Mended::default(), 0, Vec::new(), 0);
        let (mut attempt, mut is_second_look) = (first, false);
        loop {
            let Attempt { written, taken: more, failed: refused, unnoted, waiting, error } = attempt;
            mended.written.add(written);
            taken += more;
            failed.extend(refused);
            if !unnoted.is_empty() {
                tracing::debug!(keys = ?unnoted, "held by a transaction: not noted as being in the index");
            }
            match error {
                None => match triage(taken, failed.len(), self.suspicious, false, is_second_look) {
                    Triage::Poison => break,
                    Triage::Everything => return Err(alike(&failed).into()),
                    Triage::LookAgain => {
                        is_second_look = true;
                        let again = failed.drain(..).map(|(key, _)| key).collect();
                        attempt = ended(shutdown, self.applier.load_and_apply(again)).await?;
                    }
                },
                Some(error) if error.remedy() == Remedy::Retry => {
                    failures += 1;
                    self.patience.wait_out(failures, &error, shutdown).await?;
                    attempt = ended(shutdown, self.applier.load_and_apply(waiting)).await?;
                }
                Some(error) => return Err(error.into()),
            }
        }
        for (key, error) in failed {
            let letter = self.letter(key, &error);
            self.patiently(shutdown, || self.letters.park(&letter)).await?;
            tracing::warn!(index = letter.reader, key = letter.key.as_deref(), kind = letter.error_kind, %error,
                "parked as a dead letter");
            mended.parked.extend(letter.key);
        }
        Ok(mended)
    }

    fn letter(&self, key: String, error: &Error) -> DeadLetter {
        DeadLetter {
            reader: self.of.index.clone(),
            origin: Origin::repair(&self.of.topic),
            event: None,
            key: Some(key),
            value: None,
            error_kind: error.kind().name().to_owned(),
            error: error.to_string(),
            attempts: 1,
            parked_at: self.clock.now(),
        }
    }
}

/// Of some failures waiting is no mend: what they say is an answer.
pub(super) async fn answered<T>(
    is_answer: fn(&Error) -> bool,
    doing: impl Future<Output = Result<T, Error>>,
) -> Result<Result<T, Error>, Error> {
    match doing.await {
        Err(error) if is_answer(&error) => Ok(Err(error)),
        outcome => outcome.map(Ok),
    }
}

/// Somebody else has it, or nobody knows it any more: the same again would be no better.
pub(super) fn is_over(error: &Error) -> bool {
    error.kind() == ErrorKind::Fenced
}
