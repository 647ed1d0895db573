//! Notes at the source of documents that are in the index.

use std::time::Duration;

use tokio::time::sleep;

use super::patience::Patience;
use crate::error::{Error, Remedy};
use crate::policy::backoff::Backoff;
use crate::port::Projection;

/// How often a row that is held is tried: for about two seconds. A batch is not settled before, so this is also how
/// long a transaction that stays open may delay a commit of offsets.
const TRIES: u32 = 9;

const BETWEEN: Backoff = Backoff { first: Duration::from_millis(10), ceiling: Duration::from_millis(500) };

/// Notes these keys and says whose rows somebody holds. A row that does not take its note by its own fault (a check it
/// breaks, a trigger that raises) is left without: its document is in the index all the same.
pub(super) async fn note(projection: &dyn Projection, keys: &[String]) -> Result<Vec<String>, Error> {
    let mut held = Vec::new();
    let mut waiting = vec![keys];
    while let Some(keys) = waiting.pop() {
        match projection.mark_synced(keys).await {
            Ok(some) => held.extend(some),
            Err(error) if matches!(error.remedy(), Remedy::TryLater | Remedy::Park) => match keys {
                [] => {}
                [key] => tracing::warn!(key, %error, "in the index, and its row does not take the note of it"),
                keys => {
                    let (first, second) = keys.split_at(keys.len() / 2);
                    waiting.extend([second, first]);
                }
            },
            Err(error) => return Err(error),
        }
    }
    Ok(held)
}

/// Notes these keys once their rows are free, or gives them up: then the note comes with the row's next change.
pub(super) async fn note_later(projection: &dyn Projection, mut keys: Vec<String>, mut patience: Patience<'_>) {
    let mut tries = 0;
    while !keys.is_empty() && tries < TRIES {
        tries += 1;
        sleep(BETWEEN.delay(tries, rand::random())).await;
        loop {
            match note(projection, &keys).await {
                Ok(held) => break keys = held,
                Err(error) => sleep(patience.after(&error)).await,
            }
        }
    }
    patience.over();
    if !keys.is_empty() {
        tracing::debug!(?keys, "held for long by a transaction: not noted as being in the index");
    }
}
