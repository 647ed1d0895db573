//! Waking up without `NOTIFY` under load.
//!
//! The subscription's advisory lock means "asleep". Writers hold it shared until they commit; the reader tries to take
//! it exclusively when it has caught up. Refused: some writer is open, so look again soon. Taken: look once more, then
//! sleep; a writer that cannot get the lock shared rings with `NOTIFY` instead. A reader that is woken keeps the lock
//! until events come steadily: where they are rare, each rings.

use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_postgres::Statement;

use crate::adapter::postgres::connect::{Failure, Session};
use crate::adapter::postgres::error::from_postgres;
use crate::error::Error;

const FIRST_NAP: Duration = Duration::from_millis(1);
const LONGEST_NAP: Duration = Duration::from_millis(20);

/// The reader's side of the bell.
pub(super) struct Wake {
    bell: i32,
    lock: Statement,
    unlock: Statement,
    asleep: bool,
    nap: Duration,
}

impl Wake {
    /// Listens on `session`; `bell` is the subscription's number.
    pub(super) async fn new(session: &Session, bell: i32) -> Result<Self, Error> {
        let preparing = |error| from_postgres("listening to the outbox", error);
        session.client.batch_execute("listen outbox").await.map_err(preparing)?;
        let lock = session
            .client
            .prepare("select pg_try_advisory_lock(outbox.wake_class(), $1::int4)")
            .await
            .map_err(preparing)?;
        let unlock = session.client.prepare("select pg_advisory_unlock_all()").await.map_err(preparing)?;
        Ok(Self { bell, lock, unlock, asleep: false, nap: FIRST_NAP })
    }

    /// Events were found: the next look may come soon.
    pub(super) fn found(&mut self) {
        self.nap = FIRST_NAP;
    }

    /// Events come steadily: writers need not ring any more.
    pub(super) async fn busy(&mut self, session: &Session) -> Result<(), Error> {
        if self.asleep {
            self.asleep = false;
            session.client.query_one(&self.unlock, &[]).await.map_err(listening)?;
        }
        Ok(())
    }

    /// Returns when it is time to look again, after at most `poll_interval`.
    pub(super) async fn wait(&mut self, session: &Session, poll_interval: Duration) -> Result<(), Error> {
        if self.asleep {
            // A bell that rang meanwhile is remembered. A time-out is the safety net for writers that do not ring.
            if timeout(poll_interval, session.notified.notified()).await.is_err() {
                tracing::trace!("nothing rang; looking all the same");
            }
            return Ok(());
        }
        // Set before the answer: a caller that drops this half-way leaves a lock that may be held.
        self.asleep = true;
        let row = session.client.query_one(&self.lock, &[&self.bell]).await.map_err(listening)?;
        self.asleep = row.get(0);
        if !self.asleep {
            sleep(self.nap.min(poll_interval)).await;
            self.nap = (self.nap * 2).min(LONGEST_NAP);
        }
        Ok(())
    }
}

fn listening(failure: Failure) -> Error {
    from_postgres("listening to the outbox", failure)
}
