//! The subscription's position and lease, on a session of their own.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tokio_postgres::Statement;

use super::SourceConfig;
use crate::adapter::postgres::connect::Session;
use crate::adapter::postgres::error::from_postgres;
use crate::error::{Error, ErrorKind};
use crate::port::{Cursor, Position};

/// Every statement is fenced by the term: once somebody else took the lease, none of them changes anything.
pub(super) struct PostgresCursor {
    session: Session,
    subscription: String,
    term: i64,
    lease: Duration,
    advance: Statement,
    renew: Statement,
    release: Statement,
    note: Statement,
    noted: Mutex<Option<Instant>>,
}

/// How often a snapshot is kept for [`rewind`](super::PostgresSource::rewind).
const NOTE: Duration = Duration::from_secs(60);

impl fmt::Debug for PostgresCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresCursor")
            .field("subscription", &self.subscription)
            .field("term", &self.term)
            .finish_non_exhaustive()
    }
}

impl PostgresCursor {
    pub(super) async fn new(session: Session, config: &SourceConfig, term: i64) -> Result<Self, Error> {
        let prepare = |sql: &'static str| {
            let client = &session.client;
            async move { client.prepare(sql).await.map_err(|error| from_postgres("preparing the position", error)) }
        };
        let advance = prepare(
            "update outbox.subscriptions set lo = $3, hi = $4, last = $5, updated_at = clock_timestamp()
              where name = $1 and lease_term = $2",
        )
        .await?;
        let renew = prepare(
            "update outbox.subscriptions set lease_until = clock_timestamp() + make_interval(secs => $3)
              where name = $1 and lease_term = $2",
        )
        .await?;
        let release = prepare(
            "update outbox.subscriptions set lease_holder = null, lease_until = null, lease_for = null
              where name = $1 and lease_term = $2",
        )
        .await?;
        let note = prepare("select outbox.note_snapshot()").await?;
        Ok(Self {
            note,
            noted: Mutex::default(),
            subscription: config.subscription.clone(),
            term,
            lease: config.lease,
            advance,
            renew,
            release,
            session,
        })
    }

    /// Once a minute.
    async fn note_snapshot(&self) -> Result<(), Error> {
        let mut noted = self.noted.lock().await;
        if noted.is_none_or(|noted| noted.elapsed() >= NOTE) {
            let note = self.session.client.execute(&self.note, &[]).await;
            note.map_err(|error| from_postgres("keeping a snapshot", error))?;
            *noted = Some(Instant::now());
        }
        Ok(())
    }

    fn fenced_unless_one(&self, rows: u64) -> Result<(), Error> {
        if rows == 1 {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Fenced,
            format!("another relay took over subscription {:?} (term {} is over)", self.subscription, self.term),
        ))
    }
}

#[async_trait]
impl Cursor for PostgresCursor {
    async fn advance(&self, position: &Position) -> Result<(), Error> {
        let rows = self
            .session
            .client
            .execute(&self.advance, &[&self.subscription, &self.term, &position.lo, &position.hi, &position.last])
            .await
            .map_err(|error| from_postgres("recording the position", error))?;
        self.fenced_unless_one(rows)
    }

    async fn renew(&self) -> Result<(), Error> {
        let rows = self
            .session
            .client
            .execute(&self.renew, &[&self.subscription, &self.term, &self.lease.as_secs_f64()])
            .await
            .map_err(|error| from_postgres("renewing the lease", error))?;
        self.fenced_unless_one(rows)?;
        self.note_snapshot().await
    }

    async fn release(&self) -> Result<(), Error> {
        self.session
            .client
            .execute(&self.release, &[&self.subscription, &self.term])
            .await
            .map_err(|error| from_postgres("releasing the lease", error))?;
        Ok(())
    }

    fn lease(&self) -> Duration {
        self.lease
    }
}
