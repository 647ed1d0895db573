//! Docker engines: the one all tests share, as they see it beside the adapter, and such as may be ended.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bollard::models::{ContainerCreateBody, Ipam, IpamConfig, NetworkCreateRequest};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, ImportImageOptions, ListContainersOptions, ListContainersOptionsBuilder,
    RemoveContainerOptionsBuilder,
};
use bollard::{API_DEFAULT_VERSION, Docker};
use futures::StreamExt;
use tempfile::TempDir;
use tokio::time::sleep;

use super::certificates::{Authority, Signed};
use super::disk::Disk;
use super::process::{self, Frozen};

/// What containers of tests are made of.
pub const IMAGE: &str = "sync-busybox";

/// How long an engine may take to start.
const BOUND: Duration = Duration::from_secs(60);

/// A client of its own.
pub async fn client(engine: &str) -> Docker {
    let client = Docker::connect_with_unix(engine, 60, API_DEFAULT_VERSION).unwrap();
    client.negotiate_version().await.unwrap()
}

/// Sees to it that the engine has a network of that name.
pub async fn network(engine: &str, name: &str, subnet: &str) {
    let client = client(engine).await;
    if client.inspect_network(name, None).await.is_ok() {
        return;
    }
    let config = IpamConfig { subnet: Some(subnet.to_owned()), ..IpamConfig::default() };
    let request = NetworkCreateRequest {
        name: name.to_owned(),
        ipam: Some(Ipam { config: Some(vec![config]), ..Ipam::default() }),
        ..NetworkCreateRequest::default()
    };
    client.create_network(request).await.unwrap();
}

fn all_of(owner: &str) -> ListContainersOptions {
    let filters = [("label".to_owned(), vec![format!("workspace-owner={owner}")])].into();
    ListContainersOptionsBuilder::new().all(true).filters(&filters).build()
}

/// The workspaces that have a container of this owner, sorted.
pub async fn workspaces(engine: &str, owner: &str) -> Vec<String> {
    let found = client(engine).await.list_containers(Some(all_of(owner))).await.unwrap();
    let label = |labels: HashMap<String, String>| labels.get("workspace-id").cloned();
    let mut workspaces: Vec<_> = found.into_iter().filter_map(|container| label(container.labels?)).collect();
    workspaces.sort();
    workspaces
}

/// Removes all containers of this owner, and the network of its name.
pub async fn clear(engine: &str, owner: &str) {
    let Ok(client) = Docker::connect_with_unix(engine, 60, API_DEFAULT_VERSION) else { return };
    let Ok(client) = client.negotiate_version().await else { return };
    for container in client.list_containers(Some(all_of(owner))).await.unwrap_or_default() {
        let options = RemoveContainerOptionsBuilder::new().force(true).build();
        client.remove_container(&container.id.unwrap_or_default(), Some(options)).await.ok();
    }
    client.remove_network(owner).await.ok();
}

/// Makes a container of that name, of nobody's.
pub async fn occupy(engine: &str, name: &str) {
    let options = CreateContainerOptionsBuilder::new().name(name).build();
    let body =
        ContainerCreateBody { image: Some(IMAGE.to_owned()), cmd: Some(vec!["true".to_owned()]), ..Default::default() };
    client(engine).await.create_container(Some(options), body).await.unwrap();
}

/// Removes it; whether it was there.
pub async fn vacate(engine: &str, name: &str) -> bool {
    client(engine).await.remove_container(name, None).await.is_ok()
}

/// An engine of a test's own. It and everything in it ends when this is dropped.
pub struct Engine {
    directory: TempDir,
    server: Option<Child>,
    /// Where its data are, if that is one of its own.
    disk: Option<Disk>,
    /// Where it also listens, and how.
    listens: Vec<String>,
}

impl Engine {
    /// One that runs and has the image, taken from the engine that is there already.
    pub async fn new(shared: &str) -> Self {
        Self::unstarted().with_image(shared).await
    }

    fn unstarted() -> Self {
        let directory = tempfile::Builder::new().prefix("engine-").tempdir().unwrap();
        Self { directory, server: None, disk: None, listens: Vec::new() }
    }

    /// The same, which also listens on that port of this machine, for those whose certificate is of that authority.
    pub async fn with_tls(shared: &str, port: u16, authority: &Authority) -> Self {
        let mut engine = Self::unstarted();
        let Signed { certificate, key } = authority.server();
        let file = |option: &str, path: &Path| format!("{option}={}", path.display());
        engine.listens = vec![
            format!("--host=tcp://127.0.0.1:{port}"),
            "--tlsverify".to_owned(),
            file("--tlscacert", &authority.certificate()),
            file("--tlscert", &certificate),
            file("--tlskey", &key),
        ];
        engine.with_image(shared).await
    }

    /// The same with a disk of so many bytes.
    pub async fn with_disk(shared: &str, bytes: u64) -> Self {
        let mut engine = Self::unstarted();
        engine.disk = Disk::of(bytes);
        engine.with_image(shared).await
    }

    async fn with_image(mut self, shared: &str) -> Self {
        let engine = &mut self;
        engine.start().await;
        let image: Vec<_> = client(shared).await.export_image(IMAGE).map(|part| part.unwrap()).collect().await;
        let body = bollard::body_full(image.concat().into());
        let mut imported = client(&engine.address()).await.import_image(ImportImageOptions::default(), body, None);
        while let Some(said) = imported.next().await {
            said.unwrap();
        }
        drop(imported);
        self
    }

    /// Its disk, of one that has its own.
    pub fn disk(&self) -> &Disk {
        self.disk.as_ref().expect("it has a disk of its own")
    }

    /// Lets it stand still until that is dropped. Blocks.
    pub fn freeze(&self) -> Frozen {
        process::freeze(self.server.as_ref().expect("it runs"))
    }

    /// Where it listens.
    pub fn address(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("docker.sock")
    }

    /// Starts it with what it had before.
    pub async fn start(&mut self) {
        assert!(self.server.is_none(), "it runs already");
        let at = |name: &str| self.directory.path().join(name).display().to_string();
        // As after a crash of the machine: processes of before are not looked for.
        std::fs::remove_file(at("engine.pid")).ok();
        std::fs::remove_dir_all(at("exec")).ok();
        let log = std::fs::File::options().create(true).append(true).open(at("engine.log")).unwrap();
        let mut command = Command::new("unshare");
        command.args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]);
        if self.listens.is_empty() {
            command.arg("--net");
        }
        command.arg("dockerd").args(&self.listens);
        let data = self.disk.as_ref().map_or_else(|| at("data"), |disk| disk.path().display().to_string());
        command.args(["--host", &self.address(), "--data-root", &data, "--exec-root", &at("exec")]);
        command.args([
            "--pidfile",
            &at("engine.pid"),
            "--storage-driver",
            "vfs",
            "--iptables=false",
            "--ip-forward=false",
            "--bridge",
            "none",
        ]);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.server = Some(command.spawn().unwrap());
        let began = Instant::now();
        while !self.answers().await {
            assert!(began.elapsed() < BOUND, "it does not start: {}", process::end_of(Path::new(&at("engine.log"))));
            sleep(Duration::from_millis(50)).await;
        }
    }

    async fn answers(&self) -> bool {
        let Ok(client) = Docker::connect_with_unix(&self.address(), 5, API_DEFAULT_VERSION) else { return false };
        client.ping().await.is_ok()
    }

    /// Ends it, and all containers with it, as a crash of its machine would. Blocks.
    pub fn kill(&mut self) {
        process::kill(&mut self.server.take().expect("it runs"));
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            process::kill(&mut server);
        }
    }
}
