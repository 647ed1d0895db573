//! Searching: the index, through a breaker; the database when the index is away. The answer says which of them it is from.
//!
//! ```text
//!  query ──▶ breaker ──closed──▶ index ──▶ answer
//!              │                   │ failed, late, or the breaker opened meanwhile
//!              └──open─────────────┴──▶ database ──▶ answer, degraded
//! ```

mod answer;
mod gate;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use metrics::{counter, histogram};
use tokio::time::{Instant, sleep, timeout};

pub use self::answer::{Answer, BANNER};
use self::gate::{Gate, NoAnswer};
use crate::error::{Error, ErrorKind};
use crate::policy::{BreakerConfig, BreakerState};
use crate::port::{AwaitedWrite, Current, Found, Projection, Searcher};
use crate::query::{Query, Wrote};
use crate::telemetry::metrics::{SEARCH_FAILED, SEARCH_FALLBACK, SEARCH_SECONDS};

/// How often it is looked whether a write can be seen.
const LOOK: Duration = Duration::from_millis(50);

/// How often it is told that the index did not answer.
const TELL: Duration = Duration::from_secs(10);

/// When the index is left for the database.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct SearchConfig {
    /// When the index is taken to be down, and for how long; [`BreakerConfig::default`] with 3 `probes`, a `slow` of 250
    /// milliseconds and a `recover_for` of 10 seconds unless said. A search that takes longer than `slow` counts as failed
    /// as soon as it does. A breaker put in its place brings its own three; `config.breaker(config.breaker.window(20))`
    /// keeps these.
    pub breaker: BreakerConfig,
    /// How long the index is waited for, as long as its searcher may take; 1 second unless said.
    pub budget: Duration,
    /// How long it is waited until a write can be seen in the index, the question what was written included; 2 seconds
    /// unless said.
    pub wait: Duration,
}

impl Default for SearchConfig {
    fn default() -> Self {
        let slow = Duration::from_millis(250);
        Self {
            breaker: BreakerConfig {
                probes: 3,
                slow,
                recover_for: Duration::from_secs(10),
                ..BreakerConfig::default()
            },
            budget: Duration::from_secs(1),
            wait: Duration::from_secs(2),
        }
    }
}

setters! {
    SearchConfig {
        breaker: BreakerConfig,
        budget: Duration,
        wait: Duration,
    }
}

/// Searches one index, and the rows it is made of when it is away.
#[derive(Debug)]
pub struct Search {
    name: String,
    index: Arc<dyn Searcher>,
    database: Arc<dyn Searcher>,
    rows: Arc<dyn Projection>,
    gate: Gate,
    config: SearchConfig,
    /// When it was told last that the index had failed.
    told: Mutex<Option<Instant>>,
    /// Searches the database answered.
    fallbacks: AtomicU64,
}

/// Why the database answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    Open,
    Failed,
    Late,
    Unseen,
}

impl Reason {
    const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Failed => "failed",
            Self::Late => "late",
            Self::Unseen => "unseen",
        }
    }
}

impl Search {
    /// Asks nobody yet. `name` is the index's, for metrics and the log; `rows` says what the database has of a key that was
    /// written.
    #[must_use]
    pub fn new(
        name: &str,
        index: Arc<dyn Searcher>,
        database: Arc<dyn Searcher>,
        rows: Arc<dyn Projection>,
        config: SearchConfig,
    ) -> Self {
        for reason in [Reason::Open, Reason::Failed, Reason::Late, Reason::Unseen] {
            counter!(SEARCH_FALLBACK.name, "index" => name.to_owned(), "reason" => reason.name()).increment(0);
        }
        let unavailable = ErrorKind::Unavailable.name();
        counter!(SEARCH_FAILED.name, "index" => name.to_owned(), "kind" => unavailable).increment(0);
        Self {
            name: name.to_owned(),
            index,
            database,
            rows,
            gate: Gate::new(name, config),
            config,
            told: Mutex::default(),
            fallbacks: AtomicU64::new(0),
        }
    }

    /// Whether the index is asked, as far as searches have found out.
    #[must_use]
    pub fn breaker(&self) -> BreakerState {
        self.gate.state()
    }

