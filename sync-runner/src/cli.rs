//! The command line.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use jiff::Timestamp;

use crate::config::parse_duration;

/// Keeps a search index true to its database: PostgreSQL outbox to Kafka to Elasticsearch.
#[derive(Debug, Parser)]
#[command(
    version,
    max_term_width = 110,
    after_help = "First time:\n  sync-runner init      write sync.toml, every key documented\n  \
                  sync-runner migrate   create or update the outbox in PostgreSQL; then watch a table\n  \
                  sync-runner check     see whether everything can be reached and fits together\n  \
                  sync-runner run       start\n\n\
                  Exit code: 0 done, 1 failed at run time, 2 something is wrong with the configuration."
)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Where the settings are.
    #[command(flatten)]
    pub(crate) settings: Settings,
}

/// Where the settings are.
#[derive(Debug, Args)]
pub(crate) struct Settings {
    /// The configuration file; without one named, sync.toml is read where it exists.
    #[arg(long, global = true, env = "SYNC_CONFIG", value_name = "PATH")]
    pub(crate) config: Option<PathBuf>,
    /// Sets one key, as in `--set relay.lease=20s`. Wins over the file and over `SYNC__SECTION__KEY` variables.
    // Parsed with the other layers: clap would repeat a malformed value, which may be a secret.
    #[arg(long, global = true, value_name = "SECTION.KEY=VALUE")]
    pub(crate) set: Vec<String>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Writes a configuration file with every key, its default and what it means.
    Init(InitArgs),
    /// Tries every connection and setting, side by side, and says what to mend.
    Check(JsonArgs),
    /// Creates or updates the outbox in PostgreSQL. May be run by several processes at once.
    Migrate(MigrateArgs),
    /// Keeps the indexes up to date until SIGTERM or SIGINT; a second signal ends it at once.
    Run(RunArgs),
    /// Tells how far each stage is behind, what the outbox keeps, and who holds it back.
    Status(StatusArgs),
    /// Lists, tries again or discards what could not be applied: the dead letters.
    #[command(subcommand)]
    Dlq(DlqCommand),
    /// Puts every row of a projection into its index while live changes go on; goes on where an earlier one was.
    Backfill(BackfillArgs),
    /// Compares indexes with the database, tells what differs, and puts it right while live changes go on.
    Reconcile(ReconcileArgs),
    /// Makes an index anew, of the configured or another mapping, while it is searched and changes go on; goes on where an
    /// earlier one was.
    Reindex(ReindexArgs),
    /// Publishes again what was committed since a time, as far as the outbox keeps it.
    Replay(ReplayArgs),
    /// Lists the backfills and reconciliations that were run, the newest first.
    Runs(RunsArgs),
    /// Tells which indexes make PostgreSQL quick to search when Elasticsearch is away, as SQL; with --apply creates them.
    SearchIndexes(SearchIndexesArgs),
    /// Shows the whole way on the configured servers: in a database, a topic and an index of its own.
    Demo(DemoArgs),
}

/// For `init`.
#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// Where to write it.
    #[arg(long, default_value = crate::config::DEFAULT_PATH)]
    pub(crate) path: PathBuf,
    /// Overwrites a file that is there.
    #[arg(long)]
    pub(crate) force: bool,
}

/// For commands whose output a script may read.
#[derive(Debug, Args)]
pub(crate) struct JsonArgs {
    /// Prints JSON instead of a table.
    #[arg(long)]
    pub(crate) json: bool,
}

/// For `migrate`.
#[derive(Debug, Args)]
pub(crate) struct MigrateArgs {
    /// Only tells what would be applied.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// How to print.
    #[command(flatten)]
    pub(crate) output: JsonArgs,
}

/// For `run`.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// What this process does, with commas. Several processes may run the same role.
    #[arg(long, value_delimiter = ',', default_value = "relay,indexer,reconciler,search", value_name = "ROLES")]
    pub(crate) roles: Vec<RoleName>,
}

/// A part of the work that a process can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RoleName {
    /// Outbox to bus.
    Relay,
    /// Bus to index.
    Indexer,
    /// Index against database, when the schedule says.
    Reconciler,
    /// Searches over HTTP, where an index has a section [indexes.NAME.search].
    Search,
}

/// For `status`.
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// Prints again every two seconds, until SIGINT.
    #[arg(long)]
    pub(crate) watch: bool,
    /// How to print.
    #[command(flatten)]
    pub(crate) output: JsonArgs,
}

