//! One connection among several servers: each is asked in turn and for a limited time, the last that served first.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use deadpool_postgres::Connect;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::config::Host;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{Client, Config, Connection, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_util::task::AbortOnDropHandle;

use super::timed::limited;
use crate::adapter::postgres::error::{from_postgres, may_pass};
use crate::error::{Error, ErrorKind};

type Stream = <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream;

/// The servers of a connection string.
pub(super) struct Hosts {
    /// One for each server, in their order.
    servers: Vec<Config>,
    tls: MakeRustlsConnect,
    /// What names them in the configuration.
    setting: &'static str,
    /// How long one server may take to let us in.
    patience: Duration,
    /// The server that let us in last. Asked first, so that one that is gone is not waited for again and again.
    served: AtomicUsize,
}

impl fmt::Debug for Hosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hosts").field("servers", &self.servers.len()).finish_non_exhaustive()
    }
}

/// Why no server let us in.
#[derive(Debug)]
pub(super) enum Shut {
    /// What one of them said.
    Answered(tokio_postgres::Error),
    /// None of them said anything in time.
    Silent,
}

impl Hosts {
    pub(super) fn new(config: &Config, tls: MakeRustlsConnect, setting: &'static str, patience: Duration) -> Self {
        let count = config.get_hosts().len().max(config.get_hostaddrs().len());
        // A string without any host is left as it is: connecting says what is wrong with it.
        let mut servers: Vec<_> = (0..count).map(|place| alone(config, place)).collect();
        if servers.is_empty() {
            servers.push(config.clone());
        }
        for server in &mut servers {
            // A name may stand for several addresses, and the first of them may be silent.
            server.connect_timeout(patience / 2);
        }
        Self { servers, tls, setting, patience, served: AtomicUsize::new(0) }
    }

    /// What fails when none of them lets us in: what names them in the configuration, and where they are.
    pub(super) fn connecting(&self) -> String {
        let places: Vec<_> = self.servers.iter().filter_map(address).collect();
        format!("{}: cannot connect to {}", self.setting, places.join(", "))
    }

    /// How long asking all of them may take.
    pub(super) fn patience(&self) -> Duration {
        self.patience * u32::try_from(self.servers.len()).unwrap_or(u32::MAX)
    }

    /// A connection of its own.
    pub(super) async fn session(&self) -> Result<(Client, Connection<Socket, Stream>), Error> {
        self.open().await.map_err(|shut| match shut {
            Shut::Answered(error) => from_postgres(self.connecting(), error),
            Shut::Silent => {
                let what = format!("{}: no server answered within {:?}", self.setting, self.patience);
                Error::new(ErrorKind::Unavailable, what)
            }
        })
    }

    async fn open(&self) -> Result<(Client, Connection<Socket, Stream>), Shut> {
        let (first, count) = (self.served.load(Ordering::Relaxed), self.servers.len());
        let mut why = Shut::Silent;
        for place in (0..count).map(|turn| (first + turn) % count) {
            match timeout(self.patience, self.servers[place].connect(self.tls.clone())).await {
                Ok(Ok(opened)) => {
                    self.served.store(place, Ordering::Relaxed);
                    return Ok(opened);
                }
                Ok(Err(error)) => {
                    if count > 1 {
                        tracing::debug!(server = place + 1, %error, "this server does not serve; asking the next");
                    }
                    // The one that is only out of reach may be the right one: another's refusal is not the last word.
                    if may_pass(&error) || !matches!(&why, Shut::Answered(earlier) if may_pass(earlier)) {
                        why = Shut::Answered(error);
                    }
                }
                Err(_) => tracing::debug!(server = place + 1, "this server says nothing; asking the next"),
            }
        }
        Err(why)
    }

    /// The server that served last.
    pub(super) fn served(&self) -> usize {
        self.served.load(Ordering::Relaxed)
    }

    /// Another server than this one is asked first from now on.
    pub(super) fn doubt(&self, served: usize) {
        let next = (served + 1) % self.servers.len();
        // Lost against somebody else who doubts, or has just connected, there is nothing left to do.
        if self.served.compare_exchange(served, next, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            tracing::debug!("looking for another server");
        }
    }
}

/// For the pool. Where all of them are silent, its own time is up too, and that is what it says.
#[derive(Debug)]
pub(super) struct Pooled {
    pub(super) hosts: Arc<Hosts>,
    /// How long an answer will be waited for.
    pub(super) limit: Duration,
}

