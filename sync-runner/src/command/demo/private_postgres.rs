//! A PostgreSQL of the demo's own, where none is named: made in a directory that goes with it.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use sync_core::adapter::postgres::{Postgres, PostgresConfig};
use sync_core::{Error, ErrorKind};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use crate::config::PostgresUrl;

/// How long the server may take until it answers, and until it has ended.
const PATIENCE: Duration = Duration::from_secs(30);

/// A socket has a path of 107 bytes at most, its name included.
const LONGEST_PATH: usize = 80;

/// Runs the server until its standard input ends, which it does with this process, however that ends; leaves nothing.
const SUPERVISOR: &str = r#"
"$1/postgres" -D "$2/data" -k "$2" -c listen_addresses= -c fsync=off -c full_page_writes=off >"$2/log" 2>&1 &
server=$!
cat >/dev/null
kill -INT "$server"
wait "$server"
rm -rf "$2/data" "$2/log"
"#;

/// A server that runs.
#[derive(Debug)]
pub(super) struct PrivatePostgres {
    supervisor: Child,
    directory: PathBuf,
}

/// Whom the server runs as, which must not be root.
#[derive(Clone, Copy, Debug)]
struct User {
    id: u32,
    group: u32,
}

impl PrivatePostgres {
    /// Makes a cluster in this directory and starts it.
    ///
    /// # Errors
    /// `Configuration` when there is no PostgreSQL on this machine; what it says when it does not start.
    pub(super) async fn start(directory: &Path) -> Result<Self, Error> {
        let programs = find_programs(&std::env::var_os("PATH").unwrap_or_default()).ok_or_else(|| {
            let what = "postgres.url: is not set, and this machine has no PostgreSQL to start one for the demo: set \
                        SYNC__POSTGRES__URL or DATABASE_URL, or install PostgreSQL (its initdb has to be on the PATH)";
            Error::new(ErrorKind::Configuration, what)
        })?;
        if directory.as_os_str().len() > LONGEST_PATH {
            let what = format!("{}: too long a path for a socket; set TMPDIR to a shorter one", directory.display());
            return Err(Error::new(ErrorKind::Configuration, what));
        }
        let user = user_for(directory).map_err(|error| failed("looking for a user to run PostgreSQL as", error))?;
        if let Some(User { id, group }) = user {
            chown(directory, Some(id), Some(group))
                .map_err(|error| failed("giving a directory to PostgreSQL", error))?;
        }
        let command = |program: &Path| {
            let mut command = Command::new(program);
            // An interruption is for us alone: the server is ended in its turn.
            command.current_dir(directory).stdin(Stdio::null()).process_group(0);
            if let Some(User { id, group }) = user {
                command.uid(id).gid(group);
            }
            command
        };
        let mut initdb = command(&programs.join("initdb"));
        initdb.args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "-D"]);
        let Output { status, stderr, .. } =
            initdb.arg(directory.join("data")).output().await.map_err(|error| failed("starting initdb", error))?;
        if !status.success() {
            return Err(failed("initdb", String::from_utf8_lossy(&stderr).trim()));
        }
        let mut supervisor = command(Path::new("sh"));
        supervisor.args(["-c", SUPERVISOR, "demo"]).arg(&programs).arg(directory).stdin(Stdio::piped());
        let supervisor = supervisor.spawn().map_err(|error| failed("starting PostgreSQL", error))?;
        let server = Self { supervisor, directory: directory.to_owned() };
        server.answers().await?;
        Ok(server)
    }

    /// Where it is.
    ///
    /// # Errors
    /// Never; whoever reads the URL may refuse it.
    pub(super) fn url(&self) -> Result<PostgresUrl, Error> {
        let mut host = String::new();
        for byte in self.directory.as_os_str().as_encoded_bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => host.push(char::from(*byte)),
                // Writing to a string has no way to fail.
                byte => drop(write!(host, "%{byte:02X}")),
            }
        }
        PostgresUrl::parse(format!("postgres://postgres@{host}/postgres"))
            .map_err(|expected| Error::new(ErrorKind::Internal, expected))
    }

    async fn answers(&self) -> Result<(), Error> {
        let url = self.url()?.expose().to_owned();
        let database = Postgres::new(&PostgresConfig::new(url).pool_size(1))?;
        let until = Instant::now() + PATIENCE;
        loop {
            match database.client().await {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() > until => {
                    let log = std::fs::read_to_string(self.directory.join("log")).unwrap_or_default();
                    let last = log.lines().last().unwrap_or("it says nothing").to_owned();
                    return Err(
                        Error::new(error.kind(), format!("PostgreSQL does not start: {last}")).with_source(error)
                    );
                }
                Err(_) => sleep(Duration::from_millis(20)).await,
            }
        }
    }

    /// Ends it, and waits until it has.
    pub(super) async fn stop(mut self) {
        drop(self.supervisor.stdin.take());
        if !matches!(timeout(PATIENCE, self.supervisor.wait()).await, Ok(Ok(_))) {
            tracing::warn!(directory = %self.directory.display(), "the demo's PostgreSQL has not ended");
        }
    }
}

fn failed(doing: &str, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::new(ErrorKind::Configuration, format!("{doing}, for the demo")).with_source(error)
}

/// The directory with `initdb` and `postgres`: on the path, or where packages put the newest.
fn find_programs(path: &OsString) -> Option<PathBuf> {
    let has_both = |directory: &PathBuf| ["initdb", "postgres"].iter().all(|name| directory.join(name).is_file());
    let version = |directory: &Path| directory.file_name()?.to_str()?.parse::<u32>().ok();
    let packaged = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|entry| entry.path());
    let mut packaged: Vec<_> = packaged.map(|directory| (version(&directory), directory.join("bin"))).collect();
    packaged.sort();
    let packaged = packaged.into_iter().rev().map(|(_, directory)| directory);
    std::env::split_paths(path).chain(packaged).find(has_both)
}

/// Another user where this one is root, as which PostgreSQL refuses to run.
fn user_for(directory: &Path) -> io::Result<Option<User>> {
    if std::fs::metadata(directory)?.uid() != 0 {
        return Ok(None);
    }
    let users = std::fs::read_to_string("/etc/passwd")?;
    let named = |wanted: &str| {
        let mut fields = users.lines().map(|line| line.split(':').collect::<Vec<_>>());
        let fields = fields.find(|fields| fields.first() == Some(&wanted))?;
        Some(User { id: fields.get(2)?.parse().ok()?, group: fields.get(3)?.parse().ok()? })
    };
    named("postgres").or_else(|| named("nobody")).map(Some).ok_or_else(|| io::Error::other("there is no user but root"))
}
