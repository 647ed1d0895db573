//! Relays that publish exactly once, killed at random moments, frozen past their lease and competing: a consumer that
//! reads what is committed sees each event once, and of each key in the order of the commits.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sync_core::ErrorKind;
use sync_core::adapter::kafka::{KafkaConfig, KafkaTransactor, TransactorConfig};
use sync_core::adapter::postgres::{PostgresSource, SourceConfig};
use sync_core::port::{LedgerSource, Mark, Transactor};
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::kill::{
    INDEXES, Late, RELAYS, assert_nothing_was_lost, assert_the_topic_holds_every_event_in_order, keep_killing, kills,
    stop,
};
use super::topic::Topic;
use super::writers::{Writers, seed};
use crate::support::pipeline::Way;
use crate::support::postgres::database;
use crate::support::runner::Deployment;
use crate::support::servers;

/// A deployment whose positions are in a topic of its own.
async fn deployment() -> Deployment {
    let mut deployment = super::kill::deployment(Way::Kafka).await;
    deployment.set("relay.delivery", "exactly_once");
    deployment.set("relay.positions_topic", positions(&deployment));
    deployment.set("log.filter", "info,sync_core::relay=debug");
    deployment
}

fn positions(deployment: &Deployment) -> String {
    format!("{}-positions", deployment.domain.topic)
}

async fn assert_every_event_came_once(deployment: &Deployment) {
    let repeats = assert_the_topic_holds_every_event_in_order(&deployment.domain).await;
    assert_eq!(repeats, 0, "events came twice");
}

/// From now on the position in the database stays where it is: only the one in Kafka says what was published.
const STAND_STILL: &str = "
create function public.stand_still() returns trigger language plpgsql as $$
begin
    new.lo := old.lo; new.hi := old.hi; new.last := old.last;
    return new;
end $$;
create trigger stand_still before update on outbox.subscriptions
    for each row execute function public.stand_still()";

