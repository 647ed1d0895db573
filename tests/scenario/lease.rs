//! The lease of a subscription on PostgreSQL, whose clock may be wrong.

use std::time::Duration;

use sync_core::ErrorKind;
use sync_core::adapter::postgres::{PostgresSource, SourceConfig};
use sync_core::port::Source;

use crate::support::postgres::{database, fresh_outbox};

const LEASE: Duration = Duration::from_secs(10);

fn source(url: &str, holder: &str) -> PostgresSource {
    let config = SourceConfig::default().holder(holder).lease(LEASE);
    PostgresSource::new(database(url), config)
}

/// As it looks after the clock was set back by that many seconds.
async fn set_back(client: &tokio_postgres::Client, seconds: f64) {
    let sql = "update outbox.subscriptions set lease_until = lease_until + make_interval(secs => $1)";
    client.execute(sql, &[&seconds]).await.unwrap();
}

#[tokio::test]
async fn a_clock_that_is_set_back_far_holds_up_nobody_when_the_relay_dies() {
    let (client, url) = fresh_outbox().await;
    let died = source(&url, "one").open().await.unwrap();
    set_back(&client, 3_600.0).await;
    let next = source(&url, "two").open().await.expect("a lease of an hour was never given");
    assert_eq!(died.cursor.renew().await.unwrap_err().kind(), ErrorKind::Fenced);
    next.cursor.renew().await.unwrap();
}

#[tokio::test]
async fn a_clock_that_is_corrected_a_little_takes_the_lease_from_nobody() {
    let (client, url) = fresh_outbox().await;
    let first = source(&url, "one").open().await.unwrap();
    set_back(&client, LEASE.as_secs_f64() / 2.0).await;
    assert_eq!(source(&url, "two").open().await.unwrap_err().kind(), ErrorKind::Fenced);
    first.cursor.renew().await.unwrap();
}

#[tokio::test]
async fn a_relay_that_renews_keeps_its_lease_on_a_clock_that_was_set_back() {
    let (client, url) = fresh_outbox().await;
    let first = source(&url, "one").open().await.unwrap();
    set_back(&client, 3_600.0).await;
    first.cursor.renew().await.unwrap();
    assert_eq!(source(&url, "two").open().await.unwrap_err().kind(), ErrorKind::Fenced);
    first.cursor.release().await.unwrap();
    source(&url, "two").open().await.expect("it was given back");
}
