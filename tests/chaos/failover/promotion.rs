//! A standby takes the place of its primary, and of another standby that did before, while everything else stays up.

use std::collections::BTreeSet;
use std::time::Duration;

use sync_core::adapter::kafka::{KafkaConfig, KafkaTransactor, TransactorConfig};
use sync_core::adapter::postgres::{PostgresSource, SourceConfig};
use sync_core::port::{History, LedgerSource, Sink, Transactor};
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::{
    APP, Delivery, assert_the_topic_has, deployment_of, domain_on, history, positions, until_touched_is_equal,
};
use crate::chaos::topic::Topic;
use crate::support::cluster::{Cluster, url_of_all};
use crate::support::domain::Domain;
use crate::support::postgres::database;
use crate::support::proxy::{Link, Proxy};
use crate::support::runner::{Deployment, Runner};

const BOUND: Duration = Duration::from_secs(60);

async fn ids(domain: &Domain, sql: &str) -> Vec<Uuid> {
    domain.client.query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

/// What everybody has recorded is what the database says, and its epoch is this one.
async fn assert_epoch(deployment: &Deployment, delivery: Delivery, epoch: i32) {
    let domain = &deployment.domain;
    let present = history(domain).await;
    assert_eq!(present.epoch, epoch, "the database's");
    let index = async {
        while domain.sink.history().await.unwrap().as_ref() != Some(&present) {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(BOUND, index).await.expect("the index records the history");
    if delivery == Delivery::ExactlyOnce {
        assert_eq!(recorded_in_kafka(deployment).await, present, "Kafka's");
    }
}

/// The history in which the position in Kafka was published; no relay is at work.
async fn recorded_in_kafka(deployment: &Deployment) -> History {
    let claim = PostgresSource::new(database(&deployment.domain.url), SourceConfig::default()).claim().await.unwrap();
    let kafka = KafkaConfig::new(crate::support::servers::kafka());
    let names = TransactorConfig::default().positions(positions(deployment));
    let mut transactions = KafkaTransactor::new(&kafka, names).unwrap().begin(&claim.name).await.unwrap();
    let mark = transactions.mark().await.unwrap().expect("a relay has published");
    claim.cursor.release().await.unwrap();
    History { epoch: mark.epoch, token: mark.history }
}

/// A primary of these settings, its standby, and a deployment that knows both.
async fn primary_and_standby(settings: &[&str], delivery: Delivery) -> (Cluster, Cluster, Deployment) {
    let primary = Cluster::start(settings);
    let mut deployment = deployment_of(domain_on(&primary).await, delivery);
    let standby = primary.standby();
    deployment.set("postgres.url", url_of_all(&[&primary, &standby], APP));
    (primary, standby, deployment)
}

/// A relay and an indexer at work.
fn started(deployment: &Deployment) -> [Runner; 2] {
    ["relay", "indexer"].map(|role| {
        let mut runner = deployment.runner(role, role);
        runner.start();
        runner
    })
}

async fn a_standby_that_lacks_commits_takes_over(delivery: Delivery) {
    let (mut primary, mut standby, mut deployment) = primary_and_standby(&[], delivery).await;
    let [mut relay, mut indexer] = started(&deployment);
    deployment.domain.execute("insert into jobs (title) select 'kept ' || n from generate_series(1, 200) n").await;
    deployment.until_nothing_is_behind().await;
    deployment.domain.until_equal().await;
    standby.until_caught_up(&primary);

    standby.cut_off();
    let domain = &deployment.domain;
    let kept = ids(domain, "select id from jobs order by id").await;
    domain.execute("insert into jobs (title) select 'lost ' || n from generate_series(1, 20) n").await;
    let lost: BTreeSet<_> = ids(domain, "select id from jobs where title like 'lost%'").await.into_iter().collect();
    // Versions and ids of the lost commits run far ahead of the standby's.
    for _ in 0..20 {
        let change = "update jobs set title = 'lost change', priority = priority + 1 where id = any ($1)";
        domain.client.execute(change, &[&&kept[..50]]).await.unwrap();
    }
    domain.client.execute("delete from jobs where id = any ($1)", &[&&kept[50..60]]).await.unwrap();
    deployment.until_nothing_is_behind().await;
    domain.until_equal().await;

    primary.stop_immediately();
    standby.promote();
    deployment.domain.follow(standby.url(APP)).await;
    let domain = &deployment.domain;
    assert_eq!(domain.count("select count(*) from jobs").await, 200);
    domain.client.execute("update jobs set title = 'after' where id = any ($1)", &[&&kept[..100]]).await.unwrap();
    domain.execute("insert into jobs (title) select 'new ' || n from generate_series(1, 20) n").await;
    deployment.until_nothing_is_behind().await;
    let lost: BTreeSet<_> = lost.iter().map(Uuid::to_string).collect();
    until_touched_is_equal(domain, &lost).await;

    assert!(relay.is_alive() && indexer.is_alive(), "they stay up");
    assert_eq!(relay.stop().await.code, Some(0));
    assert_the_topic_has(domain).await;
    assert_epoch(&deployment, delivery, 1).await;
    assert_eq!(domain.count("select count(*) from outbox.history").await, 2, "it was raised once");
    assert_eq!(indexer.stop().await.code, Some(0));
    assert_eq!(indexer.said("this partition stopped"), 0, "an outage is nothing that a person has to mend");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_promotion_that_lost_commits_the_index_takes_what_the_new_primary_says() {
    a_standby_that_lacks_commits_takes_over(Delivery::AtLeastOnce).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_promotion_that_lost_commits_the_index_takes_what_is_published_exactly_once() {
    a_standby_that_lacks_commits_takes_over(Delivery::ExactlyOnce).await;
}

/// The event is the same on both sides to its last bit, so nothing but the epoch tells that it has to be published again.
async fn a_transaction_outlives_the_promotion_that_lost_its_commit(delivery: Delivery) {
    let (mut primary, mut standby, mut deployment) =
        primary_and_standby(&["max_prepared_transactions = 5"], delivery).await;
    let [mut relay, mut indexer] = started(&deployment);
    let prepared = "begin; set local outbox.wake = off; insert into jobs (title) values ('prepared');
        prepare transaction 'outlives'";
    deployment.domain.execute(prepared).await;
    deployment.domain.execute("insert into jobs (title) select 'job ' || n from generate_series(1, 20) n").await;
    deployment.until_nothing_is_behind().await;
    deployment.domain.until_equal().await;
    standby.until_caught_up(&primary);

    standby.cut_off();
    deployment.domain.execute("commit prepared 'outlives'").await;
    deployment.until_nothing_is_behind().await;
    deployment.domain.until_equal().await;
    let job = "select e.id from outbox.events e join jobs j on e.key = j.id::text where j.title = 'prepared'";
    let id = deployment.domain.count(job).await;
    primary.stop_immediately();
    standby.promote();
    deployment.domain.follow(standby.url(APP)).await;
    assert_eq!(deployment.domain.count(&format!("select count(*) from ({job}) e")).await, 0, "its commit is lost");
    deployment.domain.execute("commit prepared 'outlives'").await;
    assert_eq!(deployment.domain.count(job).await, id);
    deployment.until_nothing_is_behind().await;
    deployment.domain.until_equal().await;

    let topic = Topic::new(&deployment.domain.topic);
    let messages = spawn_blocking(move || topic.read_all()).await.unwrap();
    let epochs: Vec<_> = messages.iter().filter(|message| message.id == id).map(|message| message.epoch).collect();
    assert_eq!(epochs, [0, 1], "it is published in both histories");
    assert_eq!(relay.stop().await.code, Some(0));
    assert_eq!(indexer.stop().await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prepared_transaction_whose_commit_a_promotion_lost_is_published_when_it_is_committed_again() {
    a_transaction_outlives_the_promotion_that_lost_its_commit(Delivery::AtLeastOnce).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prepared_transaction_whose_commit_a_promotion_lost_is_published_exactly_once_in_each_history() {
    a_transaction_outlives_the_promotion_that_lost_its_commit(Delivery::ExactlyOnce).await;
}

/// Writes until messages say that they are of this epoch.
async fn until_published_in(domain: &Domain, epoch: i32) {
    let said = async || {
        let topic = Topic::new(&domain.topic);
        spawn_blocking(move || topic.read_all()).await.unwrap().iter().any(|message| message.epoch == epoch)
    };
    while !said().await {
        domain.execute("update jobs set title = 'once more' where id = (select id from jobs limit 1)").await;
        sleep(Duration::from_millis(100)).await;
    }
}

async fn two_standbys_take_over_apart(delivery: Delivery) {
    let mut primary = Cluster::start(&[]);
    let mut deployment = deployment_of(domain_on(&primary).await, delivery);
    let (mut first, second) = (primary.standby(), primary.standby());
    deployment.set("postgres.url", url_of_all(&[&primary, &first, &second], APP));
    let [mut relay, mut indexer] = started(&deployment);
    deployment.domain.execute("insert into jobs (title) select 'job ' || n from generate_series(1, 50) n").await;
    deployment.until_nothing_is_behind().await;
    deployment.domain.until_equal().await;
    first.until_caught_up(&primary);
    second.until_caught_up(&primary);
    primary.stop_immediately();

    first.promote();
    deployment.domain.follow(first.url(APP)).await;
    for _ in 0..20 {
        deployment.domain.execute("update jobs set title = 'first', priority = priority + 1").await;
    }
    deployment.until_nothing_is_behind().await;
    deployment.domain.until_equal().await;
    assert_eq!(history(&deployment.domain).await.epoch, 1);
    first.stop_immediately();

    second.promote();
    deployment.domain.follow(second.url(APP)).await;
    let domain = &deployment.domain;
    let is_twin = "select count(*) from outbox.history h, outbox.current_history() c where h.epoch = 0
        and h.system_identifier = c.system_identifier and h.database_oid = c.database_oid
        and h.events_oid = c.events_oid and c.timeline = 2";
    assert_eq!(domain.count(is_twin).await, 1, "both are on timeline 2 of one system");
    domain.execute("update jobs set title = 'second'").await;
    deployment.until_nothing_is_behind().await;
    domain.until_equal().await;
    timeout(BOUND, until_published_in(domain, 2)).await.expect("the relay takes the epoch up, whoever began it");
    assert!(relay.is_alive() && indexer.is_alive(), "they stay up");
    assert_eq!(relay.stop().await.code, Some(0));
    assert_the_topic_has(domain).await;
    assert_epoch(&deployment, delivery, 2).await;
    assert_eq!(indexer.stop().await.code, Some(0));
}

/// Connections to it stay, and nothing is answered on them: nobody says that it is not the primary any more.
#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_falls_silent_is_left_for_the_one_that_was_promoted() {
    let primary = Cluster::start(&[]);
    let mut deployment = deployment_of(domain_on(&primary).await, Delivery::AtLeastOnce);
    let standby = primary.standby();
    let proxy = Proxy::to_database(&primary.url(APP)).await;
    let all = url_of_all(&[&primary, &standby], APP).replace(&primary.address(), proxy.address());
    deployment.set("postgres.url", all);
    let mut runner = deployment.runner("both", "relay,indexer");
    runner.start();
    deployment.domain.execute("insert into jobs (title) select 'job ' || n from generate_series(1, 50) n").await;
    deployment.until_nothing_is_behind().await;
    standby.until_caught_up(&primary);
    proxy.set(Link::Silent);
    standby.promote();
    deployment.domain.follow(standby.url(APP)).await;
    deployment.domain.execute("update jobs set title = 'after'").await;
    deployment.until_nothing_is_behind().await;
    deployment.domain.until_equal().await;
    assert_epoch(&deployment, Delivery::AtLeastOnce, 1).await;
    assert!(runner.is_alive(), "it stays up");
    assert_eq!(runner.stop().await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_standbys_promoted_apart_the_second_is_told_from_the_first() {
    two_standbys_take_over_apart(Delivery::AtLeastOnce).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_standbys_promoted_apart_the_second_is_told_from_the_first_that_published_exactly_once() {
    two_standbys_take_over_apart(Delivery::ExactlyOnce).await;
}
