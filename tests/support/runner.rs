//! The real `sync-runner`, as processes of a test's own.

use std::env;
use std::ffi::OsString;
use std::fmt::Display;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use super::domain::{Domain, MAPPING, PROJECTION};
use super::pipeline::Way;
use super::servers;

/// How long a process may take to do what a test waits for, at scale 1.
const BOUND: Duration = Duration::from_secs(120);

/// Lines of a log that are shown after a failure.
const SHOWN: usize = 150;

fn bound() -> Duration {
    BOUND * u32::try_from(servers::scale()).unwrap()
}

/// The program, where `cargo build` leaves it: one directory above the test's own.
fn program() -> PathBuf {
    let test = env::current_exe().unwrap();
    let program = test.parent().and_then(Path::parent).unwrap().join("sync-runner");
    assert!(
        program.exists(),
        "{} is missing: build it with `cargo build --workspace --all-features --bins`, as scripts/test does",
        program.display()
    );
    program
}

/// The program with the configuration in this file, and nothing from the environment: that says where the shared
/// servers are, and would win over the file.
pub fn command(configuration: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program());
    let ours = |(name, _): &(OsString, OsString)| name.to_string_lossy().starts_with("SYNC_");
    for (name, _) in env::vars_os().filter(ours) {
        command.env_remove(name);
    }
    command.args(arguments).arg("--config").arg(configuration);
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// What a command that was given `--json` says.
pub async fn output_of(mut command: Command) -> Value {
    let output = command.output().await.unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

/// Whether everything that was committed is published and, where a broker is in between, consumed.
pub fn nothing_is_behind(status: &Value) -> bool {
    let queues = status["bus"].as_object().into_iter().flatten();
    let queues = queues.flat_map(|(_, queue)| [&queue["messages_behind"], &queue["waiting_for_retry"]]);
    let mut stages = queues.chain([&status["outbox"]["events_behind"]]);
    stages.all(|behind| *behind == 0)
}

/// A domain, and the configuration with which any number of runners serve it.
pub struct Deployment {
    pub domain: Domain,
    directory: TempDir,
    settings: Vec<String>,
}

/// Who may publish.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lease {
    /// `None` when nobody may.
    pub holder: Option<String>,
    /// Grows at each take-over.
    pub term: i64,
}

impl Lease {
    /// Whether that process holds it.
    pub fn is_of(&self, runner: &Runner) -> bool {
        runner.is_named_in(self.holder.as_deref().unwrap_or_default())
    }
}

impl Deployment {
    /// The reference domain on the servers of the environment. A lease lasts ten seconds, as by default.
    pub async fn new(way: Way) -> Self {
        Self::of(Domain::projecting(PROJECTION).await, way)
    }

    /// The same for a domain that is there already.
    pub fn of(domain: Domain, way: Way) -> Self {
        let directory = TempDir::new().unwrap();
        let bus = match way {
            Way::Kafka => "kafka",
            Way::Direct => "direct",
        };
        let (topic, alias) = (&domain.topic, &domain.alias);
        let configuration = format!(
            "[postgres]\nurl = {:?}\n[relay]\nbus = {bus:?}\n[kafka]\nbrokers = {:?}\ngroup = {topic:?}\n\
             [kafka.topics]\npartitions = 4\n[elasticsearch]\nurl = {:?}\n\
             [indexes.jobs]\ntopic = {topic:?}\nalias = {alias:?}\nprojection = \"jobs.sql\"\nmapping = \"jobs.json\"\n\
             [indexes.jobs.synced_at]\ntable = \"public.jobs\"\n",
            domain.url,
            servers::kafka(),
            servers::elasticsearch(),
        );
        let files = [("sync.toml", configuration.as_str()), ("jobs.sql", PROJECTION), ("jobs.json", MAPPING)];
        for (name, text) in files {
            fs::write(directory.path().join(name), text).unwrap();
        }
        Self { domain, directory, settings: Vec::new() }
    }

    /// Sets one key of the configuration, for what is started from now on.
    pub fn set(&mut self, key: &str, value: impl Display) {
        self.settings.extend(["--set".to_owned(), format!("{key}={value}")]);
    }

    /// Adds to the configuration, for what is started from now on.
    pub fn configure(&self, more: &str) {
        let path = self.directory.path().join("sync.toml");
        let configuration = fs::read_to_string(&path).unwrap();
        fs::write(path, format!("{configuration}{more}")).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = command(&self.directory.path().join("sync.toml"), arguments);
        command.args(&self.settings);
        command
    }

    /// A process with these roles, not started yet. `name` is the name of its log.
    pub fn runner(&self, name: &str, roles: &str) -> Runner {
        let log = self.directory.path().join(format!("{name}.log"));
        Runner::new(self.command(&["run", "--roles", roles]), log)
    }

