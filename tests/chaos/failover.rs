//! Servers of PostgreSQL that crash, are replaced by their standbys, and are restored from what was kept of them.

mod connecting;
mod crash;

use crate::support::cluster::Cluster;
use crate::support::domain::{Domain, PROJECTION};
use crate::support::pipeline::Way;
use crate::support::postgres::outbox_at;
use crate::support::runner::Deployment;

/// The database of the application.
const APP: &str = "app";

/// The reference domain on a cluster of the test's own.
async fn domain_on(cluster: &Cluster) -> Domain {
    cluster.answer(&format!("create database {APP}"));
    let url = cluster.url(APP);
    Domain::at(outbox_at(&url).await, url, PROJECTION).await
}

/// How relays deliver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Delivery {
    AtLeastOnce,
    ExactlyOnce,
}

/// A deployment that misses a server or a process soon.
fn deployment_of(domain: Domain, delivery: Delivery) -> Deployment {
    let mut deployment = Deployment::of(domain, Way::Kafka);
    deployment.set("relay.lease", "1s");
    deployment.set("kafka.properties.session.timeout.ms", 6_000);
    deployment.set("postgres.connect_timeout", "2s");
    if delivery == Delivery::ExactlyOnce {
        deployment.set("relay.delivery", "exactly_once");
        deployment.set("relay.positions_topic", format!("{}-positions", deployment.domain.topic));
    }
    deployment
}
