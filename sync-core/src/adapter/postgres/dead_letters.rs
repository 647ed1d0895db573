//! Dead letters in the table `outbox.dead_letters`.

use std::time::Duration;

use async_trait::async_trait;
use tokio_postgres::Row;

use super::connect::{Postgres, Timed};
use super::error::from_postgres;
use crate::error::{Error, ErrorKind};
use crate::port::{DeadLetter, DeadLetters, KeptLetter, LetterCount, LetterSelection, Origin, Unannounced};

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

impl PostgresDeadLetters {
    /// Writes the event of a letter that was never published anew, so that a relay publishes it, and removes the
    /// letter; both or neither. Says whether there was such a letter. Dropped half-way, it may have happened.
    ///
    /// # Errors
    /// `Contract` when the outbox no longer has the event, or when it has a payload and its key was changed since;
    /// `Unavailable`, `Denied`, `Configuration`.
    pub async fn emit_again(&self, kept: &KeptLetter) -> Result<bool, Error> {
        let failed = |failure| from_postgres(EMITTING, failure);
        let client = self.database.timed().await?;
        client.begin().await.map_err(failed)?;
        let emitted = emit_instead(&client, kept).await;
        match emitted {
            Ok(true) => client.commit().await.map_err(failed)?,
            Ok(false) | Err(_) => client.rollback().await,
        }
        emitted
    }
}

/// Inside a transaction, which is to be taken back unless it did so.
async fn emit_instead(client: &Timed, kept: &KeptLetter) -> Result<bool, Error> {
    let failed = |failure| from_postgres(EMITTING, failure);
    let removed = client.execute(REMOVE, &[&[kept.id].as_slice()]).await.map_err(failed)?;
    if removed == 0 {
        return Ok(false);
    }
    let refused = |why: &str| Error::new(ErrorKind::Contract, format!("dead letter {}: {why}; discard it", kept.id));
    let event = client.query_opt(EVENT, &[&kept.letter.event]).await.map_err(failed)?;
    let Some(event) = event else { return Err(refused("its event is no longer in the outbox")) };
    let (topic, key): (String, String) = (event.get(0), event.get(1));
    // Locks the key, as a writer does: nobody changes it between looking and writing.
    let newest = client.query_opt(NEWEST, &[&topic, &key]).await.map_err(failed)?;
    let newest = newest.map_or(0, |row| row.get::<_, i64>(0));
    if event.get::<_, bool>(3) && newest > event.get::<_, i64>(2) {
        return Err(refused("its key has changed since, and what its event carries is older than that"));
    }
    client.query(EMIT_AGAIN, &[&kept.letter.event]).await.map_err(failed)?;
    Ok(true)
}

const EMITTING: &str = "writing the event of a dead letter anew";