    /// Another file beside the configuration.
    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.directory.path().join(name), text).unwrap();
    }

    /// A process that does something else, not started yet. `name` is the name of its log.
    pub fn job(&self, name: &str, arguments: &[&str]) -> Runner {
        let mut command = self.command(arguments);
        command.current_dir(self.directory.path());
        Runner::new(command, self.directory.path().join(format!("{name}.log")))
    }

    /// What a command with these arguments says with `--json`.
    pub async fn json(&self, arguments: &[&str]) -> Value {
        output_of(self.command(&[arguments, &["--json"]].concat())).await
    }

    /// What `sync-runner status --json` says.
    pub async fn status(&self) -> Value {
        self.report("status").await
    }

    /// What a command says with `--json`.
    pub async fn report(&self, command: &str) -> Value {
        self.json(&[command]).await
    }

    /// Waits until everything that was committed is published and, where a broker is in between, consumed.
    pub async fn until_nothing_is_behind(&self) {
        let mut status = Value::Null;
        let idle = async {
            loop {
                status = self.status().await;
                if nothing_is_behind(&status) {
                    return;
                }
                sleep(Duration::from_millis(200)).await;
            }
        };
        let outcome = timeout(bound(), idle).await;
        outcome.unwrap_or_else(|_| panic!("something stays behind: {status:#}"));
    }

    /// Waits until everything that was committed is published.
    pub async fn until_published(&self) {
        let mut status = Value::Null;
        let published = async {
            loop {
                status = self.status().await;
                if status["outbox"]["events_behind"] == 0 {
                    return;
                }
                sleep(Duration::from_millis(200)).await;
            }
        };
        let outcome = timeout(bound(), published).await;
        outcome.unwrap_or_else(|_| panic!("something is not published: {status:#}"));
    }

    /// The lease as the database has it now.
    pub async fn lease(&self) -> Lease {
        let sql = "select case when lease_until > clock_timestamp() then lease_holder end, lease_term
                     from outbox.subscriptions where name = 'search'";
        let row = self.domain.client.query_opt(sql, &[]).await.unwrap();
        row.map(|row| Lease { holder: row.get(0), term: row.get(1) }).unwrap_or_default()
    }

    /// Waits until `runner` holds the lease, and says how long that took.
    pub async fn until_leads(&self, runner: &Runner) -> Duration {
        let began = Instant::now();
        let leads = async {
            while !self.lease().await.is_of(runner) {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(bound(), leads).await.expect("the runner takes the lease");
        began.elapsed()
    }
}

/// A process that may be started, ended and started again. Its log goes on from life to life, and is shown when a
/// test fails. Nothing of it is left when this is dropped.
pub struct Runner {
    command: Command,
    log: PathBuf,
    life: Option<Child>,
    /// The length of the log when the present life began.
    begun: u64,
}

/// How a process ended, and how long after it was asked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// `None` when a signal ended it.
    pub code: Option<i32>,
    pub after: Duration,
}

/// Resident memory, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    pub now: u64,
    /// The most it ever was.
    pub peak: u64,
}

impl Runner {
    /// What this command runs, not started yet, with what it says in a new file.
    pub fn new(mut command: Command, log: PathBuf) -> Self {
        let file = File::options().create_new(true).append(true).open(&log).unwrap();
        command.stdout(file.try_clone().unwrap()).stderr(file);
        Self { command, log, life: None, begun: 0 }
    }

    /// Starts it; it must not be running.
    pub fn start(&mut self) {
        assert!(self.life.is_none(), "it is running already");
        self.begun = fs::metadata(&self.log).unwrap().len();
        self.life = Some(self.command.spawn().unwrap());
    }

    fn life(&mut self) -> &mut Child {
        self.life.as_mut().expect("it was started")
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.life.as_ref().and_then(Child::id).expect("it was started")
    }

    /// Whether this holder of a lease is its present life.
    pub fn is_named_in(&self, holder: &str) -> bool {
        let pid = self.life.as_ref().and_then(Child::id);
        pid.is_some_and(|pid| holder.contains(&format!("/{pid}/")))
    }

    /// Whether it has not ended by itself.
    pub fn is_alive(&mut self) -> bool {
        self.life().try_wait().unwrap().is_none()
    }

    /// Ends it as a crash would, and waits until it is gone.
    pub async fn kill(&mut self) {
        assert!(self.is_alive(), "it had ended by itself");
        self.life().kill().await.unwrap();
        self.life = None;
    }

    /// Sends a signal by its name, such as `TERM`.
    pub async fn signal(&self, signal: &str) {
        let pid = self.pid().to_string();
        assert!(Command::new("kill").args(["-s", signal, &pid]).status().await.unwrap().success());
    }

    /// Waits for the end of a process that was told to end.
    pub async fn end(&mut self) -> Ended {
        let began = Instant::now();
        let status = timeout(BOUND, self.life().wait()).await.expect("it ends").unwrap();
        self.life = None;
        Ended { code: status.code(), after: began.elapsed() }
    }

    /// Asks it to end, and waits.
    pub async fn stop(&mut self) -> Ended {
        self.signal("TERM").await;
        self.end().await
    }

    /// What the kernel says of its memory.
    pub fn memory(&self) -> Memory {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let bytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
        };
        Memory { now: bytes("VmRSS:"), peak: bytes("VmHWM:") }
    }

    /// How often it said this in its present life.
    pub fn said(&self, words: &str) -> usize {
        let log = fs::read(&self.log).unwrap();
        String::from_utf8_lossy(&log[usize::try_from(self.begun).unwrap()..]).matches(words).count()
    }

    /// Waits until it has said this that often in its present life.
    pub async fn until_said(&mut self, words: &str, times: usize) {
        let said = async {
            while self.said(words) < times {
                assert!(self.is_alive(), "it ended before it said {words:?}");
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(bound(), said).await.unwrap_or_else(|_| panic!("it never said {words:?}"));
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        if let Some(mut life) = self.life.take() {
            let killed = life.start_kill();
            while killed.is_ok() && matches!(life.try_wait(), Ok(None)) {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        if std::thread::panicking() {
            let log = fs::read(&self.log).unwrap_or_default();
            let log = String::from_utf8_lossy(&log);
            let lines: Vec<_> = log.lines().collect();
            let last = &lines[lines.len().saturating_sub(SHOWN)..];
            eprintln!("the last {} lines of {}:\n{}", last.len(), self.log.display(), last.join("\n"));
        }
    }
}
