//! Whether the outbox is as new as this program. Beside an older one its roles would do their main work, and fail in what is new.

use std::time::Duration;

use sync_core::adapter::postgres::{Postgres, pending};
use sync_core::policy::Backoff;
use sync_core::{Error, ErrorKind, Remedy};
use tokio::time::{sleep, timeout};

use crate::render;
use crate::tasks::Role;

/// How long the roles are held up for the answer: an outage must not keep them from starting.
const FIRST_LOOK: Duration = Duration::from_secs(2);

/// Between looks while the database cannot be reached.
const BETWEEN: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(1));

/// Refuses an outbox that is older. Where PostgreSQL does not say at once, something to run beside the roles that does so as
/// soon as it does.
///
/// # Errors
/// `Configuration` when a migration is missing.
pub(super) async fn refuse_older(database: Postgres) -> Result<Option<Role>, Error> {
    let mut looking = Box::pin(look(database));
    if let Ok(seen) = timeout(FIRST_LOOK, &mut looking).await {
        return seen.map(|()| None);
    }
    let role = Role::new("schema".to_owned(), move |shutdown| async move {
        shutdown.run_until_cancelled(looking).await.unwrap_or(Ok(()))?;
        shutdown.cancelled().await;
        Ok(())
    });
    Ok(Some(role))
}

/// Looks until there is an answer.
async fn look(database: Postgres) -> Result<(), Error> {
    let mut failures = 0;
    loop {
        match missing(&database).await {
            Ok(missing) if missing.is_empty() => return Ok(()),
            Ok(missing) => return Err(older(&missing)),
            Err(error) if error.remedy() == Remedy::Retry => {
                failures += 1;
                let delay = BETWEEN.delay(failures, rand::random());
                tracing::debug!(%error, failures, "looking for the migrations of the outbox again in {delay:?}");
                sleep(delay).await;
            }
            // Nothing is known. Where it is no whim of this one table, the roles are refused the same.
            Err(error) => {
                tracing::warn!(%error, "whether the outbox is as new as this program cannot be seen");
                return Ok(());
            }
        }
    }
}

/// That the outbox lacks these migrations.
pub(crate) fn older(missing: &[String]) -> Error {
    let lacks = render::counted(missing.len() as u64, "migration");
    let last = missing.last().map_or("", String::as_str);
    let what = format!("the outbox in the database lacks {lacks}, up to {last}; run `sync-runner migrate`");
    Error::new(ErrorKind::Configuration, what)
}

async fn missing(database: &Postgres) -> Result<Vec<String>, Error> {
    let client = database.client().await?;
    pending(&client).await
}
