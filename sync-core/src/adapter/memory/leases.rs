//! Leases in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use crate::error::Error;
use crate::port::Leases;

/// Leases in memory. Clones share them, and are one holder.
#[derive(Clone, Debug, Default)]
pub struct MemoryLeases {
    /// By name: the holder, and until when.
    leases: Arc<Mutex<BTreeMap<String, (u64, Instant)>>>,
    holder: u64,
}

impl MemoryLeases {
    /// The same leases for another holder.
    #[must_use]
    pub fn another(&self) -> Self {
        Self { holder: rand::random(), ..self.clone() }
    }
}

#[async_trait]
impl Leases for MemoryLeases {
    async fn hold(&self, name: &str, lease: Duration) -> Result<bool, Error> {
        let mut leases = self.leases.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if leases.get(name).is_some_and(|(holder, until)| *holder != self.holder && *until > now) {
            return Ok(false);
        }
        leases.insert(name.to_owned(), (self.holder, now + lease));
        Ok(true)
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
