//! On which host a workspace lives.

use std::sync::Arc;

use async_trait::async_trait;
use futures::future::join_all;
use serde_json::Value;

use super::Site;
use crate::error::{Error, ErrorKind};
use crate::saga::{SagaStep, StepContext};

pub(super) const NAME: &str = "place";

/// Chooses the host, and remembers it before anything is done there.
#[derive(Debug)]
pub(super) struct Place(pub(super) Arc<Site>);

#[async_trait]
impl SagaStep for Place {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn act(&self, context: StepContext<'_>) -> Result<Value, Error> {
        let order = self.0.order(&context)?;
        // Before anything is made: what the cleanup would take for missing or gone.
        self.0.workspaces.check(context.subject).await?;
        let host = match &order.host {
            Some(host) => self.0.host(host)?.name.clone(),
            None => self.emptiest().await?,
        };
        self.0.placements.place(context.subject, &host).await.map(Value::String)
    }

    /// Where something could not be undone, the placement stays: it says what there is to clean up, and nobody else gets the
    /// address.
    async fn undo(&self, context: StepContext<'_>) -> Result<(), Error> {
        let Some(placement) = self.0.placements.get(context.subject).await? else { return Ok(()) };
        if placement.address.is_some() || placement.host_name.is_some() {
            return Err(Error::new(ErrorKind::Refused, "the workspace still has an address or a name"));
        }
        // Its container may still be on a host that is not configured: the placement stays, so that it is found when the host
        // is.
        self.0.host(&placement.host)?;
        self.0.placements.remove(context.subject).await
    }
}

impl Place {
    /// Of the hosts that answer the one with the fewest containers.
    async fn emptiest(&self) -> Result<String, Error> {
        let hosts = &self.0.hosts;
        let listed = join_all(hosts.iter().map(|host| host.containers.list())).await;
        let mut failed = None;
        let mut counts = Vec::new();
        for (host, listed) in hosts.iter().zip(listed) {
            match listed {
                Ok(containers) => counts.push((containers.len(), host)),
                Err(error) => failed = Some(error),
            }
        }
        match counts.into_iter().min_by_key(|(containers, _)| *containers) {
            Some((_, host)) => Ok(host.name.clone()),
            None => {
                Err(failed.unwrap_or_else(|| Error::new(ErrorKind::Configuration, "workspaces.hosts: there is none")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::adapter::memory::{MemoryPlacements, MemoryWorkspaces};
    use crate::port::Placements as _;
    use crate::workspace::WorkspaceOrder;

    #[tokio::test]
    async fn a_workspace_on_a_host_that_is_not_configured_any_more_is_not_forgotten() {
        let placements = MemoryPlacements::default();
        placements.place("blue", "one").await.unwrap();
        let site = Site {
            hosts: Vec::new(),
            workspaces: Arc::new(MemoryWorkspaces::default()),
            placements: Arc::new(placements.clone()),
            host_names: None,
            domain: None,
            defaults: WorkspaceOrder::default(),
        };
        let outputs = BTreeMap::new();
        let context = StepContext { saga: 1, subject: "blue", params: &Value::Null, outputs: &outputs };
        let error = Place(Arc::new(site)).undo(context).await.unwrap_err();
        assert!(error.to_string().contains("workspaces.hosts"), "{error}");
        assert!(placements.get("blue").await.unwrap().is_some());
    }
}
