//! What the commands do, one file each.

mod backfill;
mod check;
mod completions;
mod demo;
mod dlq;
mod init;
mod migrate;
mod reconcile;
mod reindex;
mod replay;
mod run;
mod runs;
mod search_indexes;
mod status;
mod view;
mod workspace;

use std::process::ExitCode;
use std::time::Duration;

use sync_core::{Error, ErrorKind};
use tokio::runtime::Runtime;

use crate::cli::{Cli, Command, DlqCommand, WorkspaceCommand};
use crate::config::{Config, Index, Log, Problems};
use crate::exit::{Exit, Failure};
use crate::{log, render};

/// How long threads of client libraries may take to end once the command is done.
const LAST_THREADS: Duration = Duration::from_secs(1);

/// Does what the command line asks for. What goes wrong has been told when it returns.
pub(crate) fn execute(cli: Cli) -> ExitCode {
    let json = match &cli.command {
        Command::Check(args) => args.output.json,
        Command::Migrate(args) => args.output.json,
        Command::Status(args) => args.output.json,
        Command::Backfill(args) => args.output.json,
        Command::Reconcile(args) => args.output.json,
        Command::Reindex(args) => args.output.json,
        Command::Replay(args) => args.output.json,
        Command::Runs(args) => args.output.json,
        Command::SearchIndexes(args) => args.output.json,
        Command::Dlq(DlqCommand::List(args)) => args.output.json,
        Command::Dlq(DlqCommand::Show(args)) => args.output.json,
        Command::Dlq(DlqCommand::Replay(args) | DlqCommand::Discard(args)) => args.output.json,
        Command::Workspace(WorkspaceCommand::Create(args)) => args.output.json,
        Command::Workspace(WorkspaceCommand::List(args)) => args.output.json,
        Command::Workspace(WorkspaceCommand::Status(args)) => args.output.json,
        Command::Workspace(WorkspaceCommand::Delete(args)) => args.output.json,
        Command::Workspace(WorkspaceCommand::GiveUp(args)) => args.output.json,
        Command::Workspace(WorkspaceCommand::Cleanup(args)) => args.output.json,
        Command::Init(_) | Command::Run(_) | Command::Demo(_) | Command::Completions(_) => false,
    };
    let exit = in_runtime(cli).unwrap_or_else(|failure| {
        let told = if json { render::json(&failure.to_json()) } else { render::complaint(&failure) };
        told.map_or(Exit::Failed, |()| failure.exit())
    });
    exit.into()
}

fn in_runtime(cli: Cli) -> Result<Exit, Failure> {
    let wrong = |error| Error::new(ErrorKind::Internal, "starting the runtime").with_source(error);
    let runtime = Runtime::new().map_err(wrong)?;
    let outcome = runtime.block_on(dispatch(cli));
    runtime.shutdown_timeout(LAST_THREADS);
    outcome
}

async fn dispatch(cli: Cli) -> Result<Exit, Failure> {
    let settings = cli.settings;
    let load = |start_log: fn(&Log)| -> Result<Config, Failure> {
        let config = Config::load(settings.config.as_deref(), &settings.set)?;
        start_log(&config.log);
        Ok(config)
    };
    match cli.command {
        Command::Init(args) => init::init(&args),
        Command::Completions(args) => completions::completions(&args),
        Command::Check(args) => check::check(&load(log::start_if_asked)?, &args).await,
        Command::Migrate(args) => migrate::migrate(&load(log::start_if_asked)?, &args).await,
        Command::Run(args) => run::run(&load(log::start)?, &args).await,
        Command::Status(args) => status::status(&load(log::start_if_asked)?, &args).await,
        Command::Backfill(args) => backfill::backfill(&load(log::start_if_asked)?, &args).await,
        Command::Reconcile(args) => reconcile::reconcile(&load(log::start_if_asked)?, &args).await,
        Command::Reindex(args) => reindex::reindex(&load(log::start_if_asked)?, &args).await,
        Command::Replay(args) => replay::replay(&load(log::start_if_asked)?, &args).await,
        Command::Runs(args) => runs::runs(&load(log::start_if_asked)?, &args).await,
        Command::SearchIndexes(args) => search_indexes::run(&load(log::start_if_asked)?, &args).await,
        Command::Dlq(command) => dlq::dlq(&load(log::start_if_asked)?, &command).await,
        Command::Workspace(command) => workspace::workspace(&load(log::start_if_asked)?, &command).await,
        Command::Demo(args) => demo::demo(&load(log::start_if_asked)?, &args).await,
    }
}

/// The index of this name.
fn named_index<'a>(config: &'a Config, name: &str) -> Result<(&'a str, &'a Index), Problems> {
    let found = config.indexes.get_key_value(name).map(|(name, index)| (name.as_str(), index));
    found.ok_or_else(|| {
        let known: Vec<_> = config.indexes.keys().map(String::as_str).collect();
        let known = if known.is_empty() { "none is".to_owned() } else { known.join(", ") };
        Problems::one(
            "indexes",
            format!("no index {name:?} is configured: add a section [indexes.NAME] ({known} there)"),
        )
    })
}
