//! Servers that cannot be reached for a while, one after the other and in every way a network fails.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::writers::{Writers, seed};
use crate::support::pipeline::Way;
use crate::support::proxy::{Link, Proxy};
use crate::support::runner::Deployment;

const BOUND: Duration = Duration::from_secs(60);

/// How long the network stays as it is once somebody has noticed.
const WHILE: Duration = Duration::from_secs(2);

async fn through_outages(way: Way) {
    let mut deployment = Deployment::new(way).await;
    let index = Proxy::to_index().await;
    let database = Proxy::to_database(&deployment.domain.url).await;
    deployment.set("elasticsearch.url", format!("http://{}", index.address()));
    deployment.set("postgres.url", database.url(&deployment.domain.url));
    deployment.set("elasticsearch.request_timeout", "1s");
    deployment.set("postgres.connect_timeout", "1s");
    deployment.set("relay.lease", "2s");
    let mut runner = deployment.runner("runner", "relay,indexer");
    // The servers are out of reach when the runner starts, too.
    index.set(Link::Cut);
    database.set(Link::Cut);
    let writers = Writers::start(&deployment.domain, seed(), 2).await;
    runner.start();
    tokio::join!(index.until_withheld(), database.until_withheld());
    index.set(Link::Open);
    database.set(Link::Open);
    // Connections that hang go on, or are found broken in the end.
    for links in [&[Link::Cut][..], &[Link::Silent], &[Link::Silent, Link::Cut]] {
        for proxy in [&index, &database] {
            until_moving(&deployment).await;
            for link in links {
                proxy.set(*link);
                proxy.until_withheld().await;
                sleep(WHILE).await;
            }
            assert!(runner.is_alive(), "it ended by itself");
            proxy.set(Link::Open);
        }
    }
    until_moving(&deployment).await;
    writers.stop().await;
    deployment.until_nothing_is_behind().await;
    deployment.domain.until_equal().await;
    assert_eq!(runner.said("this partition stopped"), 0, "an outage is nothing that a person has to mend");
    let complaints = runner.said("WARN") + runner.said("ERROR");
    println!("{complaints} complaints in the log");
    assert_eq!(runner.stop().await.code, Some(0));
}

/// Waits until new documents reach the index.
async fn until_moving(deployment: &Deployment) {
    let sql = "select coalesce(extract(epoch from max(es_synced_at)), 0)::bigint from jobs";
    let before = deployment.domain.count(sql).await;
    let moving = async {
        while deployment.domain.count(sql).await <= before + 1 {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(BOUND, moving).await.expect("documents reach the index");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_database_or_index_costs_delay_and_nothing_else() {
    through_outages(Way::Kafka).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_database_or_index_costs_delay_and_nothing_else_without_a_broker() {
    through_outages(Way::Direct).await;
}
