//! The command line.

mod dlq;
mod repair;
mod workspace;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) use self::dlq::{DlqChosenArgs, DlqCommand, DlqListArgs, DlqSelection, DlqShowArgs};
pub(crate) use self::repair::{BackfillArgs, ReconcileArgs, ReindexArgs, ReindexDecision, ReplayArgs};
pub(crate) use self::workspace::{
    WorkspaceCleanupArgs, WorkspaceCommand, WorkspaceCreateArgs, WorkspaceDeleteArgs, WorkspaceGiveUpArgs,
    WorkspaceListArgs, WorkspaceStatusArgs,
};

/// Keeps a search index true to its database: from the outbox in PostgreSQL, through Kafka or without it, to Elasticsearch or to
/// a directory.
#[derive(Debug, Parser)]
#[command(
    version,
    max_term_width = 110,
    after_help = "First time:\n  sync-runner init      write sync.toml, every key documented\n  \
                  sync-runner migrate   create or update the outbox in PostgreSQL; then watch a table\n  \
                  sync-runner check     see whether everything can be reached and fits together\n  \
                  sync-runner run       start\n\n\
                  Exit code: 0 done, 1 failed at run time, 2 something is wrong with the configuration or the arguments."
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
    #[command(visible_alias = "doctor")]
    Check(CheckArgs),
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
    /// Creates, lists, deletes and cleans up workspaces: containers with an address and a name.
    #[command(subcommand)]
    Workspace(WorkspaceCommand),
    /// Shows the whole way, on the configured servers or on none: in a database, a topic and an index of its own.
    Demo(DemoArgs),
    /// Prints what makes a shell complete commands and flags.
    Completions(CompletionsArgs),
}

/// What a process does that is not told what to do.
const ALL_ROLES: &str = "relay,indexer,reconciler,search,workspaces,cleanup,admin";

/// For `init`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  sync-runner init\n  sync-runner init --path /etc/sync-runner/sync.toml")]
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

/// For `check`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  sync-runner check\n  sync-runner doctor --roles indexer --json\n\
                  Exit code 2 when a setting or a privilege has to be mended, 1 when only something cannot be reached. A warning \
                  is no failure.")]
pub(crate) struct CheckArgs {
    /// The roles of `run` to check for, with commas: what only others need is not asked.
    #[arg(long, value_delimiter = ',', default_value = ALL_ROLES, value_name = "ROLES")]
    pub(crate) roles: Vec<RoleName>,
    /// How to print.
    #[command(flatten)]
    pub(crate) output: JsonArgs,
}

/// For `migrate`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  sync-runner migrate --dry-run\n  sync-runner migrate\n\
                  JSON: {\"migrations\": [name, …]}, those that were applied.")]
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
#[command(after_help = "Examples:\n  sync-runner run\n  sync-runner run --roles relay,admin\n  \
                  sync-runner run --roles indexer --set log.format=json\n\
                  Exit code 0 after a signal and an orderly end; 130 or 143 after a second signal.")]
pub(crate) struct RunArgs {
    /// What this process does, with commas. Several processes may run the same role.
    #[arg(long, value_delimiter = ',', default_value = ALL_ROLES, value_name = "ROLES")]
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
    /// Creates and deletes workspaces, where a host is configured: a section [workspaces.hosts.NAME].
    Workspaces,
    /// Removes what no workspace owns from the hosts that are configured, each minute.
    Cleanup,
    /// A status page, metrics, health, and alerts of how the pipeline stands.
    Admin,
}

impl RoleName {
    /// The word for it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Relay => "relay",
            Self::Indexer => "indexer",
            Self::Reconciler => "reconciler",
            Self::Search => "search",
            Self::Workspaces => "workspaces",
            Self::Cleanup => "cleanup",
            Self::Admin => "admin",
        }
    }
}

/// For `status`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  sync-runner status\n  sync-runner status --watch\n  \
                  sync-runner status --json | jq .outbox.events_behind\n\
                  Exit code 1 also when a stage could not be asked; the others are told all the same.")]
pub(crate) struct StatusArgs {
    /// Prints again every two seconds, until SIGINT.
    #[arg(long)]
    pub(crate) watch: bool,
    /// How to print.
    #[command(flatten)]
    pub(crate) output: JsonArgs,
}

/// For `runs`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  sync-runner runs\n  sync-runner runs --index jobs --limit 5 --json")]
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
#[command(after_help = "Examples:\n  sync-runner search-indexes jobs\n  sync-runner search-indexes jobs --apply\n\
                  Each index costs its table's writers something: leave out what nobody filters or sorts by.\n\
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
#[command(
    after_help = "Examples:\n  sync-runner demo\n  sync-runner demo --jobs 10000 --stay\n  sync-runner demo --stay --set search.listen=127.0.0.1:8095"
)]
pub(crate) struct DemoArgs {
    /// About how many jobs to write.
    #[arg(long, default_value_t = 3_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub(crate) jobs: u64,
    /// Stays up afterwards, writes a job every second and answers searches, until it is interrupted.
    #[arg(long)]
    pub(crate) stay: bool,
}

/// For `completions`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  sync-runner completions bash > /etc/bash_completion.d/sync-runner\n  \
                  sync-runner completions zsh > \"${fpath[1]}/_sync-runner\"\n  \
                  sync-runner completions fish > ~/.config/fish/completions/sync-runner.fish")]
pub(crate) struct CompletionsArgs {
    /// The shell.
    pub(crate) shell: clap_complete::Shell,
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
    fn the_help_of_every_command_has_an_example_that_is_taken() {
        let mut commands: Vec<_> = Cli::command().get_subcommands().cloned().collect();
        while let Some(command) = commands.pop() {
            commands.extend(command.get_subcommands().cloned());
            if command.has_subcommands() || command.get_name() == "help" {
                continue;
            }
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let examples: Vec<_> = help.lines().filter(|line| line.starts_with("  sync-runner ")).collect();
            assert!(!examples.is_empty(), "{} has no example", command.get_name());
            for example in examples {
                // As far as it is not another program's.
                let words = example.split(" | ").next().unwrap().split(" > ").next().unwrap();
                let words = words.replace("'{\"memory\": 536870912}'", "{\"memory\":536870912}");
                let taken = Cli::try_parse_from(words.split_whitespace());
                assert!(taken.is_ok(), "{example}: {}", taken.unwrap_err());
            }
        }
    }

    #[test]
    fn all_roles_run_when_none_is_named() {
        let cli = Cli::parse_from(["sync-runner", "run", "--set", "a.b=1", "--config", "x.toml"]);
        let Command::Run(args) = cli.command else { panic!("{:?}", cli.command) };
        assert_eq!(args.roles, RoleName::value_variants());
        assert_eq!((cli.settings.set, cli.settings.config), (vec!["a.b=1".to_owned()], Some("x.toml".into())));
        let cli = Cli::parse_from(["sync-runner", "check"]);
        let Command::Check(args) = cli.command else { panic!("{:?}", cli.command) };
        assert_eq!(args.roles, RoleName::value_variants());
    }
}
