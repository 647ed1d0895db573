//! The servers that can be searched: replicas that are close to the primary, then the primary, then whoever answers.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use crate::adapter::postgres::connect::{Postgres, PostgresConfig, Session};
use crate::adapter::postgres::error::from_postgres;
use crate::error::{Error, ErrorKind};
use crate::policy::replicas::{LogClock, ReplicaState, ServerChoice, in_turn};

/// How often the servers are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// How long one may take to be let in there, and to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// The position in the log up to which a server has everything, and whose log it is.
const POSITION: &str = "
select pg_wal_lsn_diff(case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_lsn() end, '0/0')::int8,
       (select system_identifier from pg_control_system())::text || '/' ||
       (select oid from pg_database where datname = current_database())::text";

/// How far a server has come.
struct Position {
    log: u64,
    /// The cluster and the database.
    of: String,
}

/// A server, and what was seen of it last.
pub(super) struct Server {
    pub(super) database: Postgres,
    /// For the log.
    name: String,
    seen: watch::Sender<ReplicaState>,
    /// Whether anybody was told how it is.
    is_told: AtomicBool,
    /// How often it was found to say nothing.
    silences: watch::Sender<u64>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("name", &self.name).field("seen", &*self.seen.borrow()).finish_non_exhaustive()
    }
}

impl Server {
    fn new(database: Postgres, name: String) -> Self {
        let (seen, silences) = (watch::Sender::new(ReplicaState::Unreachable), watch::Sender::new(0));
        Self { database, name, seen, is_told: AtomicBool::new(false), silences }
    }

    /// Does something there, and gives it up when the server is found to say nothing.
    pub(super) async fn at<T>(&self, doing: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let mut silences = self.silences.subscribe();
        tokio::select! {
            biased;
            done = doing => done,
            // Its sender lives as long as this server.
            _ = silences.changed() => Err(Error::new(ErrorKind::Unavailable, format!("{} says nothing any more", self.name))),
        }
    }

    /// How far it has come; asked on a connection of its own, because those of the pool may all be busy.
    async fn position(&self, connection: &mut Option<Session>) -> Result<Position, Error> {
        let doing = "asking how far it has come";
        let position = async {
            let session = match connection.take() {
                Some(session) => session,
                None => self.database.session().await?,
            };
            let row = session.client.query_one(POSITION, &[]).await.map_err(|error| from_postgres(doing, error))?;
            *connection = Some(session);
            let unread = |error| Error::new(ErrorKind::Contract, doing).with_source(error);
            let log: i64 = row.try_get(0).map_err(unread)?;
            Ok(Position { log: log.unsigned_abs(), of: row.try_get(1).map_err(unread)? })
        };
        timeout(PATIENCE, position).await.unwrap_or_else(|_| {
            self.silences.send_modify(|count| *count += 1);
            Err(Error::new(ErrorKind::Unavailable, format!("{} says nothing", self.name)))
        })
    }

    fn see(&self, now: Result<Duration, Error>) {
        let before = *self.seen.borrow();
        let is_told = self.is_told.swap(true, Ordering::Relaxed);
        match (before, &now) {
            (ReplicaState::Unreachable, Err(error)) if is_told => {
                tracing::debug!(server = self.name, %error, "searches are not sent there")
            }
            (ReplicaState::Behind(_) | ReplicaState::Unreachable, Err(error)) => {
                tracing::warn!(server = self.name, %error, "searches are not sent there")
            }
            (ReplicaState::Unreachable, Ok(lag)) => tracing::info!(server = self.name, ?lag, "a server answers"),
            (ReplicaState::Behind(_), Ok(_)) => {}
        }
        self.seen.send_replace(now.map_or(ReplicaState::Unreachable, ReplicaState::Behind));
    }
}

/// All of them.
#[derive(Debug)]
pub(super) struct Servers {
    known: Arc<Known>,
    max_lag: Duration,
    turn: AtomicUsize,
    /// Looks at them from the first search on.
    looking: OnceLock<AbortOnDropHandle<()>>,
}

