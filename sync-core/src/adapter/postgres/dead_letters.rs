//! Dead letters in the table `outbox.dead_letters`.

use async_trait::async_trait;
use tokio_postgres::Row;

use super::connect::Postgres;
use super::error::from_postgres;
use crate::error::{Error, ErrorKind};
use crate::port::{DeadLetter, DeadLetters, Origin};

/// Keeps dead letters in PostgreSQL.
#[derive(Debug)]
pub struct PostgresDeadLetters {
    database: Postgres,
}

impl PostgresDeadLetters {
    /// Connects when it is used.
    #[must_use]
    pub fn new(database: Postgres) -> Self {
        Self { database }
    }
}

#[async_trait]
impl DeadLetters for PostgresDeadLetters {
    async fn park(&self, letter: &DeadLetter) -> Result<(), Error> {
        let client = self.database.client().await?;
        let attempts = i32::try_from(letter.attempts).unwrap_or(i32::MAX);
        let (key, value) = (letter.key.as_deref().map(storable), letter.value.as_deref().map(storable));
        client
            .execute(
                PARK,
                &[
                    &letter.origin.topic,
                    &letter.origin.partition,
                    &letter.origin.offset,
                    &key,
                    &value,
                    &letter.error_kind,
                    &storable(&letter.error),
                    &attempts,
                    &letter.parked_at,
                ],
            )
            .await
            .map_err(|error| from_postgres("storing a dead letter", error))?;
        Ok(())
    }

    async fn list(&self, limit: usize) -> Result<Vec<DeadLetter>, Error> {
        let client = self.database.client().await?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = client.query(LIST, &[&limit]).await.map_err(|error| from_postgres("reading dead letters", error))?;
        rows.iter().map(letter).collect()
    }

    async fn remove(&self, origin: &Origin) -> Result<bool, Error> {
        let client = self.database.client().await?;
        let removed = client
            .execute(REMOVE, &[&origin.topic, &origin.partition, &origin.offset])
            .await
            .map_err(|error| from_postgres("removing a dead letter", error))?;
        Ok(removed == 1)
    }
}

/// PostgreSQL's texts hold every character but NUL. A letter that could not be stored would stop what is behind it.
fn storable(text: &str) -> String {
    text.replace('\0', "\u{FFFD}")
}

fn letter(row: &Row) -> Result<DeadLetter, Error> {
    let unreadable = |error| {
        Error::new(ErrorKind::Contract, "reading outbox.dead_letters: not of the shape the migrations gave it")
            .with_source(error)
    };
    let attempts: i32 = row.try_get(7).map_err(unreadable)?;
    Ok(DeadLetter {
        origin: Origin {
            topic: row.try_get(0).map_err(unreadable)?,
            partition: row.try_get(1).map_err(unreadable)?,
            offset: row.try_get(2).map_err(unreadable)?,
        },
        key: row.try_get(3).map_err(unreadable)?,
        value: row.try_get(4).map_err(unreadable)?,
        error_kind: row.try_get(5).map_err(unreadable)?,
        error: row.try_get(6).map_err(unreadable)?,
        attempts: u32::try_from(attempts).unwrap_or_default(),
        parked_at: row.try_get(8).map_err(unreadable)?,
    })
}

const PARK: &str = "
insert into outbox.dead_letters
       (origin_topic, origin_partition, origin_offset, key, value, error_kind, error, attempts, parked_at)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
on conflict (origin_topic, origin_partition, origin_offset) do update
   set key = excluded.key, value = excluded.value, error_kind = excluded.error_kind, error = excluded.error,
       attempts = excluded.attempts, parked_at = excluded.parked_at";

const LIST: &str = "
select origin_topic, origin_partition, origin_offset, key, value, error_kind, error, attempts, parked_at
  from outbox.dead_letters
 order by parked_at, origin_topic, origin_partition, origin_offset
 limit $1";

const REMOVE: &str = "
delete from outbox.dead_letters where origin_topic = $1 and origin_partition = $2 and origin_offset = $3";
