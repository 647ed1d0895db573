//! What every host of containers promises.
#![allow(clippy::unwrap_used, reason = "a suite fails by panicking")]

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::error::ErrorKind;
use crate::port::{AddressRange, Attached, ContainerSpec, Containers};

/// A host that has the image `sync-busybox` and the network `workspaces`, 10.213.0.0/24.
#[async_trait]
pub trait ContainersHarness: Debug + Send + Sync {
    /// Its containers of this owner. What is called so is of this harness alone.
    fn of(&self, owner: &str) -> Arc<dyn Containers>;

    /// A name nobody else has.
    fn name(&self, what: &str) -> String;
}

/// Checks every promise of [`Containers`].
///
/// # Panics
/// When a promise is broken.
pub async fn containers(host: &impl ContainersHarness) {
    a_container_is_made_once_and_removed_once(host).await;
    a_command_says_how_it_ended_and_what_it_wrote(host).await;
    what_cannot_run_is_refused_and_leaves_nothing_behind_that_is_not_removed(host).await;
    nothing_of_another_owner_is_seen_or_touched(host).await;
    a_container_has_the_address_it_was_given_and_nobody_else_has_it(host).await;
    what_is_missing_here_is_told_before_anything_is_made(host).await;
    a_container_grows_old(host).await;
    a_container_of_another_saga_is_not_taken_and_one_that_was_removed_takes_no_other_with_it(host).await;
}

/// A container that waits.
fn waiting(workspace: &str) -> ContainerSpec {
    let command = ["sleep", "1000"].map(str::to_owned).to_vec();
    ContainerSpec {
        workspace: workspace.to_owned(),
        image: "sync-busybox".to_owned(),
        command,
        ..ContainerSpec::default()
    }
}

fn words(command: &[&str]) -> Vec<String> {
    command.iter().map(|word| (*word).to_owned()).collect()
}

async fn workspaces(containers: &dyn Containers) -> Vec<String> {
    containers.list().await.unwrap().into_iter().map(|container| container.workspace).collect()
}

async fn a_container_is_made_once_and_removed_once(host: &impl ContainersHarness) {
    let (owner, workspace) = (host.name("owner"), host.name("one"));
    let containers = host.of(&owner);
    assert!(containers.list().await.unwrap().is_empty());
    assert_eq!(containers.remove(&workspace).await.unwrap(), 0);
    let spec = ContainerSpec {
        env: words(&["A=b c"]),
        memory: Some(64 << 20),
        cpus: Some(0.5),
        pids: Some(50),
        ..waiting(&workspace)
    };
    let id = containers.create(&spec).await.unwrap();
    assert_eq!(containers.create(&spec).await.unwrap(), id, "where its answer was lost");
    let listed = containers.list().await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!((&listed[0].id, &listed[0].workspace, listed[0].is_running), (&id, &workspace, true));
    assert_eq!(containers.remove(&workspace).await.unwrap(), 1);
    assert_eq!(containers.remove(&workspace).await.unwrap(), 0);
    assert!(containers.list().await.unwrap().is_empty());
    let gone = containers.execute(&workspace, &words(&["true"])).await.unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::Refused, "{gone}");
}

async fn a_command_says_how_it_ended_and_what_it_wrote(host: &impl ContainersHarness) {
    let (owner, workspace) = (host.name("owner"), host.name("two"));
    let containers = host.of(&owner);
    containers.create(&waiting(&workspace)).await.unwrap();
    let said = containers.execute(&workspace, &words(&["echo", "größe", "7"])).await.unwrap();
    assert_eq!((said.code, said.output.as_str()), (0, "größe 7"));
    assert_eq!(containers.execute(&workspace, &words(&["true"])).await.unwrap().code, 0);
    assert_eq!(containers.execute(&workspace, &words(&["false"])).await.unwrap().code, 1);
    let unknown = containers.execute(&workspace, &words(&["no-such-command"])).await;
    assert!(unknown.is_err() || unknown.is_ok_and(|executed| executed.code != 0));
    containers.remove(&workspace).await.unwrap();
}

async fn what_cannot_run_is_refused_and_leaves_nothing_behind_that_is_not_removed(host: &impl ContainersHarness) {
    let owner = host.name("owner");
    let containers = host.of(&owner);
    let workspace = host.name("three");
    for (wrong, kind) in [
        (ContainerSpec { image: "no-such-image".to_owned(), ..waiting(&workspace) }, ErrorKind::Configuration),
        (ContainerSpec { command: words(&["no-such-command"]), ..waiting(&workspace) }, ErrorKind::Refused),
        (waiting("a b"), ErrorKind::Refused),
        (waiting(""), ErrorKind::Refused),
    ] {
        let error = containers.create(&wrong).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{wrong:?}: {error}");
    }
    // One that ends is noticed at the latest by whoever needs it.
    let created = containers.create(&ContainerSpec { command: words(&["false"]), ..waiting(&workspace) }).await;
    assert!(created.is_ok() || created.is_err_and(|error| error.kind() == ErrorKind::Refused));
    while containers.execute(&workspace, &words(&["true"])).await.is_ok_and(|executed| executed.code == 0) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // What a try has left is no hindrance for the next one, and goes with the workspace.
    containers.create(&waiting(&workspace)).await.unwrap();
    containers.remove(&workspace).await.unwrap();
    assert!(containers.list().await.unwrap().is_empty());
}