#[derive(Debug)]
struct Known {
    primary: Server,
    replicas: Vec<Server>,
    log: Mutex<Log>,
    since: Instant,
}

/// What is known of the primary's log.
#[derive(Debug, Default)]
struct Log {
    clock: LogClock,
    /// Whose it is, once that was seen.
    of: Option<String>,
}

impl Log {
    /// How far a replica is behind.
    fn behind(&self, now: Duration, position: &Position) -> Result<Duration, Error> {
        if self.of.as_ref().is_some_and(|of| *of != position.of) {
            let what = "search.postgres.replicas: this is no standby of the primary, or its URL names another database";
            return Err(Error::new(ErrorKind::Configuration, what));
        }
        Ok(self.clock.behind(now, position.log))
    }
}

impl Servers {
    pub(super) fn new(primary: &PostgresConfig, replicas: &[PostgresConfig], max_lag: Duration) -> Result<Self, Error> {
        let numbered = |(place, replica)| {
            let name = format!("replica {}", place + 1);
            let wrong = |error| {
                Error::new(ErrorKind::Configuration, format!("search.postgres.replicas: {name}")).with_source(error)
            };
            Ok(Server::new(Postgres::searching_replica(replica).map_err(wrong)?, name))
        };
        let known = Known {
            primary: Server::new(Postgres::searching_primary(primary)?, "the primary".to_owned()),
            replicas: replicas.iter().enumerate().map(numbered).collect::<Result<_, Error>>()?,
            log: Mutex::default(),
            since: Instant::now(),
        };
        Ok(Self { known: Arc::new(known), max_lag, turn: AtomicUsize::default(), looking: OnceLock::new() })
    }

    pub(super) fn primary(&self) -> &Server {
        &self.known.primary
    }

    pub(super) fn replicas(&self) -> impl Iterator<Item = &Server> {
        self.known.replicas.iter()
    }

    /// Looks once; how far each replica is behind, or why it is not searched.
    pub(super) async fn check(&self) -> Vec<Result<Duration, Error>> {
        let primary = self.known.primary.position(&mut None).await;
        let mut log = Log::default();
        if let Ok(position) = primary {
            log.clock.note(Duration::ZERO, position.log);
            log.of = Some(position.of);
        }
        let replicas = self.known.replicas.iter().map(async |replica| {
            let position = replica.position(&mut None).await?;
            log.behind(Duration::ZERO, &position)
        });
        join_all(replicas).await
    }

    /// One after the other, as they are to be asked.
    pub(super) fn in_turn(&self) -> impl Iterator<Item = &Server> {
        if !self.known.replicas.is_empty() {
            self.looking.get_or_init(|| {
                let known = Arc::clone(&self.known);
                AbortOnDropHandle::new(tokio::spawn(async move { known.look_on().await }))
            });
        }
        let seen: Vec<_> = self.replicas().map(|replica| *replica.seen.borrow()).collect();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        in_turn(&seen, turn, self.max_lag).into_iter().filter_map(|choice| match choice {
            ServerChoice::Primary => Some(self.primary()),
            ServerChoice::Replica(place) => self.known.replicas.get(place),
        })
    }
}

impl Known {
    async fn look_on(&self) {
        let mut connections: Vec<Option<Session>> = (0..=self.replicas.len()).map(|_| None).collect();
        loop {
            let began = Instant::now();
            self.look(&mut connections).await;
            sleep(LOOK.saturating_sub(began.elapsed())).await;
        }
    }

    async fn look(&self, connections: &mut [Option<Session>]) {
        let [of_primary, of_replicas @ ..] = connections else { return };
        let replicas = self.replicas.iter().zip(of_replicas).map(|(replica, connection)| replica.position(connection));
        let (primary, replicas) = tokio::join!(self.primary.position(of_primary), join_all(replicas));
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.since.elapsed();
        self.primary.see(primary.map(|position| {
            log.clock.note(now, position.log);
            log.of = Some(position.of);
            Duration::ZERO
        }));
        for (replica, position) in self.replicas.iter().zip(replicas) {
            replica.see(position.and_then(|position| log.behind(now, &position)));
        }
    }
}
