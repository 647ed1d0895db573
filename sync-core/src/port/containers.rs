//! Containers of workspaces on one host.

use std::fmt::Debug;
use std::net::IpAddr;
use std::time::Duration;

use async_trait::async_trait;

use super::placements::AddressRange;
use crate::error::Error;

/// What a workspace's container is made of.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ContainerSpec {
    /// The workspace. Its container is found by it.
    pub workspace: String,
    /// The saga that has it made. A container of another one is not taken for this one's.
    pub saga: i64,
    /// The image, which the host has.
    pub image: String,
    /// What runs in it; what the image says when it is empty.
    pub command: Vec<String>,
    /// Variables, `NAME=value`.
    pub env: Vec<String>,
    /// Bytes of memory, at most.
    pub memory: Option<u64>,
    /// Processors, at most.
    pub cpus: Option<f64>,
    /// Processes, at most.
    pub pids: Option<u32>,
    /// Whether it begins without a network, to be [attached](Containers::attach) to one.
    pub is_detached: bool,
}

/// What a command in a container came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Executed {
    /// Its exit code.
    pub code: i64,
    /// The end of what it wrote, on both streams.
    pub output: String,
}

/// A container that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// What the host calls it.
    pub id: String,
    /// Whose it is, by its label.
    pub workspace: String,
    /// How old it is, by the host's own clock.
    pub age: Duration,
    /// Whether it runs.
    pub is_running: bool,
}

/// What became of attaching a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attached {
    /// The container has the address.
    Yes,
    /// Something else has it.
    AddressTaken,
}

/// The containers of workspaces on one host: those with this owner's labels. Others are never looked at or touched, except
/// that they may have a name that is wanted. Everything may be repeated; dropped half-way, or after `Unavailable`, it may have
/// happened. What is done for several workspaces is done at the same time.
#[async_trait]
pub trait Containers: Debug + Send + Sync + 'static {
    /// Whether containers can be made of this image here.
    ///
    /// # Errors
    /// `Configuration` when it is not there; `Unavailable`, `Denied`, `Unexplained`.
    async fn check_image(&self, image: &str) -> Result<(), Error>;

    /// Whether containers can be attached to this network under these addresses.
    ///
    /// # Errors
    /// `Configuration` when there is no such network, or it has not all of these; `Unavailable`, `Denied`, `Unexplained`.
    async fn check_network(&self, network: &str, addresses: AddressRange) -> Result<(), Error>;

    /// Sees to it that a container of this workspace runs, and says its id. A running container of the same saga is kept. Any
    /// other of this workspace, one that has ended or another saga's, is removed first.
    ///
    /// # Errors
    /// `Refused` when it is none that can run here: its command, its limits, a name that somebody else has; `Configuration`
    /// when its image is not there; `Blocked` when the host has no room; `Unavailable`, `Denied`, `Unexplained`.
    async fn create(&self, spec: &ContainerSpec) -> Result<String, Error>;

    /// Runs a command in the workspace's container and waits for its end. Repeated, it is run once more. Dropped, it may go on
    /// there.
    ///
    /// # Errors
    /// `Refused` when no container of it runs; `Unavailable`, `Denied`, `Unexplained`.
    async fn execute(&self, workspace: &str, command: &[String]) -> Result<Executed, Error>;

    /// Puts the workspace's container into a network, under this address and no other. With `AddressTaken` it is in no
    /// network.
    ///
    /// # Errors
    /// `Configuration` when there is no such network, or the address is none of it; `Refused` when there is no container;
    /// `Unavailable`, `Denied`, `Unexplained`.
    async fn attach(&self, workspace: &str, network: &str, address: IpAddr) -> Result<Attached, Error>;

    /// Takes the workspace's container out of every network; a success, too, when there is none.
    ///
    /// # Errors
    /// `Unavailable`, `Denied`, `Unexplained`.
    async fn detach(&self, workspace: &str) -> Result<(), Error>;

    /// All containers, also those that do not run.
    ///
    /// # Errors
    /// `Unavailable`, `Denied`, `Unexplained`.
    async fn list(&self) -> Result<Vec<Container>, Error>;

    /// Removes all containers of this workspace, with their volumes without a name; says how many there were.
    ///
    /// # Errors
    /// `Unavailable`, `Denied`, `Unexplained`.
    async fn remove(&self, workspace: &str) -> Result<u64, Error>;

    /// Removes the container of this id, one that [`list`](Self::list) or [`create`](Self::create) has said; whose it is, is
    /// not looked at again. A success, too, when it is gone.
    ///
    /// # Errors
    /// `Unavailable`, `Denied`, `Unexplained`.
    async fn remove_container(&self, id: &str) -> Result<(), Error>;
}
