//! The way to an engine. A connection for each request, so that one that was restarted is found again.

use std::time::Duration;

use bollard::{API_DEFAULT_VERSION, Docker};
use tokio::sync::OnceCell;
use tokio::time::timeout;

use super::config::{DockerConfig, DockerTls};
use super::error::{from_docker, unanswered};
use super::tls;
use crate::error::{Error, ErrorKind};

/// An engine, asked for nothing yet.
#[derive(Debug)]
pub(super) struct Engine {
    host: String,
    address: Address,
    timeout: Duration,
    /// Speaks a version of the protocol that both know.
    client: OnceCell<Docker>,
}

#[derive(Debug)]
enum Address {
    Socket(String),
    Tcp(String),
    Tls(String, DockerTls),
}

impl Engine {
    pub(super) fn new(config: &DockerConfig) -> Result<Self, Error> {
        let DockerConfig { host, engine, .. } = config;
        let wrong =
            |what: String| Err(Error::new(ErrorKind::Configuration, format!("workspaces.hosts.{host}.engine: {what}")));
        let address = match (engine.split_once("://"), &config.tls) {
            (Some(("unix", path)), None) if path.starts_with('/') => Address::Socket(path.to_owned()),
            (Some(("tcp", address)), None) if address.contains(':') => Address::Tcp(address.to_owned()),
            (Some(("tcp", address)), Some(tls)) if address.contains(':') => {
                tls::check(host, tls)?;
                Address::Tls(address.to_owned(), tls.clone())
            }
            (Some(("unix", _)), Some(_)) => {
                return wrong("a socket needs no certificates; they are for tcp://".to_owned());
            }
            _ => {
                let like = "it looks like unix:///var/run/docker.sock or tcp://host:2376";
                return wrong(format!("{engine:?} is no engine; {like}"));
            }
        };
        Ok(Self { host: host.clone(), address, timeout: config.timeout, client: OnceCell::new() })
    }

    /// What the host is called.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// What a request came to, told of as this.
    pub(super) async fn ask<T, F>(&self, doing: &str, request: impl FnOnce(Docker) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, bollard::errors::Error>>,
    {
        self.asked(request).await.map_err(|failure| failure.into_error(&self.host, doing))
    }

    /// The same for whoever knows what some answers mean here.
    pub(super) async fn asked<T, F>(&self, request: impl FnOnce(Docker) -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, bollard::errors::Error>>,
    {
        let asking = async {
            let client = self.client().await?;
            request(client).await
        };
        match timeout(self.timeout, asking).await {
            Ok(answered) => answered.map_err(Failure::Told),
            Err(_) => Err(Failure::Silent(self.timeout)),
        }
    }

    /// A client on which anything is waited for.
    pub(super) async fn client(&self) -> Result<Docker, bollard::errors::Error> {
        let connected = self.client.get_or_try_init(|| async {
            // Limits are ours: the client's own are in whole seconds.
            let (limit, version) = (self.timeout.as_secs().saturating_add(60), API_DEFAULT_VERSION);
            let client = match &self.address {
                Address::Socket(path) => Docker::connect_with_unix(path, limit, version),
                Address::Tcp(address) => Docker::connect_with_http(address, limit, version),
                Address::Tls(address, DockerTls { ca_file, certificate_file, key_file }) => {
                    tls::choose_provider();
                    Docker::connect_with_ssl(address, key_file, certificate_file, ca_file, limit, version)
                }
            };
            client?.negotiate_version().await
        });
        connected.await.cloned()
    }
}

/// Why a request has no result.
#[derive(Debug)]
pub(super) enum Failure {
    Told(bollard::errors::Error),
    Silent(Duration),
}

impl Failure {
    /// The status of the engine's answer.
    pub(super) fn status(&self) -> Option<u16> {
        match self {
            Self::Told(error) => super::error::status(error),
            Self::Silent(_) => None,
        }
    }

    /// Whether the engine's answer holds these words.
    pub(super) fn says(&self, words: &str) -> bool {
        match self {
            Self::Told(error) => error.to_string().contains(words),
            Self::Silent(_) => false,
        }
    }

    pub(super) fn into_error(self, host: &str, doing: &str) -> Error {
        match self {
            Self::Told(error) => from_docker(host, doing, error),
            Self::Silent(limit) => unanswered(host, doing, limit),
        }
    }
}
