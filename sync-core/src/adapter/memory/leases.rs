//! Leases in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use crate::error::Error;
use crate::port::Leases;

/// Leases in memory. Clones share them, and are one holder.
#[derive(Clone, Debug, Default)]
pub struct MemoryLeases {
    leases: Arc<Mutex<BTreeMap<String, Lease>>>,
    holder: u64,
}

#[derive(Debug)]
struct Lease {
    holder: u64,
    until: Instant,
    note: Option<String>,
}

impl MemoryLeases {
    /// The same leases for another holder.
    #[must_use]
    pub fn another(&self) -> Self {
        Self { holder: rand::random(), ..self.clone() }
    }

    fn leases(&self) -> MutexGuard<'_, BTreeMap<String, Lease>> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Leases for MemoryLeases {
    async fn hold(&self, name: &str, lease: Duration) -> Result<bool, Error> {
        let mut leases = self.leases();
        let now = Instant::now();
        if leases.get(name).is_some_and(|held| held.holder != self.holder && held.until > now) {
            return Ok(false);
        }
        let note = leases.remove(name).and_then(|held| held.note);
        leases.insert(name.to_owned(), Lease { holder: self.holder, until: now + lease, note });
        Ok(true)
    }

    async fn leave(&self, name: &str, note: &str) -> Result<bool, Error> {
        let mut leases = self.leases();
        let Some(held) = leases.get_mut(name).filter(|held| held.holder == self.holder) else { return Ok(false) };
        held.note = Some(note.to_owned());
        Ok(true)
    }

    async fn left(&self, name: &str) -> Result<Option<String>, Error> {
        Ok(self.leases().get(name).and_then(|held| held.note.clone()))
    }
}

#[cfg(feature = "testkit")]
#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::conformance;

    #[tokio::test]
    async fn leases_in_memory_keep_the_promises_of_leases() {
        let one = MemoryLeases::default();
        conformance::leases(&one, &one.another()).await;
    }
}
