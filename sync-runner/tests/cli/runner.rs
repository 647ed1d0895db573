//! The binary in a folder of its own, with nothing of this process's environment.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// Longer than anything here takes, on a slow machine too.
pub(crate) const BOUND: Duration = Duration::from_secs(60);

/// A folder with a configuration, and the binary to run there.
pub(crate) struct Runner {
    folder: TempDir,
    variables: Vec<(String, String)>,
}

/// What a command that ended left behind.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ended {
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}{}", self.out, self.err))
    }

    pub(crate) fn all(&self) -> String {
        format!("{}{}", self.out, self.err)
    }
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }
}

impl Runner {
    pub(crate) fn new(configuration: &str) -> Self {
        let runner = Self { folder: TempDir::new().unwrap(), variables: Vec::new() };
        runner.write("sync.toml", configuration);
        runner
    }

    /// Three addresses nobody answers at.
    pub(crate) fn nowhere() -> Self {
        let [postgres, kafka, elasticsearch] = [(); 3].map(|()| closed_port());
        Self::new(&format!(
            "[postgres]\nurl = \"postgres://sync@127.0.0.1:{postgres}/sync\"\n\
             [kafka]\nbrokers = \"127.0.0.1:{kafka}\"\n\
             [elasticsearch]\nurl = \"http://127.0.0.1:{elasticsearch}\"\n\
             [indexes.jobs]\nprojection = \"jobs.sql\"\n"
        ))
        .with("jobs.sql", "select 1 as key, null::json as document")
    }

    pub(crate) fn with(self, name: &str, text: &str) -> Self {
        self.write(name, text);
        self
    }

    pub(crate) fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.path().join(name), text).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path().join(name)).unwrap()
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sync-runner"));
        let variables = self.variables.iter().map(|(name, value)| (name, value));
        command.env_clear().envs(variables).current_dir(self.path()).args(arguments).stdin(Stdio::null());
        command
    }

    /// Runs a command to its end.
    #[track_caller]
    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        let child = self.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let process = child.id();
        let (send, ended) = channel();
        thread::spawn(move || send.send(child.wait_with_output()));
        match ended.recv_timeout(BOUND) {
            Ok(output) => output.unwrap().into(),
            Err(error) => {
                send_signal(process, "KILL");
                panic!("{arguments:?} did not end: {error}");
            }
        }
    }

    /// Starts a command and follows what it tells on standard error.
    pub(crate) fn start(&self, arguments: &[&str]) -> Running {
        let mut child = self.command(arguments).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let errors = BufReader::new(child.stderr.take().unwrap());
        let (send, lines) = channel();
        thread::spawn(move || errors.lines().map_while(Result::ok).try_for_each(|line| send.send(line)));
        Running { child, lines, told: String::new() }
    }
}

/// A command that goes on; ended when dropped.
pub(crate) struct Running {
    child: Child,
    lines: Receiver<String>,
    told: String,
}

impl Running {
    /// Waits until it has told something.
    #[track_caller]
    pub(crate) fn until_told(&mut self, what: &str) {
        let by = Instant::now() + BOUND;
        while !self.told.contains(what) {
            let left = by.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else { panic!("{what:?} was not told:\n{}", self.told) };
            self.told.push_str(&line);
            self.told.push('\n');
        }
    }

    pub(crate) fn signal(&self, name: &str) {
        send_signal(self.child.id(), name);
    }

    /// Waits for its end; the exit code, and all it told.
    #[track_caller]
    pub(crate) fn end(mut self) -> (Option<i32>, String) {
        let by = Instant::now() + BOUND;
        // Its end closes standard error.
        loop {
            match self.lines.recv_timeout(by.saturating_duration_since(Instant::now())) {
                Ok(line) => self.told = format!("{}{line}\n", self.told),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(error) => panic!("it did not end: {error}\n{}", self.told),
            }
        }
        let code = self.child.wait().unwrap().code();
        (code, std::mem::take(&mut self.told))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself; either way there is no process left behind.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn send_signal(process: u32, name: &str) {
    let sent = Command::new("kill").args(["-s", name, &process.to_string()]).status().unwrap();
    assert!(sent.success());
}

/// A port of this machine at which nobody listens.
pub(crate) fn closed_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
