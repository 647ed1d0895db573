//! PostgreSQL clusters of a test's own: a primary and standbys that are stopped, promoted and restored.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::clock::Clock;
use super::process::{self, Frozen, as_owner, free_port, owner};

/// How long a server may take to start, to stop, or to be promoted.
const BOUND: Duration = Duration::from_secs(60);

/// The role every cluster has; it may do anything, without a password.
const ROLE: &str = "sync";

/// A cluster in a directory of its own. The server is ended and the directory removed when this is dropped, also after
/// a failed test.
pub struct Cluster {
    directory: TempDir,
    port: u16,
    clock: Option<Clock>,
    server: Option<Child>,
}

/// Where the programs are: `SYNC_STACK_POSTGRES_BIN`, or on the path.
fn program(name: &str) -> PathBuf {
    std::env::var_os("SYNC_STACK_POSTGRES_BIN").map(PathBuf::from).unwrap_or_default().join(name)
}

/// A program of PostgreSQL, as the user who runs the servers, without the settings of this environment.
fn postgres(name: &str) -> Command {
    without_settings(as_owner(program(name)))
}

fn without_settings(mut command: Command) -> Command {
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PG")) {
        command.env_remove(name);
    }
    command.env("LC_ALL", "C.UTF-8").current_dir("/");
    command
}

