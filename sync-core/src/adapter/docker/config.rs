//! Where an engine is, and whose containers are ours.

use std::path::PathBuf;
use std::time::Duration;

/// A Docker engine, and the containers of one owner on it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DockerConfig {
    /// What the host is called, in errors; `local` unless said.
    pub host: String,
    /// Where its engine listens; `unix:///var/run/docker.sock` unless said. `tcp://host:2376` is protected by nothing
    /// without `tls`.
    pub engine: String,
    /// How `tcp://` is protected; by nothing unless said.
    pub tls: Option<DockerTls>,
    /// Whose containers these are, by their label `workspace-owner`; `sync` unless said. Of two owners on one engine
    /// neither touches the other's.
    pub owner: String,
    /// How long the answer to a request is waited for; 60 seconds unless said. Not for commands in a container, which last
    /// as long as whoever runs them waits.
    pub timeout: Duration,
}

/// Engine and client prove to each other who they are, as with `dockerd --tlsverify`. Files in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DockerTls {
    /// The certificates of the authority that signed the engine's; those of the system are believed, too.
    pub ca_file: PathBuf,
    /// The client's certificate.
    pub certificate_file: PathBuf,
    /// Its key.
    pub key_file: PathBuf,
}

impl DockerTls {
    /// These files.
    #[must_use]
    pub fn new(
        ca_file: impl Into<PathBuf>,
        certificate_file: impl Into<PathBuf>,
        key_file: impl Into<PathBuf>,
    ) -> Self {
        Self { ca_file: ca_file.into(), certificate_file: certificate_file.into(), key_file: key_file.into() }
    }
}

impl Default for DockerConfig {
    fn default() -> Self {
        Self {
            host: "local".to_owned(),
            engine: "unix:///var/run/docker.sock".to_owned(),
            tls: None,
            owner: "sync".to_owned(),
            timeout: Duration::from_secs(60),
        }
    }
}

setters! {
    DockerConfig {
        host: into String,
        engine: into String,
        tls: maybe DockerTls,
        owner: into String,
        timeout: Duration,
    }
}
