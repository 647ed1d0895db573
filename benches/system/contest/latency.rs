//! From the return of a commit to its message in a consumer's hands, at a steady rate.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use futures::future::try_join_all;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};
use tokio::time::{MissedTickBehavior, interval};

use super::BOUND;
use crate::board::{Board, Limit, Ratio};
use crate::cli::Options;
use crate::figures::{Figures, quantile};
use crate::peer::debezium::{Aim, Debezium};
use crate::stage::Stage;
use crate::topic::{PARTITIONS, Topic};
use crate::{Outcome, ours};

/// Commits of one turn at the higher rate.
const SIZE: u64 = 20_000;
/// Commits a second: an idle system, and a busy one.
const RATES: [u64; 2] = [20, 1_000];
/// Connections that commit.
const WRITERS: u64 = 8;

/// A transaction of one event, to a topic and with a key.
const EMIT: &str = "select outbox.emit($1, $2, 'INDEX', '{\"type\": \"updated\"}')";
/// The same in Debezium's table, whose topic is the connector's.
const INSERT: &str = "insert into public.debezium_outbox (id, aggregatetype, aggregateid, type, payload)
                      values (gen_random_uuid(), $1::text, $2::text, 'updated', '{\"type\": \"updated\"}')";

const RATIOS: &[Ratio] = &[
    Ratio { name: "ratio_peer", ours: "peer:debezium:20/s", others: &["ours:20/s"], of: "p50_ms", least: None },
    Ratio { name: "ratio_peer", ours: "peer:debezium:1000/s", others: &["ours:1000/s"], of: "p50_ms", least: None },
];

const LIMITS: &[Limit] = &[
    Limit { what: "ours:20/s", of: "p50_ms", most: 3.0 },
    Limit { what: "ours:20/s", of: "p99_ms", most: 15.0 },
    Limit { what: "ours:1000/s", of: "p50_ms", most: 3.0 },
    Limit { what: "ours:1000/s", of: "p99_ms", most: 15.0 },
];

pub(crate) async fn run(options: &Options) -> Outcome<bool> {
    Stage::with("latency", async |stage| contest(stage, options).await).await
}

async fn contest(stage: &Stage, options: &Options) -> Outcome<bool> {
    let size = options.size.unwrap_or(SIZE);
    let topic = Topic::new(&stage.brokers, &stage.name).await?;
    let client = stage.database().await?;
    let debezium = if options.peers { Some(Debezium::prepare(stage, &client).await?) } else { None };
    let mut board = Board::new("latency", options.json);
    for round in 1..=options.rounds {
        let mut relay = ours::start(stage, "relay", &options.set)?;
        relay.until_says("the relay holds the lease and reads", BOUND).await?;
        turn(stage, &topic, "ours", EMIT, size, round, &mut board).await?;
        relay.end().await?;
        if let Some(debezium) = &debezium {
            let worker = debezium.start(stage, &client, Aim::Latency).await?;
            turn(stage, debezium.topic(), "peer:debezium", INSERT, size, round, &mut board).await?;
            worker.end().await?;
        }
    }
    Ok(board.finish(RATIOS, LIMITS, options.require))
}

/// One contestant, alone on the machine, at each rate in turn; before that once more, uncounted, to be warm.
async fn turn(
    stage: &Stage,
    topic: &Topic,
    who: &str,
    write: &str,
    size: u64,
    round: u32,
    board: &mut Board,
) -> Outcome<()> {
    measure(stage, topic, write, RATES[1], size / 4).await?;
    for rate in RATES {
        // The idle system is watched as long as the busy one.
        let commits = (size * rate / RATES[1]).max(20);
        let figures = measure(stage, topic, write, rate, commits).await?;
        board.add(&format!("{who}:{rate}/s"), round, figures);
    }
    Ok(())
}

/// When each key's message came.
type Received = Arc<Mutex<HashMap<String, Instant>>>;

async fn measure(stage: &Stage, topic: &Topic, write: &str, rate: u64, commits: u64) -> Outcome<Figures> {
    let received = Received::default();
    let is_over = Arc::new(AtomicBool::new(false));
    let consumer = consumer(stage, topic)?;
    let receiving = thread::spawn({
        let (received, is_over) = (Arc::clone(&received), Arc::clone(&is_over));
        move || receive(&consumer, &received, &is_over)
    });
    let run = rand::random::<u32>();
    let writers = WRITERS.min(rate);
    let writer = |writer: u64| async move {
        let client = stage.database().await?;
        let write = client.prepare(write).await?;
        let mut committed = Vec::new();
        let mut ticks = interval(Duration::from_secs_f64(writers as f64 / rate as f64));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        for n in 0..commits / writers {
            ticks.tick().await;
            let key = format!("{run}-{writer}-{n}");
            client.execute(&write, &[&topic.name, &key]).await?;
            committed.push((key, Instant::now()));
        }
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(committed)
    };
    let committed = try_join_all((0..writers).map(writer)).await?.concat();
    tokio::time::timeout(BOUND, async {
        while received.lock().unwrap_or_else(PoisonError::into_inner).len() < committed.len() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await?;
    is_over.store(true, Ordering::Relaxed);
    receiving.join().map_err(|_| "the consumer failed")?;
    let received = received.lock().unwrap_or_else(PoisonError::into_inner);
    // A message may be here before the answer to the commit is: then it took no time.
    let latency = |(key, at): &(String, Instant)| Some(received.get(key)?.saturating_duration_since(*at).as_secs_f64());
    let mut latencies: Vec<f64> = committed.iter().filter_map(latency).map(|seconds| seconds * 1e3).collect();
    Ok(Figures { p50_ms: quantile(&mut latencies, 0.5), p99_ms: quantile(&mut latencies, 0.99), ..Figures::default() })
}

fn consumer(stage: &Stage, topic: &Topic) -> Outcome<BaseConsumer> {
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", &stage.brokers).set("group.id", "none").set("enable.auto.commit", "false");
    let consumer: BaseConsumer = client.create()?;
    let mut list = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        let (_, end) = consumer.fetch_watermarks(&topic.name, partition, BOUND)?;
        list.add_partition_offset(&topic.name, partition, Offset::Offset(end))?;
    }
    consumer.assign(&list)?;
    Ok(consumer)
}

fn receive(consumer: &BaseConsumer, received: &Received, is_over: &AtomicBool) {
    while !is_over.load(Ordering::Relaxed) {
        let Some(Ok(message)) = consumer.poll(Duration::from_millis(50)) else { continue };
        let now = Instant::now();
        let key = String::from_utf8_lossy(message.key().unwrap_or_default()).into_owned();
        received.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_insert(now);
    }
}
