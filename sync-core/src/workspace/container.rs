//! The container of a workspace.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;

use super::Site;
use crate::error::{Error, ErrorKind};
use crate::port::ContainerSpec;
use crate::saga::{SagaStep, StepContext};

/// Has a container run on the workspace's host.
#[derive(Debug)]
pub(super) struct RunContainer(pub(super) Arc<Site>);

#[async_trait]
impl SagaStep for RunContainer {
    fn name(&self) -> &'static str {
        "container"
    }

    async fn act(&self, context: StepContext<'_>) -> Result<Value, Error> {
        let (host, order) = (self.0.placed_on(&context)?, self.0.order(&context)?);
        let image = order.image.ok_or_else(|| {
            let what = "workspaces.image: the workspace names no image, and there is no default";
            Error::new(ErrorKind::Refused, what)
        })?;
        let spec = ContainerSpec {
            workspace: context.subject.to_owned(),
            saga: context.saga,
            image,
            command: order.command.unwrap_or_default(),
            env: order.env.iter().map(|(name, value)| format!("{name}={value}")).collect(),
            memory: order.memory,
            cpus: order.cpus,
            pids: order.pids,
            is_detached: host.network.is_some(),
        };
        host.containers.create(&spec).await.map(Value::String)
    }

    async fn undo(&self, context: StepContext<'_>) -> Result<(), Error> {
        // One that is not placed has never had a container.
        let Some(placement) = self.0.placements.get(context.subject).await? else { return Ok(()) };
        self.0.host(&placement.host)?.containers.remove(context.subject).await.map(|_| ())
    }
}
