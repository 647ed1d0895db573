//! Containers of workspaces, by their labels.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use async_trait::async_trait;
use bollard::Docker;
use bollard::exec::{CreateExecOptions, StartExecOptions, StartExecResults};
use bollard::models::{
    ContainerCreateBody, ContainerInspectResponse, ContainerSummary, ContainerSummaryStateEnum, EndpointIpamConfig,
    EndpointSettings, HostConfig, NetworkConnectRequest, NetworkDisconnectRequest,
};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, ListContainersOptionsBuilder, LogsOptionsBuilder, RemoveContainerOptionsBuilder,
    WaitContainerOptions,
};
use futures::StreamExt as _;
use jiff::Timestamp;
use tokio::time::timeout;

use super::config::DockerConfig;
use super::engine::Engine;
use super::error::from_docker;
use super::preflight;
use crate::error::{Error, ErrorKind};
use crate::port::{AddressRange, Attached, Container, ContainerSpec, Containers, Executed, check_workspace_id};

/// Says whose workspace a container is.
const WORKSPACE: &str = "workspace-id";

/// Says whose containers they are.
const OWNER: &str = "workspace-owner";

/// Says by which saga it was made.
const SAGA: &str = "workspace-saga";

/// Bytes of what a command wrote that are kept, of its end.
const OUTPUT: usize = 16 * 1_024;

/// A container whose command cannot work has mostly ended by then.
const AT_ONCE: Duration = Duration::from_millis(250);

/// Lines of what a container wrote before it ended that are quoted.
const LAST_WORDS: usize = 10;

/// The network of containers without one.
const NO_NETWORK: &str = "none";

/// The containers of one owner's workspaces on a Docker engine.
#[derive(Debug)]
pub struct DockerContainers {
    engine: Engine,
    owner: String,
}

impl DockerContainers {
    /// Connects when it is used.
    ///
    /// # Errors
    /// `Configuration` when the address of the engine is none.
    pub fn new(config: &DockerConfig) -> Result<Self, Error> {
        Ok(Self { engine: Engine::new(config)?, owner: config.owner.clone() })
    }

    /// The container of that name, if there is one: ours, or it is an error.
    async fn find(&self, workspace: &str) -> Result<Option<ContainerInspectResponse>, Error> {
        let name = name_of(workspace);
        let found = self.engine.asked(async |docker| docker.inspect_container(&name, None).await).await;
        let container = match found {
            Ok(container) => container,
            Err(failure) if failure.status() == Some(404) => return Ok(None),
            Err(failure) => return Err(failure.into_error(self.engine.host(), "looking for a container")),
        };
        if label(&container, WORKSPACE) == Some(workspace) && label(&container, OWNER) == Some(&self.owner) {
            return Ok(Some(container));
        }
        let what = format!(
            "on host {} the name {name} belongs to a container of somebody else, without the labels of this workspace and of \
             owner {}",
            self.engine.host(),
            self.owner
        );
        Err(Error::new(ErrorKind::Refused, what))
    }

    /// The workspace's container, which runs, or it is an error.
    async fn running(&self, workspace: &str) -> Result<ContainerInspectResponse, Error> {
        let host = self.engine.host();
        let Some(container) = self.find(workspace).await? else {
            return Err(Error::new(ErrorKind::Refused, format!("the container is gone from host {host}")));
        };
        if !runs(&container) {
            let words = self.last_words(workspace).await;
            let code = container.state.and_then(|state| state.exit_code).unwrap_or_default();
            let what = format!("the container on host {host} has ended with code {code}{words}");
            return Err(Error::new(ErrorKind::Refused, what));
        }
        Ok(container)
    }

    /// The end of what a container wrote, to be quoted.
    async fn last_words(&self, workspace: &str) -> String {
        let lines = LAST_WORDS.to_string();
        let options = LogsOptionsBuilder::new().stdout(true).stderr(true).tail(&lines).build();
        let read = self.engine.asked(async |docker| {
            let mut written = docker.logs(&name_of(workspace), Some(options));
            let mut words = Vec::new();
            while let Some(part) = written.next().await {
                words.extend_from_slice(&part?.into_bytes());
            }
            Ok(words)
        });
        match read.await {
            Ok(bytes) if !bytes.is_empty() => format!("; it wrote: {}", end_of(&bytes)),
            Ok(_) | Err(_) => String::new(),
        }
    }

    async fn leave_networks(&self, container: &ContainerInspectResponse) -> Result<(), Error> {
        let networks = container.network_settings.as_ref().and_then(|settings| settings.networks.as_ref());
        for network in networks.into_iter().flat_map(HashMap::keys) {
            let id = container.id.clone().unwrap_or_default();
            let request = NetworkDisconnectRequest { container: id, force: Some(true) };
            match self.engine.asked(async |docker| docker.disconnect_network(network, request).await).await {
                Ok(()) => {}
                // The network, or the container, is gone; or an earlier try to join was refused, which the engine remembers.
                Err(failure) if failure.status() == Some(404) || failure.says("is not connected") => {}
                Err(failure) => return Err(failure.into_error(self.engine.host(), "leaving a network")),
            }
        }
        Ok(())
    }