#[async_trait]
impl DeadLetters for PostgresDeadLetters {
    async fn park(&self, letter: &DeadLetter) -> Result<(), Error> {
        let client = self.database.timed().await?;
        let attempts = i32::try_from(letter.attempts).unwrap_or(i32::MAX);
        let (key, value) = (letter.key.as_deref().map(storable), letter.value.as_deref().map(storable));
        let is_unread = letter.value.is_none() && letter.origin.is_unpublished();
        client
            .execute(
                &park(if is_unread { KEPT } else { "$8" }),
                &[
                    &letter.reader,
                    &storable(&letter.origin.topic),
                    &storable(&letter.subject()),
                    &letter.origin.partition,
                    &letter.origin.offset,
                    &letter.event,
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

    async fn list(&self, selection: &LetterSelection, after: i64, limit: usize) -> Result<Vec<KeptLetter>, Error> {
        let client = self.database.timed().await?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let LetterSelection { ids, keys, reader, error_kind, before } = selection;
        let rows = client
            .query(LIST, &[ids, keys, reader, error_kind, before, &after, &limit])
            .await
            .map_err(|error| from_postgres("reading dead letters", error))?;
        rows.iter().map(|row| kept(row).map_err(unreadable)).collect()
    }

    async fn get(&self, id: i64) -> Result<Option<KeptLetter>, Error> {
        let client = self.database.timed().await?;
        let row = client.query_opt(GET, &[&id]).await.map_err(|error| from_postgres("reading a dead letter", error))?;
        row.map(|row| kept(&row).map_err(unreadable)).transpose()
    }

    async fn count(&self, selection: &LetterSelection) -> Result<LetterCount, Error> {
        let client = self.database.timed().await?;
        let LetterSelection { ids, keys, reader, error_kind, before } = selection;
        let row = client
            .query_one(COUNT, &[ids, keys, reader, error_kind, before])
            .await
            .map_err(|error| from_postgres("counting dead letters", error))?;
        let letters: i64 = row.try_get(0).map_err(unreadable)?;
        Ok(LetterCount { letters: letters.unsigned_abs(), oldest: row.try_get(1).map_err(unreadable)? })
    }

    async fn remove(&self, ids: &[i64]) -> Result<u64, Error> {
        let client = self.database.timed().await?;
        client.execute(REMOVE, &[&ids]).await.map_err(|error| from_postgres("removing dead letters", error))
    }
}

#[async_trait]
impl Unannounced for PostgresDeadLetters {
    async fn claim(&self, limit: usize, lease: Duration) -> Result<Vec<KeptLetter>, Error> {
        let client = self.database.timed().await?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = client
            .query(CLAIM, &[&limit, &lease.as_secs_f64()])
            .await
            .map_err(|error| from_postgres("claiming dead letters to tell people of", error))?;
        let mut claimed = rows.iter().map(|row| kept(row).map_err(unreadable)).collect::<Result<Vec<_>, _>>()?;
        claimed.sort_by_key(|kept| kept.id);
        Ok(claimed)
    }

    async fn announced(&self, ids: &[i64]) -> Result<(), Error> {
        let client = self.database.timed().await?;
        let noted = client.execute(ANNOUNCED, &[&ids]).await;
        noted.map(drop).map_err(|error| from_postgres("noting of which dead letters people know", error))
    }
}

/// PostgreSQL's texts hold every character but NUL. A letter that could not be stored would stop what is behind it.
fn storable(text: &str) -> String {
    text.replace('\0', "\u{FFFD}")
}

fn unreadable(error: tokio_postgres::Error) -> Error {
    let what = "reading outbox.dead_letters: not of the shape the migrations gave it";
    Error::new(ErrorKind::Configuration, what).with_source(error)
}

fn kept(row: &Row) -> Result<KeptLetter, tokio_postgres::Error> {
    let attempts: i32 = row.try_get(9)?;
    let letter = DeadLetter {
        reader: row.try_get(1)?,
        origin: Origin { topic: row.try_get(2)?, partition: row.try_get(3)?, offset: row.try_get(4)? },
        event: row.try_get(5)?,
        key: row.try_get(6)?,
        value: row.try_get(7)?,
        error_kind: row.try_get(8)?,
        error: row.try_get(10)?,
        attempts: u32::try_from(attempts).unwrap_or_default(),
        parked_at: row.try_get(11)?,
    };
    Ok(KeptLetter { id: row.try_get(0)?, letter })
}

/// Stores a letter, whose value is given or is an expression of the others.
fn park(value: &str) -> String {
    format!(
        "
insert into outbox.dead_letters
       (reader, topic, subject, origin_partition, origin_offset, event_id, key, value, error_kind, error, attempts,
        parked_at)
values ($1, $2, md5($3), $4, $5, $6, $7, {value}, $9, $10, $11, $12)
on conflict (reader, topic, subject) do update
   set id = default, origin_partition = excluded.origin_partition, origin_offset = excluded.origin_offset,
       event_id = excluded.event_id, key = excluded.key, value = excluded.value, error_kind = excluded.error_kind,
       error = excluded.error, attempts = excluded.attempts, parked_at = excluded.parked_at,
       claimed_until = null, announced_at = null"
    )
}

/// What the outbox has of an event that was never published: without a way through this process, which may have no room for it. Not
/// for letters of messages, because whoever parks these need not read events.
const KEPT: &str =
    "coalesce($8::text, (select coalesce(e.value, e.payload::text) from outbox.events e where e.id = $6))";

const GET: &str = "
select id, reader, topic, origin_partition, origin_offset, event_id, key, value, error_kind, attempts, error, parked_at
  from outbox.dead_letters
 where id = $1";

const LIST: &str = "
select id, reader, topic, origin_partition, origin_offset, event_id, key, null::text, error_kind, attempts, error, parked_at
  from outbox.dead_letters
 where ($1::bigint[] is null or id = any ($1)) and ($2::text[] is null or key = any ($2))
   and ($3::text is null or reader = $3) and ($4::text is null or error_kind = $4)
   and ($5::timestamptz is null or parked_at < $5) and id > $6
 order by id
 limit $7";

const COUNT: &str = "
select count(*), min(parked_at)
  from outbox.dead_letters
 where ($1::bigint[] is null or id = any ($1)) and ($2::text[] is null or key = any ($2))
   and ($3::text is null or reader = $3) and ($4::text is null or error_kind = $4)
   and ($5::timestamptz is null or parked_at < $5)";

const REMOVE: &str = "delete from outbox.dead_letters where id = any ($1)";

const EVENT: &str = "
select topic, key, version, payload is not null or value is not null from outbox.events where id = $1";

const NEWEST: &str = "select version from outbox.versions where topic = $1 and key = $2 for update";

const EMIT_AGAIN: &str = "select outbox.emit_again($1)";

const CLAIM: &str = "
update outbox.dead_letters as letter
   set claimed_until = now() + make_interval(secs => $2)
  from (select id from outbox.dead_letters
         where announced_at is null
           -- Nobody claims for that long: a claim of before the clock was set back.
           and (claimed_until is null or claimed_until <= now()
                or claimed_until > now() + 2 * make_interval(secs => $2))
         order by id
         limit $1
           for update skip locked) as next
 where letter.id = next.id
returning letter.id, reader, topic, origin_partition, origin_offset, event_id, key, null::text, error_kind, attempts,
          error, parked_at";

const ANNOUNCED: &str = "update outbox.dead_letters set announced_at = now() where id = any ($1)";
