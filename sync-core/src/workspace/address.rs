//! The address of a workspace.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;

use super::Site;
use crate::error::Error;
use crate::saga::{SagaStep, StepContext};

pub(super) const NAME: &str = "address";

/// Takes an address of the host's that nobody has, and has the container use it.
#[derive(Debug)]
pub(super) struct TakeAddress(pub(super) Arc<Site>);

#[async_trait]
impl SagaStep for TakeAddress {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn act(&self, context: StepContext<'_>) -> Result<Value, Error> {
        let host = self.0.placed_on(&context)?;
        let Some(range) = host.addresses else { return Ok(Value::Null) };
        let address = self.0.placements.take_address(context.subject, range).await?;
        if let Some(network) = &host.network {
            host.containers.attach(context.subject, network, address).await?;
        }
        Ok(Value::String(address.to_string()))
    }

    async fn undo(&self, context: StepContext<'_>) -> Result<(), Error> {
        let Some(placement) = self.0.placements.get(context.subject).await? else { return Ok(()) };
        if placement.address.is_none() {
            return Ok(());
        }
        let host = self.0.host(&placement.host)?;
        // Nobody else gets it while the container uses it.
        if host.network.is_some() {
            host.containers.detach(context.subject).await?;
        }
        self.0.placements.give_address_back(context.subject).await
    }
}
