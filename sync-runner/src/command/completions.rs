//! `completions`: what makes a shell complete commands and flags.

use clap::CommandFactory as _;

use crate::cli::{Cli, CompletionsArgs};
use crate::exit::{Exit, Failure};
use crate::render;

/// Prints it.
pub(super) fn completions(args: &CompletionsArgs) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "sync-runner", &mut script);
    render::text(String::from_utf8_lossy(&script).trim_end())?;
    Ok(Exit::Success)
}