async fn nothing_of_another_owner_is_seen_or_touched(host: &impl ContainersHarness) {
    let (owner, other) = (host.name("owner"), host.name("other"));
    let (ours, others) = (host.of(&owner), host.of(&other));
    let workspace = host.name("four");
    let id = others.create(&waiting(&workspace)).await.unwrap();
    assert!(ours.list().await.unwrap().is_empty());
    assert_eq!(ours.remove(&workspace).await.unwrap(), 0);
    ours.detach(&workspace).await.unwrap();
    let taken = ours.create(&waiting(&workspace)).await.unwrap_err();
    assert_eq!(taken.kind(), ErrorKind::Refused, "{taken}");
    let hidden = ours.execute(&workspace, &words(&["true"])).await.unwrap_err();
    assert_eq!(hidden.kind(), ErrorKind::Refused, "{hidden}");
    assert_eq!(others.list().await.unwrap()[0].id, id);
    assert_eq!(others.remove(&workspace).await.unwrap(), 1);
}

async fn a_container_has_the_address_it_was_given_and_nobody_else_has_it(host: &impl ContainersHarness) {
    let owner = host.name("owner");
    let containers = host.of(&owner);
    let (one, two) = (host.name("five"), host.name("six"));
    let [first, second] = ["10.213.0.50", "10.213.0.51"].map(|address| address.parse().unwrap());
    for workspace in [&one, &two] {
        containers.create(&ContainerSpec { is_detached: true, ..waiting(workspace) }).await.unwrap();
    }
    for _ in 0..2 {
        assert_eq!(containers.attach(&one, "workspaces", first).await.unwrap(), Attached::Yes);
    }
    let attach = async |workspace: &str, address| containers.attach(workspace, "workspaces", address).await.unwrap();
    assert_eq!(attach(&two, first).await, Attached::AddressTaken, "the other one has it");
    assert_eq!(attach(&two, second).await, Attached::Yes);
    assert_eq!(attach(&two, first).await, Attached::AddressTaken);
    assert_eq!(attach(&one, second).await, Attached::Yes, "which has left the one it had");
    assert_eq!(attach(&two, first).await, Attached::Yes);
    for _ in 0..2 {
        containers.detach(&one).await.unwrap();
    }
    assert_eq!(attach(&two, second).await, Attached::Yes);
    let nowhere = containers.attach(&one, "no-such-network", first).await.unwrap_err();
    assert_eq!(nowhere.kind(), ErrorKind::Configuration, "{nowhere}");
    let gone = containers.attach(&host.name("seven"), "workspaces", first).await.unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::Refused, "{gone}");
    let mut left = workspaces(&*containers).await;
    left.sort();
    assert_eq!(left, [one.clone(), two.clone()]);
    for workspace in [one, two] {
        containers.remove(&workspace).await.unwrap();
        containers.detach(&workspace).await.unwrap();
    }
}

async fn what_is_missing_here_is_told_before_anything_is_made(host: &impl ContainersHarness) {
    let containers = host.of(&host.name("owner"));
    let range = |first: &str, last: &str| AddressRange { first: first.parse().unwrap(), last: last.parse().unwrap() };
    containers.check_image("sync-busybox").await.unwrap();
    containers.check_network("workspaces", range("10.213.0.5", "10.213.0.200")).await.unwrap();
    let missing = containers.check_image("sync-nothing").await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::Configuration, "{missing}");
    for (network, first, last) in [
        ("nowhere", "10.213.0.5", "10.213.0.200"),
        ("workspaces", "10.213.0.5", "10.213.1.5"),
        ("workspaces", "10.212.255.255", "10.213.0.5"),
        ("workspaces", "fd00::1", "fd00::2"),
    ] {
        let error = containers.check_network(network, range(first, last)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration, "{network} {first}: {error}");
    }
}

async fn a_container_grows_old(host: &impl ContainersHarness) {
    let (owner, workspace) = (host.name("owner"), host.name("eight"));
    let containers = host.of(&owner);
    containers.create(&waiting(&workspace)).await.unwrap();
    let age = async || containers.list().await.unwrap()[0].age;
    assert!(age().await < Duration::from_secs(60));
    while age().await < Duration::from_secs(2) {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    containers.remove(&workspace).await.unwrap();
}

async fn a_container_of_another_saga_is_not_taken_and_one_that_was_removed_takes_no_other_with_it(
    host: &impl ContainersHarness,
) {
    let (owner, workspace) = (host.name("owner"), host.name("nine"));
    let containers = host.of(&owner);
    let made_by = |saga| ContainerSpec { saga, ..waiting(&workspace) };
    let first = containers.create(&made_by(1)).await.unwrap();
    let second = containers.create(&made_by(2)).await.unwrap();
    assert_ne!(first, second);
    containers.remove_container(&first).await.unwrap();
    assert_eq!(containers.list().await.unwrap().iter().map(|one| &one.id).collect::<Vec<_>>(), [&second]);
    for _ in 0..2 {
        containers.remove_container(&second).await.unwrap();
    }
    assert!(containers.list().await.unwrap().is_empty());
}
