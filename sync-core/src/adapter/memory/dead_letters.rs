//! Dead letters in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use crate::error::Error;
use crate::port::{DeadLetter, DeadLetters, KeptLetter, LetterCount, LetterSelection, Unannounced};

/// Dead letters in memory, gone with it. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct MemoryDeadLetters {
    shelf: Arc<Mutex<Shelf>>,
}

#[derive(Debug, Default)]
struct Shelf {
    last: i64,
    /// By id.
    letters: BTreeMap<i64, DeadLetter>,
    /// Until when somebody tells people of them; for ever, of those of which people know.
    claimed: BTreeMap<i64, Option<Instant>>,
}

impl MemoryDeadLetters {
    /// No letters.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        // No change leaves the shelf half-done, so what a panicking holder left is whole.
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn without_value(letter: &DeadLetter) -> DeadLetter {
    DeadLetter { value: None, ..letter.clone() }
}

fn is_selected(selection: &LetterSelection, id: i64, letter: &DeadLetter) -> bool {
    let LetterSelection { ids, keys, reader, error_kind, before } = selection;
    ids.as_ref().is_none_or(|ids| ids.contains(&id))
        && keys.as_ref().is_none_or(|keys| letter.key.as_ref().is_some_and(|key| keys.contains(key)))
        && reader.as_ref().is_none_or(|reader| *reader == letter.reader)
        && error_kind.as_ref().is_none_or(|kind| *kind == letter.error_kind)
        && before.is_none_or(|before| letter.parked_at < before)
}

#[async_trait]
impl DeadLetters for MemoryDeadLetters {
    async fn park(&self, letter: &DeadLetter) -> Result<(), Error> {
        let mut shelf = self.shelf();
        let what = |letter: &DeadLetter| (letter.reader.clone(), letter.origin.topic.clone(), letter.subject());
        let about = what(letter);
        shelf.letters.retain(|_, held| what(held) != about);
        shelf.last += 1;
        let id = shelf.last;
        shelf.letters.insert(id, letter.clone());
        Ok(())
    }

    async fn list(&self, selection: &LetterSelection, after: i64, limit: usize) -> Result<Vec<KeptLetter>, Error> {
        let shelf = self.shelf();
        let selected = shelf.letters.iter().filter(|(id, letter)| **id > after && is_selected(selection, **id, letter));
        let without_value = |(id, letter): (&i64, &DeadLetter)| KeptLetter { id: *id, letter: without_value(letter) };
        Ok(selected.take(limit).map(without_value).collect())
    }

    async fn get(&self, id: i64) -> Result<Option<KeptLetter>, Error> {
        Ok(self.shelf().letters.get(&id).map(|letter| KeptLetter { id, letter: letter.clone() }))
    }

    async fn count(&self, selection: &LetterSelection) -> Result<LetterCount, Error> {
        let shelf = self.shelf();
        let selected = shelf.letters.iter().filter(|(id, letter)| is_selected(selection, **id, letter));
        Ok(selected.fold(LetterCount::default(), |count, (_, letter)| LetterCount {
            letters: count.letters + 1,
            oldest: Some(count.oldest.map_or(letter.parked_at, |oldest| oldest.min(letter.parked_at))),
        }))
    }

    async fn remove(&self, ids: &[i64]) -> Result<u64, Error> {
        let mut shelf = self.shelf();
        Ok(ids.iter().filter(|id| shelf.letters.remove(id).is_some()).count() as u64)
    }
}

#[async_trait]
impl Unannounced for MemoryDeadLetters {
    async fn claim(&self, limit: usize, lease: Duration) -> Result<Vec<KeptLetter>, Error> {
        let mut shelf = self.shelf();
        let now = Instant::now();
        let Shelf { letters, claimed, .. } = &mut *shelf;
        claimed.retain(|id, until| letters.contains_key(id) && until.is_none_or(|until| until > now));
        let free: Vec<_> = letters.keys().copied().filter(|id| !claimed.contains_key(id)).take(limit).collect();
        claimed.extend(free.iter().map(|id| (*id, Some(now + lease))));
        let kept = |id: &i64| Some(KeptLetter { id: *id, letter: without_value(letters.get(id)?) });
        Ok(free.iter().filter_map(kept).collect())
    }

    async fn announced(&self, ids: &[i64]) -> Result<(), Error> {
        self.shelf().claimed.extend(ids.iter().map(|id| (*id, None)));
        Ok(())
    }
}

#[cfg(all(test, feature = "testkit"))]
mod tests {
    use super::*;
    use crate::testkit::conformance;

    #[tokio::test]
    async fn letters_in_memory_keep_every_promise_of_dead_letters() {
        conformance::dead_letters(async || Arc::new(MemoryDeadLetters::new()) as Arc<dyn DeadLetters>).await;
        conformance::unannounced(async || Arc::new(MemoryDeadLetters::new())).await;
    }
}
