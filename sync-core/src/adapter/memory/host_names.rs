//! Host names in memory.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::error::Error;
use crate::port::{HostNames, check_host_name};

/// Host names in memory. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct MemoryHostNames(Arc<Mutex<BTreeMap<String, (String, IpAddr)>>>);

impl MemoryHostNames {
    fn all(&self) -> MutexGuard<'_, BTreeMap<String, (String, IpAddr)>> {
        // No change leaves it half-done, so what a panicking holder left is whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl HostNames for MemoryHostNames {
    async fn publish(&self, workspace: &str, name: &str, address: IpAddr) -> Result<(), Error> {
        check_host_name(name)?;
        self.all().insert(workspace.to_owned(), (name.to_owned(), address));
        Ok(())
    }

    async fn withdraw(&self, workspace: &str) -> Result<(), Error> {
        self.all().remove(workspace);
        Ok(())
    }

    async fn list(&self) -> Result<Vec<String>, Error> {
        Ok(self.all().keys().cloned().collect())
    }
}

#[cfg(feature = "testkit")]
#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::conformance;

    #[tokio::test]
    async fn host_names_in_memory_keep_the_promises_of_host_names() {
        let host_names = MemoryHostNames::default();
        let told = || {
            let mut told: Vec<_> =
                host_names.all().values().map(|(name, address)| format!("{address} {name}")).collect();
            told.sort();
            told
        };
        conformance::host_names(&host_names, told).await;
    }
}
