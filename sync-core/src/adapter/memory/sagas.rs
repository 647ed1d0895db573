//! Sagas in memory.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::time::Instant;

use crate::error::{Error, ErrorKind};
use crate::port::{HeldSaga, PastSaga, Saga, SagaClaim, SagaEnding, SagaEvent, SagaLog, SagaOrder, Sagas};

/// What is done when a saga ends.
type Ending = Arc<dyn Fn(&Saga, &SagaEnding) -> Result<(), Error> + Send + Sync>;

/// Sagas in memory, gone with it. Clones share them, and are one holder.
#[derive(Clone)]
pub struct MemorySagas {
    shelf: Arc<Mutex<Vec<Kept>>>,
    ids: Arc<AtomicI64>,
    ending: Ending,
    holder: String,
    lease: Duration,
}

#[derive(Debug)]
struct Kept {
    past: PastSaga,
    term: i64,
    begun_at: Instant,
    deadline: Instant,
    /// Until then nobody takes it up.
    held_until: Option<Instant>,
    /// Whether nothing is done when it ends.
    is_untold: bool,
}

impl std::fmt::Debug for MemorySagas {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemorySagas").field("shelf", &self.shelf).finish_non_exhaustive()
    }
}

impl MemorySagas {
    /// No sagas.
    #[must_use]
    pub fn new(lease: Duration) -> Self {
        Self {
            shelf: Arc::default(),
            ids: Arc::default(),
            ending: Arc::new(|_, _| Ok(())),
            holder: rand::random::<u64>().to_string(),
            lease,
        }
    }

    /// The same, and `ending` is done when one ends, or it does not end.
    #[must_use]
    pub fn with_ending(self, ending: impl Fn(&Saga, &SagaEnding) -> Result<(), Error> + Send + Sync + 'static) -> Self {
        Self { ending: Arc::new(ending), ..self }
    }

    /// The same sagas for another holder.
    #[must_use]
    pub fn another(&self) -> Self {
        Self { holder: rand::random::<u64>().to_string(), ..self.clone() }
    }

    fn shelf(&self) -> MutexGuard<'_, Vec<Kept>> {
        // No change leaves the shelf half-done, so what a panicking holder left is whole.
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, claim: SagaClaim, change: impl FnOnce(&mut Kept) -> Result<T, Error>) -> Result<T, Error> {
        let mut shelf = self.shelf();
        let held = |kept: &&mut Kept| {
            (kept.past.saga.id, kept.term) == (claim.id, claim.term)
                && kept.past.holder.as_ref() == Some(&self.holder)
                && !kept.is_over()
        };
        match shelf.iter_mut().find(held) {
            Some(kept) => change(kept),
            None => Err(Error::new(ErrorKind::Fenced, format!("saga {} is over, or somebody else's", claim.id))),
        }
    }
}

impl Kept {
    fn is_over(&self) -> bool {
        self.past.outcome.is_some()
    }

    fn waits_since(&self) -> Instant {
        self.held_until.unwrap_or(self.begun_at)
    }

    fn is_of(&self, kind: &str, subject: &str) -> bool {
        self.past.saga.kind == kind && self.past.saga.subject == subject
    }
}

#[async_trait]
impl Sagas for MemorySagas {
    async fn begin(&self, order: &SagaOrder) -> Result<i64, Error> {
        let SagaOrder { kind, subject, params, time_allowed } = order;
        if !(1..=249).contains(&kind.len()) || !(1..=512).contains(&subject.len()) || time_allowed.is_zero() {
            return Err(Error::new(ErrorKind::Contract, format!("{kind:?} of {subject:?} cannot be begun")));
        }
        let mut shelf = self.shelf();
        if let Some(earlier) = shelf.iter().find(|kept| kept.is_of(kind, subject)) {
            if earlier.past.saga.params != *params {
                let what = format!("{kind} of {subject} was begun already, with other params");
                return Err(Error::new(ErrorKind::Contract, what));
            }
            return Ok(earlier.past.saga.id);
        }
        let id = self.ids.fetch_add(1, Ordering::Relaxed) + 1;
        let saga = Saga {
            id,
            kind: kind.clone(),
            subject: subject.clone(),
            params: params.clone(),
            cancelled: None,
            log: Vec::new(),
        };
        let past = PastSaga { saga, outcome: None, holder: None, began_at: Timestamp::now(), ended_at: None };
        shelf.push(Kept {
            past,
            term: 0,
            begun_at: Instant::now(),
            deadline: Instant::now() + *time_allowed,
            held_until: None,
            is_untold: false,
        });
        Ok(id)
    }

    async fn cancel(&self, kind: &str, subject: &str, why: &str) -> Result<bool, Error> {
        let mut shelf = self.shelf();
        let Some(kept) = shelf.iter_mut().find(|kept| kept.is_of(kind, subject) && !kept.is_over()) else {
            return Ok(false);
        };
        kept.past.saga.cancelled.get_or_insert_with(|| why.to_owned());
        Ok(true)
    }

    async fn end_untold(&self, kind: &str, subject: &str) -> Result<bool, Error> {
        let mut shelf = self.shelf();
        let is_refused = |kept: &&mut Kept| {
            let is_last = matches!(kept.past.saga.log.last(), Some(SagaEvent::EndFailed { .. }));
            let goes_back = kept.past.saga.log.iter().any(|event| {
                matches!(event, SagaEvent::Compensating { .. } | SagaEvent::Undone { .. } | SagaEvent::Left { .. })
            });
            kept.is_of(kind, subject) && !kept.is_over() && is_last && goes_back
        };
        let Some(kept) = shelf.iter_mut().find(is_refused) else { return Ok(false) };
        kept.is_untold = true;
        if kept.past.holder.is_none() {
            kept.held_until = None;
        }
        Ok(true)
    }

