//! Runs sync-core by configuration: one binary, one file of settings, any part of the work.

mod cli;
mod command;
mod config;
#[cfg(test)]
mod documents;
mod exit;
mod http;
mod letters;
mod log;
mod monitor;
mod outbox;
mod progress;
mod reconciler;
mod render;
mod report;
mod schedule;
mod signals;
mod tasks;
mod wire;
mod workspaces;

use std::process::ExitCode;

use clap::Parser;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    command::execute(cli::Cli::parse())
}
