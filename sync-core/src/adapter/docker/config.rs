//! Where an engine is, and whose containers are ours.

use std::time::Duration;

/// A Docker engine, and the containers of one owner on it.
#[derive(Clone, Debug)]
pub struct DockerConfig {
    /// What the host is called, in errors.
    pub host: String,
    /// Where its engine listens: `unix:///var/run/docker.sock`, or `tcp://host:2375`, which is not protected by anything.
    pub engine: String,
    /// Whose containers these are, by their label `workspace-owner`: of two owners on one engine neither touches the
    /// other's.
    pub owner: String,
    /// How long the answer to a request is waited for. Not for commands in a container, which last as long as whoever runs
    /// them waits.
    pub timeout: Duration,
}

impl Default for DockerConfig {
    fn default() -> Self {
        Self {
            host: "local".to_owned(),
            engine: "unix:///var/run/docker.sock".to_owned(),
            owner: "sync".to_owned(),
            timeout: Duration::from_secs(60),
        }
    }
}
