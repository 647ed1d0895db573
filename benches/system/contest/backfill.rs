//! A table with rows of before, of which no event tells, into an empty index.

use std::fs;

use sync_core::port::Sink;

use super::BOUND;
use crate::board::{Board, Ratio};
use crate::cli::Options;
use crate::figures::Figures;
use crate::index::Index;
use crate::peer::pgsync;
use crate::stage::Stage;
use crate::{Outcome, ceiling, jobs, ours};

/// Rows of the table.
const SIZE: u64 = 200_000;

const RATIOS: &[Ratio] = &[
    Ratio { name: "ratio_ceiling", ours: "ours", others: &["ceiling:bulk"], of: "rate", least: Some(0.85) },
    Ratio { name: "ratio_peer", ours: "ours", others: &["peer:pgsync"], of: "rate", least: Some(5.0) },
];

pub(crate) async fn run(options: &Options) -> Outcome<bool> {
    Stage::with("backfill", async |stage| contest(stage, options).await).await
}

async fn contest(stage: &Stage, options: &Options) -> Outcome<bool> {
    let size = options.size.unwrap_or(SIZE);
    let client = stage.database().await?;
    jobs::fill(stage, &client, size).await?;
    let mut board = Board::new("backfill", options.json);
    // The first turns warm the servers, and are not counted.
    for round in 0..=options.rounds {
        let mut tell = |what: &str, figures| {
            if round > 0 {
                board.add(what, round, figures)
            }
        };
        tell("ours", backfill(stage, size, round, &options.set).await?);
        tell("ours:local", into_directory(stage, size, round, &options.set).await?);
        tell("ceiling:bulk", ceiling::bulk(stage, size, 1).await?);
        if options.peers {
            let name = format!("pgsync{round}");
            let prepared = pgsync::Prepared::new(stage, &client, &name).await?;
            let figures = prepared.fill(size).await?;
            prepared.end().await?;
            Index::new(stage, &name).holds(size).await?;
            tell("peer:pgsync", figures);
            stage.forget_indexes(&name).await?;
        }
    }
    Ok(board.finish(RATIOS, &[], options.require))
}

/// Into a directory instead of a cluster.
async fn into_directory(stage: &Stage, size: u64, round: u32, more: &[String]) -> Outcome<Figures> {
    let directory = stage.files().join(format!("local-{round}"));
    let mut settings = jobs::settings(&stage.name, &stage.name);
    settings.extend(jobs::in_directory(&directory));
    settings.extend_from_slice(more);
    let figures = ours::command(stage, &["backfill", "jobs"], &settings)?.until_done(size, BOUND).await?;
    let found = jobs::local_index(&directory, &stage.name)?.count().await?;
    fs::remove_dir_all(&directory)?;
    if found == size { Ok(figures) } else { Err(format!("the directory holds {found} documents, not {size}").into()) }
}

/// The whole command, from its start to its end.
async fn backfill(stage: &Stage, size: u64, round: u32, more: &[String]) -> Outcome<Figures> {
    let name = format!("{}_ours_{round}", stage.name);
    let mut settings = jobs::settings(&stage.name, &name);
    settings.extend_from_slice(more);
    let figures = ours::command(stage, &["backfill", "jobs"], &settings)?.until_done(size, BOUND).await?;
    Index::new(stage, &name).holds(size).await?;
    stage.forget_indexes(&name).await?;
    Ok(figures)
}
