//! Statements whose answers are waited for only so long.
//!
//! The server is told first: it ends a statement a little earlier than it is given up here, and says so. Then it does
//! not go on working for nobody, the connection can be used again, and so no request to cancel is sent, which a server
//! that says nothing would not hear either. Silence beyond that is no slow statement: whoever is there does not answer
//! any more, although it may still acknowledge what is sent.

use std::fmt;
use std::mem;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use deadpool_postgres::Object;
use tokio::time::timeout;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row, Statement, ToStatement};

use super::Postgres;

/// Why a statement has no result.
#[derive(Debug)]
pub(crate) enum Failure {
    /// What the server said, or the client crate.
    Told(tokio_postgres::Error),
    /// Nothing was said for so long.
    Silent(Duration),
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Told(error)
    }
}

/// SQL that has the server end a statement before it is given up here. What role or URL say is kept if it is less.
pub(super) fn limited(limit: Duration) -> String {
    let milliseconds = (limit * 9 / 10).as_millis().clamp(1, i32::MAX as u128);
    format!(
        "select case when setting::bigint = 0 or setting::bigint > {milliseconds} \
         then set_config('statement_timeout', '{milliseconds}', false) end \
         from pg_settings where name = 'statement_timeout'"
    )
}

/// A connection that is given up, and its server doubted, when an answer does not come in time.
pub(crate) struct Timed {
    connection: Connection,
    database: Postgres,
    /// The server that served when it was taken.
    served: usize,
    /// Statements whose answer has not come, and transactions that have not ended.
    unfinished: AtomicUsize,
}

enum Connection {
    /// Goes back to the pool, unless something is unfinished.
    Pooled(Object),
    /// Closed when dropped.
    Own(Client),
    GivenUp,
}

impl fmt::Debug for Timed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timed").field("limit", &self.database.limit).finish_non_exhaustive()
    }
}

impl Timed {
    pub(super) fn pooled(object: Object, database: Postgres, served: usize) -> Self {
        Self { connection: Connection::Pooled(object), database, served, unfinished: AtomicUsize::default() }
    }

    pub(super) fn own(client: Client, database: Postgres, served: usize) -> Self {
        Self { connection: Connection::Own(client), database, served, unfinished: AtomicUsize::default() }
    }

    /// How long an answer is waited for.
    pub(super) fn limit(&self) -> Duration {
        self.database.limit
    }

    /// The connection itself, on which anything is waited for.
    pub(crate) fn client(&self) -> Result<&Client, Failure> {
        match &self.connection {
            Connection::Pooled(object) => Ok(object),
            Connection::Own(client) => Ok(client),
            Connection::GivenUp => Err(Failure::Silent(self.limit())),
        }
    }

    async fn within<T>(&self, answer: impl Future<Output = Result<T, tokio_postgres::Error>>) -> Result<T, Failure> {
        self.unfinished.fetch_add(1, Ordering::Relaxed);
        match timeout(self.limit(), answer).await {
            Ok(answered) => {
                self.unfinished.fetch_sub(1, Ordering::Relaxed);
                Ok(answered?)
            }
            Err(_) => Err(self.silent()),
        }
    }

    /// Nothing was said in time.
    pub(super) fn silent(&self) -> Failure {
        self.database.doubt_of(self.served);
        Failure::Silent(self.limit())
    }

    pub(crate) async fn query<T: ?Sized + ToStatement>(
        &self,
        statement: &T,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Failure> {
        self.within(self.client()?.query(statement, parameters)).await
    }

    /// Prepares nothing that stays: for statements of which there are too many to keep, each planned with its values.
    pub(crate) async fn query_typed(
        &self,
        sql: &str,
        parameters: &[(&(dyn ToSql + Sync), Type)],
    ) -> Result<Vec<Row>, Failure> {
        self.within(self.client()?.query_typed(sql, parameters)).await
    }

    pub(crate) async fn query_one<T: ?Sized + ToStatement>(
        &self,
        statement: &T,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Row, Failure> {
        self.within(self.client()?.query_one(statement, parameters)).await
    }

    pub(crate) async fn query_opt<T: ?Sized + ToStatement>(
        &self,
        statement: &T,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Option<Row>, Failure> {
        self.within(self.client()?.query_opt(statement, parameters)).await
    }

    pub(crate) async fn execute<T: ?Sized + ToStatement>(
        &self,
        statement: &T,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<u64, Failure> {
        self.within(self.client()?.execute(statement, parameters)).await
    }

    pub(crate) async fn batch_execute(&self, statements: &str) -> Result<(), Failure> {
        self.within(self.client()?.batch_execute(statements)).await
    }

    pub(crate) async fn prepare(&self, sql: &str) -> Result<Statement, Failure> {
        self.within(self.client()?.prepare(sql)).await
    }

    /// Of a pooled connection, prepares each statement once.
    pub(crate) async fn prepare_cached(&self, sql: &str) -> Result<Statement, Failure> {
        match &self.connection {
            Connection::Pooled(object) => self.within(object.prepare_cached(sql)).await,
            Connection::Own(_) | Connection::GivenUp => self.prepare(sql).await,
        }
    }

    /// Every statement is prepared anew from now on.
    pub(crate) fn forget_prepared(&self) {
        match &self.connection {
            Connection::Pooled(object) => object.statement_cache.clear(),
            Connection::Own(_) | Connection::GivenUp => {}
        }
    }

    /// Begins a transaction. Where neither `commit` nor `rollback` ends it, the connection is closed.
    pub(crate) async fn begin(&self) -> Result<(), Failure> {
        self.batch_execute("begin").await?;
        self.unfinished.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    pub(crate) async fn commit(&self) -> Result<(), Failure> {
        self.end("commit").await
    }

    /// Where it fails, the connection is closed, which does the same.
    pub(crate) async fn rollback(&self) {
        // Behind a statement that nobody answered, this would not be answered either.
        if self.unfinished.load(Ordering::Relaxed) == 1
            && let Err(failure) = self.end("rollback").await
        {
            tracing::debug!(?failure, "a transaction is taken back by closing its connection");
        }
    }

    async fn end(&self, how: &str) -> Result<(), Failure> {
        self.batch_execute(how).await?;
        self.unfinished.fetch_sub(1, Ordering::Relaxed);
        Ok(())
    }
}

impl Drop for Timed {
    fn drop(&mut self) {
        if *self.unfinished.get_mut() > 0
            && let Connection::Pooled(object) = mem::replace(&mut self.connection, Connection::GivenUp)
        {
            // Whoever took it next would wait behind what is unfinished.
            drop(Object::take(object));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_is_told_to_end_a_statement_before_it_is_given_up() {
        assert!(limited(Duration::from_secs(30)).contains("'27000'"));
        assert!(limited(Duration::from_nanos(1)).contains("'1'"), "0 would mean for ever");
    }
}
