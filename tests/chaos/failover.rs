//! Servers of PostgreSQL that crash, are replaced by their standbys, and are restored from what was kept of them.

mod connecting;
mod crash;
mod promotion;
mod restore;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sync_core::port::{History, Sink};
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

use super::topic::Topic;
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
        deployment.set("relay.positions_topic", positions(&deployment));
    }
    deployment
}

fn positions(deployment: &Deployment) -> String {
    format!("{}-positions", deployment.domain.topic)
}

/// The history the database is in.
async fn history(domain: &Domain) -> History {
    let newest = "select epoch, token::text from outbox.history order by epoch desc limit 1";
    let row = domain.client.query_one(newest, &[]).await.unwrap();
    History { epoch: row.get(0), token: row.get(1) }
}

/// Waits until every document of the database is in the index as it is, and of all others only those of `lost`: keys
/// the database has never heard of. A comparison finds them, and an event for each of them removes them.
async fn until_touched_is_equal(domain: &Domain, lost: &BTreeSet<String>) {
    let orphans = lost.len() as u64;
    let mut found = domain.compare().await;
    let equal = async {
        while found.equal != found.documents || found.indexed != found.documents + orphans {
            sleep(Duration::from_millis(100)).await;
            found = domain.compare().await;
        }
    };
    if timeout(Duration::from_secs(60), equal).await.is_err() {
        panic!("the index never became equal, but for {orphans} orphans: {:?}", domain.compare().await);
    }
    let keys: Vec<_> = lost.iter().cloned().collect();
    let held = domain.sink.fetch(&keys).await.unwrap();
    assert!(held.iter().all(Option::is_some), "the others are those whose commits were lost: {held:?}");
    domain.client.execute("select outbox.emit_many($1, $2)", &[&domain.topic, &keys]).await.unwrap();
    domain.until_equal().await;
}

/// Every event the database has is in the topic; others may be there, of commits that were lost.
async fn assert_the_topic_has(domain: &Domain) {
    let topic = Topic::new(&domain.topic);
    let mut published: BTreeMap<(i64, String), BTreeSet<i64>> = BTreeMap::new();
    let messages = spawn_blocking(move || topic.read_all()).await.unwrap();
    for message in messages {
        published.entry((message.id, message.key)).or_default().insert(message.version);
    }
    let rows = domain.client.query("select id, key, version from outbox.events", &[]).await.unwrap();
    let is_missing = |row: &&tokio_postgres::Row| {
        let (place, version) = ((row.get(0), row.get(1)), row.get(2));
        !published.get(&place).is_some_and(|versions| versions.contains(&version))
    };
    let missing: Vec<i64> = rows.iter().filter(is_missing).map(|row| row.get(0)).take(20).collect();
    assert!(!rows.is_empty() && missing.is_empty(), "events that never reached Kafka: {missing:?}");
}
