//! What every way to look at workspaces promises.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a suite fails by panicking")]

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{sleep, timeout};

use crate::error::ErrorKind;
use crate::port::{Sighting, WorkspaceState, Workspaces};

/// A store in which workspaces are written.
#[async_trait]
pub trait WorkspacesHarness: Debug + Send + Sync {
    /// Looks at it.
    fn workspaces(&self) -> Arc<dyn Workspaces>;

    /// Writes a workspace: `Live` or `Gone`.
    async fn write(&self, workspace: &str, state: WorkspaceState);

    /// Begins to write one that is live, in a transaction that does not end yet.
    async fn begin(&self, workspace: &str) -> Box<dyn OpenTransaction>;
}

/// A transaction that is under way.
#[async_trait]
pub trait OpenTransaction: Send + Sync {
    /// Ends it.
    async fn commit(self: Box<Self>);
}

/// Checks every promise of [`Workspaces`]. `store` is empty, and no other transaction is under way in it.
///
/// # Panics
/// When a promise is broken.
pub async fn workspaces(store: &impl WorkspacesHarness) {
    let ids = ["here", "gone", "nowhere", "größe \" 7"].map(str::to_owned);
    let look = async || -> Sighting { store.workspaces().look(&ids).await.unwrap() };
    assert_eq!(look().await.states, [WorkspaceState::Missing; 4]);
    store.write("here", WorkspaceState::Live).await;
    store.write("gone", WorkspaceState::Gone).await;
    let [live, gone, missing] = [WorkspaceState::Live, WorkspaceState::Gone, WorkspaceState::Missing];
    assert_eq!(look().await.states, [live, gone, missing, missing]);
    assert!(store.workspaces().look(&[]).await.unwrap().states.is_empty());
    store.workspaces().check("here").await.unwrap();
    for unknown in ["nowhere", "HERE", "größe \" 7"] {
        assert_eq!(store.workspaces().check(unknown).await.unwrap_err().kind(), ErrorKind::Refused, "{unknown}");
    }

    let early = store.begin("nowhere").await;
    let first = look().await;
    assert_eq!(first.states[2], missing);
    assert!(first.over_below < first.unbegun_from, "one is open: {first:?}");
    let late = store.begin("another").await;
    assert!(look().await.over_below < first.unbegun_from, "it is still open");
    early.commit().await;
    assert_eq!(look().await.states[2], live);
    // What is open in this store began later; others on the same server may take a while.
    let passed = async {
        while look().await.over_below < first.unbegun_from {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(60), passed).await.expect("it is over one day");
    late.commit().await;
}
