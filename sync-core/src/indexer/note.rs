//! Notes at the source for which somebody held the rows.

use std::time::Duration;

use tokio::time::sleep;

use super::patience::Patience;
use crate::applier::note;
use crate::policy::Backoff;
use crate::port::Projection;

/// How often a row that is held is tried: for about two seconds. A batch is not settled before, so this is also how
/// long a transaction that stays open may delay a commit of offsets.
const TRIES: u32 = 9;

const BETWEEN: Backoff = Backoff { first: Duration::from_millis(10), ceiling: Duration::from_millis(500) };

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
