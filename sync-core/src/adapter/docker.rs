//! Docker: the containers of workspaces on one host.

mod config;
mod containers;
mod engine;
mod error;
mod preflight;
mod tls;

pub use config::{DockerConfig, DockerTls};
pub use containers::DockerContainers;
