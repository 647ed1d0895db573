//! Containers in memory.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::time::Instant;

use crate::error::{Error, ErrorKind};
use crate::port::{AddressRange, Attached, Container, ContainerSpec, Containers, Executed, check_workspace_id};

/// Containers in memory. Of commands it knows `true`, `false` and `echo`. Clones share them.
#[derive(Clone, Debug)]
pub struct MemoryContainers {
    engine: Arc<Mutex<Engine>>,
    owner: String,
}

/// What all owners share.
#[derive(Debug, Default)]
struct Engine {
    /// By their names, which are those of their workspaces.
    containers: BTreeMap<String, Kept>,
    made: u64,
}

#[derive(Debug)]
struct Kept {
    id: String,
    owner: String,
    saga: i64,
    made_at: Instant,
    attached: Option<(String, IpAddr)>,
}

/// The one network there is.
const NETWORK: &str = "workspaces";

/// Its addresses.
const ADDRESSES: RangeInclusive<IpAddr> =
    IpAddr::V4(Ipv4Addr::new(10, 213, 0, 0))..=IpAddr::V4(Ipv4Addr::new(10, 213, 0, 255));

/// The one image there is.
const IMAGE: &str = "sync-busybox";

impl MemoryContainers {
    /// No containers.
    #[must_use]
    pub fn new(owner: &str) -> Self {
        Self { engine: Arc::default(), owner: owner.to_owned() }
    }

    /// The same engine for another owner.
    #[must_use]
    pub fn of(&self, owner: &str) -> Self {
        Self { owner: owner.to_owned(), ..self.clone() }
    }

    fn engine(&self) -> MutexGuard<'_, Engine> {
        // No change leaves the engine half-done, so what a panicking holder left is whole.
        self.engine.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn refused(what: &str) -> Error {
    Error::new(ErrorKind::Refused, what)
}

#[async_trait]
impl Containers for MemoryContainers {
    async fn check_image(&self, image: &str) -> Result<(), Error> {
        if image == IMAGE {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Configuration, format!("workspaces.image: no {image:?}")))
    }

    async fn check_network(&self, network: &str, addresses: AddressRange) -> Result<(), Error> {
        let has_all = ADDRESSES.contains(&addresses.first) && ADDRESSES.contains(&addresses.last);
        if network == NETWORK && has_all {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Configuration, format!("workspaces.network: no {network} with all of {addresses:?}")))
    }

    async fn create(&self, spec: &ContainerSpec) -> Result<String, Error> {
        check_workspace_id(&spec.workspace)?;
        self.check_image(&spec.image).await?;
        let mut engine = self.engine();
        match engine.containers.get(&spec.workspace) {
            Some(kept) if kept.owner != self.owner => return Err(refused("somebody else has the name")),
            Some(kept) if kept.saga == spec.saga => return Ok(kept.id.clone()),
            Some(_) => drop(engine.containers.remove(&spec.workspace)),
            None => {}
        }
        if spec.command.first().is_none_or(|command| command != "sleep") {
            return Err(refused("it has ended"));
        }
        engine.made += 1;
        let id = format!("container-{}", engine.made);
        let (owner, saga) = (self.owner.clone(), spec.saga);
        let kept = Kept { id: id.clone(), owner, saga, made_at: Instant::now(), attached: None };
        engine.containers.insert(spec.workspace.clone(), kept);
        Ok(id)
    }

    async fn execute(&self, workspace: &str, command: &[String]) -> Result<Executed, Error> {
        if self.engine().containers.get(workspace).is_none_or(|kept| kept.owner != self.owner) {
            return Err(refused("the container is gone"));
        }
        let words: Vec<_> = command.iter().map(String::as_str).collect();
        let (code, output) = match words[..] {
            ["true"] => (0, String::new()),
            ["false"] => (1, String::new()),
            ["echo", ref told @ ..] => (0, told.join(" ")),
            _ => (127, "not found".to_owned()),
        };
        Ok(Executed { code, output })
    }

    async fn attach(&self, workspace: &str, network: &str, address: IpAddr) -> Result<Attached, Error> {
        let mut engine = self.engine();
        if network != NETWORK {
            return Err(Error::new(ErrorKind::Configuration, format!("workspaces.network: no {network}")));
        }
        let wanted = Some((network.to_owned(), address));
        let is_taken = engine.containers.iter().any(|(other, kept)| other != workspace && kept.attached == wanted);
        let ours = engine.containers.get_mut(workspace).filter(|kept| kept.owner == self.owner);
        ours.ok_or_else(|| refused("the container is gone"))?.attached = wanted.filter(|_| !is_taken);
        Ok(if is_taken { Attached::AddressTaken } else { Attached::Yes })
    }

    async fn detach(&self, workspace: &str) -> Result<(), Error> {
        if let Some(kept) = self.engine().containers.get_mut(workspace).filter(|kept| kept.owner == self.owner) {
            kept.attached = None;
        }
        Ok(())
    }

    async fn list(&self) -> Result<Vec<Container>, Error> {
        let engine = self.engine();
        let ours = engine.containers.iter().filter(|(_, kept)| kept.owner == self.owner);
        let container = |(workspace, kept): (&String, &Kept)| Container {
            id: kept.id.clone(),
            workspace: workspace.clone(),
            age: kept.made_at.elapsed(),
            is_running: true,
        };
        Ok(ours.map(container).collect())
    }

    async fn remove(&self, workspace: &str) -> Result<u64, Error> {
        let mut engine = self.engine();
        if engine.containers.get(workspace).is_none_or(|kept| kept.owner != self.owner) {
            return Ok(0);
        }
        engine.containers.remove(workspace);
        Ok(1)
    }

    async fn remove_container(&self, id: &str) -> Result<(), Error> {
        self.engine().containers.retain(|_, kept| kept.id != id || kept.owner != self.owner);
        Ok(())
    }
}

#[cfg(feature = "testkit")]
#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::conformance::{self, ContainersHarness};

    #[async_trait]
    impl ContainersHarness for MemoryContainers {
        fn of(&self, owner: &str) -> Arc<dyn Containers> {
            Arc::new(self.of(owner))
        }

        fn name(&self, what: &str) -> String {
            what.to_owned()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn containers_in_memory_keep_the_promises_of_containers() {
        conformance::containers(&MemoryContainers::new("nobody")).await;
    }
}