    async fn make(&self, spec: &ContainerSpec) -> Result<(), Error> {
        let options = CreateContainerOptionsBuilder::new().name(&name_of(&spec.workspace)).build();
        let body = self.body(spec);
        let made = self.engine.asked(async |docker| docker.create_container(Some(options), body).await).await;
        match made {
            Ok(_) => Ok(()),
            Err(failure) if failure.status() == Some(404) => {
                let error = failure.into_error(self.engine.host(), "creating a container");
                Err(Error::new(error.kind(), format!("{error}; {}", preflight::wanted(&spec.image))))
            }
            Err(failure) if failure.status() == Some(409) => {
                let error = failure.into_error(self.engine.host(), "creating a container");
                // Somebody else's is refused here. Ours is one that an earlier try, of a process that died perhaps, has the
                // engine make just now; until it is made it has a name and nothing else.
                self.find(&spec.workspace).await?;
                Err(Error::new(ErrorKind::Unavailable, error.to_string()))
            }
            Err(failure) => Err(failure.into_error(self.engine.host(), "creating a container")),
        }
    }

    fn body(&self, spec: &ContainerSpec) -> ContainerCreateBody {
        let labels = [(WORKSPACE, &spec.workspace), (OWNER, &self.owner), (SAGA, &spec.saga.to_string())];
        ContainerCreateBody {
            image: Some(spec.image.clone()),
            cmd: (!spec.command.is_empty()).then(|| spec.command.clone()),
            env: Some(spec.env.clone()),
            labels: Some(labels.map(|(name, value)| (name.to_owned(), value.clone())).into()),
            host_config: Some(HostConfig {
                memory: spec.memory.and_then(|bytes| i64::try_from(bytes).ok()),
                #[allow(clippy::cast_possible_truncation, reason = "a number of processors is small")]
                nano_cpus: spec.cpus.map(|cpus| (cpus * 1e9) as i64),
                pids_limit: spec.pids.map(i64::from),
                network_mode: spec.is_detached.then(|| NO_NETWORK.to_owned()),
                ..HostConfig::default()
            }),
            ..ContainerCreateBody::default()
        }
    }

    /// All containers with these labels.
    async fn labelled(&self, more: Option<String>) -> Result<Vec<ContainerSummary>, Error> {
        let labels = [Some(format!("{OWNER}={}", self.owner)), Some(WORKSPACE.to_owned()), more];
        let filters = HashMap::from([("label".to_owned(), labels.into_iter().flatten().collect::<Vec<_>>())]);
        let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
        self.engine.ask("listing containers", async |docker| docker.list_containers(Some(options)).await).await
    }

    /// What the engine's clock says.
    async fn now(&self) -> Result<Timestamp, Error> {
        let info = self.engine.ask("asking for the time", async |docker| docker.info().await).await?;
        let time = info.system_time.as_ref().and_then(|time| time.to_string().parse().ok());
        // An engine that does not say it is taken to have ours.
        Ok(time.unwrap_or_else(Timestamp::now))
    }
}

#[async_trait]
impl Containers for DockerContainers {
    async fn check_image(&self, image: &str) -> Result<(), Error> {
        preflight::image(&self.engine, image).await
    }

    async fn check_network(&self, network: &str, addresses: AddressRange) -> Result<(), Error> {
        preflight::network(&self.engine, network, addresses).await
    }

    async fn create(&self, spec: &ContainerSpec) -> Result<String, Error> {
        check_workspace_id(&spec.workspace)?;
        match self.find(&spec.workspace).await? {
            Some(container) if runs(&container) && label(&container, SAGA) == Some(&spec.saga.to_string()) => {
                return Ok(container.id.unwrap_or_default());
            }
            // It has ended, or another saga made it: an id that is placed is refused by outbox.create_workspace, so nobody uses it.
            Some(container) => self.remove_container(&container.id.unwrap_or_default()).await?,
            None => {}
        }
        self.make(spec).await?;
        let name = name_of(&spec.workspace);
        self.engine.ask("starting a container", async |docker| docker.start_container(&name, None).await).await?;
        let watching = async |docker: Docker| {
            ends(&docker, &name).await;
            Ok(())
        };
        self.engine.ask("watching a container", watching).await?;
        Ok(self.running(&spec.workspace).await?.id.unwrap_or_default())
    }

