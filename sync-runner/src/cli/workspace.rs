//! The command line of workspaces.

use clap::{Args, Subcommand};

use super::JsonArgs;

/// For `workspace`.
#[derive(Debug, Subcommand)]
pub(crate) enum WorkspaceCommand {
    /// Has a workspace created, and waits until it is there or was taken back.
    Create(WorkspaceCreateArgs),
    /// Lists workspaces that were created or deleted, the latest first, as long as their logs are kept.
    List(WorkspaceListArgs),
    /// Tells what a workspace occupies, and each step that was done for it.
    Status(WorkspaceStatusArgs),
    /// Has a workspace deleted, and waits until it is; one that is being created is taken back first.
    Delete(WorkspaceDeleteArgs),
    /// Ends a creation or deletion whose end the application's statement refuses for ever, without telling the application.
    GiveUp(WorkspaceGiveUpArgs),
    /// Removes containers, addresses and names that no workspace owns: one round of what the role cleanup does.
    Cleanup(WorkspaceCleanupArgs),
}

/// For `workspace create`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  sync-runner workspace create\n  \
                  sync-runner workspace create --id w-42 --image nginx:1.29 --params '{\"memory\": 536870912}'\n\
                  The statement workspaces.create is run in the same transaction. This process works on it itself; should \
                  it end before, a process with the role workspaces goes on. Repeated with the same id and params, it waits for \
                  what was begun.\n\
                  Exit code 1 when it was taken back, or when this process was interrupted before the end. JSON: workspace, \
                  saga, state, host, container, address, host_name, error, left, waits, began_at, ended_at.")]
pub(crate) struct WorkspaceCreateArgs {
    /// What it is called everywhere: letters, digits, `_`, `.` and `-`; a new UUID when not said.
    #[arg(long)]
    pub(crate) id: Option<String>,
    /// The image of its container, instead of workspaces.image.
    #[arg(long)]
    pub(crate) image: Option<String>,
    /// The host it is placed on; the one with the fewest when not said.
    #[arg(long, value_name = "NAME")]
    pub(crate) host: Option<String>,
    /// The name it is found under, instead of one in workspaces.domain.
    #[arg(long, value_name = "NAME")]
    pub(crate) host_name: Option<String>,
    /// What else it is like: image, command, env, setup, memory, cpus, pids.
    #[arg(long, value_name = "JSON", value_parser = object)]
    pub(crate) params: Option<serde_json::Value>,
    /// What the statement workspaces.create is told beside, as `details`.
    #[arg(long, value_name = "JSON", value_parser = object)]
    pub(crate) details: Option<serde_json::Value>,
    /// Only begins: a process with the role workspaces does the work.
    #[arg(long)]
    pub(crate) detach: bool,
    /// How to print.
    #[command(flatten)]
    pub(crate) output: JsonArgs,
}

fn object(text: &str) -> Result<serde_json::Value, String> {
    let value: serde_json::Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if value.is_object() { Ok(value) } else { Err("expected a JSON object".to_owned()) }
}

/// For `workspace list`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  sync-runner workspace list --json")]
pub(crate) struct WorkspaceListArgs {
    /// How many at most.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) limit: u32,
    /// How to print.
    #[command(flatten)]
    pub(crate) output: JsonArgs,
}

/// For `workspace status`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  sync-runner workspace status w-42")]
pub(crate) struct WorkspaceStatusArgs {
    /// The workspace.
    #[arg(value_name = "WORKSPACE")]
    pub(crate) workspace: String,
    /// How to print.
    #[command(flatten)]
    pub(crate) output: JsonArgs,
}

/// For `workspace delete`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  sync-runner workspace delete w-42\n\
                  The statement workspaces.delete is run in the same transaction. What cannot be removed is left to the \
                  role cleanup, and told as `left`. Exit code 1 then, or when this process was interrupted before the end. \
                  JSON: as for create.")]
pub(crate) struct WorkspaceDeleteArgs {
    /// The workspace.
    #[arg(value_name = "WORKSPACE")]
    pub(crate) workspace: String,
    /// Only begins: a process with the role workspaces does the work.
    #[arg(long)]
    pub(crate) detach: bool,
    /// How to print.
    #[command(flatten)]
    pub(crate) output: JsonArgs,
}

/// For `workspace give-up`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  sync-runner workspace give-up w-42\n\
                  `workspace status` shows such a refusal as `waits`. When workspaces.failed or workspaces.deleted can be \
                  mended, mend it instead: it is tried again until it is taken. JSON and exit codes: as for create.")]
pub(crate) struct WorkspaceGiveUpArgs {
    /// The workspace.
    #[arg(value_name = "WORKSPACE")]
    pub(crate) workspace: String,
    /// How to print.
    #[command(flatten)]
    pub(crate) output: JsonArgs,
}

/// For `workspace cleanup`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  sync-runner workspace cleanup --dry-run\n  sync-runner workspace cleanup\n\
                  Exit code 1 also when something could not be looked at or removed. JSON: removed [kind, workspace, place, \
                  why], failed, waiting, dry_run.")]
pub(crate) struct WorkspaceCleanupArgs {
    /// Only tells what would be removed.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Also when the database knows none of the workspaces that are found.
    #[arg(long)]
    pub(crate) force: bool,
    /// How to print.
    #[command(flatten)]
    pub(crate) output: JsonArgs,
}
