//! Notes at the source of documents that are in the index.

use crate::error::{Error, Remedy};
use crate::port::Projection;

/// Notes these keys and says whose rows somebody holds. A row that does not take its note by its own fault (a check it
/// breaks, a trigger that raises) is left without: its document is in the index all the same.
pub(crate) async fn note(projection: &dyn Projection, keys: &[String]) -> Result<Vec<String>, Error> {
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
