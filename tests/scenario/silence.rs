//! Connections to PostgreSQL that stay and say nothing, and statements that take too long.

use std::sync::Arc;
use std::time::Duration;

use sync_core::adapter::SystemClock;
use sync_core::adapter::direct::DirectBus;
use sync_core::adapter::elasticsearch::ElasticsearchSink;
use sync_core::adapter::postgres::{
    Postgres, PostgresConfig, PostgresDeadLetters, PostgresProjection, PostgresSource, ProjectionConfig, SourceConfig,
};
use sync_core::indexer::{Indexer, Parking};
use sync_core::port::{DeadLetters, LetterSelection, Projection, Source};
use sync_core::relay::Relay;
use sync_core::{ErrorKind, Remedy};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;

use crate::support::domain::{Domain, PROJECTION};
use crate::support::postgres::{connect, fresh_outbox};
use crate::support::proxy::{Link, Proxy, host_and_port};

/// Far more than any deadline of these tests, and far less than TCP's.
const BOUND: Duration = Duration::from_secs(60);

/// One database by two ways, the first of which is asked first.
struct Ways {
    first: Proxy,
    _second: Proxy,
    url: String,
}

impl Ways {
    async fn to(url: &str) -> Self {
        let (first, second) = (Proxy::to_database(url).await, Proxy::to_database(url).await);
        let both = format!("{},{}", first.address(), second.address());
        let url = url.replace(host_and_port(url), &both);
        Self { first, _second: second, url }
    }
}

fn settings(url: &str, statement_timeout: Duration) -> PostgresConfig {
    let connect_timeout = Duration::from_secs(3);
    PostgresConfig::new(url).pool_size(1).connect_timeout(connect_timeout).statement_timeout(statement_timeout)
}

fn postgres(url: &str, statement_timeout: Duration) -> Postgres {
    Postgres::new(&settings(url, statement_timeout)).unwrap()
}

fn projection(database: Postgres, topic: &str) -> PostgresProjection {
    let config = ProjectionConfig::new("jobs", topic, PROJECTION);
    PostgresProjection::new(database, config)
}

/// Somebody's transaction that holds a table.
async fn holding(url: &str, table: &str) -> Client {
    let holder = connect(url).await;
    holder.batch_execute(&format!("begin; lock table {table} in access exclusive mode")).await.unwrap();
    holder
}

