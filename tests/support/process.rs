//! Servers of a test's own as processes: who runs them, where they may listen, and how all of one are struck at once.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How long the kernel may take to end what was killed.
const BOUND: Duration = Duration::from_secs(60);

/// User and group who run servers that refuse root; none when this process is not root.
pub fn owner() -> Option<(u32, u32)> {
    // The owner of what this process is, without asking for it by unsafe means.
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        return None;
    }
    let user = std::env::var("SYNC_STACK_USER").unwrap_or_else(|_| "postgres".to_owned());
    let id = |flag: &str| {
        let output = Command::new("id").args([flag, &user]).output().unwrap();
        assert!(output.status.success(), "there is no user {user:?} to run servers: {output:?}");
        String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
    };
    Some((id("-u"), id("-g")))
}

/// A program that its owner runs. It keeps the process id it is started with.
pub fn as_owner(program: impl AsRef<OsStr>) -> Command {
    let mut command = match owner() {
        None => Command::new(program),
        Some((user, group)) => {
            let mut command = Command::new("setpriv");
            command.args([format!("--reuid={user}"), format!("--regid={group}")]).args(["--clear-groups", "--"]);
            command.arg(program);
            command
        }
    };
    command.stdin(Stdio::null());
    command
}

/// Ports that were given out: their servers may not listen yet, or be down for a while.
static TAKEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// A port of this process's own that nobody listens on at this moment, below those the kernel gives to outgoing
/// connections.
pub fn free_port() -> u16 {
    let mut drawn = std::iter::repeat_with(|| rand::random_range(10_000..20_000));
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok() && TAKEN.lock().unwrap().insert(*port);
    drawn.find(is_free).unwrap()
}

/// The last lines of a server's log.
pub fn end_of(log: &Path) -> String {
    let log = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = log.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}

/// Ends a server and all its processes at once, as a crash would, and waits until it is gone. Blocks.
pub fn kill(server: &mut Child) {
    // First of all the parent, which could otherwise replace its children meanwhile.
    signal("STOP", &[server.id()]);
    let processes = family(server.id());
    signal("KILL", &processes);
    server.wait().unwrap();
    // A child that still ends holds on to what the next server wants.
    let began = Instant::now();
    while processes.iter().any(|process| is_there(*process)) {
        assert!(began.elapsed() < BOUND, "killed processes stay: {processes:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Stops a server and all its processes where they are. Blocks.
pub fn freeze(server: &Child) -> Frozen {
    signal("STOP", &[server.id()]);
    let processes = family(server.id());
    signal("STOP", &processes);
    Frozen(processes)
}

/// Processes that stand still until this is dropped.
#[must_use]
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
fn family(process: u32) -> Vec<u32> {
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
    state_and_parent(process)?.1.parse().ok()
}

/// Whether it has not ended; one that nobody has asked about since counts as ended.
fn is_there(process: u32) -> bool {
    state_and_parent(process).is_some_and(|(state, _)| state != "Z")
}

fn state_and_parent(process: u32) -> Option<(String, String)> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // They come behind the name of the command, which may hold anything.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ').map(str::to_owned);
    Some((fields.next()?, fields.next()?))
}
