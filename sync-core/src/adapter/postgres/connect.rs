//! Connections: a pool for short statements, sessions of their own for what reads on and on.

mod hosts;
mod session;
mod timed;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio_postgres::Config;
use tokio_postgres::config::TargetSessionAttrs;
use tokio_postgres_rustls::MakeRustlsConnect;

use self::hosts::{Hosts, Pooled};
pub(crate) use self::session::Session;
pub(crate) use self::timed::{Failure, Timed};
use super::error::from_pool;
use crate::error::{Error, ErrorKind};

/// Where the database is.
#[derive(Clone)]
#[non_exhaustive]
pub struct PostgresConfig {
    /// A libpq URL or `key=value` string; `postgres://localhost/postgres` unless said. `sslmode` is `disable`, `prefer`
    /// (the default) or `require`; whenever TLS is used the server's certificate and name are verified. Of several hosts
    /// the first that answers is used; with `target_session_attrs=read-write`, the first that takes writes: the primary.
    pub url: String,
    /// Takes the place of the password in the URL; none unless said.
    pub password: Option<String>,
    /// PEM file of the certificate authorities to trust instead of the system's; none unless said.
    pub ca_file: Option<PathBuf>,
    /// Connections for short statements, at most; 8 unless said. A relay uses two more of its own, and each
    /// [`PostgresSearcher`](super::PostgresSearcher) has pools of its own, of this size too: see its
    /// [`new`](super::PostgresSearcher::new).
    pub pool_size: usize,
    /// How long each host may take to let us in, and how long a free connection is waited for; 10 seconds unless said.
    pub connect_timeout: Duration,
    /// How long the answer to a statement is waited for; 30 seconds unless said. The server itself ends one after nine
    /// tenths of that, or earlier where role or URL say so. Not for the reading of a window, which lasts as long as the
    /// server works on it, and not for [`migrate`](super::migrate).
    pub statement_timeout: Duration,
}

impl Default for PostgresConfig {
    fn default() -> Self {
        Self {
            url: "postgres://localhost/postgres".to_owned(),
            password: None,
            ca_file: None,
            pool_size: 8,
            connect_timeout: Duration::from_secs(10),
            statement_timeout: Duration::from_secs(30),
        }
    }
}

impl PostgresConfig {
    /// This database, with the defaults for all else.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), ..Self::default() }
    }
}

setters! {
    PostgresConfig {
        password: some String,
        ca_file: some PathBuf,
        pool_size: usize,
        connect_timeout: Duration,
        statement_timeout: Duration,
    }
}

impl fmt::Debug for PostgresConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresConfig")
            .field("ca_file", &self.ca_file)
            .field("pool_size", &self.pool_size)
            .field("connect_timeout", &self.connect_timeout)
            .field("statement_timeout", &self.statement_timeout)
            .finish_non_exhaustive()
    }
}

/// A database to connect to. Cheap to clone; makes no connection until one is needed.
#[derive(Clone)]
pub struct Postgres {
    name: Option<String>,
    hosts: Arc<Hosts>,
    pool: Pool,
    /// How long an answer is waited for.
    limit: Duration,
}

/// How a pool is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolUsage {
    /// Connections there are.
    pub connections: usize,
    /// Those of them nobody uses.
    pub idle: usize,
    /// How many wait for one.
    pub waiting: usize,
}

/// A pooled connection is given out again only while its server takes writes: it may have become a standby behind a
/// proxy that keeps connections. Divides by zero on a standby, whose rows are older than the messages about them.
const TAKES_WRITES: &str = "select 1 / (current_setting('transaction_read_only') = 'off')::int";

/// What connections are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    /// All that is written, and read to be written elsewhere.
    Outbox,
    SearchOfPrimary,
    SearchOfReplica,
}

impl Use {
    /// What names the servers in the configuration.
    const fn setting(self) -> &'static str {
        match self {
            Self::Outbox | Self::SearchOfPrimary => "postgres.url",
            Self::SearchOfReplica => "search.postgres.replicas",
        }
    }
}

/// What a search touches is little, and there are many at a time: none is compiled first, or done by several.
const SEARCHING: [&str; 2] = ["-c jit=off", "-c max_parallel_workers_per_gather=0"];

/// A search waits for a connection while so many of the longest could be done there.
const TURNS: u32 = 10;

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Postgres").field("database", &self.name).finish_non_exhaustive()
    }
}

impl Postgres {
    /// Reads the settings.
    ///
    /// # Errors
    /// `Configuration` when the URL cannot be read or the certificate file cannot be used.
    pub fn new(settings: &PostgresConfig) -> Result<Self, Error> {
        Self::of(settings, Use::Outbox)
    }

    /// The same to search the primary.
    pub(crate) fn searching_primary(settings: &PostgresConfig) -> Result<Self, Error> {
        Self::of(settings, Use::SearchOfPrimary)
    }

    /// The same to search whatever server answers: a standby, too.
    pub(crate) fn searching_replica(settings: &PostgresConfig) -> Result<Self, Error> {
        Self::of(settings, Use::SearchOfReplica)
    }