/// Waits until somebody waits for the table.
async fn until_awaited(holder: &Client) {
    let waiting = "select exists (select from pg_locks where not granted and locktype = 'relation' \
                   and database = (select oid from pg_database where datname = current_database()))";
    let awaited = async {
        while !holder.query_one(waiting, &[]).await.unwrap().get::<_, bool>(0) {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(BOUND, awaited).await.expect("somebody asks for the table");
}

#[tokio::test]
async fn a_load_nobody_answers_is_asked_again_elsewhere_and_counts_no_try() {
    let domain = Domain::projecting(PROJECTION).await;
    let ways = Ways::to(&domain.url).await;
    let asking = projection(postgres(&ways.url, Duration::from_secs(3)), &domain.topic);
    let letters = || PostgresDeadLetters::new(postgres(&domain.url, BOUND));
    let bus = DirectBus::new([domain.topic.as_str()], 1_000, 2);
    let source = PostgresSource::new(postgres(&domain.url, BOUND), SourceConfig::default());
    let relay = Relay::builder("search", Arc::new(source), Arc::new(bus.clone())).build();
    let parking = Parking::new("jobs", &domain.topic, Arc::new(letters()), Arc::new(SystemClock));
    let subscriber = Arc::new(bus.subscriber(&domain.topic).unwrap());
    let sink = Arc::<ElasticsearchSink>::clone(&domain.sink);
    let indexer = Indexer::builder(subscriber, Arc::new(asking), sink, parking).build();

    let (progress, shutdown) = (indexer.progress(), CancellationToken::new());
    let work = async {
        domain.execute("insert into jobs (title) select 'job ' || n from generate_series(1, 50) n").await;
        domain.until_equal().await;
        let holder = holding(&domain.url, "workspaces").await;
        domain.execute("update jobs set title = title || ' again'").await;
        until_awaited(&holder).await;
        // The load is under way, and its answer will not arrive, nor will anything else by this way.
        ways.first.set(Link::Silent);
        holder.batch_execute("commit").await.unwrap();
        ways.first.until_withheld().await;
        timeout(BOUND, domain.until_equal()).await.expect("the load is asked again");
        shutdown.cancel();
    };
    let (relayed, indexed, ()) = tokio::join!(relay.run(shutdown.clone()), indexer.run(shutdown.clone()), work);
    relayed.unwrap();
    indexed.unwrap();
    let counts = progress.counts();
    assert_eq!((counts.retried, counts.parked), (0, 0), "{counts:?}");
    assert!(letters().list(&LetterSelection::default(), 0, 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_statement_that_takes_too_long_is_ended_by_the_server_and_is_an_outage() {
    let domain = Domain::projecting(PROJECTION).await;
    // Time enough for a connection that is busy to be free again.
    let config = settings(&domain.url, Duration::from_secs(8)).connect_timeout(BOUND);
    let database = Postgres::new(&config).unwrap();
    let loading = projection(database.clone(), &domain.topic);
    let keys = ["00000000-0000-0000-0000-000000000001".to_owned()];
    loading.load(&keys).await.unwrap();
    let backend = async || -> i32 {
        database.client().await.unwrap().query_one("select pg_backend_pid()", &[]).await.unwrap().get(0)
    };
    let before = backend().await;
    let holder = holding(&domain.url, "workspaces").await;
    let error = timeout(BOUND, loading.load(&keys)).await.expect("it is ended").unwrap_err();
    assert_eq!((error.kind(), error.remedy()), (ErrorKind::Unavailable, Remedy::Retry), "{error}");
    assert!(error.to_string().contains("57014") && error.to_string().contains("postgres.statement_timeout"), "{error}");
    assert_eq!(backend().await, before, "its connection is as good as before");

    tokio::select! {
        loaded = loading.load(&keys) => panic!("the table is held: {loaded:?}"),
        () = until_awaited(&holder) => {}
    }
    let after = timeout(BOUND, backend()).await.expect("nobody waits behind a load that was dropped");
    assert_ne!(after, before, "a connection with a statement under way is not given to others");
    holder.batch_execute("commit").await.unwrap();
    loading.load(&keys).await.unwrap();
}

#[tokio::test]
async fn a_role_s_shorter_time_for_statements_is_kept_and_a_longer_one_is_not() {
    let (_, url) = fresh_outbox().await;
    let limit = async |url: &str| -> String {
        let database = postgres(url, Duration::from_secs(10));
        let client = database.client().await.unwrap();
        client.query_one("select current_setting('statement_timeout')", &[]).await.unwrap().get(0)
    };
    let with = |limit: &str| format!("{url}?options=-c%20statement_timeout%3D{limit}");
    assert_eq!(limit(&url).await, "9s");
    assert_eq!(limit(&with("700")).await, "700ms");
    assert_eq!(limit(&with("60000")).await, "9s");
}

#[tokio::test]
async fn a_window_that_stops_coming_is_read_again_by_another_way() {
    let (client, url) = fresh_outbox().await;
    // More than proxies and sockets hold.
    let events = 4_000;
    let sql =
        "select outbox.emit('jobs', n::text, 'INDEX', to_jsonb(repeat('x', 10000))) from generate_series(1, $1) n";
    client.execute(sql, &[&events]).await.unwrap();
    let ways = Ways::to(&url).await;
    let config = SourceConfig::default().batch_events(100);
    let source = PostgresSource::new(postgres(&ways.url, Duration::from_secs(2)), config);
    let mut feed = source.open().await.unwrap();
    assert_eq!(feed.reader.next().await.unwrap().unwrap().events.len(), 100);
    ways.first.set(Link::Silent);
    let error = timeout(BOUND, async {
        loop {
            match feed.reader.next().await {
                Ok(batch) => assert!(batch.is_some(), "it cannot have ended"),
                Err(error) => return error,
            }
        }
    });
    let error = error.await.expect("the rest is not waited for");
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.to_string().contains("postgres.statement_timeout"), "{error}");
    drop(feed);
    let mut feed = timeout(BOUND, source.open()).await.expect("there is another way").unwrap();
    let mut read = 0;
    while let Some(batch) = feed.reader.next().await.unwrap() {
        read += i32::try_from(batch.events.len()).unwrap();
    }
    assert_eq!(read, events);
}

#[tokio::test]
async fn a_window_the_server_is_long_at_work_on_is_waited_for() {
    let (client, url) = fresh_outbox().await;
    client.batch_execute("select outbox.emit('jobs', 'k')").await.unwrap();
    let deadline = Duration::from_secs(2);
    let source = PostgresSource::new(postgres(&url, deadline), SourceConfig::default());
    let mut feed = source.open().await.unwrap();
    let holder = holding(&url, "outbox.events").await;
    let mut next = std::pin::pin!(feed.reader.next());
    assert!(
        timeout(deadline * 5 / 2, next.as_mut()).await.is_err(),
        "it neither fails nor ends while the table is held"
    );
    holder.batch_execute("commit").await.unwrap();
    let batch = timeout(BOUND, next).await.expect("it goes on").unwrap().unwrap();
    assert_eq!(batch.events.len(), 1);
}

#[tokio::test]
async fn migrating_takes_the_time_it_needs_and_leaves_the_limit_as_it_was() {
    let (client, url) = fresh_outbox().await;
    let database = postgres(&url, Duration::from_millis(300));
    // Another process migrates.
    client.batch_execute("select pg_advisory_lock(1869968482, -1)").await.unwrap();
    let mut migrating = database.client().await.unwrap();
    {
        let mut migrated = std::pin::pin!(sync_core::adapter::postgres::migrate(&mut migrating));
        assert!(timeout(Duration::from_millis(900), migrated.as_mut()).await.is_err(), "it waits for the other one");
        client.batch_execute("select pg_advisory_unlock(1869968482, -1)").await.unwrap();
        assert!(timeout(BOUND, migrated).await.expect("it goes on").unwrap().is_empty());
    }
    let limit = migrating.query_one("select current_setting('statement_timeout')", &[]).await.unwrap();
    assert_eq!(limit.get::<_, String>(0), "270ms");
}

/// A server that lets everybody in and then says nothing, as a pooler before a database that is gone. Tells how many
/// connections are open.
async fn doorkeeper() -> (String, watch::Receiver<usize>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("postgres://me@{}/shop?sslmode=disable", listener.local_addr().unwrap());
    let (open, told) = watch::channel(0);
    tokio::spawn(async move {
        loop {
            let (mut connection, _) = listener.accept().await.unwrap();
            let open = open.clone();
            tokio::spawn(async move {
                open.send_modify(|open| *open += 1);
                let mut room = [0; 1024];
                assert!(connection.read(&mut room).await.unwrap() > 0);
                connection.write_all(b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I").await.unwrap();
                while connection.read(&mut room).await.is_ok_and(|read| read > 0) {}
                open.send_modify(|open| *open -= 1);
            });
        }
    });
    (url, told)
}

#[tokio::test]
async fn a_connection_that_is_let_in_and_then_told_nothing_is_closed_when_it_is_given_up() {
    let (url, mut open) = doorkeeper().await;
    let config = settings(&url, BOUND).connect_timeout(Duration::from_millis(300));
    let database = Postgres::new(&config).unwrap();
    for _ in 0..3 {
        let error = timeout(BOUND, database.client()).await.expect("it is given up").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    }
    let closed = open.wait_for(|open| *open == 0);
    assert!(timeout(Duration::from_secs(5), closed).await.is_ok(), "connections nobody uses stay open");
}
