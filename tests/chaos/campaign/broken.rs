//! The campaign itself is tested: with one thing broken on purpose it must report a violation, and without that none.

mod doubles;

use std::sync::Arc;
use std::time::Duration;

use rdkafka::Message;
use sync_core::adapter::SystemClock;
use sync_core::adapter::kafka::{KafkaConfig, KafkaPublisher, KafkaSubscriber, TopicConfig};
use sync_core::adapter::postgres::{PostgresDeadLetters, PostgresSource, SourceConfig};
use sync_core::indexer::{Indexer, Parking};
use sync_core::port::{Source, Subscriber};
use sync_core::relay::Relay;
use sync_core::testkit::oracle::Violation;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{sleep, timeout};
use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;

use self::doubles::{EarlyCommits, IdSource};
use super::WRITERS;
use super::evidence::{Evidence, Junk};
use super::plan::{Mode, Wire};
use super::servers::Servers;
use super::site::{Site, Stream};
use super::workload::Workload;
use crate::chaos::kill::{INDEXES, RELAYS};
use crate::chaos::topic::Topic;
use crate::support::index_proxy::Bulks;
use crate::support::postgres::database;
use crate::support::proxy::Link;

const SEED: u64 = 7;

/// Commits that are lost: more than the numbers a standby's sequence is ahead of what it has seen.
const LOST: u64 = 100;

const BOUND: Duration = Duration::from_secs(120);

/// Whether the one thing is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Build {
    Sound,
    Broken,
}

const BOTH: [Build; 2] = [Build::Sound, Build::Broken];

async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !is_so().await {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(BOUND, waiting).await.unwrap_or_else(|_| panic!("{what} never happened"));
}

/// A sound build has no violation; a broken one has some, one of them of the kind that only this can have.
fn assert_reported(build: Build, violations: &[Violation], shows: impl Fn(&Violation) -> bool) {
    println!("{build:?}: {} violations, {:?}", violations.len(), violations.first().map(ToString::to_string));
    match build {
        Build::Sound => assert_eq!(violations, []),
        Build::Broken => assert!(violations.iter().any(shows), "{violations:?}"),
    }
}

async fn put(client: &Client, key: &str, title: &str) {
    let sql = "insert into items (id, title) values ($1, $2)
               on conflict (id) do update set title = excluded.title, revision = items.revision + 1";
    client.execute(sql, &[&key, &title]).await.unwrap();
}

/// Waits until the index holds a document of this title.
async fn until_searchable(stream: &Stream, title: &str) {
    let query = format!("title:{title}");
    let found = async || stream.sink.look(&query, 1).await.is_ok_and(|found| !found.is_empty());
    until(&query, found).await;
}

