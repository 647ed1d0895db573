//! Workspaces: a container on a host, set up, with an address and a name. Created as a whole or taken back; what is left of
//! one anyway is found and removed.
//!
//! ```text
//!  create ──▶ saga: place ▸ container ▸ setup ▸ address ▸ host_name ──▶ the application's end: RUNNING, or FAILED
//!  delete ──▶ saga: the same steps undone, the last one first        ──▶ DELETED
//!  cleanup, each minute: what hosts have ──▶ does the database know of it? ──▶ removed
//! ```

mod address;
pub mod cleanup;
mod container;
mod host_name;
mod order;
mod place;
mod setup;

use std::sync::Arc;

use serde_json::Value;

use self::address::TakeAddress;
use self::container::RunContainer;
use self::host_name::PublishHostName;
pub use self::order::WorkspaceOrder;
use self::place::Place;
use self::setup::SetUp;
use crate::error::{Error, ErrorKind};
use crate::port::{AddressRange, Containers, HostNames, Placements, Workspaces};
use crate::saga::{SagaDefinition, SagaStep, StepContext};

/// The kind of the saga that creates a workspace; its subject is the workspace.
pub const CREATE: &str = "workspace-create";

/// The kind of the saga that deletes one.
pub const DELETE: &str = "workspace-delete";

/// A host that workspaces are placed on.
#[derive(Clone, Debug)]
pub struct Host {
    /// What it is called.
    pub name: String,
    /// The containers on it.
    pub containers: Arc<dyn Containers>,
    /// Addresses for its workspaces; without them they have none.
    pub addresses: Option<AddressRange>,
    /// The network in which they have them; without it addresses are given out, and used by nobody here.
    pub network: Option<String>,
}

/// Where workspaces live, and what they are like unless they say otherwise.
#[derive(Clone, Debug)]
pub struct Site {
    /// The hosts; at least one.
    pub hosts: Vec<Host>,
    /// Which workspaces there are.
    pub workspaces: Arc<dyn Workspaces>,
    /// What workspaces occupy.
    pub placements: Arc<dyn Placements>,
    /// Where their names are told; without it they have none.
    pub host_names: Option<Arc<dyn HostNames>>,
    /// What follows the workspace in its name, where it wants no other: `example.org` gives `<workspace>.example.org`.
    pub domain: Option<String>,
    /// What is taken where an order says nothing.
    pub defaults: WorkspaceOrder,
}

impl Site {
    /// The saga that creates a workspace.
    #[must_use]
    pub fn creation(self: &Arc<Self>) -> SagaDefinition {
        SagaDefinition::new(CREATE, self.steps())
    }

    /// The saga that deletes one.
    #[must_use]
    pub fn deletion(self: &Arc<Self>) -> SagaDefinition {
        SagaDefinition::undoing(DELETE, self.steps())
    }

    fn steps(self: &Arc<Self>) -> Vec<Arc<dyn SagaStep>> {
        vec![
            Arc::new(Place(Arc::clone(self))),
            Arc::new(RunContainer(Arc::clone(self))),
            Arc::new(SetUp(Arc::clone(self))),
            Arc::new(TakeAddress(Arc::clone(self))),
            Arc::new(PublishHostName(Arc::clone(self))),
        ]
    }

    /// The host of that name.
    fn host(&self, name: &str) -> Result<&Host, Error> {
        self.hosts.iter().find(|host| host.name == name).ok_or_else(|| {
            let known: Vec<_> = self.hosts.iter().map(|host| host.name.as_str()).collect();
            let what = format!("there is no host {name:?}; workspaces.hosts has {}", known.join(", "));
            Error::new(ErrorKind::Refused, what)
        })
    }

    /// What this workspace is to be like.
    fn order(&self, context: &StepContext<'_>) -> Result<WorkspaceOrder, Error> {
        Ok(WorkspaceOrder::read(context.params)?.or(&self.defaults))
    }

    /// The host this workspace was placed on.
    fn placed_on(&self, context: &StepContext<'_>) -> Result<&Host, Error> {
        let placed = context.outputs.get(place::NAME).and_then(Value::as_str);
        let host = placed.ok_or_else(|| Error::new(ErrorKind::Internal, "a workspace is not placed yet"))?;
        self.host(host)
    }
}
