//! Rounds in memory.

use std::net::IpAddr;

use async_trait::async_trait;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::*;
use crate::adapter::HostsDirectory;
use crate::adapter::memory::{MemoryContainers, MemoryHostNames, MemoryPlacements, MemoryWorkspaces};
use crate::port::{AddressRange, Attached, Container, ContainerSpec, Containers, Executed, Placements};
use crate::workspace::{Host, WorkspaceOrder};

/// Containers of which each removal waits until it is let go.
#[derive(Debug)]
struct Slow {
    containers: MemoryContainers,
    begun: Semaphore,
    may: Semaphore,
}

#[async_trait]
impl Containers for Slow {
    async fn check_image(&self, image: &str) -> Result<(), Error> {
        self.containers.check_image(image).await
    }

    async fn check_network(&self, network: &str, addresses: AddressRange) -> Result<(), Error> {
        self.containers.check_network(network, addresses).await
    }

    async fn create(&self, spec: &ContainerSpec) -> Result<String, Error> {
        self.containers.create(spec).await
    }

    async fn execute(&self, workspace: &str, command: &[String]) -> Result<Executed, Error> {
        self.containers.execute(workspace, command).await
    }

    async fn attach(&self, workspace: &str, network: &str, address: IpAddr) -> Result<Attached, Error> {
        self.containers.attach(workspace, network, address).await
    }

    async fn detach(&self, workspace: &str) -> Result<(), Error> {
        self.containers.detach(workspace).await
    }

    async fn list(&self) -> Result<Vec<Container>, Error> {
        self.containers.list().await
    }

    async fn remove(&self, workspace: &str) -> Result<u64, Error> {
        self.containers.remove(workspace).await
    }

    async fn remove_container(&self, id: &str) -> Result<(), Error> {
        self.begun.add_permits(1);
        self.may.acquire().await.unwrap().forget();
        self.containers.remove_container(id).await
    }
}

struct Yard {
    hosts: Vec<Arc<Slow>>,
    placements: MemoryPlacements,
    workspaces: MemoryWorkspaces,
    cleanup: Cleanup,
}

fn host(name: &str, containers: &Arc<Slow>) -> Host {
    let containers = Arc::clone(containers) as Arc<dyn Containers>;
    Host { name: name.to_owned(), containers, addresses: None, network: None }
}

fn yard() -> Yard {
    let slow = |_| {
        let containers = MemoryContainers::new("us");
        Arc::new(Slow { containers, begun: Semaphore::new(0), may: Semaphore::new(0) })
    };
    let (hosts, placements, workspaces) =
        ([(); 2].map(slow).to_vec(), MemoryPlacements::default(), MemoryWorkspaces::default());
    let site = Site {
        hosts: vec![host("one", &hosts[0]), host("two", &hosts[1])],
        workspaces: Arc::new(workspaces.clone()),
        placements: Arc::new(placements.clone()),
        host_names: Some(Arc::new(MemoryHostNames::default())),
        domain: None,
        defaults: WorkspaceOrder::default(),
    };
    let config = CleanupConfig { grace: Duration::ZERO, ..CleanupConfig::default() };
    let cleanup = Cleanup::new(Arc::new(site), config);
    Yard { hosts, placements, workspaces, cleanup }
}

impl Yard {
    async fn container(&self, host: usize, workspace: &str, saga: i64) -> String {
        let spec = ContainerSpec {
            workspace: workspace.to_owned(),
            saga,
            image: "sync-busybox".to_owned(),
            command: vec!["sleep".to_owned()],
            ..ContainerSpec::default()
        };
        self.hosts[host].create(&spec).await.unwrap()
    }

    /// A round, and what happens meanwhile. Neither waits for ever.
    async fn round_beside<T>(&self, other: impl Future<Output = T>) -> (Report, T) {
        let both = async { tokio::join!(self.cleanup.round(false), other) };
        let (report, other) = timeout(Duration::from_secs(60), both).await.expect("nothing is waited for in vain");
        (report.unwrap(), other)
    }

