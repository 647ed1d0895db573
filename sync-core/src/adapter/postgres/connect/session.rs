//! A connection of its own: to sleep on, to keep a lease by, to read a window through.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::poll_fn;
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_postgres::types::ToSql;
use tokio_postgres::{AsyncMessage, RowStream, Statement};
use tokio_util::task::AbortOnDropHandle;

use super::timed::{Timed, limited};
use super::{Failure, Postgres};
use crate::adapter::postgres::error::from_postgres;
use crate::error::Error;

/// One connection, driven in the background, and a bell that rings at every `NOTIFY`.
pub(crate) struct Session {
    pub(crate) client: Timed,
    pub(crate) notified: Arc<Notify>,
    database: Postgres,
    /// The server's process.
    backend: i32,
    _driver: AbortOnDropHandle<()>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Session")
    }
}

impl Postgres {
    /// A connection of its own, closed when dropped.
    ///
    /// # Errors
    /// `Unavailable`, `Denied`, `Configuration`.
    pub(crate) async fn session(&self) -> Result<Session, Error> {
        let (client, mut connection) = self.hosts.session().await?;
        let notified = Arc::new(Notify::new());
        let wake = Arc::clone(&notified);
        let driver = AbortOnDropHandle::new(tokio::spawn(async move {
            while let Some(message) = poll_fn(|context| connection.poll_message(context)).await {
                match message {
                    Ok(AsyncMessage::Notification(_)) => wake.notify_one(),
                    Ok(_) => {}
                    Err(error) => {
                        tracing::debug!(%error, "a connection to PostgreSQL ended");
                        break;
                    }
                }
            }
            // Whoever sleeps on a notification looks once more and meets the closed connection.
            wake.notify_one();
        }));
        let client = Timed::own(client, self.clone(), self.hosts.served());
        let failed = |error| from_postgres("setting up a session", error);
        client.batch_execute(&limited(self.limit)).await.map_err(failed)?;
        let backend = client.query_one("select pg_backend_pid()", &[]).await.map_err(failed)?.get(0);
        Ok(Session { client, notified, database: self.clone(), backend, _driver: driver })
    }
}

impl Session {
    /// Begins to stream rows, however long it takes the server to have the first.
    pub(crate) async fn rows(
        &self,
        doing: &str,
        statement: &Statement,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<RowStream, Error> {
        let client = self.client.client().map_err(|failure| from_postgres(doing, failure))?;
        self.patiently(doing, client.query_raw(statement, parameters.iter().copied())).await
    }

    /// Waits as long as it takes, and asks each time an answer would be late elsewhere whether the server still works
    /// on it: a backlog that takes minutes to sort would never be read otherwise.
    pub(crate) async fn patiently<T>(
        &self,
        doing: &str,
        answer: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, Error> {
        let failed = |error| from_postgres(doing, error);
        let mut answer = pin!(answer);
        // Most rows are there when they are asked for, and need no clock.
        if let Some(answered) = answer.as_mut().now_or_never() {
            return answered.map_err(failed);
        }
        loop {
            match timeout(self.client.limit(), answer.as_mut()).await {
                Ok(answered) => return answered.map_err(failed),
                Err(_) if self.is_at_work().await? => tracing::info!(doing, "PostgreSQL takes its time"),
                Err(_) => return Err(from_postgres(doing, self.client.silent())),
            }
        }
    }

    /// Whether the server is at work for this session, as another connection is told. One that waits for its client, to
    /// say something or to take something, is not: what it sent, or what it was sent, got lost.
    async fn is_at_work(&self) -> Result<bool, Error> {
        let doing = "asking PostgreSQL whether it still reads the outbox";
        let failed = |failure: Failure| from_postgres(doing, failure);
        let row = self.database.timed().await?.query_opt(AT_WORK, &[&self.backend]).await.map_err(failed)?;
        Ok(row.is_some_and(|row| row.get(0)))
    }
}

const AT_WORK: &str =
    "select coalesce(wait_event not in ('ClientRead', 'ClientWrite'), true) from pg_stat_activity where pid = $1";