    /// How many searches the database has answered.
    #[must_use]
    pub fn fallbacks(&self) -> u64 {
        self.fallbacks.load(Ordering::Relaxed)
    }

    /// Searches. Dropped half-way, it is given up, and says nothing about the index.
    ///
    /// # Errors
    /// `Refused` when the query cannot be asked. Whatever the database says when the index is away: `TooLarge` when the
    /// search takes more than it may there; `Unavailable`, `Denied`, `Configuration`, `Contract`.
    pub async fn search(&self, query: &Query) -> Result<Answer, Error> {
        let began = Instant::now();
        let answered = match self.in_index(query).await {
            Ok(found) => found.map(|found| (found, false)),
            Err(reason) => {
                self.fallbacks.fetch_add(1, Ordering::Relaxed);
                counter!(SEARCH_FALLBACK.name, "index" => self.name.clone(), "reason" => reason.name()).increment(1);
                self.database.search(query).await.map(|found| (found, true))
            }
        };
        let (found, is_degraded) = answered.inspect_err(|error| {
            counter!(SEARCH_FAILED.name, "index" => self.name.clone(), "kind" => error.kind().name()).increment(1);
        })?;
        let source = if is_degraded { self.database.name() } else { self.index.name() };
        let took = began.elapsed();
        histogram!(SEARCH_SECONDS.name, "index" => self.name.clone(), "source" => source).record(took);
        Ok(Answer { found, source, is_degraded, took })
    }

    /// What the index says, or why it is not the one to say it.
    async fn in_index(&self, query: &Query) -> Result<Result<Found, Error>, Reason> {
        if !query.wrote.is_empty() && !self.is_seen(&query.wrote).await? {
            return Err(Reason::Unseen);
        }
        match self.gate.ask(self.index.search(query)).await {
            Ok(found) => Ok(Ok(found)),
            // Nobody else would understand it either.
            Err(NoAnswer::Failed(error)) if error.kind() == ErrorKind::Refused => Ok(Err(error)),
            Err(away) => Err(self.reason(away)),
        }
    }

    /// Waits until searches see these writes; whether they do.
    async fn is_seen(&self, wrote: &[Wrote]) -> Result<bool, Reason> {
        let began = Instant::now();
        let awaited = match self.awaited(wrote).await {
            Ok(awaited) => awaited,
            Err(error) => {
                tracing::debug!(index = self.name, %error, "cannot say what was written");
                return Err(Reason::Unseen);
            }
        };
        loop {
            match self.gate.ask(self.index.shows(&awaited)).await {
                Ok(true) => return Ok(true),
                Ok(false) if began.elapsed() >= self.config.wait => return Ok(false),
                Ok(false) => sleep(LOOK).await,
                Err(away) => return Err(self.reason(away)),
            }
        }
    }

    /// What the database has of these keys now.
    async fn awaited(&self, wrote: &[Wrote]) -> Result<Vec<AwaitedWrite>, Error> {
        let keys: Vec<_> = wrote.iter().map(|wrote| wrote.key.clone()).collect();
        let late = |_| Error::new(ErrorKind::Unavailable, "the database did not say in time what was written");
        let rows = timeout(self.config.wait, self.rows.load(&keys)).await.map_err(late)??;
        let awaited =
            |row: Current| AwaitedWrite { is_deletion: row.document.is_none(), version: row.version, key: row.key };
        Ok(rows.into_iter().map(awaited).collect())
    }

    /// Tells of it, and then for a while only in detail: with the index, all searches fail alike.
    fn tell(&self, error: &Error) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let kind = error.kind().name();
        if told.is_some_and(|told| told.elapsed() < TELL) {
            tracing::debug!(index = self.name, kind, %error, "the index did not answer a search");
            return;
        }
        *told = Some(Instant::now());
        tracing::warn!(index = self.name, kind, %error, "the index did not answer a search; the database does");
    }

    fn reason(&self, away: NoAnswer) -> Reason {
        match away {
            NoAnswer::NotLetThrough => Reason::Open,
            NoAnswer::Late => Reason::Late,
            NoAnswer::Failed(error) => {
                self.tell(&error);
                Reason::Failed
            }
        }
    }
}

#[cfg(test)]
mod tests;
