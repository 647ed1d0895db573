//! Writers: PostgreSQL's own load generator, with a transaction of ours.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Stdio;

use tokio::process::Command;

use crate::Outcome;
use crate::stage::Stage;

/// Connections that write.
pub(crate) const CLIENTS: u32 = 8;

/// Some transactions of one kind.
#[derive(Clone, Debug)]
pub(crate) struct Load<'a> {
    /// The script, as pgbench reads it.
    pub(crate) script: &'a str,
    /// For how long.
    pub(crate) seconds: u32,
}

impl Load<'_> {
    /// Writes, and says how many transactions a second there were.
    pub(crate) async fn run(&self, stage: &Stage) -> Outcome<f64> {
        let binaries = env::var("SYNC_STACK_POSTGRES_BIN").unwrap_or_default();
        let script = stage.files().join(format!("{:08x}.sql", rand::random::<u32>()));
        fs::write(&script, self.script)?;
        let mut command = Command::new(Path::new(&binaries).join("pgbench"));
        command.args(["--no-vacuum", "--protocol=prepared", "--jobs=1"]);
        command.arg(format!("--client={CLIENTS}")).arg(format!("--time={}", self.seconds));
        command.arg("--file").arg(&script).arg(&stage.url).stdin(Stdio::null()).kill_on_drop(true);
        let output = command.output().await.map_err(|error| format!("pgbench cannot be started: {error}"))?;
        let said = String::from_utf8_lossy(&output.stdout);
        let tps = said.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse::<f64>().ok());
        tps.filter(|_| output.status.success())
            .ok_or_else(|| format!("pgbench: {said}{}", String::from_utf8_lossy(&output.stderr)).into())
    }
}
