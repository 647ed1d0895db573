//! An index that is down for long, while applications go on: what waits does so on disk, and nobody's tries are used up.

use std::time::Duration;

use rand::seq::IndexedRandom;
use tokio::task::{JoinSet, block_in_place};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::topic::Topic;
use crate::support::domain::Domain;
use crate::support::pipeline::Way;
use crate::support::postgres::connect;
use crate::support::proxy::{Link, Proxy};
use crate::support::runner::{Deployment, Runner};
use crate::support::servers;

/// Changes a second, of which each writer commits a tenth of a second's at a time.
const CHANGES: u64 = 500;
const WRITERS: u64 = 5;
const EACH: u64 = CHANGES / WRITERS / 10;

/// What the process may take at its peak, in bytes, however much waits.
const MEMORY: u64 = 200_000_000;

/// How long a backlog may take to be worked off on a busy machine.
const BOUND: Duration = Duration::from_secs(900);

/// Writers who keep to their pace until they are told to stop; says how many changes they committed.
async fn write_steadily(domain: &Domain, stop: &CancellationToken) -> JoinSet<u64> {
    let mut writing = JoinSet::new();
    for _ in 0..WRITERS {
        let client = connect(&domain.url).await;
        let stop = stop.clone();
        writing.spawn(async move {
            let insert = "insert into jobs (title) select 'steady' from generate_series(1, $1::bigint) returning id";
            let update = "update jobs set priority = priority + 1 where id = any ($1)";
            let mut pace = interval(Duration::from_millis(100));
            pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
            let (mut jobs, mut changes) = (Vec::<Uuid>::new(), 0);
            while stop.run_until_cancelled(pace.tick()).await.is_some() {
                let rows = client.query(insert, &[&(EACH as i64 / 2)]).await.unwrap();
                jobs.extend(rows.iter().map(|row| row.get::<_, Uuid>(0)));
                let some: Vec<_> = jobs.sample(&mut rand::rng(), EACH as usize / 2).copied().collect();
                changes += rows.len() as u64 + client.execute(update, &[&some]).await.unwrap();
            }
            changes
        });
    }
    writing
}

/// What is not in the index yet, published or not.
async fn behind(deployment: &Deployment) -> u64 {
    let status = deployment.status().await;
    let stages = status["bus"].as_object().into_iter().flatten().map(|(_, queue)| &queue["messages_behind"]);
    stages.chain([&status["outbox"]["events_behind"]]).filter_map(serde_json::Value::as_u64).sum()
}

async fn until_behind(deployment: &Deployment, runner: &mut Runner, fits: impl Fn(u64) -> bool) {
    let waiting = async {
        while !fits(behind(deployment).await) {
            assert!(runner.is_alive(), "it ended by itself");
            sleep(Duration::from_millis(200)).await;
        }
    };
    timeout(BOUND, waiting).await.expect("the backlog grows and shrinks");
}

/// Nothing was tried again later, nothing given up.
async fn assert_no_try_was_used_up(deployment: &Deployment, way: Way) {
    let status = deployment.status().await;
    assert_eq!(status["dead_letters"]["letters"], 0, "{status:#}");
    if matches!(way, Way::Kafka) {
        let topic = format!("{}-retry-1000", deployment.domain.topic);
        assert_eq!(block_in_place(|| Topic::new(&topic).count()), 0, "messages in the retry topic");
    }
}

/// A deployment whose way to the index can be cut.
async fn deployment(way: Way) -> (Deployment, Proxy) {
    let mut deployment = Deployment::new(way).await;
    let index = Proxy::to_index().await;
    deployment.set("elasticsearch.url", format!("http://{}", index.address()));
    (deployment, index)
}

async fn through_a_long_outage(way: Way) {
    let (deployment, index) = deployment(way).await;
    let mut runner = deployment.runner("runner", "relay,indexer");
    runner.start();
    let stop = CancellationToken::new();
    let began = Instant::now();
    let writing = write_steadily(&deployment.domain, &stop).await;
    runner.until_said("indexing", 1).await;
    let outage = Duration::from_secs(15 * servers::scale());
    index.set(Link::Cut);
    sleep(outage).await;
    let waiting = behind(&deployment).await;
    index.set(Link::Open);
    let opened = Instant::now();
    until_behind(&deployment, &mut runner, |behind| behind < CHANGES).await;
    let recovered = opened.elapsed();
    stop.cancel();
    let lasted = began.elapsed();
    let changes: u64 = writing.join_all().await.into_iter().sum();
    deployment.until_nothing_is_behind().await;
    let documents = deployment.domain.until_equal().await.documents;
    assert_no_try_was_used_up(&deployment, way).await;
    let rate = changes as f64 / lasted.as_secs_f64();
    println!(
        "{rate:.0} changes a second, {outage:?} without the index, {waiting} waiting, less than a second behind \
         {recovered:?} after its return; {documents} documents, {:?}",
        runner.memory()
    );
    assert!(runner.memory().peak < MEMORY, "{:?}", runner.memory());
    assert_eq!(runner.stop().await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_outage_of_the_index_under_a_steady_load_costs_delay_and_no_try() {
    through_a_long_outage(Way::Kafka).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_outage_of_the_index_under_a_steady_load_costs_delay_and_no_try_without_a_broker() {
    through_a_long_outage(Way::Direct).await;
}

async fn while_very_many_wait(way: Way) {
    let events = if servers::scale() >= 5 { 1_000_000 } else { 60_000 };
    let (deployment, index) = deployment(way).await;
    let mut runner = deployment.runner("runner", "relay,indexer");
    runner.start();
    runner.until_said("indexing", 1).await;
    index.set(Link::Cut);
    for _ in 0..events / 20_000 {
        let insert = "insert into jobs (title, description)
                      select 'waiting', repeat(md5(n::text), 8) from generate_series(1, 20000) n";
        deployment.domain.execute(insert).await;
    }
    // With a broker all of it is published; without one it waits in the outbox.
    let all_wait = |behind: u64| behind >= events;
    until_behind(&deployment, &mut runner, all_wait).await;
    if matches!(way, Way::Kafka) {
        deployment.until_published().await;
    }
    index.until_withheld().await;
    let memory = runner.memory();
    println!("{events} events wait, {memory:?}");
    assert!(memory.peak < MEMORY, "{memory:?}");
    index.set(Link::Open);
    let opened = Instant::now();
    until_behind(&deployment, &mut runner, |behind| behind == 0).await;
    println!("worked off in {:?}, {:?}", opened.elapsed(), runner.memory());
    assert!(runner.memory().peak < MEMORY, "{:?}", runner.memory());
    assert_eq!(deployment.domain.until_equal().await.documents, events);
    assert_no_try_was_used_up(&deployment, way).await;
    assert_eq!(runner.stop().await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_stays_small_while_very_many_events_wait_for_the_index() {
    while_very_many_wait(Way::Kafka).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_stays_small_while_very_many_events_wait_for_the_index_without_a_broker() {
    while_very_many_wait(Way::Direct).await;
}
