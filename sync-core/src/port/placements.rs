//! What workspaces occupy: a host, an address, a name.

use std::fmt::Debug;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use async_trait::async_trait;

use crate::error::Error;

/// What a workspace occupies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The workspace.
    pub workspace: String,
    /// The host its container is on.
    pub host: String,
    /// Its address; no other workspace has it.
    pub address: Option<IpAddr>,
    /// Its name; no other workspace has it.
    pub host_name: Option<String>,
    /// How long it has been placed, by the store's clock.
    pub age: Duration,
}

/// Addresses, the first and the last included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressRange {
    /// The first.
    pub first: IpAddr,
    /// The last.
    pub last: IpAddr,
}

impl AddressRange {
    /// Those after this one, if there are any.
    #[must_use]
    pub fn after(self, address: IpAddr) -> Option<Self> {
        let first: IpAddr = match address {
            IpAddr::V4(address) => Ipv4Addr::from_bits(address.to_bits().checked_add(1)?).into(),
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits().checked_add(1)?).into(),
        };
        (first <= self.last).then_some(Self { first, ..self })
    }
}

/// Keeps what workspaces occupy. Everything may be repeated; dropped half-way, or after `Unavailable`, it may have happened. Of
/// several who ask at once for the same address or name, one gets it.
#[async_trait]
pub trait Placements: Debug + Send + Sync + 'static {
    /// Places a workspace on this host, and says on which it is: it stays on the one it was placed on first.
    ///
    /// # Errors
    /// `Unavailable`, `Denied`, `Configuration`.
    async fn place(&self, workspace: &str, host: &str) -> Result<String, Error>;

    /// Gives a workspace that is placed the first address of these that nobody has, and says which; it keeps the one it has.
    ///
    /// # Errors
    /// `Unexplained` when none is left; `Refused` when it is not placed; `Unavailable`, `Denied`, `Configuration`.
    async fn take_address(&self, workspace: &str, range: AddressRange) -> Result<IpAddr, Error>;

    /// Gives a workspace that is placed this name, and no other.
    ///
    /// # Errors
    /// `Refused` when another workspace has it, or it is not placed; `Unavailable`, `Denied`, `Configuration`.
    async fn take_host_name(&self, workspace: &str, name: &str) -> Result<(), Error>;

    /// It has this address no more; it keeps another one it has been given since.
    ///
    /// # Errors
    /// `Unavailable`, `Denied`, `Configuration`.
    async fn give_address_back(&self, workspace: &str, address: IpAddr) -> Result<(), Error>;

    /// It has no name any more.
    ///
    /// # Errors
    /// `Unavailable`, `Denied`, `Configuration`.
    async fn give_host_name_back(&self, workspace: &str) -> Result<(), Error>;

    /// It occupies nothing any more.
    ///
    /// # Errors
    /// `Unavailable`, `Denied`, `Configuration`.
    async fn remove(&self, workspace: &str) -> Result<(), Error>;

    /// What this workspace occupies.
    ///
    /// # Errors
    /// `Unavailable`, `Denied`, `Configuration`.
    async fn get(&self, workspace: &str) -> Result<Option<Placement>, Error>;

    /// What all occupy, in the order of the workspaces.
    ///
    /// # Errors
    /// `Unavailable`, `Denied`, `Configuration`.
    async fn list(&self) -> Result<Vec<Placement>, Error>;
}
