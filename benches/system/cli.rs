//! The command line.

use clap::{Args, Parser, Subcommand};

use crate::ceiling::Ceiling;
use crate::peer::poller::Poller;
use crate::scale::Scale;

/// Measures ours, its peers and the raw ceilings by turns, on the servers the environment names.
#[derive(Debug, Parser)]
#[command(name = "scripts/bench", max_term_width = 110)]
pub(crate) struct Cli {
    /// What to measure.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to measure.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// A backlog of events from PostgreSQL into Kafka.
    Relay(Options),
    /// A topic that holds every key once, into Elasticsearch.
    Index(Options),
    /// A table of which no event tells, into an empty index.
    Backfill(Options),
    /// An index compared with its table.
    Reconcile(Options),
    /// Searches of an index, and of its table when the index is away.
    Search(Options),
    /// Every row of a table changes: from the first commit until a search finds the last.
    Live(Options),
    /// From a commit to its message in a consumer's hands.
    Latency(Options),
    /// What writing an event costs the application's transaction.
    Writer(Options),
    /// An old snapshot is held open while writers write.
    Pinned(Options),
    /// What an event costs as the backlog grows.
    Growth(Options),
    /// What is full first as changes grow: a simulation, without servers.
    Scale(Scale),
    /// A hand-written poller, in a process of its own.
    #[command(hide = true)]
    Poller(Poller),
    /// One of the ceilings, in a process of its own.
    #[command(subcommand, hide = true)]
    Ceiling(Ceiling),
}

/// For every benchmark.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// The peers take part: Debezium, `PGSync`, a poller as people write it by hand.
    #[arg(long)]
    pub(crate) peers: bool,
    /// How often everyone takes a turn.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rounds: u32,
    /// Events, keys, rows or seconds of one turn; each benchmark has a size of its own.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) size: Option<u64>,
    /// Prints one JSON object a line instead of a table.
    #[arg(long)]
    pub(crate) json: bool,
    /// Fails when a ratio is below this part of what is wanted of it: 1 for all of it.
    #[arg(long, value_name = "FRACTION")]
    pub(crate) require: Option<f64>,
    /// Further settings for the runner, as its own `--set`.
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    pub(crate) set: Vec<String>,
}
