//! The address of a workspace.

use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;

use super::Site;
use crate::error::{Error, ErrorKind};
use crate::port::{AddressRange, Joined};
use crate::saga::{SagaStep, StepContext};

pub(super) const NAME: &str = "address";

/// Addresses that something else has are passed over, so many at most in one try.
const TRIES: usize = 64;

fn told(address: IpAddr) -> Value {
    Value::String(address.to_string())
}

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
        let Some(network) = &host.network else {
            return self.0.placements.take_address(context.subject, range).await.map(told);
        };
        let mut left = Some(range);
        for _ in 0..TRIES {
            let Some(candidates) = left else { break };
            let address = self.0.placements.take_address(context.subject, candidates).await?;
            match host.containers.attach(context.subject, network, address).await? {
                Joined::Yes => return Ok(told(address)),
                Joined::AddressTaken => {
                    tracing::info!(host = host.name, network, %address, "something that is no workspace has an address");
                    self.0.placements.give_address_back(context.subject).await?;
                    left = candidates.after(address);
                }
            }
        }
        let AddressRange { first, last } = range;
        let what = format!(
            "no address is left from {first} to {last}: something else has those in network {network} that no workspace has"
        );
        Err(Error::new(ErrorKind::Unexplained, what))
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
