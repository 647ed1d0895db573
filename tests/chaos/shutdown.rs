//! Orderly ends, and who goes on after one that was not.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::writers::{Writers, seed};
use crate::support::domain::Domain;
use crate::support::pipeline::Way;
use crate::support::proxy::{Link, Proxy};
use crate::support::runner::{Deployment, Lease, Runner};

/// Longer than a shutdown waits for acknowledgements and for what is on its way to the index.
const ORDERLY: Duration = Duration::from_secs(10);

const BOUND: Duration = Duration::from_secs(120);

/// Waits until that many more documents have reached the index.
async fn until_indexed(domain: &Domain, more: i64) {
    let sql = "select count(*) from jobs where es_synced_at is not null";
    let begin = domain.count(sql).await;
    let indexed = async {
        while domain.count(sql).await < begin + more {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(BOUND, indexed).await.expect("documents reach the index");
}

async fn stop(runner: &mut Runner) {
    let ended = runner.stop().await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.after < ORDERLY, "{ended:?}");
}

async fn assert_nothing_was_lost(deployment: &Deployment) {
    deployment.until_nothing_is_behind().await;
    deployment.domain.until_equal().await;
}

async fn sigterm_under_load(way: Way) {
    let mut deployment = Deployment::new(way).await;
    // Who waits for it to run out does not pass this test.
    deployment.set("relay.lease", "5m");
    let writers = Writers::start(&deployment.domain, seed(), 3).await;
    let mut runner = deployment.runner("first", "relay,indexer");
    runner.start();
    until_indexed(&deployment.domain, 300).await;
    stop(&mut runner).await;
    assert_eq!(deployment.lease().await, Lease { holder: None, term: 1 });

    let mut next = deployment.runner("next", "relay,indexer");
    next.start();
    let waited = deployment.until_leads(&next).await;
    assert_eq!(deployment.lease().await.term, 2);
    println!("the next one publishes {waited:?} after its start");
    until_indexed(&deployment.domain, 100).await;
    writers.stop().await;
    assert_nothing_was_lost(&deployment).await;
    stop(&mut next).await;
    let outbox = &deployment.status().await["outbox"];
    assert_eq!((&outbox["holder"], &outbox["term"]), (&serde_json::Value::Null, &2.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_under_load_ends_in_order_and_the_lease_is_free_at_once() {
    sigterm_under_load(Way::Kafka).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_under_load_ends_in_order_and_the_lease_is_free_at_once_without_a_broker() {
    sigterm_under_load(Way::Direct).await;
}

/// With a server that is there and says nothing, a shutdown has something to wait for.
async fn shutdown_beside_silent_servers(way: Way) {
    let mut deployment = Deployment::new(way).await;
    let index = Proxy::to_index().await;
    let database = Proxy::to_database(&deployment.domain.url).await;
    deployment.set("elasticsearch.url", format!("http://{}", index.address()));
    deployment.set("postgres.url", database.url(&deployment.domain.url));
    deployment.set("kafka.properties.session.timeout.ms", 6_000);
    let mut runner = deployment.runner("runner", "relay,indexer");
    for (silent, signals) in [(&index, 2), (&index, 1), (&database, 2), (&database, 1)] {
        runner.start();
        deployment.domain.execute("insert into jobs (title) values ('before')").await;
        deployment.domain.until_equal().await;
        silent.set(Link::Silent);
        deployment.domain.execute("insert into jobs (title) values ('meanwhile')").await;
        silent.until_withheld().await;

        runner.signal("TERM").await;
        runner.until_said("stopping; a second signal ends the process at once", 1).await;
        if signals == 2 {
            let ended = runner.stop().await;
            assert!(ended.code == Some(128 + 15) && ended.after < ORDERLY / 2, "{ended:?}");
        } else {
            let ended = runner.end().await;
            println!("{way:?}: {ended:?}");
            assert!(ended.code == Some(0) && ended.after < ORDERLY, "{ended:?}");
        }
        silent.set(Link::Open);
    }
    runner.start();
    assert_nothing_was_lost(&deployment).await;
    stop(&mut runner).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_does_not_wait_for_ever_for_silent_servers_and_a_second_signal_ends_it_at_once() {
    shutdown_beside_silent_servers(Way::Kafka).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_does_not_wait_for_ever_for_silent_servers_without_a_broker() {
    shutdown_beside_silent_servers(Way::Direct).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_is_cut_off_is_replaced_and_stands_by_when_it_is_back() {
    let mut deployment = Deployment::new(Way::Kafka).await;
    deployment.set("relay.lease", "2s");
    deployment.set("postgres.connect_timeout", "1s");
    deployment.set("log.filter", "info,sync_core::relay=debug");
    let writers = Writers::start(&deployment.domain, seed(), 2).await;
    let mut second = deployment.runner("second", "relay,indexer");
    let database = Proxy::to_database(&deployment.domain.url).await;
    deployment.set("postgres.url", database.url(&deployment.domain.url));
    let mut first = deployment.runner("first", "relay");
    first.start();
    deployment.until_leads(&first).await;
    second.start();
    second.until_said("standing by", 1).await;
    for (indexed, cut) in [(100, Link::Cut), (200, Link::Silent)] {
        let (stood_by, term) = (first.said("standing by"), deployment.lease().await.term);
        database.set(cut);
        deployment.until_leads(&second).await;
        assert!(deployment.lease().await.term > term);
        until_indexed(&deployment.domain, indexed).await;
        database.set(Link::Open);
        first.until_said("standing by", stood_by + 1).await;
        assert!(deployment.lease().await.is_of(&second), "the lease was taken back");
        // Who was cut off leads again when the other ends.
        stop(&mut second).await;
        deployment.until_leads(&first).await;
        second.start();
        second.until_said("standing by", 1).await;
    }
    writers.stop().await;
    assert_nothing_was_lost(&deployment).await;
    stop(&mut first).await;
    stop(&mut second).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_runners_one_publishes_and_the_other_goes_on_when_it_is_killed() {
    const LEASE: Duration = Duration::from_secs(2);
    /// It looks every second, and the machine may be busy.
    const LOOK: Duration = Duration::from_secs(2);
    let mut deployment = Deployment::new(Way::Kafka).await;
    deployment.set("relay.lease", format!("{}s", LEASE.as_secs()));
    deployment.set("kafka.properties.session.timeout.ms", 6_000);
    deployment.set("log.filter", "info,sync_core::relay=debug");
    let writers = Writers::start(&deployment.domain, seed(), 2).await;
    let [mut first, mut second] = ["first", "second"].map(|name| deployment.runner(name, "relay,indexer"));
    first.start();
    deployment.until_leads(&first).await;
    second.start();
    // It has looked often enough to look as seldom as it ever does.
    second.until_said("standing by", 6).await;
    assert!(deployment.lease().await.is_of(&first));
    assert_eq!(deployment.lease().await.term, 1);

    first.kill().await;
    let waited = deployment.until_leads(&second).await;
    assert_eq!(deployment.lease().await.term, 2);
    println!("the other publishes after {waited:?}");
    assert!(waited < LEASE + LOOK, "{waited:?}");
    until_indexed(&deployment.domain, 100).await;

    // And the other way round, in order: nobody waits for a lease that was given back.
    first.start();
    first.until_said("standing by", 6).await;
    stop(&mut second).await;
    let waited = deployment.until_leads(&first).await;
    println!("and after {waited:?} when the other one ends in order");
    assert!(waited < LOOK, "{waited:?}");
    writers.stop().await;
    assert_nothing_was_lost(&deployment).await;
    stop(&mut first).await;
}