    fn of(settings: &PostgresConfig, used: Use) -> Result<Self, Error> {
        // The parser's own words may quote the password, so they are not passed on.
        let mut config = Config::from_str(&settings.url).map_err(|_| {
            Error::new(
                ErrorKind::Configuration,
                "postgres.url: not a PostgreSQL connection string; it looks like \
                 postgres://user@host:5432/database?sslmode=prefer",
            )
        })?;
        if let Some(password) = &settings.password {
            config.password(password);
        }
        if config.get_application_name().is_none() {
            config.application_name("sync");
        }
        if used != Use::SearchOfReplica && config.get_target_session_attrs() == TargetSessionAttrs::ReadOnly {
            return Err(Error::new(
                ErrorKind::Configuration,
                "postgres.url: target_session_attrs=read-only finds a standby, but the outbox is written on the \
                 primary; read-write finds that",
            ));
        }
        if used != Use::Outbox {
            let options = config.get_options().into_iter().chain(SEARCHING).collect::<Vec<_>>().join(" ");
            config.options(&options);
        }
        // A cut network is noticed after about half a minute instead of hours.
        config.keepalives_idle(Duration::from_secs(10));
        config.tcp_user_timeout(Duration::from_secs(30));
        let tls = MakeRustlsConnect::new(tls(settings)?);
        let name = config.get_dbname().map(str::to_owned);
        let hosts = Arc::new(Hosts::new(&config, tls, used.setting(), settings.connect_timeout));
        let limit = settings.statement_timeout;
        let pooled = Pooled { hosts: Arc::clone(&hosts), limit };
        let recycling_method = match used {
            Use::Outbox | Use::SearchOfPrimary => RecyclingMethod::Custom(TAKES_WRITES.to_owned()),
            Use::SearchOfReplica => RecyclingMethod::Fast,
        };
        // Those that search are many, and each has its turn when those before it are done.
        let wait = match used {
            Use::Outbox => settings.connect_timeout,
            Use::SearchOfPrimary | Use::SearchOfReplica => settings.connect_timeout + limit * TURNS,
        };
        let manager = Manager::from_connect(config, pooled, ManagerConfig { recycling_method });
        let pool = Pool::builder(manager)
            .max_size(settings.pool_size.max(1))
            .wait_timeout(Some(wait))
            .create_timeout(Some(hosts.patience()))
            .recycle_timeout(Some(settings.connect_timeout / 4))
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|error| Error::new(ErrorKind::Internal, "building the connection pool").with_source(error))?;
        Ok(Self { name, hosts, pool, limit })
    }

    /// How the pool is used.
    #[must_use]
    pub fn usage(&self) -> PoolUsage {
        let status = self.pool.status();
        PoolUsage { connections: status.size, idle: status.available, waiting: status.waiting }
    }

    /// A pooled connection for short statements. The server ends them as [`PostgresConfig::statement_timeout`] says
    /// (`set statement_timeout = 0` where one may take longer), but nobody ends the wait for a server that says nothing.
    ///
    /// # Errors
    /// `Unavailable`, `Denied`, `Configuration`.
    pub async fn client(&self) -> Result<Object, Error> {
        self.pool.get().await.map_err(|error| from_pool(&self.hosts.connecting(), error))
    }

    /// The same, and no answer is waited for longer than that.
    ///
    /// # Errors
    /// `Unavailable`, `Denied`, `Configuration`.
    pub(crate) async fn timed(&self) -> Result<Timed, Error> {
        let served = self.hosts.served();
        Ok(Timed::pooled(self.client().await?, self.clone(), served))
    }

    /// This server is not the one to work with: gives its pooled connections up, and asks another first.
    pub(crate) fn doubt(&self) {
        self.doubt_of(self.hosts.served());
    }

    /// The same of the server that served then, unless somebody else has doubted it since.
    fn doubt_of(&self, served: usize) {
        self.pool.retain(|_, _| false);
        self.hosts.doubt(served);
    }
}

fn tls(settings: &PostgresConfig) -> Result<rustls::ClientConfig, Error> {
    let mut roots = rustls::RootCertStore::empty();
    if let Some(path) = &settings.ca_file {
        let wrong = |what: String| {
            Error::new(ErrorKind::Configuration, format!("postgres.ca_file: {}: {what}", path.display()))
        };
        let certificates = CertificateDer::pem_file_iter(path).map_err(|error| wrong(error.to_string()))?;
        for certificate in certificates {
            let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
            roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
        }
        if roots.is_empty() {
            return Err(wrong("holds no certificate; it must be PEM".to_owned()));
        }
    } else {
        // Broken certificates in the system's store are none of our business: the others are enough.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::new(ErrorKind::Internal, "setting up TLS").with_source(error))?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_string_that_cannot_be_read_is_refused_without_its_password() {
        let settings =
            PostgresConfig { url: "postgres://me:hunter2@host:port/db".to_owned(), ..PostgresConfig::default() };
        let error = Postgres::new(&settings).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(error.to_string().contains("postgres.url") && !error.to_string().contains("hunter2"));
        assert!(!format!("{settings:?}").contains("hunter2"));
    }

    #[test]
    fn a_certificate_file_that_cannot_be_used_is_refused_by_name() {
        let settings = PostgresConfig { ca_file: Some("/dev/null".into()), ..PostgresConfig::default() };
        let error = Postgres::new(&settings).unwrap_err();
        assert!(error.to_string().contains("postgres.ca_file"), "{error}");
    }
}
