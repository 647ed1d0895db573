//! What an event costs the relay as the backlog grows.

use super::relay::{backlog, drain};
use crate::board::{Board, Ratio};
use crate::cli::Options;
use crate::stage::Stage;
use crate::topic::Topic;
use crate::{Outcome, ours};

/// Events in the largest backlog.
const SIZE: u64 = 10_000_000;
/// The smallest is so many times smaller; between them they grow tenfold.
const SPAN: u64 = 1_000;

const RATIOS: &[Ratio] =
    &[Ratio { name: "ratio_growth", ours: "ours:largest", others: &["ours:/10"], of: "rate", least: Some(0.8) }];

pub(crate) async fn run(options: &Options) -> Outcome<bool> {
    let size = options.size.unwrap_or(SIZE);
    let mut board = Board::new("growth", options.json);
    let mut divisor = SPAN;
    while divisor > 0 {
        let events = (size / divisor).max(1);
        let what = if divisor == 1 { "ours:largest".to_owned() } else { format!("ours:/{divisor}") };
        Stage::with("growth", async |stage| {
            let topic = Topic::new(&stage.brokers, &stage.name).await?;
            let client = stage.database().await?;
            backlog(stage, &client, events).await?;
            for statement in ["vacuum analyze outbox.events", "checkpoint"] {
                client.batch_execute(statement).await?;
            }
            for round in 1..=options.rounds {
                let figures = drain(stage, &topic, events, ours::Delivery::AtLeastOnce, &options.set).await?;
                let per_event = figures.cpu_s.unwrap_or_default() * 1e6 / events as f64;
                board.add(&what, round, figures.with("events", events as f64).with("cpu_us_per_event", per_event));
            }
            Ok(())
        })
        .await?;
        divisor /= 10;
    }
    Ok(board.finish(RATIOS, &[], options.require))
}