impl Connect for Pooled {
    fn connect(&self, _: &Config) -> BoxFuture<'_, Result<(Client, JoinHandle<()>), tokio_postgres::Error>> {
        async {
            let (client, connection) = match self.hosts.open().await {
                Ok(opened) => opened,
                Err(Shut::Answered(error)) => return Err(error),
                Err(Shut::Silent) => std::future::pending().await,
            };
            // Given up before it is the pool's, the connection ends: it would wait for an answer for ever.
            let driver = AbortOnDropHandle::new(tokio::spawn(connection.map(|ended| {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a pooled connection to PostgreSQL ended");
                }
            })));
            client.batch_execute(&limited(self.limit)).await?;
            Ok((client, driver.detach()))
        }
        .boxed()
    }
}

/// The same settings for one of the servers.
fn alone(config: &Config, place: usize) -> Config {
    let mut one = Config::new();
    if let Some(user) = config.get_user() {
        one.user(user);
    }
    if let Some(password) = config.get_password() {
        one.password(password);
    }
    if let Some(dbname) = config.get_dbname() {
        one.dbname(dbname);
    }
    if let Some(options) = config.get_options() {
        one.options(options);
    }
    if let Some(name) = config.get_application_name() {
        one.application_name(name);
    }
    match config.get_hosts().get(place) {
        Some(Host::Tcp(name)) => drop(one.host(name)),
        Some(Host::Unix(path)) => drop(one.host_path(path)),
        None => {}
    }
    if let Some(address) = config.get_hostaddrs().get(place) {
        one.hostaddr(*address);
    }
    let ports = config.get_ports();
    if let Some(port) = ports.get(place).or(ports.first()) {
        one.port(*port);
    }
    if let Some(patience) = config.get_connect_timeout() {
        one.connect_timeout(*patience);
    }
    if let Some(patience) = config.get_tcp_user_timeout() {
        one.tcp_user_timeout(*patience);
    }
    if let Some(interval) = config.get_keepalives_interval() {
        one.keepalives_interval(interval);
    }
    if let Some(retries) = config.get_keepalives_retries() {
        one.keepalives_retries(retries);
    }
    one.keepalives(config.get_keepalives())
        .keepalives_idle(config.get_keepalives_idle())
        .ssl_mode(config.get_ssl_mode())
        .ssl_negotiation(config.get_ssl_negotiation())
        .target_session_attrs(config.get_target_session_attrs())
        .channel_binding(config.get_channel_binding())
        .load_balance_hosts(config.get_load_balance_hosts());
    one
}

/// Where a server is; `None` of a string without any host.
fn address(server: &Config) -> Option<String> {
    let port = server.get_ports().first().unwrap_or(&5432);
    match (server.get_hosts().first(), server.get_hostaddrs().first()) {
        (Some(Host::Unix(path)), _) => Some(path.display().to_string()),
        (Some(Host::Tcp(name)), _) => Some(format!("{name}:{port}")),
        (None, Some(address)) => Some(format!("{address}:{port}")),
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_server_is_asked_with_all_the_settings_of_the_string() {
        let rest = "/shop?application_name=a&connect_timeout=3&tcp_user_timeout=4&keepalives=0&keepalives_idle=5\
                    &keepalives_interval=6&keepalives_retries=7&sslmode=require&sslnegotiation=direct\
                    &target_session_attrs=read-write&channel_binding=require&load_balance_hosts=random&options=-c%20a%3Db";
        let read = |hosts: &str| format!("postgres://me:secret@{hosts}{rest}").parse::<Config>().unwrap();
        let several = read("one:1,two:2,%2Frun:3");
        for (place, host) in ["one:1", "two:2", "%2Frun:3"].into_iter().enumerate() {
            assert_eq!(alone(&several, place), read(host), "{host}");
        }
        let places: Vec<_> = (0..3).filter_map(|place| address(&alone(&several, place))).collect();
        assert_eq!(places, ["one:1", "two:2", "/run"]);
        let by_address = |hosts: &str, addresses: &str| {
            format!("host={hosts} hostaddr={addresses} port=9 user=me").parse::<Config>().unwrap()
        };
        assert_eq!(alone(&by_address("a,b", "1.2.3.4,5.6.7.8"), 1), by_address("b", "5.6.7.8"));
    }
}
