//! Ours, its peers and the raw ceilings, by turns in one run: what `scripts/bench` starts.
//!
//! ```text
//!  stage ──▶ contest, round by round: ours │ ceiling │ peer ──figures──▶ board ──▶ table or JSON, ratios
//!  (data)                             every one a process of its own
//! ```

mod board;
mod ceiling;
mod cli;
mod contest;
mod counted;
mod figures;
mod index;
mod jobs;
mod ours;
mod peer;
mod pgbench;
mod program;
mod scale;
mod stage;
mod topic;

use std::error::Error;
use std::process::ExitCode;

use clap::Parser;

use self::cli::{Cli, Command};

/// The runner's own: the ceilings shall not be lower for want of it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Whatever went wrong; a benchmark that cannot go on says why and ends.
type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

#[tokio::main]
async fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Relay(options) => contest::relay::run(&options).await,
        Command::Index(options) => contest::index::run(&options).await,
        Command::Backfill(options) => contest::backfill::run(&options).await,
        Command::Reconcile(options) => contest::reconcile::run(&options).await,
        Command::Search(options) => contest::search::run(&options).await,
        Command::Live(options) => contest::live::run(&options).await,
        Command::Latency(options) => contest::latency::run(&options).await,
        Command::Writer(options) => contest::writer::run(&options).await,
        Command::Pinned(options) => contest::pinned::run(&options).await,
        Command::Growth(options) => contest::growth::run(&options).await,
        Command::Scale(scale) => scale.run().map(|()| true),
        Command::Poller(poller) => poller.run().await.map(|()| true),
        Command::Ceiling(ceiling) => ceiling::run(&ceiling).await.map(|()| true),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("sync-bench: {error}");
            let mut cause = error.source();
            while let Some(deeper) = cause {
                eprintln!("  because: {deeper}");
                cause = deeper.source();
            }
            ExitCode::from(2)
        }
    }
}
