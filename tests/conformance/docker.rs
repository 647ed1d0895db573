//! Containers on a real Docker engine.

use std::sync::Arc;

use async_trait::async_trait;
use sync_core::adapter::docker::{DockerConfig, DockerContainers};
use sync_core::port::Containers;
use sync_core::testkit::conformance::{self, ContainersHarness};

use crate::support::{engine, servers};

#[derive(Debug)]
struct RealHost {
    engine: String,
}

#[async_trait]
impl ContainersHarness for RealHost {
    fn of(&self, owner: &str) -> Arc<dyn Containers> {
        let config = DockerConfig { engine: self.engine.clone(), owner: owner.to_owned(), ..DockerConfig::default() };
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