    async fn ids(&self, host: usize) -> Vec<String> {
        self.hosts[host].list().await.unwrap().into_iter().map(|container| container.id).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_that_takes_its_time_holds_up_no_other() {
    let yard = yard();
    for (host, workspace) in [(0, "a"), (1, "b")] {
        yard.workspaces.set(workspace, WorkspaceState::Gone);
        yard.container(host, workspace, 1).await;
    }
    yard.hosts[1].may.add_permits(1);
    let waiting = async {
        yard.hosts[0].begun.acquire().await.unwrap().forget();
        yard.hosts[1].begun.acquire().await.unwrap().forget();
        while !yard.ids(1).await.is_empty() {
            sleep(Duration::from_millis(1)).await;
        }
        yard.hosts[0].may.add_permits(1);
    };
    let (report, ()) = yard.round_beside(waiting).await;
    assert_eq!(report.removed.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_has_an_owner_again_when_its_turn_comes_is_left_alone() {
    let yard = yard();
    for workspace in ["a", "b"] {
        yard.workspaces.set(workspace, WorkspaceState::Gone);
        yard.container(0, workspace, 1).await;
        yard.placements.place(workspace, "one").await.unwrap();
    }
    let coming_back = async {
        yard.hosts[0].begun.acquire().await.unwrap().forget();
        yard.workspaces.set("b", WorkspaceState::Live);
        yard.hosts[0].may.add_permits(1);
    };
    let (report, ()) = yard.round_beside(coming_back).await;
    let removed = report.removed;
    assert!(removed.iter().all(|orphan| orphan.workspace == "a") && removed.len() == 2, "{removed:?}");
    assert_eq!(yard.ids(0).await.len(), 1);
    assert!(yard.placements.get("b").await.unwrap().is_some(), "nor does anybody get its address");
}

#[tokio::test(start_paused = true)]
async fn a_container_that_was_made_meanwhile_is_not_removed_in_place_of_the_one_that_was_found() {
    let yard = yard();
    yard.workspaces.set("a", WorkspaceState::Gone);
    yard.container(0, "a", 1).await;
    let remaking = async {
        yard.hosts[0].begun.acquire().await.unwrap().forget();
        let made = yard.container(0, "a", 2).await;
        yard.hosts[0].may.add_permits(1);
        made
    };
    let (_, made) = yard.round_beside(remaking).await;
    assert_eq!(yard.ids(0).await, [made]);
}

#[tokio::test(start_paused = true)]
async fn the_placement_of_a_workspace_on_a_host_that_is_not_configured_is_kept_and_told() {
    let yard = yard();
    yard.workspaces.set("a", WorkspaceState::Gone);
    yard.placements.place("a", "three").await.unwrap();
    let report = yard.cleanup.round(false).await.unwrap();
    assert!(report.removed.is_empty());
    assert!(report.failed[0].contains("host three") && report.failed[0].contains("workspaces.hosts"), "{report:?}");
    assert!(yard.placements.get("a").await.unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_name_stays_a_workspaces_own_while_it_is_not_known_whether_it_is_told() {
    let mut yard = yard();
    let mut site = Site::clone(&yard.cleanup.site);
    site.host_names = Some(Arc::new(HostsDirectory::new("/nowhere".into(), "us")));
    for host_names in [site.host_names.take(), None] {
        yard.cleanup.site = Arc::new(Site { host_names, ..site.clone() });
        yard.workspaces.set("a", WorkspaceState::Gone);
        yard.placements.place("a", "one").await.unwrap();
        yard.placements.take_host_name("a", "a.example").await.unwrap();
        let report = yard.cleanup.round(false).await.unwrap();
        assert!(report.removed.is_empty() && report.failed[0].contains("workspaces.host_names"), "{report:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_workspace_that_is_missing_anew_is_waited_for_anew() {
    let yard = yard();
    yard.placements.place("a", "one").await.unwrap();
    assert_eq!(yard.cleanup.round(false).await.unwrap().removed.len(), 1);
    assert_eq!(yard.cleanup.round(false).await.unwrap(), Report::default());
    let _open = yard.workspaces.begin();
    let over = yard.workspaces.begin();
    yard.workspaces.end(over);
    yard.placements.place("a", "one").await.unwrap();
    assert_eq!(yard.cleanup.round(false).await.unwrap().waiting, ["a"], "the transaction may be writing it");
}