    async fn list(&self, subject: Option<&str>, limit: usize) -> Result<Vec<PastSaga>, Error> {
        let shelf = self.shelf();
        let all = shelf.iter().rev().map(|kept| &kept.past);
        let of = all.filter(|past| subject.is_none_or(|subject| past.saga.subject == subject));
        Ok(of.take(limit).cloned().collect())
    }

    async fn purge(&self, kinds: &[&str], keep: Duration) -> Result<u64, Error> {
        let mut shelf = self.shelf();
        let before = shelf.len();
        let is_kept = |ended: Timestamp| Timestamp::now().duration_since(ended).unsigned_abs() < keep;
        let is_other = |kept: &Kept| !kinds.contains(&kept.past.saga.kind.as_str());
        shelf.retain(|kept| is_other(kept) || kept.past.ended_at.is_none_or(is_kept));
        Ok((before - shelf.len()) as u64)
    }
}

#[async_trait]
impl SagaLog for MemorySagas {
    async fn claim(&self, kinds: &[&str], subject: Option<&str>) -> Result<Option<HeldSaga>, Error> {
        let now = Instant::now();
        let mut shelf = self.shelf();
        let is_wanted = |place: &usize| {
            let kept = &shelf[*place];
            let Saga { kind, subject: about, .. } = &kept.past.saga;
            let is_first = |earlier: &Kept| earlier.is_over() || earlier.past.saga.subject != *about;
            !kept.is_over()
                && kinds.contains(&kind.as_str())
                && subject.is_none_or(|subject| subject == about)
                && kept.held_until.is_none_or(|until| until <= now)
                && shelf[..*place].iter().all(is_first)
        };
        let places = (0..shelf.len()).filter(is_wanted);
        let Some(place) = places.min_by_key(|place| (shelf[*place].waits_since(), *place)) else { return Ok(None) };
        let kept = &mut shelf[place];
        kept.term += 1;
        kept.held_until = Some(now + self.lease);
        kept.past.holder = Some(self.holder.clone());
        let left = kept.deadline.saturating_duration_since(now);
        Ok(Some(HeldSaga { saga: kept.past.saga.clone(), term: kept.term, left }))
    }

    fn lease(&self) -> Duration {
        self.lease
    }

    async fn renew(&self, claim: SagaClaim) -> Result<Option<String>, Error> {
        self.change(claim, |kept| {
            kept.held_until = Some(Instant::now() + self.lease);
            Ok(kept.past.saga.cancelled.clone())
        })
    }

    async fn record(&self, claim: SagaClaim, events: &[SagaEvent]) -> Result<(), Error> {
        self.change(claim, |kept| {
            kept.past.saga.log.extend_from_slice(events);
            Ok(())
        })
    }

    async fn end(&self, claim: SagaClaim, ending: &SagaEnding) -> Result<(), Error> {
        self.change(claim, |kept| {
            if !kept.is_untold {
                (self.ending)(&kept.past.saga, ending)?;
            }
            let past = &mut kept.past;
            (past.outcome, past.ended_at, past.holder) = (Some(ending.outcome), Some(Timestamp::now()), None);
            Ok(())
        })
    }

    async fn release(&self, claim: SagaClaim, pause: Duration) -> Result<(), Error> {
        self.change(claim, |kept| {
            kept.past.holder = None;
            kept.held_until = Some(Instant::now() + pause);
            Ok(())
        })
    }
}

#[cfg(feature = "testkit")]
#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::conformance::{self, SagaHarness};

    #[derive(Debug)]
    struct Memory {
        sagas: MemorySagas,
        ended: Arc<Mutex<Ended>>,
    }

    #[derive(Debug, Default)]
    struct Ended {
        is_refused: bool,
        subjects: Vec<String>,
    }

    #[async_trait]
    impl SagaHarness for Memory {
        fn people(&self) -> Arc<dyn Sagas> {
            Arc::new(self.sagas.clone())
        }

        fn workers(&self) -> [Arc<dyn SagaLog>; 2] {
            [Arc::new(self.sagas.clone()), Arc::new(self.sagas.another())]
        }

        async fn refuse_endings(&self, refuse: bool) {
            self.ended.lock().unwrap().is_refused = refuse;
        }

        async fn endings(&self) -> Vec<String> {
            self.ended.lock().unwrap().subjects.clone()
        }
    }

    #[tokio::test]
    async fn sagas_in_memory_keep_the_promises_of_sagas() {
        conformance::sagas(async |lease| {
            let ended = Arc::<Mutex<Ended>>::default();
            let told = Arc::clone(&ended);
            let sagas = MemorySagas::new(lease).with_ending(move |saga, ending| {
                let mut ended = told.lock().unwrap();
                if ended.is_refused {
                    return Err(Error::new(ErrorKind::Contract, "refused"));
                }
                let error = ending.error.as_deref().unwrap_or("none");
                ended.subjects.push(format!("{} {} {error}", saga.subject, ending.outcome.name()));
                Ok(())
            });
            Memory { sagas, ended }
        })
        .await;
    }
}
