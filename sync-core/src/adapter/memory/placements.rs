//! What workspaces occupy, in memory.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::time::Instant;

use crate::error::{Error, ErrorKind};
use crate::port::{AddressRange, Placement, Placements};

/// What workspaces occupy, in memory. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct MemoryPlacements(Arc<Mutex<BTreeMap<String, Kept>>>);

#[derive(Debug)]
struct Kept {
    host: String,
    address: Option<IpAddr>,
    host_name: Option<String>,
    placed_at: Instant,
}

impl MemoryPlacements {
    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Kept>> {
        // No change leaves it half-done, so what a panicking holder left is whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, workspace: &str, change: impl FnOnce(&mut Kept)) {
        if let Some(kept) = self.all().get_mut(workspace) {
            change(kept);
        }
    }
}

fn not_placed(workspace: &str) -> Error {
    Error::new(ErrorKind::Refused, format!("workspace {workspace} is not placed"))
}

fn placement(workspace: &str, kept: &Kept) -> Placement {
    Placement {
        workspace: workspace.to_owned(),
        host: kept.host.clone(),
        address: kept.address,
        host_name: kept.host_name.clone(),
        age: kept.placed_at.elapsed(),
    }
}

#[async_trait]
impl Placements for MemoryPlacements {
    async fn place(&self, workspace: &str, host: &str) -> Result<String, Error> {
        let mut all = self.all();
        let placed = all.entry(workspace.to_owned()).or_insert_with(|| Kept {
            host: host.to_owned(),
            address: None,
            host_name: None,
            placed_at: Instant::now(),
        });
        Ok(placed.host.clone())
    }

    async fn take_address(&self, workspace: &str, range: AddressRange) -> Result<IpAddr, Error> {
        let mut all = self.all();
        let taken: Vec<_> = all.values().filter_map(|kept| kept.address).collect();
        let kept = all.get_mut(workspace).ok_or_else(|| not_placed(workspace))?;
        if let Some(address) = kept.address {
            return Ok(address);
        }
        let mut candidates = std::iter::successors(Some(range), |left| left.after(left.first)).map(|left| left.first);
        kept.address = candidates.find(|address| !taken.contains(address));
        kept.address.ok_or_else(|| {
            let AddressRange { first, last } = range;
            Error::new(ErrorKind::Unexplained, format!("no address is left from {first} to {last}"))
        })
    }

    async fn take_host_name(&self, workspace: &str, name: &str) -> Result<(), Error> {
        let mut all = self.all();
        let is_taken = |(other, kept): (&String, &Kept)| other != workspace && kept.host_name.as_deref() == Some(name);
        if all.iter().any(is_taken) {
            return Err(Error::new(ErrorKind::Refused, format!("the host name {name} belongs to another workspace")));
        }
        all.get_mut(workspace).ok_or_else(|| not_placed(workspace))?.host_name = Some(name.to_owned());
        Ok(())
    }

    async fn give_address_back(&self, workspace: &str, address: IpAddr) -> Result<(), Error> {
        self.change(workspace, |kept| kept.address = kept.address.filter(|kept| *kept != address));
        Ok(())
    }

    async fn give_host_name_back(&self, workspace: &str) -> Result<(), Error> {
        self.change(workspace, |kept| kept.host_name = None);
        Ok(())
    }

    async fn remove(&self, workspace: &str) -> Result<(), Error> {
        self.all().remove(workspace);
        Ok(())
    }

    async fn get(&self, workspace: &str) -> Result<Option<Placement>, Error> {
        Ok(self.all().get(workspace).map(|kept| placement(workspace, kept)))
    }

    async fn list(&self) -> Result<Vec<Placement>, Error> {
        Ok(self.all().iter().map(|(workspace, kept)| placement(workspace, kept)).collect())
    }
}

#[cfg(feature = "testkit")]
#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::conformance;

    #[tokio::test]
    async fn placements_in_memory_keep_the_promises_of_placements() {
        conformance::placements(&MemoryPlacements::default()).await;
    }
}