    async fn execute(&self, workspace: &str, command: &[String]) -> Result<Executed, Error> {
        let id = self.running(workspace).await?.id.unwrap_or_default();
        let options = CreateExecOptions {
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            cmd: Some(command.to_vec()),
            ..CreateExecOptions::default()
        };
        let made = self.engine.ask("running a command", async |docker| docker.create_exec(&id, options).await).await?;
        let failed = |error| from_docker(self.engine.host(), "running a command", error);
        let client = self.engine.client().await.map_err(failed)?;
        let begun = client.start_exec(&made.id, None::<StartExecOptions>).await.map_err(failed)?;
        let mut output = Vec::new();
        if let StartExecResults::Attached { output: mut written, .. } = begun {
            while let Some(part) = written.next().await {
                output.extend_from_slice(&part.map_err(failed)?.into_bytes());
                let surplus = output.len().saturating_sub(OUTPUT);
                output.drain(..surplus);
            }
        }
        let ended = self.engine.ask("running a command", async |docker| docker.inspect_exec(&made.id).await).await?;
        // One that is still said to run has lost its engine.
        let code = ended.exit_code.filter(|_| ended.running != Some(true)).ok_or_else(|| {
            let what = format!("running a command on host {}: the connection to it was lost", self.engine.host());
            Error::new(ErrorKind::Unavailable, what)
        })?;
        Ok(Executed { code, output: end_of(&output) })
    }

    async fn attach(&self, workspace: &str, network: &str, address: IpAddr) -> Result<Attached, Error> {
        let container = self.running(workspace).await?;
        if address_in(&container, network) == Some(address) {
            return Ok(Attached::Yes);
        }
        self.leave_networks(&container).await?;
        let address_of = |is_wanted: bool| is_wanted.then(|| address.to_string());
        let ipam_config = Some(EndpointIpamConfig {
            ipv4_address: address_of(address.is_ipv4()),
            ipv6_address: address_of(address.is_ipv6()),
            ..EndpointIpamConfig::default()
        });
        let endpoint_config = Some(EndpointSettings { ipam_config, ..EndpointSettings::default() });
        let request = NetworkConnectRequest { container: container.id.unwrap_or_default(), endpoint_config };
        match self.engine.asked(async |docker| docker.connect_network(network, request).await).await {
            Ok(()) => Ok(Attached::Yes),
            Err(failure) if failure.says("Address already in use") => Ok(Attached::AddressTaken),
            Err(failure) => {
                let host = self.engine.host();
                let settings = format!("workspaces.hosts.{host}.network, addresses");
                Err(failure.into_error(host, &format!("{settings}: joining network {network} as {address}")))
            }
        }
    }

    async fn detach(&self, workspace: &str) -> Result<(), Error> {
        match self.find(workspace).await {
            Ok(Some(container)) => self.leave_networks(&container).await,
            Ok(None) => Ok(()),
            // Somebody else has the name: ours is gone.
            Err(error) if error.kind() == ErrorKind::Refused => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn list(&self) -> Result<Vec<Container>, Error> {
        let (now, all) = (self.now().await?, self.labelled(None).await?);
        let container = |found: ContainerSummary| {
            let created = found.created.and_then(|seconds| Timestamp::from_second(seconds).ok());
            Some(Container {
                id: found.id?,
                workspace: found.labels?.remove(WORKSPACE)?,
                age: created.and_then(|at| Duration::try_from(now.duration_since(at)).ok()).unwrap_or_default(),
                is_running: found.state == Some(ContainerSummaryStateEnum::RUNNING),
            })
        };
        Ok(all.into_iter().filter_map(container).collect())
    }

    async fn remove(&self, workspace: &str) -> Result<u64, Error> {
        let found = self.labelled(Some(format!("{WORKSPACE}={workspace}"))).await?;
        let mut removed = 0;
        for id in found.into_iter().filter_map(|container| container.id) {
            self.remove_container(&id).await?;
            removed += 1;
        }
        Ok(removed)
    }

    async fn remove_container(&self, id: &str) -> Result<(), Error> {
        let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
        match self.engine.asked(async |docker| docker.remove_container(id, Some(options)).await).await {
            Ok(()) => Ok(()),
            Err(failure) if failure.status() == Some(404) => Ok(()),
            // Somebody else is removing it, or begins to use it: it is looked at again.
            Err(failure) if failure.status() == Some(409) => {
                let error = failure.into_error(self.engine.host(), "removing a container");
                Err(Error::new(ErrorKind::Unavailable, error.to_string()))
            }
            Err(failure) => Err(failure.into_error(self.engine.host(), "removing a container")),
        }
    }
}

/// Returns once the container has ended, or does not at once.
async fn ends(docker: &Docker, name: &str) {
    let mut ended = docker.wait_container(name, None::<WaitContainerOptions>);
    timeout(AT_ONCE, ended.next()).await.ok();
}

fn name_of(workspace: &str) -> String {
    format!("workspace-{workspace}")
}

fn label<'a>(container: &'a ContainerInspectResponse, name: &str) -> Option<&'a str> {
    Some(container.config.as_ref()?.labels.as_ref()?.get(name)?.as_str())
}

fn runs(container: &ContainerInspectResponse) -> bool {
    container.state.as_ref().and_then(|state| state.running) == Some(true)
}

fn address_in(container: &ContainerInspectResponse, network: &str) -> Option<IpAddr> {
    let settings = container.network_settings.as_ref()?.networks.as_ref()?.get(network)?;
    let mut said = [&settings.ip_address, &settings.global_ipv6_address].into_iter().flatten();
    said.find_map(|address| address.parse().ok())
}

/// As text, without what is not.
fn end_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).replace('\0', "\u{fffd}").trim().to_owned()
}
