//! Containers on a real Docker engine.

use std::sync::Arc;

use async_trait::async_trait;
use sync_core::ErrorKind;
use sync_core::adapter::docker::{DockerConfig, DockerContainers, DockerTls};
use sync_core::port::{ContainerSpec, Containers};
use sync_core::testkit::conformance::{self, ContainersHarness};

use crate::support::certificates::Authority;
use crate::support::engine::{self, Engine};
use crate::support::{process, servers};

#[derive(Debug)]
struct RealHost {
    engine: String,
}

#[async_trait]
impl ContainersHarness for RealHost {
    fn of(&self, owner: &str) -> Arc<dyn Containers> {
        let config = DockerConfig::default().engine(&self.engine).owner(owner);
        Arc::new(DockerContainers::new(&config).unwrap())
    }

    fn name(&self, what: &str) -> String {
        servers::unique(what)
    }
}

#[tokio::test]
async fn a_docker_engine_keeps_every_promise_of_containers() {
    let Some(engine) = servers::docker() else { return };
    engine::network(&engine, "workspaces", "10.213.0.0/24").await;
    conformance::containers(&RealHost { engine }).await;
}

#[tokio::test]
async fn an_engine_that_asks_for_certificates_is_reached_with_them_and_one_that_is_not_believed_is_told() {
    let Some(shared) = servers::docker() else { return };
    let (authority, stranger) = (Authority::new(), Authority::new());
    let port = process::free_port();
    let _engine = Engine::with_tls(&shared, port, &authority).await;
    let containers = |engine: &Authority, client: &Authority| {
        let client = client.client();
        let tls = DockerTls::new(engine.certificate(), client.certificate, client.key);
        let config = DockerConfig::default().engine(format!("tcp://127.0.0.1:{port}")).tls(tls);
        DockerContainers::new(&config).unwrap()
    };
    let ours = containers(&authority, &authority);
    let command = ["sleep", "1000"].map(str::to_owned).to_vec();
    let (workspace, image) = ("blue".to_owned(), engine::IMAGE.to_owned());
    let spec = ContainerSpec { workspace, image, command, is_detached: true, ..ContainerSpec::default() };
    ours.create(&spec).await.unwrap();
    let executed = ours.execute("blue", &["echo", "there"].map(str::to_owned)).await.unwrap();
    assert_eq!((executed.code, executed.output.as_str()), (0, "there"));
    assert_eq!(ours.remove("blue").await.unwrap(), 1);
    for (who, engine, client) in [("the engine", &stranger, &authority), ("we", &authority, &stranger)] {
        let error = containers(engine, client).list().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied, "{who}: {error:?}");
        assert!(error.to_string().contains("workspaces.hosts.local.ca_file"), "{who}: {error}");
    }
    let bare = DockerConfig::default().engine(format!("tcp://127.0.0.1:{port}"));
    assert!(DockerContainers::new(&bare).unwrap().list().await.is_err(), "it does not speak without TLS");
}

#[test]
fn files_that_hold_no_certificate_or_key_are_told_by_their_setting_before_anything_is_asked() {
    let authority = Authority::new();
    let (client, nowhere) = (authority.client(), authority.certificate().with_extension("missing"));
    let well = DockerTls::new(authority.certificate(), client.certificate, client.key);
    let at = |engine: &str, tls: &DockerTls| {
        let config = DockerConfig::default().engine(engine).tls(tls.clone());
        DockerContainers::new(&config)
    };
    at("tcp://127.0.0.1:2376", &well).unwrap();
    for (wrong, setting) in [
        (DockerTls::new(&nowhere, &well.certificate_file, &well.key_file), "ca_file"),
        (DockerTls::new(&well.ca_file, &well.key_file, &well.key_file), "certificate_file"),
        (DockerTls::new(&well.ca_file, &well.certificate_file, &well.ca_file), "key_file"),
    ] {
        let error = at("tcp://127.0.0.1:2376", &wrong).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
        assert!(error.to_string().starts_with(&format!("workspaces.hosts.local.{setting}: ")), "{error}");
    }
    assert!(at("unix:///var/run/docker.sock", &well).unwrap_err().to_string().contains("for tcp://"));
}
