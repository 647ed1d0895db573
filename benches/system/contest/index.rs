//! A topic that holds every key once into an empty index.

use super::BOUND;
use crate::board::{Board, Ratio};
use crate::cli::Options;
use crate::figures::Figures;
use crate::index::Index;
use crate::stage::Stage;
use crate::topic::Topic;
use crate::{Outcome, ceiling, jobs, ours};

/// Keys in the topic.
const SIZE: u64 = 300_000;

const RATIOS: &[Ratio] =
    &[Ratio { name: "ratio_ceiling", ours: "ours", others: &["ceiling:bulk"], of: "rate", least: Some(0.85) }];

pub(crate) async fn run(options: &Options) -> Outcome<bool> {
    Stage::with("index", async |stage| contest(stage, options).await).await
}

async fn contest(stage: &Stage, options: &Options) -> Outcome<bool> {
    let size = options.size.unwrap_or(SIZE);
    let topic = Topic::new(&stage.brokers, &stage.name).await?;
    publish(stage, &topic, size).await?;
    let mut board = Board::new("index", options.json);
    // The first turns warm the servers, and are not counted.
    for round in 0..=options.rounds {
        let mut tell = |what: &str, figures| {
            if round > 0 {
                board.add(what, round, figures)
            }
        };
        tell("ours", index(stage, &topic, size, round, &options.set).await?);
        tell("ceiling:bulk", ceiling::bulk(stage, size, 1).await?);
    }
    Ok(board.finish(RATIOS, &[], options.require))
}

/// Every key once, as the relay publishes it.
async fn publish(stage: &Stage, topic: &Topic, size: u64) -> Outcome<()> {
    let client = stage.database().await?;
    jobs::fill(stage, &client, size).await?;
    client.execute("select outbox.emit_many($1, array(select id::text from public.jobs))", &[&stage.name]).await?;
    for table in ["versions", "events"] {
        client.batch_execute(&format!("vacuum analyze outbox.{table}")).await?;
    }
    let mut relay = ours::start(stage, "relay", &[])?;
    topic.until_holds(size, &mut relay, BOUND).await?;
    relay.end().await
}

/// A group that has read nothing reads everything, from its first partition until the last document is written.
async fn index(stage: &Stage, topic: &Topic, size: u64, round: u32, more: &[String]) -> Outcome<Figures> {
    let name = format!("{}_ours_{round}", stage.name);
    let mut settings = jobs::settings(&topic.name, &name);
    settings.push(format!("kafka.group={name}"));
    settings.extend_from_slice(more);
    let mut indexer = ours::start(stage, "indexer", &settings)?;
    let began = indexer.until_says("indexing", BOUND).await?;
    let index = Index::new(stage, &name);
    let ended = index.until_written(size, &mut indexer, BOUND).await?;
    let figures = indexer.usage(Figures::rate(size, (ended - began).as_secs_f64()))?;
    indexer.end().await?;
    index.holds(size).await?;
    stage.forget_indexes(&name).await?;
    Ok(figures)
}