#[tokio::test(flavor = "multi_thread")]
async fn every_event_comes_once_when_the_relay_dies_at_random_moments() {
    let deployment = deployment().await;
    let mut random = StdRng::seed_from_u64(seed());
    let writers = Writers::start(&deployment.domain, random.random(), 3).await;
    let mut indexer = deployment.runner("indexer", "indexer");
    indexer.start();
    let mut relay = deployment.runner("relay", "relay");
    deployment.domain.execute(STAND_STILL).await;
    let late = Late::begin(&deployment.domain).await;
    keep_killing(&mut relay, &[RELAYS], kills(12), random.fork()).await;
    late.end().await;
    keep_killing(&mut relay, &[RELAYS], kills(8), random.fork()).await;
    println!("{} transactions", writers.stop().await);

    deployment.domain.execute("drop trigger stand_still on outbox.subscriptions").await;
    relay.start();
    assert_nothing_was_lost(&deployment).await;
    stop(&mut relay).await;
    stop(&mut indexer).await;
    assert_every_event_came_once(&deployment).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_was_frozen_past_its_lease_wakes_and_nothing_it_still_sends_is_seen() {
    let deployment = deployment().await;
    let mut random = StdRng::seed_from_u64(seed());
    let writers = Writers::start(&deployment.domain, random.random(), 3).await;
    let [mut frozen, mut awake] = ["frozen", "awake"].map(|name| deployment.runner(name, "relay"));
    frozen.start();
    frozen.until_said(RELAYS, 1).await;
    awake.start();
    awake.until_said("standing by", 1).await;
    for _ in 0..kills(6) {
        // Somewhere in a transaction: there is enough to publish.
        let keys = "array(select 'key ' || n from generate_series(1, 20000) n)";
        deployment.domain.execute(&format!("select outbox.emit_many('{}', {keys})", deployment.domain.topic)).await;
        sleep(Duration::from_millis(random.random_range(50..300))).await;
        let led = awake.said(RELAYS);
        frozen.signal("STOP").await;
        deployment.until_leads(&awake).await;
        awake.until_said(RELAYS, led + 1).await;
        let before = frozen.said("standing by");
        frozen.signal("CONT").await;
        frozen.until_said("standing by", before + 1).await;
        std::mem::swap(&mut frozen, &mut awake);
    }
    println!("{} transactions", writers.stop().await);
    deployment.until_published().await;
    stop(&mut frozen).await;
    stop(&mut awake).await;
    assert_every_event_came_once(&deployment).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_relays_that_die_and_freeze_and_compete_each_event_comes_once() {
    let deployment = deployment().await;
    let mut random = StdRng::seed_from_u64(seed());
    let writers = Writers::start(&deployment.domain, random.random(), 3).await;
    let mut relays = ["one", "two", "three"].map(|name| deployment.runner(name, "relay"));
    for relay in &mut relays {
        relay.start();
    }
    for _ in 0..kills(10) {
        sleep(Duration::from_millis(random.random_range(0..1_500))).await;
        let leader = deployment.lease().await;
        let leading = relays.iter().position(|relay| leader.is_of(relay));
        let relay = &mut relays[leading.unwrap_or(random.random_range(0..3))];
        if random.random_bool(0.5) {
            relay.kill().await;
            relay.start();
        } else {
            relay.signal("STOP").await;
            sleep(Duration::from_millis(random.random_range(500..3_000))).await;
            relay.signal("CONT").await;
        }
    }
    println!("{} transactions", writers.stop().await);
    deployment.until_published().await;
    for relay in &mut relays {
        stop(relay).await;
    }
    assert_every_event_came_once(&deployment).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn either_delivery_goes_on_where_the_other_one_ended() {
    let mut deployment = deployment().await;
    let insert = "insert into jobs (title) select 'job ' || n from generate_series(1, 500) n";
    for delivery in ["at_least_once", "exactly_once", "at_least_once", "exactly_once"] {
        deployment.set("relay.delivery", delivery);
        let mut relay = deployment.runner(&format!("{}-{delivery}", servers::unique("relay")), "relay");
        deployment.domain.execute(insert).await;
        relay.start();
        deployment.until_published().await;
        let status = &deployment.status().await["outbox"];
        assert_eq!(status["mirrored"], delivery == "exactly_once", "{status}");
        stop(&mut relay).await;
    }
    assert_every_event_came_once(&deployment).await;
}

/// Writes a position as another relay of this subscription would.
async fn store(deployment: &Deployment, change: impl FnOnce(Mark) -> Mark) {
    let source = PostgresSource::new(database(&deployment.domain.url), SourceConfig::default());
    // A relay that stood by with a lease of its own has let it run out.
    let claim = loop {
        match source.claim().await {
            Ok(claim) => break claim,
            Err(error) => assert_eq!(error.kind(), ErrorKind::Fenced, "{error}"),
        }
        sleep(Duration::from_millis(100)).await;
    };
    let kafka = KafkaConfig::new(servers::kafka());
    let names = TransactorConfig::default().positions(positions(deployment));
    let mut transactions = KafkaTransactor::new(&kafka, names).unwrap().begin(&claim.name).await.unwrap();
    let present = transactions.mark().await.unwrap().expect("a relay has published");
    transactions.publish(Vec::new(), &change(present)).await.unwrap();
    claim.cursor.release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_of_a_later_term_stops_a_relay_and_one_of_another_history_begins_a_new_epoch() {
    let deployment = deployment().await;
    let insert = "insert into jobs (title) values ('a'), ('b')";
    let mut relay = deployment.runner("relay", "relay");
    deployment.domain.execute(insert).await;
    relay.start();
    deployment.until_published().await;
    stop(&mut relay).await;

    let term = deployment.lease().await.term + 1_000;
    store(&deployment, |present| Mark { term, ..present }).await;
    deployment.domain.execute(insert).await;
    relay.start();
    relay.until_said("standing by", 3).await;
    assert_eq!(relay.said(RELAYS), 0, "it reads nothing");
    let topic = Topic::new(&deployment.domain.topic);
    let found = spawn_blocking(move || topic.read()).await.unwrap();
    assert_eq!(found.messages, 2);
    stop(&mut relay).await;

    let token = "2c9ac1a3-5ce5-4cd2-94f5-7c1c6d1f9c10".to_owned();
    store(&deployment, |present| Mark { term: 1, token, ..present }).await;
    relay.start();
    relay.until_said("Kafka holds a position this database never gave", 1).await;
    deployment.until_published().await;
    let epoch = deployment.domain.count("select max(epoch)::bigint from outbox.history").await;
    assert_eq!(epoch, 1);
    stop(&mut relay).await;
    // The position in the database had followed, so nothing had to come again.
    assert_every_event_came_once(&deployment).await;

    // The position it has stored since is its own.
    deployment.domain.execute(insert).await;
    relay.start();
    deployment.until_published().await;
    assert_eq!(relay.said("Kafka holds a position this database never gave"), 0);
    stop(&mut relay).await;
    assert_every_event_came_once(&deployment).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_indexer_keeps_the_index_true_to_what_is_published_exactly_once() {
    let deployment = deployment().await;
    let mut both = deployment.runner("both", "relay,indexer");
    both.start();
    both.until_said(INDEXES, 1).await;
    let writers = Writers::start(&deployment.domain, seed(), 3).await;
    sleep(Duration::from_secs(2)).await;
    println!("{} transactions", writers.stop().await);
    deployment.until_nothing_is_behind().await;
    deployment.domain.until_equal().await;
    stop(&mut both).await;
    assert_every_event_came_once(&deployment).await;
}
