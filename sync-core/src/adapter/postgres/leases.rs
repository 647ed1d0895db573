//! Leases in the table `outbox.leases`.

use std::time::Duration;

use async_trait::async_trait;

use super::connect::Postgres;
use super::error::from_postgres;
use crate::error::Error;
use crate::port::Leases;

/// Keeps leases in PostgreSQL, on its clock.
#[derive(Debug)]
pub struct PostgresLeases {
    database: Postgres,
    holder: String,
}

impl PostgresLeases {
    /// Connects when it is used. `holder` is by whom leases are held: different for every process, the same for the life of
    /// one, as [`this_process`](super::this_process) is. Two that say the same hold one lease at once.
    #[must_use]
    pub fn new(database: Postgres, holder: String) -> Self {
        Self { database, holder }
    }
}

#[async_trait]
impl Leases for PostgresLeases {
    async fn hold(&self, name: &str, lease: Duration) -> Result<bool, Error> {
        let client = self.database.timed().await?;
        let held = client.execute(HOLD, &[&name, &self.holder, &lease.as_secs_f64()]).await;
        held.map(|rows| rows > 0).map_err(|error| from_postgres("holding a lease", error))
    }

    async fn leave(&self, name: &str, note: &str) -> Result<bool, Error> {
        let client = self.database.timed().await?;
        let sql = "update outbox.leases set note = $3 where name = $1 and holder = $2";
        let left = client.execute(sql, &[&name, &self.holder, &note]).await;
        left.map(|rows| rows > 0).map_err(|error| from_postgres("leaving a note with a lease", error))
    }

    async fn left(&self, name: &str) -> Result<Option<String>, Error> {
        let client = self.database.timed().await?;
        let row = client.query_opt("select note from outbox.leases where name = $1", &[&name]).await;
        let row = row.map_err(|error| from_postgres("reading what was left with a lease", error))?;
        Ok(row.and_then(|row| row.get(0)))
    }
}

/// One that ends long from now is of before the clock was set back.
const HOLD: &str = "
insert into outbox.leases as l (name, holder, held_until)
values ($1, $2, clock_timestamp() + make_interval(secs => $3))
on conflict (name) do update set holder = excluded.holder, held_until = excluded.held_until
 where l.holder = excluded.holder or l.held_until <= clock_timestamp()
    or l.held_until > clock_timestamp() + greatest(interval '5 minutes', 4 * make_interval(secs => $3))";
