//! The address of a workspace.

use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;

use super::Site;
use crate::error::{Error, ErrorKind};
use crate::port::{AddressRange, Attached};
use crate::saga::{SagaStep, StepContext};

pub(super) const NAME: &str = "address";

/// Addresses of others that are passed over: each costs a request, and where there are more, the range is not the workspaces'
/// own.
const PASSED_OVER: usize = 64;

fn output(address: IpAddr) -> Value {
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
            return self.0.placements.take_address(context.subject, range).await.map(output);
        };
        let AddressRange { first, last } = range;
        let mut left = Some(range);
        for passed_over in 0..PASSED_OVER {
            let Some(candidates) = left else { break };
            let address = self.0.placements.take_address(context.subject, candidates).await.map_err(|error| {
                if error.kind() != ErrorKind::Unexplained {
                    return error;
                }
                let others = format!("something else in network {network} has {passed_over} of {first} to {last}");
                let setting = format!("workspaces.hosts.{}.addresses", host.name);
                Error::new(error.kind(), format!("{error} ({setting}); {others}"))
            })?;
            match host.containers.attach(context.subject, network, address).await? {
                Attached::Yes => return Ok(output(address)),
                Attached::AddressTaken => {
                    tracing::info!(host = host.name, network, %address, "something that is no workspace has an address");
                    self.0.placements.give_address_back(context.subject, address).await?;
                    left = candidates.after(address);
                }
            }
        }
        let what = match left {
            None => format!(
                "no address is left from {first} to {last}: those that no workspace has belong to something else in network \
                 {network}"
            ),
            Some(_) => format!(
                "{PASSED_OVER} addresses from {first} on belong to something else in network {network}: \
                 workspaces.hosts.{}.addresses must be the workspaces' own",
                host.name
            ),
        };
        Err(Error::new(ErrorKind::Unexplained, what))
    }

    async fn undo(&self, context: StepContext<'_>) -> Result<(), Error> {
        let Some(placement) = self.0.placements.get(context.subject).await? else { return Ok(()) };
        let Some(address) = placement.address else { return Ok(()) };
        let host = self.0.host(&placement.host)?;
        // Nobody else gets it while the container uses it.
        if host.network.is_some() {
            host.containers.detach(context.subject).await?;
        }
        self.0.placements.give_address_back(context.subject, address).await
    }
}
