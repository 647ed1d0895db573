//! A server that crashes hands transaction ids out again, and a snapshot taken before the crash counts them as done.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::{APP, Delivery, deployment_of, domain_on};
use crate::support::cluster::Cluster;
use crate::support::domain::Domain;
use crate::support::postgres::connect;

/// How often ids have to be handed out again before the test believes that it has tried it.
const REUSED: u32 = 3;

/// Takes ids whose transactions leave nothing behind; the highest of them.
async fn abort_some(domain: &Domain) -> i64 {
    let mut highest = 0;
    // Few enough to stay in one page of the log, which nobody writes to the disk for them.
    for _ in 0..40 {
        domain.execute("begin").await;
        highest = domain.count("select pg_current_xact_id()::text::bigint").await;
        domain.execute("rollback").await;
    }
    highest
}

/// Waits until the relay has taken a snapshot from now on.
async fn until_the_relay_has_looked(domain: &Domain) {
    let now = domain.client.query_one("select clock_timestamp()::text", &[]).await.unwrap();
    let now: String = now.get(0);
    let looked = format!(
        "select count(*) from pg_stat_activity where application_name = 'sync' and state = 'idle'
            and query like '%pg_current_snapshot%' and query_start > '{now}'"
    );
    let looking = async {
        while domain.count(&looked).await == 0 {
            sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(Duration::from_secs(60), looking).await.expect("the relay looks for events");
}

async fn nothing_is_lost_in_crashes(delivery: Delivery) {
    // The log is written by those who commit, and otherwise late.
    let mut cluster = Cluster::start(&["wal_writer_delay = 10s"]);
    let mut deployment = deployment_of(domain_on(&cluster).await, delivery);
    deployment.set("relay.poll_interval", "20ms");
    let mut runner = deployment.runner("both", "relay,indexer");
    runner.start();
    let mut reused = 0;
    for round in 0..30 {
        let title = format!("round {round}");
        deployment.domain.client.execute("insert into jobs (title) values ($1)", &[&title]).await.unwrap();
        deployment.until_nothing_is_behind().await;
        let domain = &deployment.domain;
        let highest = abort_some(domain).await;
        until_the_relay_has_looked(domain).await;
        cluster.stop_immediately();
        cluster.run();
        deployment.domain.client = connect(&cluster.url(APP)).await;
        let domain = &deployment.domain;
        domain.execute("insert into jobs (title) values ('after a crash')").await;
        let taken = domain.count("select max(xid::text::bigint) from outbox.events").await;
        reused += u32::from(taken <= highest);
        if reused == REUSED {
            break;
        }
    }
    assert_eq!(reused, REUSED, "ids were not handed out again");
    deployment.until_nothing_is_behind().await;
    let comparison = deployment.domain.until_equal().await;
    assert!(comparison.documents > 0);
    assert_eq!(deployment.domain.count("select max(epoch)::bigint from outbox.history").await, 0, "one history");
    assert_eq!(runner.stop().await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_handed_out_again_after_a_crash_hide_no_event() {
    nothing_is_lost_in_crashes(Delivery::AtLeastOnce).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_handed_out_again_after_a_crash_hide_no_event_that_comes_exactly_once() {
    nothing_is_lost_in_crashes(Delivery::ExactlyOnce).await;
}