/// For `dlq`.
#[derive(Debug, Subcommand)]
pub(crate) enum DlqCommand {
    /// Lists dead letters, oldest first; all of them unless some are selected.
    List(DlqListArgs),
    /// Shows one dead letter with everything that is known of it.
    Show(DlqShowArgs),
    /// Tries the selected letters again: the rows as they are now. What the index takes is removed from the letters.
    Replay(DlqChosenArgs),
    /// Removes the selected letters. The index stays without what they are about until their rows change again.
    Discard(DlqChosenArgs),
}

/// Which letters. Of several conditions all have to fit.
#[derive(Debug, Args)]
#[group(id = "selection", multiple = true)]
pub(crate) struct DlqSelection {
    /// With this number; may be repeated.
    #[arg(long, value_name = "NUMBER")]
    pub(crate) id: Vec<i64>,
    /// About this key; may be repeated.
    #[arg(long)]
    pub(crate) key: Vec<String>,
    /// Of this index, or of this subscription's relay.
    #[arg(long, value_name = "NAME")]
    pub(crate) reader: Option<String>,
    /// With this kind of error, as `list` shows it.
    #[arg(long, value_name = "KIND")]
    pub(crate) error: Option<String>,
    /// Parked longer ago than this, as in 30m or 48h.
    #[arg(long, value_name = "AGE", value_parser = age)]
    pub(crate) older_than: Option<Duration>,
    /// All of them.
    #[arg(long)]
    pub(crate) all: bool,
}

fn age(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| "expected an age such as 30s, 10m or 48h".to_owned())
}

/// For `dlq list`.
#[derive(Debug, Args)]
pub(crate) struct DlqListArgs {
    /// Which letters.
    #[command(flatten)]
    pub(crate) selection: DlqSelection,
    /// How many at most.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) limit: u32,
    /// How to print.
    #[command(flatten)]
    pub(crate) output: JsonArgs,
}

/// For `dlq show`.
#[derive(Debug, Args)]
pub(crate) struct DlqShowArgs {
    /// Its number, as `list` shows it.
    #[arg(value_name = "NUMBER")]
    pub(crate) id: i64,
    /// How to print.
    #[command(flatten)]
    pub(crate) output: JsonArgs,
}

/// For `dlq replay` and `dlq discard`.
#[derive(Debug, Args)]
#[command(mut_group("selection", |group| group.required(true)))]
pub(crate) struct DlqChosenArgs {
    /// Which letters.
    #[command(flatten)]
    pub(crate) selection: DlqSelection,
    /// How to print.
    #[command(flatten)]
    pub(crate) output: JsonArgs,
}

/// For `backfill`.
#[derive(Debug, Args)]
pub(crate) struct BackfillArgs {
    /// The index, as its section [indexes.NAME] calls it.
    #[arg(value_name = "INDEX")]
    pub(crate) index: String,
    /// Rows read in a second, at most.
    #[arg(long, value_name = "ROWS")]
    pub(crate) rate: Option<NonZeroU32>,
    /// Begins anew where an earlier one was not finished.
    #[arg(long)]
    pub(crate) restart: bool,
    /// How to print.
    #[command(flatten)]
    pub(crate) output: JsonArgs,
}

/// For `reconcile`.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit code 1 also when it was stopped, when something could not be compared or put right, or was parked, and \
                  in a dry run when anything differs. Keys that may be on their way and dead letters do not count.\n\
                  JSON: {\"reconciled\": [one object an index]}; versions as Elasticsearch's _version."
)]
pub(crate) struct ReconcileArgs {
    /// The indexes, as their sections [indexes.NAME] call them; all when none is named.
    #[arg(value_name = "INDEX")]
    pub(crate) indexes: Vec<String>,
    /// Compares every key, and looks for documents no row has. Without it: what changed lately (reconcile.window).
    #[arg(long, conflicts_with = "since")]
    pub(crate) full: bool,
    /// Compares what changed since then: an age such as 48h, or a time such as 2026-01-31T03:00:00Z.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub(crate) since: Option<Moment>,
    /// Compares the content of every document, not only of one in a hundred.
    #[arg(long)]
    pub(crate) deep: bool,
    /// Only tells what differs.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Keys compared in a second, at most, each way; reconcile.rate when not said.
    #[arg(long, value_name = "KEYS")]
    pub(crate) rate: Option<NonZeroU32>,
    /// How to print.
    #[command(flatten)]
    pub(crate) output: JsonArgs,
}

