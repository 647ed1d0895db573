//! Dead letters in memory.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::error::Error;
use crate::port::{DeadLetter, DeadLetters, Origin};

/// Dead letters in memory, gone with it. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct MemoryDeadLetters {
    letters: Arc<Mutex<Vec<DeadLetter>>>,
}

impl MemoryDeadLetters {
    /// No letters.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn letters(&self) -> MutexGuard<'_, Vec<DeadLetter>> {
        // No change leaves the list half-done, so what a panicking holder left is whole.
        self.letters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl DeadLetters for MemoryDeadLetters {
    async fn park(&self, letter: &DeadLetter) -> Result<(), Error> {
        let mut letters = self.letters();
        letters.retain(|held| held.origin != letter.origin);
        letters.push(letter.clone());
        letters.sort_by_key(|held| held.parked_at);
        Ok(())
    }

    async fn list(&self, limit: usize) -> Result<Vec<DeadLetter>, Error> {
        Ok(self.letters().iter().take(limit).cloned().collect())
    }

    async fn remove(&self, origin: &Origin) -> Result<bool, Error> {
        let mut letters = self.letters();
        let before = letters.len();
        letters.retain(|held| held.origin != *origin);
        Ok(letters.len() < before)
    }
}

#[cfg(all(test, feature = "testkit"))]
mod tests {
    use super::*;
    use crate::testkit::conformance;

    #[tokio::test]
    async fn letters_in_memory_keep_every_promise_of_dead_letters() {
        conformance::dead_letters(async || Arc::new(MemoryDeadLetters::new()) as Arc<dyn DeadLetters>).await;
    }
}
