//! Ours: the runner as people run it, from the same build.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;

use tokio::process::Command;

use crate::Outcome;
use crate::program::Program;
use crate::stage::Stage;

/// Beside this program, where cargo leaves both.
fn binary() -> Outcome<PathBuf> {
    let runner = env::current_exe()?.with_file_name("sync-runner");
    if !runner.exists() {
        return Err(format!("{} is missing; scripts/bench builds it", runner.display()).into());
    }
    Ok(runner)
}

/// How the relay publishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// A crash repeats what was published last.
    AtLeastOnce,
    /// In transactions.
    ExactlyOnce,
}

impl Delivery {
    /// As the configuration names it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::AtLeastOnce => "at_least_once",
            Self::ExactlyOnce => "exactly_once",
        }
    }
}

/// `sync-runner run` with these roles and settings.
pub(crate) fn start(stage: &Stage, roles: &str, settings: &[String]) -> Outcome<Program> {
    command(stage, &["run", "--roles", roles], settings)
}

/// `sync-runner` with these arguments and settings. Nothing of the environment reaches it.
pub(crate) fn command(stage: &Stage, arguments: &[&str], settings: &[String]) -> Outcome<Program> {
    let mut command = Command::new(binary()?);
    let is_setting = |(name, _): &(OsString, OsString)| name.to_string_lossy().starts_with("SYNC_");
    for (name, _) in env::vars_os().filter(is_setting) {
        command.env_remove(name);
    }
    command.current_dir(stage.files()).args(arguments);
    let servers = [
        format!("postgres.url={}", stage.url),
        format!("kafka.brokers={}", stage.brokers),
        format!("elasticsearch.url={}", stage.elasticsearch),
    ];
    for setting in servers.iter().chain(settings) {
        command.arg("--set").arg(setting);
    }
    Program::start("sync-runner", command)
}
