//! The raw ceilings: what the servers and their clients do when nothing is promised. Each in a process of its own, so
//! that its memory and processor time are its own.

mod bulk;
mod copy;
mod produce;

use std::env;
use std::process::Stdio;

use clap::Subcommand;
use tokio::process::Command;

use crate::figures::Figures;
use crate::index::Index;
use crate::program::own_usage;
use crate::stage::Stage;
use crate::{Outcome, jobs};

/// Which one.
#[derive(Debug, Subcommand)]
pub(crate) enum Ceiling {
    /// `COPY` of the events out of PostgreSQL, thrown away.
    Copy(copy::Copy),
    /// Bare `_bulk` requests, of documents that are in memory.
    Bulk(bulk::Bulk),
    /// A bare producer, of messages that are in memory.
    Produce(produce::Produce),
}

/// What the child process does: prints its figures.
pub(crate) async fn run(ceiling: &Ceiling) -> Outcome<()> {
    let figures = match ceiling {
        Ceiling::Bulk(bulk) => bulk.run().await?,
        Ceiling::Copy(copy) => copy.run().await?,
        Ceiling::Produce(produce) => produce.run()?,
    };
    println!("{}", serde_json::to_string(&own_usage(figures))?);
    Ok(())
}

/// All documents of the table into a new index, so many times over: the figures of the last time.
pub(crate) async fn bulk(stage: &Stage, size: u64, times: u64) -> Outcome<Figures> {
    let name = format!("{}_bulk", stage.name);
    let index = Index::new(stage, &name);
    index.create(jobs::MAPPING).await?;
    let url = format!("{}/{name}", stage.elasticsearch);
    let mut figures = Figures::default();
    for version in 1..=times {
        let version = version.to_string();
        let arguments = ["bulk", "--url", &stage.url, "--index", &url, "--version", &version];
        figures = measure(&[&arguments[..], &["--documents", "4000", "--in-flight", "4"]].concat()).await?;
        index.holds(size).await?;
    }
    stage.forget_indexes(&name).await?;
    Ok(figures)
}

/// Starts one, waits for it and reads its figures.
pub(crate) async fn measure(arguments: &[&str]) -> Outcome<Figures> {
    let mut command = Command::new(env::current_exe()?);
    command.arg("ceiling").args(arguments).stdin(Stdio::null()).stderr(Stdio::inherit()).kill_on_drop(true);
    let output = command.output().await?;
    if !output.status.success() {
        return Err(format!("the ceiling {arguments:?} failed: {}", output.status).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}