fn done(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

impl Cluster {
    fn empty() -> Self {
        let directory = tempfile::Builder::new().prefix("cluster-").tempdir().unwrap();
        if let Some((user, group)) = owner() {
            chown(directory.path(), Some(user), Some(group)).unwrap();
        }
        Self { directory, port: free_port(), clock: None, server: None }
    }

    /// A new cluster that runs, with these settings (`name = value`).
    pub fn start(settings: &[&str]) -> Self {
        let mut cluster = Self::new(settings);
        cluster.run();
        cluster
    }

    /// The same with a clock of its own, where the machine can give it one.
    pub fn start_with_clock(settings: &[&str]) -> Self {
        let mut cluster = Self::new(settings);
        cluster.clock = Clock::kept_in(cluster.directory.path());
        cluster.run();
        cluster
    }

    fn new(settings: &[&str]) -> Self {
        let cluster = Self::empty();
        let options = ["--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync", "--username", ROLE];
        done(postgres("initdb").args(options).arg("--pgdata").arg(cluster.data()));
        cluster.set("fsync = off");
        cluster.set("shared_buffers = 32MB");
        for setting in settings {
            cluster.set(setting);
        }
        cluster
    }

    /// A copy of this cluster as it is now, not running, with write-ahead log enough to start from.
    pub fn backup(&self) -> Self {
        let copy = Self::empty();
        self.base_backup(&copy, &[]);
        copy
    }

    /// A hot standby that follows this cluster; with a clock of its own if this one has one.
    pub fn standby(&self) -> Self {
        let mut standby = Self::empty();
        if self.clock.is_some() {
            standby.clock = Clock::kept_in(standby.directory.path());
        }
        standby.follow(self);
        standby
    }

    /// Begins anew as a hot standby of `primary`, at the same address; what it had is gone.
    pub fn follow(&mut self, primary: &Self) {
        assert!(self.server.is_none(), "it runs");
        if self.data().exists() {
            fs::remove_dir_all(self.data()).unwrap();
        }
        primary.base_backup(self, &["--write-recovery-conf"]);
        self.run();
    }

    fn base_backup(&self, to: &Self, options: &[&str]) {
        let mut command = postgres("pg_basebackup");
        command.args(["--checkpoint=fast", "--no-sync", "--wal-method=stream", "--dbname", &self.url("postgres")]);
        done(command.args(options).arg("--pgdata").arg(to.data()));
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// Adds a line to the configuration; the last one of a name counts. Read at the next start or `reload`.
    pub fn set(&self, setting: &str) {
        let file = self.data().join("postgresql.auto.conf");
        // Kept through `alter system` and copied with a backup, as that file is.
        let text = fs::read_to_string(&file).unwrap_or_default() + setting + "\n";
        fs::write(&file, text).unwrap();
    }

    /// A directory of this cluster's, made when it is named first, that its server may write to.
    pub fn place(&self, name: &str) -> PathBuf {
        let place = self.directory.path().join(name);
        if !place.exists() {
            fs::create_dir(&place).unwrap();
            if let Some((user, group)) = owner() {
                chown(&place, Some(user), Some(group)).unwrap();
            }
        }
        place
    }

    /// Makes the next start a recovery from an archive.
    pub fn recover_from(&mut self, archive: &Path, target: &[&str]) {
        self.set(&format!("restore_command = 'cp {}/%f %p'", archive.display()));
        for setting in target {
            self.set(setting);
        }
        let signal = self.data().join("recovery.signal");
        fs::write(&signal, "").unwrap();
        if let Some((user, group)) = owner() {
            chown(&signal, Some(user), Some(group)).unwrap();
        }
    }

    fn server_command(&self) -> Command {
        let Some(clock) = &self.clock else { return postgres("postgres") };
        // Only the server itself may go by it: who changes the user before would leave what is the other user's.
        let mut command = without_settings(as_owner("env"));
        for (name, value) in clock.environment() {
            let mut setting = OsString::from(name);
            setting.push("=");
            setting.push(value);
            command.arg(setting);
        }
        command.arg(program("postgres"));
        command
    }

    /// Starts it, on the port and with the data it had before, and waits until it lets readers in.
    pub fn run(&mut self) {
        assert!(self.server.is_none(), "it runs already");
        let log = fs::File::options().create(true).append(true).open(self.log()).unwrap();
        let mut command = self.server_command();
        command.arg("-D").arg(self.data()).args(["-h", "127.0.0.1", "-k", "", "-p", &self.port.to_string()]);
        self.server = Some(command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap());
        let began = Instant::now();
        while !self.is_ready() {
            let ended = self.server.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none() && began.elapsed() < BOUND, "it does not start: {}", self.told());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn is_ready(&self) -> bool {
        postgres("pg_isready").args(["--quiet", "--dbname", &self.url("postgres")]).status().unwrap().success()
    }

    fn log(&self) -> PathBuf {
        self.directory.path().join("server.log")
    }

    /// The end of its log.
    fn told(&self) -> String {
        process::end_of(&self.log())
    }

    /// Ends it as a crash of the machine would, but for the disk: nothing is finished, nothing flushed.
    pub fn stop_immediately(&mut self) {
        self.signal("QUIT");
        self.await_end();
    }

    /// Ends all its processes at once, without a word to anybody.
    pub fn kill(&mut self) {
        process::kill(&mut self.server.take().expect("it runs"));
    }

    /// Lets it stand still until that is dropped.
    pub fn freeze(&self) -> Frozen {
        process::freeze(self.server.as_ref().expect("it runs"))
    }

    /// Whether it has a clock of its own.
    pub fn has_clock(&self) -> bool {
        self.clock.is_some()
    }

    /// Sets its own clock that many seconds before the true time, or behind it.
    pub fn set_clock(&self, ahead: i64) {
        self.clock.as_ref().expect("it has a clock of its own").set(ahead);
    }

    /// Runs it where nobody looks for it, for a look at what it holds, and ends it again.
    pub fn look_into<T>(&mut self, look: impl FnOnce(&Self) -> T) -> T {
        let address = std::mem::replace(&mut self.port, free_port());
        self.run();
        let seen = look(self);
        self.stop_immediately();
        self.port = address;
        seen
    }

    /// Ends it in order: connections are closed, everything is written.
    pub fn stop(&mut self) {
        self.signal("INT");
        self.await_end();
    }

    fn await_end(&mut self) {
        let mut server = self.server.take().expect("it runs");
        let began = Instant::now();
        while server.try_wait().unwrap().is_none() {
            assert!(began.elapsed() < BOUND, "it does not end: {}", self.told());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Sends a signal to the server by its name.
    pub fn signal(&self, signal: &str) {
        let pid = self.server.as_ref().expect("it runs").id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &pid]).status().unwrap().success());
    }

    /// Lets a standby receive nothing more: what its primary commits from now on would be lost with the primary.
    pub fn cut_off(&mut self) {
        self.set("primary_conninfo = ''");
        self.signal("HUP");
        let began = Instant::now();
        while self.answer("select count(*) from pg_stat_wal_receiver") != "0" {
            assert!(began.elapsed() < BOUND, "it still receives: {}", self.told());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Makes a standby a primary, and waits until it takes writes.
    pub fn promote(&self) {
        done(postgres("pg_ctl").args(["promote", "--wait", "--silent", "--pgdata"]).arg(self.data()));
    }

    /// Waits until a recovery is at its target and takes writes.
    pub fn until_promoted(&self) {
        let began = Instant::now();
        while self.answer("select pg_is_in_recovery()") != "f" {
            assert!(began.elapsed() < BOUND, "it stays in recovery: {}", self.told());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until this standby has replayed all that `primary` has written.
    pub fn until_caught_up(&self, primary: &Self) {
        let here = primary.answer("select pg_current_wal_insert_lsn()");
        let began = Instant::now();
        while self.answer(&format!("select coalesce(pg_last_wal_replay_lsn() >= '{here}', false)")) != "t" {
            assert!(began.elapsed() < BOUND, "it does not catch up: {}", self.told());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// What one statement answers, as text, in the database `postgres`.
    pub fn answer(&self, sql: &str) -> String {
        self.answer_in("postgres", sql)
    }

    /// The same in another database.
    pub fn answer_in(&self, database: &str, sql: &str) -> String {
        let output = done(postgres("psql").args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-c", sql, &self.url(database)]));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Runs another program of PostgreSQL on a database, and gives its output.
    pub fn run_program(&self, name: &str, database: &str, arguments: &[impl AsRef<OsStr>]) -> Vec<u8> {
        done(postgres(name).args(["--dbname", &self.url(database)]).args(arguments)).stdout
    }

    /// Host and port.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The URL of a database of this cluster.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{ROLE}@{}/{database}", self.address())
    }
}

/// The URL that finds the primary among these clusters.
pub fn url_of_all(clusters: &[&Cluster], database: &str) -> String {
    let addresses: Vec<_> = clusters.iter().map(|cluster| cluster.address()).collect();
    format!("postgres://{ROLE}@{}/{database}?target_session_attrs=read-write", addresses.join(","))
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the end of the log of the server at {}:\n{}", self.address(), self.told());
        }
        let Some(mut server) = self.server.take() else { return };
        // Asked first, because the server's own processes go with it only then at once.
        let asked = Command::new("kill").args(["-s", "QUIT", &server.id().to_string()]).status();
        let began = Instant::now();
        while matches!(server.try_wait(), Ok(None)) {
            if asked.is_err() || began.elapsed() > Duration::from_secs(10) {
                drop(server.kill());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
