//! Docker: the containers of workspaces on one host.

mod config;
mod containers;
mod engine;
mod error;

pub use config::DockerConfig;
pub use containers::DockerContainers;
