//! PostgreSQL and Elasticsearch of a test's own, started by `scripts/stack`: they may be killed, frozen and started again.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// A server of the stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StackServer {
    Postgres,
    Elasticsearch,
}

impl StackServer {
    fn name(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Elasticsearch => "elasticsearch",
        }
    }
}

/// Servers that nobody else uses. They end, and their directory goes, when this is dropped; should the test be killed,
/// the next start of any stack removes them.
pub struct OwnStack {
    name: String,
}

impl OwnStack {
    /// Starts both. Blocks.
    pub fn start() -> Self {
        // `scripts/chaos` names it, to be able to remove what a killed test leaves.
        let name = std::env::var("SYNC_CHAOS_STACK").unwrap_or_else(|_| format!("chaos-{}", std::process::id()));
        let stack = Self { name };
        stack.up(&[StackServer::Postgres, StackServer::Elasticsearch]);
        stack
    }

    /// A command of `scripts/stack` on this stack.
    fn stack(&self, command: &str) -> Command {
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../scripts/stack");
        let mut stack = Command::new(script);
        stack.args([command, "--own", "--name", &self.name]).stdin(Stdio::null());
        stack
    }

    fn up(&self, servers: &[StackServer]) {
        let mut up = self.stack("up");
        up.args(["--owner", &std::process::id().to_string()]).args(servers.iter().map(|server| server.name()));
        let output = up.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Where a server listens, and its process while it has one. Blocks.
    fn status(&self, server: StackServer) -> (String, Option<u32>) {
        // Its exit code speaks of all servers together.
        let output = self.stack("status").output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let line = text.lines().find(|line| line.starts_with(server.name())).unwrap();
        let words: Vec<_> = line.split_whitespace().collect();
        (words[2].to_owned(), words[3].parse().ok())
    }

    /// Host and port of a server. Blocks.
    pub fn address(&self, server: StackServer) -> String {
        self.status(server).0
    }

    fn process(&self, server: StackServer) -> u32 {
        self.status(server).1.unwrap_or_else(|| panic!("{server:?} is gone"))
    }

    /// Ends a server and all its processes at once, as a crash would. Blocks.
    pub fn kill(&self, server: StackServer) {
        let process = self.process(server);
        // First of all its parent, which could otherwise replace its children meanwhile.
        signal("STOP", &[process]);
        signal("KILL", &with_children(process));
    }

    /// Starts a server that was killed, with the address and the data it had, and waits until it answers. Blocks.
    pub fn restart(&self, server: StackServer) {
        let before = self.address(server);
        self.up(&[server]);
        assert_eq!(self.address(server), before, "{server:?} has moved");
    }

    /// Stops a server and all its processes where they are, and says which they were. Blocks.
    pub fn freeze(&self, server: StackServer) -> Frozen {
        let process = self.process(server);
        signal("STOP", &[process]);
        let processes = with_children(process);
        signal("STOP", &processes);
        Frozen(processes)
    }
}

impl Drop for OwnStack {
    fn drop(&mut self) {
        match self.stack("down").output() {
            Ok(output) if output.status.success() => {}
            failed => eprintln!("the stack {} stays: {failed:?}", self.name),
        }
    }
}

/// Processes that stand still until they are let go, or this is dropped.
pub struct Frozen(Vec<u32>);

impl Drop for Frozen {
    fn drop(&mut self) {
        signal("CONT", &self.0);
    }
}

/// To those of them that are still there.
fn signal(signal: &str, processes: &[u32]) {
    let ids = processes.iter().map(u32::to_string);
    Command::new("kill").args(["-s", signal]).args(ids).stderr(Stdio::null()).status().unwrap();
}

/// A process and all below it.
fn with_children(process: u32) -> Vec<u32> {
    let entries = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    let parents: Vec<(u32, u32)> = entries.filter_map(|id| Some((id, parent(id)?))).collect();
    let mut family = vec![process];
    let mut at = 0;
    while let Some(one) = family.get(at).copied() {
        family.extend(parents.iter().filter(|(_, parent)| *parent == one).map(|(id, _)| *id));
        at += 1;
    }
    family
}

fn parent(process: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // Behind the name of the command, which may hold anything: state, parent.
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}
