//! Processes that are killed at random moments or frozen for a while, while applications write.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tokio_postgres::Client;

use super::topic::Topic;
use super::writers::{Writers, seed};
use crate::support::domain::Domain;
use crate::support::pipeline::Way;
use crate::support::postgres::connect;
use crate::support::runner::{Deployment, Runner};
use crate::support::servers;

/// What a relay says when it begins to publish.
pub(super) const RELAYS: &str = "the relay holds the lease and reads";

/// What an indexer says of each partition it gets.
pub(super) const INDEXES: &str = "indexing";

pub(super) fn kills(everyday: u64) -> u64 {
    everyday * servers::scale()
}

/// A deployment in which a process that died is missed soon.
pub(super) async fn deployment(way: Way) -> Deployment {
    let mut deployment = Deployment::new(way).await;
    deployment.set("relay.lease", "1s");
    deployment.set("kafka.properties.session.timeout.ms", 6_000);
    deployment
}

/// Starts and kills it that often: some lives end at any moment, even before the process does anything, others while
/// it does one of the things it says it does.
pub(super) async fn keep_killing(runner: &mut Runner, does: &[&str], times: u64, mut random: StdRng) {
    for _ in 0..times {
        runner.start();
        if random.random_bool(0.4) {
            sleep(Duration::from_millis(random.random_range(0..2_000))).await;
        } else {
            runner.until_said(does.choose(&mut random).unwrap(), 1).await;
            sleep(Duration::from_millis(random.random_range(0..600))).await;
        }
        runner.kill().await;
    }
}

/// Transactions that stay open while processes come and go, one for each verdict.
pub(super) struct Late(Vec<(Client, &'static str)>);

impl Late {
    pub(super) async fn begin(domain: &Domain) -> Self {
        let mut open = Vec::new();
        for verdict in ["commit", "rollback"] {
            let client = connect(&domain.url).await;
            let insert = "insert into jobs (title) select 'late ' || n from generate_series(1, 200) n";
            client.batch_execute(&format!("begin; {insert}")).await.unwrap();
            open.push((client, verdict));
        }
        Self(open)
    }

    pub(super) async fn end(self) {
        for (client, verdict) in self.0 {
            client.batch_execute(verdict).await.unwrap();
        }
    }
}

/// Everything that was committed is in the index, in its newest version.
pub(super) async fn assert_nothing_was_lost(deployment: &Deployment) {
    deployment.until_nothing_is_behind().await;
    let domain = &deployment.domain;
    let comparison = domain.until_equal().await;
    let late = domain.count("select count(*) from jobs where title like 'late%'").await;
    assert_eq!((comparison.indexed, late), (comparison.documents, 200));
    println!("{} documents", comparison.documents);
}

/// Everything that was committed is in the topic, nothing else is, and of each key in the order of the commits. Says how
/// many messages were repeats.
pub(super) async fn assert_the_topic_holds_every_event_in_order(domain: &Domain) -> u64 {
    let topic = Topic::new(&domain.topic);
    let found = spawn_blocking(move || topic.read()).await.unwrap();
    let rows = domain.client.query("select id, key from outbox.events", &[]).await.unwrap();
    let committed: BTreeMap<i64, String> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let missing: Vec<_> = committed.iter().filter(|(id, _)| !found.events.contains_key(id)).take(20).collect();
    assert!(missing.is_empty(), "events that never reached Kafka: {missing:?}");
    assert!(found.events == committed, "Kafka has events that were not committed");
    println!("{} events, {} messages, {} of them repeats", committed.len(), found.messages, found.repeats);
    found.repeats
}

pub(super) async fn stop(runner: &mut Runner) {
    let ended = runner.stop().await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

/// One process with both roles dies again and again.
async fn die_together(deployment: &Deployment, does: &[&str]) {
    let mut random = StdRng::seed_from_u64(seed());
    let writers = Writers::start(&deployment.domain, random.random(), 3).await;
    let mut runner = deployment.runner("both", "relay,indexer");
    let third = kills(20) / 3;
    keep_killing(&mut runner, does, third, random.fork()).await;
    let late = Late::begin(&deployment.domain).await;
    keep_killing(&mut runner, does, third, random.fork()).await;
    late.end().await;
    keep_killing(&mut runner, does, kills(20) - 2 * third, random.fork()).await;
    println!("{} transactions", writers.stop().await);

    runner.start();
    assert_nothing_was_lost(deployment).await;
    stop(&mut runner).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_when_relay_and_indexer_die_together_at_random_moments() {
    let mut deployment = deployment(Way::Kafka).await;
    // Whoever comes back under the same name has its partitions back at once: short lives get to work as well.
    deployment.set("kafka.group_instance_id", "the-only-one");
    die_together(&deployment, &[RELAYS, INDEXES]).await;
    assert_the_topic_holds_every_event_in_order(&deployment.domain).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_without_a_broker_when_the_process_dies_at_random_moments() {
    let deployment = deployment(Way::Direct).await;
    die_together(&deployment, &[RELAYS]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_when_relay_and_indexer_die_apart_at_random_moments() {
    let deployment = deployment(Way::Kafka).await;
    let mut random = StdRng::seed_from_u64(seed());
    let writers = Writers::start(&deployment.domain, random.random(), 3).await;
    let mut relay = deployment.runner("relay", "relay");
    let mut indexer = deployment.runner("indexer", "indexer");
    let late = Late::begin(&deployment.domain).await;
    let relays = keep_killing(&mut relay, &[RELAYS], kills(13), random.fork());
    let mut random = random.fork();
    // The group misses a dead indexer after six seconds, so an indexer's life takes longer than a relay's.
    let indexers = async {
        keep_killing(&mut indexer, &[INDEXES], kills(4), random.fork()).await;
        late.end().await;
        keep_killing(&mut indexer, &[INDEXES], kills(3), random.fork()).await;
    };
    tokio::join!(relays, indexers);
    println!("{} transactions", writers.stop().await);

    relay.start();
    indexer.start();
    assert_nothing_was_lost(&deployment).await;
    stop(&mut relay).await;
    stop(&mut indexer).await;
    assert_the_topic_holds_every_event_in_order(&deployment.domain).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_was_frozen_past_its_lease_stands_by_when_it_wakes() {
    let mut deployment = deployment(Way::Kafka).await;
    deployment.set("log.filter", "info,sync_core::relay=debug");
    let writers = Writers::start(&deployment.domain, seed(), 3).await;
    let late = Late::begin(&deployment.domain).await;
    let [mut frozen, mut awake] = ["frozen", "awake"].map(|name| deployment.runner(name, "relay,indexer"));
    frozen.start();
    frozen.until_said(INDEXES, 1).await;
    deployment.until_leads(&frozen).await;
    awake.start();
    awake.until_said("standing by", 1).await;
    for _ in 0..kills(2) {
        let begun = awake.said(INDEXES);
        frozen.signal("STOP").await;
        deployment.until_leads(&awake).await;
        // The group misses it too, and gives its partitions to the other.
        awake.until_said(INDEXES, begun + 1).await;
        let before = frozen.said("standing by");
        frozen.signal("CONT").await;
        frozen.until_said("standing by", before + 1).await;
        assert!(deployment.lease().await.is_of(&awake), "the lease was taken back");
        std::mem::swap(&mut frozen, &mut awake);
    }
    late.end().await;
    println!("{} transactions", writers.stop().await);
    assert_nothing_was_lost(&deployment).await;
    stop(&mut frozen).await;
    stop(&mut awake).await;
    assert_the_topic_holds_every_event_in_order(&deployment.domain).await;
}
