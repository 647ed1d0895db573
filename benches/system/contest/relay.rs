//! A backlog of events from PostgreSQL into Kafka, acknowledged by all replicas.

use std::time::Instant;

use tokio_postgres::Client;

use super::BOUND;
use crate::board::{Board, Limit, Ratio};
use crate::cli::Options;
use crate::figures::Figures;
use crate::ours::Delivery;
use crate::peer::debezium::{self, Aim, Debezium};
use crate::stage::Stage;
use crate::topic::Topic;
use crate::{Outcome, ceiling, ours};

/// Events in the backlog.
const SIZE: u64 = 300_000;
/// Bytes of one event's payload: together with key and headers some 250.
const PAYLOAD: usize = 200;
/// Events that were committed together.
const TRANSACTION: u64 = 1_000;

const RATIOS: &[Ratio] = &[
    Ratio { name: "ratio_peer", ours: "ours", others: &["peer:debezium"], of: "rate", least: Some(15.0) },
    Ratio { name: "ratio_peer", ours: "ours:exactly_once", others: &["peer:debezium"], of: "rate", least: Some(10.0) },
    Ratio {
        name: "ratio_ceiling",
        ours: "ours:exactly_once",
        others: &["ceiling:copy", "ceiling:produce"],
        of: "rate",
        least: None,
    },
    Ratio {
        name: "ratio_ceiling",
        ours: "ours",
        others: &["ceiling:copy", "ceiling:produce"],
        of: "rate",
        least: Some(0.6),
    },
];

const LIMITS: &[Limit] = &[Limit { what: "ours", of: "rss_mb", most: 60.0 }];

pub(crate) async fn run(options: &Options) -> Outcome<bool> {
    Stage::with("relay", async |stage| contest(stage, options).await).await
}

async fn contest(stage: &Stage, options: &Options) -> Outcome<bool> {
    let size = options.size.unwrap_or(SIZE);
    let topic = Topic::new(&stage.brokers, &stage.name).await?;
    let client = stage.database().await?;
    backlog(stage, &client, size).await?;
    let debezium = if options.peers { Some(debezium_backlog(stage, &client, size).await?) } else { None };
    for statement in ["vacuum analyze outbox.events", "checkpoint"] {
        client.batch_execute(statement).await?;
    }
    let mut board = Board::new("relay", options.json);
    // The first turns warm the servers, and are not counted.
    for round in 0..=options.rounds {
        let mut tell = |what: &str, figures| {
            if round > 0 {
                board.add(what, round, figures)
            }
        };
        for (what, delivery) in [("ours", Delivery::AtLeastOnce), ("ours:exactly_once", Delivery::ExactlyOnce)] {
            tell(what, drain(stage, &topic, size, delivery, &options.set).await?);
        }
        if let Some(debezium) = &debezium {
            tell("peer:debezium", debezium_drain(stage, &client, debezium, size).await?);
        }
        let events = size.to_string();
        tell("ceiling:copy", ceiling::measure(&["copy", "--url", &stage.url, "--events", &events]).await?);
        let value = PAYLOAD.to_string();
        let produce =
            ["produce", "--brokers", &stage.brokers, "--topic", &topic.name, "--events", &events, "--value", &value];
        tell("ceiling:produce", ceiling::measure(&produce).await?);
    }
    Ok(board.finish(RATIOS, LIMITS, options.require))
}

/// Writes the events as `outbox.emit` would, many in one statement.
pub(super) async fn backlog(stage: &Stage, client: &Client, size: u64) -> Outcome<()> {
    let into = "outbox.events (topic, key, version, action, payload) select $1::text, key, n, 'INDEX', payload";
    insert(client, into, &stage.name, size).await
}

/// The same events in Debezium's table.
async fn debezium_backlog(stage: &Stage, client: &Client, size: u64) -> Outcome<Debezium> {
    let debezium = Debezium::prepare(stage, client).await?;
    let into = format!(
        "{} (id, aggregatetype, aggregateid, type, payload) select gen_random_uuid(), $1::text, key, 'updated', payload",
        debezium::TABLE
    );
    insert(client, &into, "job", size).await?;
    Ok(debezium)
}

async fn insert(client: &Client, into: &str, topic: &str, size: u64) -> Outcome<()> {
    let insert = client
        .prepare(&format!(
            "insert into {into} from (
             select n, 'job-' || lpad(n::text, 12, '0') as key,
                    jsonb_build_object('type', 'updated', 'title', 'Job number ' || n, 'description',
                        left(translate(encode(sha512(n::text::bytea), 'base64') || encode(sha512((-n)::text::bytea), 'base64'),
                                       E'+/=\\n', 'abcd'), $4)) as payload
               from generate_series($2::int8, $3::int8) n) as made",
        ))
        .await?;
    let text = i32::try_from(PAYLOAD.saturating_sub(75))?;
    let mut first = 1;
    while first <= size {
        let last = (first + TRANSACTION - 1).min(size);
        client.execute(&insert, &[&topic, &first.cast_signed(), &last.cast_signed(), &text]).await?;
        first = last + 1;
    }
    Ok(())
}

/// From the first tenth on: until then it compiles itself, which a worker that stays up has behind it.
async fn debezium_drain(stage: &Stage, client: &Client, debezium: &Debezium, size: u64) -> Outcome<Figures> {
    let topic = debezium.topic();
    let before = topic.end()?;
    let mut worker = debezium.start(stage, client, Aim::Throughput).await?;
    let first = size / 10;
    let began = topic.until_holds(before + first, &mut worker, BOUND).await?;
    let seen = topic.end()? - before;
    let ended = topic.until_holds(before + size, &mut worker, BOUND).await?;
    let figures = worker.usage(Figures::rate(size - seen, seconds(began, ended)))?;
    worker.end().await?;
    Ok(figures)
}

/// A relay that has never read anything reads everything, from the moment it begins to read until all is stored.
pub(super) async fn drain(
    stage: &Stage,
    topic: &Topic,
    size: u64,
    delivery: Delivery,
    more: &[String],
) -> Outcome<Figures> {
    let subscription = format!("bench-{:08x}", rand::random::<u32>());
    let mut settings = vec![
        format!("relay.subscription={subscription}"),
        format!("relay.delivery={}", delivery.name()),
        format!("relay.positions_topic={}-positions", stage.name),
    ];
    settings.extend_from_slice(more);
    let before = topic.end()?;
    let mut relay = ours::start(stage, "relay", &settings)?;
    let began = relay.until_says("the relay holds the lease and reads", BOUND).await?;
    let ended = topic.until_holds(before + size, &mut relay, BOUND).await?;
    let figures = relay.usage(Figures::rate(size, seconds(began, ended)))?;
    relay.end().await?;
    Ok(figures)
}

fn seconds(began: Instant, ended: Instant) -> f64 {
    (ended - began).as_secs_f64()
}