/// An index that takes whatever comes last, and a bulk that stays on its way until a later one of the same key was
/// applied.
async fn an_old_bulk_comes_late(build: Build) {
    let servers = Servers::shared().await;
    let site = Site::new(&servers, Mode::AtLeastOnce, 1, 1).await;
    if build == Build::Broken {
        servers.index.set(Bulks::Unguarded);
    }
    site.start().await;
    let workload = Workload::start(&site.url, SEED, WRITERS);
    site.indexers[0].lock().await.until_said(INDEXES, 2).await;
    let client = site.client().await;
    let items = &site.streams[0];
    put(&client, "late", "first").await;
    until_searchable(items, "first").await;
    workload.stop().await;
    site.until_settled().await;

    let held = servers.index.hold_next();
    put(&client, "late", "second").await;
    timeout(BOUND, held.reached()).await.expect("the bulk is on its way");
    put(&client, "late", "third").await;
    until_searchable(items, "third").await;
    held.release().await;
    site.until_settled().await;
    site.stop().await;
    let evidence = Evidence::of(&site, &Junk::new()).await;
    assert_reported(build, &evidence.violations, |violation| matches!(violation, Violation::Stale { .. }));
    site.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_campaign_reports_a_violation_when_the_version_guard_is_off() {
    for build in BOTH {
        an_old_bulk_comes_late(build).await;
    }
}

/// A term that never grows: whoever lost the lease cannot know.
const NO_TERMS: &str = "
create function same_term() returns trigger language plpgsql as $$
begin
    new.lease_term := old.lease_term;
    return new;
end $$;
create trigger same_term before update on outbox.subscriptions for each row execute function same_term()";

async fn a_relay_wakes_that_lost_its_lease(build: Build) {
    let servers = Servers::shared().await;
    let site = Site::new(&servers, Mode::AtLeastOnce, 2, 1).await;
    let client = site.client().await;
    if build == Build::Broken {
        client.batch_execute(NO_TERMS).await.unwrap();
    }
    let (asleep, awake) = (&site.relays[0], &site.relays[1]);
    site.indexers[0].lock().await.start();
    asleep.lock().await.start();
    asleep.lock().await.until_said(RELAYS, 1).await;
    awake.lock().await.start();
    let workload = Workload::start(&site.url, SEED, WRITERS);
    until("the relay has read", async || positions(&client).await > 10).await;

    asleep.lock().await.signal("STOP").await;
    awake.lock().await.until_said(RELAYS, 1).await;
    let before = positions(&client).await;
    until("the other goes on", async || positions(&client).await > before + 10).await;
    asleep.lock().await.signal("CONT").await;
    match build {
        Build::Sound => asleep.lock().await.until_said("standing by", 1).await,
        Build::Broken => until("a position goes back", async || goes_back(&client).await).await,
    }
    workload.stop().await;
    site.until_settled().await;
    site.stop().await;
    let evidence = Evidence::of(&site, &Junk::new()).await;
    assert_reported(build, &evidence.violations, |violation| matches!(violation, Violation::PositionWentBack { .. }));
    site.remove().await;
}

async fn positions(client: &Client) -> i64 {
    client.query_one("select count(*) from positions", &[]).await.unwrap().get(0)
}

async fn goes_back(client: &Client) -> bool {
    let sql = "select exists (select from (select done, lag(done) over (order by n) as before from positions) as one
                               where done < before)";
    client.query_one(sql, &[]).await.unwrap().get(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_campaign_reports_a_violation_when_a_relay_that_lost_its_lease_moves_the_position() {
    for build in BOTH {
        a_relay_wakes_that_lost_its_lease(build).await;
    }
}

/// After a promotion the history goes on as if nothing had happened.
const ONE_HISTORY: &str = "
alter function outbox.note_history() rename to note_true_history;
create function outbox.note_history(out epoch int, out token uuid, out verdict text) language plpgsql as $$
begin
    update outbox.history h set timeline = live.timeline from outbox.current_history() live;
    select * into epoch, token, verdict from outbox.note_true_history();
end $$";

async fn a_standby_takes_over_that_lacks_commits(build: Build) {
    let servers = Servers::shared_with_own_database().await;
    let site = Site::new(&servers, Mode::Direct, 1, 0).await;
    if build == Build::Broken {
        site.client().await.batch_execute(ONE_HISTORY).await.unwrap();
    }
    site.start().await;
    let workload = Workload::start(&site.url, SEED, WRITERS);
    let (client, items) = (site.client().await, &site.streams[0]);
    put(&client, "kept", "first").await;
    until_searchable(items, "first").await;
    workload.stop().await;
    site.until_settled().await;

    servers.cut_off().await;
    for change in 0..LOST {
        put(&client, "kept", &format!("lost-{change}")).await;
    }
    until_searchable(items, &format!("\"lost-{}\"", LOST - 1)).await;
    site.promote().await;
    site.until_settled().await;
    site.stop().await;
    let evidence = Evidence::of(&site, &Junk::new()).await;
    assert_eq!(evidence.lost, LOST);
    assert_reported(build, &evidence.violations, |violation| matches!(violation, Violation::Ahead { .. }));
    site.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_campaign_reports_a_violation_when_a_promotion_begins_no_new_epoch() {
    for build in BOTH {
        a_standby_takes_over_that_lacks_commits(build).await;
    }
}

/// As the runner would configure it.
fn kafka(servers: &Servers) -> KafkaConfig {
    let topics = TopicConfig::default().partitions(4);
    let properties = [("session.timeout.ms".to_owned(), "6000".to_owned())].into();
    KafkaConfig::new(&servers.kafka).topics(topics).properties(properties)
}

/// Waits until a message of this key is in the topic of items.
async fn until_published(site: &Site<'_>, key: &'static str) {
    let published = async || {
        let topic = Topic::at(&site.servers.kafka, &site.streams[0].topic);
        let mut found = false;
        let read = move || {
            topic.each(|message| found |= message.key() == Some(key.as_bytes()));
            found
        };
        spawn_blocking(read).await.unwrap()
    };
    until(key, published).await;
}

async fn a_transaction_commits_late(build: Build) {
    let servers = Servers::shared().await;
    let site = Site::new(&servers, Mode::AtLeastOnce, 0, 0).await;
    let inner = PostgresSource::new(database(&site.url), SourceConfig::default());
    let source: Arc<dyn Source> = match build {
        Build::Sound => Arc::new(inner),
        Build::Broken => Arc::new(IdSource { inner, url: site.url.clone() }),
    };
    let publisher = KafkaPublisher::new(&kafka(&servers)).unwrap();
    let relay = Relay::builder("search", source, Arc::new(publisher)).build();
    let shutdown = CancellationToken::new();
    let ending = shutdown.clone();
    let relaying = tokio::spawn(async move { relay.run(ending).await });

    let workload = Workload::start(&site.url, SEED, WRITERS);
    let (client, late) = (site.client().await, site.client().await);
    late.batch_execute("begin").await.unwrap();
    put(&late, "late", "x").await;
    put(&client, "meanwhile", "x").await;
    until_published(&site, "meanwhile").await;
    late.batch_execute("commit").await.unwrap();
    workload.stop().await;
    // Whoever reads in order has read everything before it by then.
    put(&client, "last", "x").await;
    until_published(&site, "last").await;
    shutdown.cancel();
    relaying.await.unwrap().unwrap();
    let evidence = Evidence::only_of_the_bus(&site).await;
    assert_reported(build, &evidence.violations, |violation| matches!(violation, Violation::Lost { .. }));
    site.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_campaign_reports_a_violation_when_the_relay_reads_by_ids() {
    for build in BOTH {
        a_transaction_commits_late(build).await;
    }
}

/// Indexes a stream inside this process until the task is aborted, which is a crash.
fn index(site: &Site<'_>, stream: &Stream, subscriber: Arc<dyn Subscriber>) -> JoinHandle<()> {
    let publisher = KafkaPublisher::new(&kafka(site.servers)).unwrap();
    let letters = Arc::new(PostgresDeadLetters::new(database(&site.url)));
    let parking = Parking::new(stream.table, &stream.topic, letters, Arc::new(SystemClock));
    let parking = parking.with_bus(Arc::new(publisher), true);
    let sink = Arc::new(site.sink(stream));
    let projection = Arc::clone(&stream.projection);
    let indexer = Indexer::builder(subscriber, projection, sink, parking).build();
    tokio::spawn(async move { indexer.run(CancellationToken::new()).await.unwrap() })
}

async fn is_done(subscriber: &dyn Subscriber) -> bool {
    // A group that is being formed has no answer yet.
    let lag = subscriber.lag().await.unwrap_or_default();
    !lag.is_empty() && lag.iter().all(|partition| partition.behind == 0)
}

async fn an_indexer_dies_between_reading_and_applying(build: Build) {
    let servers = Servers::shared().await;
    let site = Site::new(&servers, Mode::AtLeastOnce, 1, 0).await;
    let index_wire = &servers.ways(Wire::IndexerToElasticsearch)[0][0];
    site.start().await;
    let workload = Workload::start(&site.url, SEED, WRITERS);
    let client = site.client().await;
    put(&client, "first", "first").await;
    until_published(&site, "first").await;
    let subscriber = |stream: &Stream| -> Arc<dyn Subscriber> {
        Arc::new(KafkaSubscriber::new(&kafka(&servers), &stream.topic, &stream.topic, None).unwrap())
    };
    let subscribers: Vec<_> = site.streams.iter().map(subscriber).collect();
    let start = |build: Build| -> Vec<JoinHandle<()>> {
        let each = site.streams.iter().zip(&subscribers).map(|(stream, subscriber)| match build {
            Build::Sound => index(&site, stream, Arc::clone(subscriber)),
            Build::Broken => index(&site, stream, Arc::new(EarlyCommits(Arc::clone(subscriber)))),
        });
        each.collect()
    };
    let indexing = start(build);
    until_searchable(&site.streams[0], "first").await;
    workload.stop().await;
    for subscriber in &subscribers {
        until("the workload is indexed", async || is_done(subscriber.as_ref()).await).await;
    }

    index_wire.set(Link::Cut);
    put(&client, "second", "second").await;
    until_published(&site, "second").await;
    index_wire.until_withheld().await;
    if build == Build::Broken {
        until("the offset is committed", async || is_done(subscribers[0].as_ref()).await).await;
    }
    for task in indexing {
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
    }
    index_wire.set(Link::Open);
    let indexing = start(Build::Sound);
    put(&client, "third", "third").await;
    until_searchable(&site.streams[0], "third").await;
    for subscriber in &subscribers {
        until("everything is indexed", async || is_done(subscriber.as_ref()).await).await;
    }
    indexing.iter().for_each(JoinHandle::abort);
    site.stop().await;
    let evidence = Evidence::of(&site, &Junk::new()).await;
    assert_reported(build, &evidence.violations, |violation| matches!(violation, Violation::Missing { .. }));
    site.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_campaign_reports_a_violation_when_offsets_are_committed_before_they_are_applied() {
    for build in BOTH {
        an_indexer_dies_between_reading_and_applying(build).await;
    }
}
