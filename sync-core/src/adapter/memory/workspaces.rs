//! Workspaces in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::error::{Error, ErrorKind};
use crate::port::{Sighting, WorkspaceState, Workspaces};

/// Workspaces in memory, and transactions that are under way. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct MemoryWorkspaces(Arc<Mutex<Tables>>);

#[derive(Debug, Default)]
struct Tables {
    states: BTreeMap<String, WorkspaceState>,
    /// The number of the next transaction.
    next: u64,
    open: Vec<u64>,
}

impl MemoryWorkspaces {
    fn tables(&self) -> MutexGuard<'_, Tables> {
        // No change leaves them half-done, so what a panicking holder left is whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets what a workspace is.
    pub fn set(&self, workspace: &str, state: WorkspaceState) {
        self.tables().states.insert(workspace.to_owned(), state);
    }

    /// Begins a transaction and says its number.
    #[must_use]
    pub fn begin(&self) -> u64 {
        let mut tables = self.tables();
        let number = tables.next;
        tables.next += 1;
        tables.open.push(number);
        number
    }

    /// Ends it.
    pub fn end(&self, transaction: u64) {
        self.tables().open.retain(|open| *open != transaction);
    }
}

#[async_trait]
impl Workspaces for MemoryWorkspaces {
    async fn look(&self, workspaces: &[String]) -> Result<Sighting, Error> {
        let tables = self.tables();
        let state = |workspace| tables.states.get(workspace).copied().unwrap_or(WorkspaceState::Missing);
        Ok(Sighting {
            states: workspaces.iter().map(state).collect(),
            over_below: tables.open.iter().copied().min().unwrap_or(tables.next),
            unbegun_from: tables.next,
        })
    }

    async fn check(&self, workspace: &str) -> Result<(), Error> {
        if self.tables().states.contains_key(workspace) {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Refused, format!("there is no workspace {workspace:?}")))
    }
}

#[cfg(feature = "testkit")]
#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::conformance::{self, OpenTransaction, WorkspacesHarness};

    #[async_trait]
    impl WorkspacesHarness for MemoryWorkspaces {
        fn workspaces(&self) -> Arc<dyn Workspaces> {
            Arc::new(self.clone())
        }

        async fn write(&self, workspace: &str, state: WorkspaceState) {
            self.set(workspace, state);
        }

        async fn begin(&self, workspace: &str) -> Box<dyn OpenTransaction> {
            Box::new(Open { store: self.clone(), number: self.begin(), workspace: workspace.to_owned() })
        }
    }

    struct Open {
        store: MemoryWorkspaces,
        number: u64,
        workspace: String,
    }

    #[async_trait]
    impl OpenTransaction for Open {
        async fn commit(self: Box<Self>) {
            self.store.set(&self.workspace, WorkspaceState::Live);
            self.store.end(self.number);
        }
    }

    #[tokio::test]
    async fn workspaces_in_memory_keep_the_promises_of_workspaces() {
        conformance::workspaces(&MemoryWorkspaces::default()).await;
    }
}