/// For `reindex`.
#[derive(Debug, Args)]
#[command(
    after_help = "The index that was searched is kept until --finish; it takes no writes any more. The mapping of a re-index is \
                  kept with it: to go on, --mapping need not be said again. Once it is searched, set indexes.NAME.mapping to \
                  the same file.\n\
                  Exit code 1 also when it was stopped or another process is at work on it, 2 also when the new mapping refuses a \
                  document. JSON: index, old, new, phase, rows, compared, fixed, seconds."
)]
pub(crate) struct ReindexArgs {
    /// The index, as its section [indexes.NAME] calls it.
    #[arg(value_name = "INDEX")]
    pub(crate) index: String,
    /// What the new index is made of, like indexes.NAME.mapping; that one when not said.
    #[arg(long, value_name = "FILE", conflicts_with = "decision")]
    pub(crate) mapping: Option<PathBuf>,
    /// Rows read in a second, at most.
    #[arg(long, value_name = "ROWS", conflicts_with_all = ["finish", "abort"])]
    pub(crate) rate: Option<NonZeroU32>,
    /// What else there is to do.
    #[command(flatten)]
    pub(crate) decision: ReindexDecision,
    /// How to print.
    #[command(flatten)]
    pub(crate) output: JsonArgs,
}

/// What a person decides about a re-index.
#[derive(Clone, Copy, Debug, Args)]
#[group(id = "decision", multiple = false)]
pub(crate) struct ReindexDecision {
    /// Deletes the index that was searched before; there is no way back after this.
    #[arg(long)]
    pub(crate) finish: bool,
    /// Gives it up and deletes the new index, which is not searched yet.
    #[arg(long)]
    pub(crate) abort: bool,
    /// Has the index be searched again that was searched before, once it is up to date, and deletes the new one.
    #[arg(long)]
    pub(crate) rollback: bool,
}

/// A time, said by its age or by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// So long ago.
    Ago(Duration),
    /// Then.
    At(Timestamp),
}

impl Moment {
    /// The time, seen from `now`.
    pub(crate) fn seen_from(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Ago(age) => now.checked_sub(age).unwrap_or(Timestamp::UNIX_EPOCH),
            Self::At(time) => time,
        }
    }
}

fn moment(text: &str) -> Result<Moment, String> {
    let age = parse_duration(text).map(Moment::Ago);
    age.or_else(|| text.parse().ok().map(Moment::At))
        .ok_or_else(|| "expected an age such as 48h, or a time such as 2026-01-31T03:00:00Z".to_owned())
}

/// For `replay`.
#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    /// Of this subscription; relay.subscription when none is named.
    #[arg(long, value_name = "NAME")]
    pub(crate) subscription: Option<String>,
    /// What was committed since then: an age such as 48h, or a time such as 2026-01-31T03:00:00Z.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub(crate) since: Moment,
    /// How to print.
    #[command(flatten)]
    pub(crate) output: JsonArgs,
}

/// For `runs`.
#[derive(Debug, Args)]
pub(crate) struct RunsArgs {
    /// Only of this index.
    #[arg(long)]
    pub(crate) index: Option<String>,
    /// How many at most.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) limit: u32,
    /// How to print.
    #[command(flatten)]
    pub(crate) output: JsonArgs,
}

/// For `search-indexes`.
#[derive(Debug, Args)]
#[command(after_help = "Each index costs its table's writers something: leave out what nobody filters or sorts by.\n\
                  JSON: {\"indexes\": [index, name, purpose, table, sql, there], \"without\": [index, field, why]}.")]
pub(crate) struct SearchIndexesArgs {
    /// The index, as its section [indexes.NAME] calls it; all that can be searched when none is named.
    #[arg(value_name = "INDEX")]
    pub(crate) index: Option<String>,
    /// Creates those that are missing, one after the other, beside writers.
    #[arg(long)]
    pub(crate) apply: bool,
    /// How to print.
    #[command(flatten)]
    pub(crate) output: JsonArgs,
}

/// For `demo`.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// About how many jobs to write.
    #[arg(long, default_value_t = 3_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub(crate) jobs: u64,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn all_roles_run_when_none_is_named() {
        let cli = Cli::parse_from(["sync-runner", "run", "--set", "a.b=1", "--config", "x.toml"]);
        let Command::Run(args) = cli.command else { panic!("{:?}", cli.command) };
        assert_eq!(args.roles, [RoleName::Relay, RoleName::Indexer, RoleName::Reconciler, RoleName::Search]);
        assert_eq!((cli.settings.set, cli.settings.config), (vec!["a.b=1".to_owned()], Some("x.toml".into())));
    }
}
