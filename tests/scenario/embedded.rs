//! All of it in one process of a service, without a broker.

use std::io::ErrorKind::NotFound;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use sync_core::adapter::elasticsearch::{ElasticsearchConfig, ElasticsearchSink, IndexConfig};
use sync_core::adapter::local_index::{LocalDirectory, LocalIndexConfig, LocalSink};
use sync_core::adapter::memory::MemorySink;
use sync_core::adapter::postgres::{PostgresDeadLetters, PostgresProjection, ProjectionConfig, SourceConfig, migrate};
use sync_core::indexer::IndexerConfig;
use sync_core::pipeline::Pipeline;
use sync_core::policy::RetryPolicy;
use sync_core::port::{DeadLetters, Inventory, LetterSelection, Sink};
use sync_core::repair::{BackfillConfig, BackfillEnd, ReconcileConfig, ReconcileEnd, ReconcileScope};
use sync_core::testkit::ElasticsearchScratch;
use sync_core::testkit::faults::{Fault, Faulty, Hold, Script};
use sync_core::{Error, ErrorKind};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;

use crate::support::postgres::{database, fresh_database, fresh_outbox};
use crate::support::proxy::{Link, Proxy};

const BOUND: Duration = Duration::from_secs(60);

const BOOKS: &str = "create table public.books (isbn text primary key, title text)";

const WATCH: &str = "select outbox.watch('public.books', 'books')";

/// A service with a table, and an index that outlives its processes.
struct Service {
    url: String,
    client: Client,
    index: MemorySink,
    writing: Script,
}

impl Service {
    async fn new() -> Self {
        let service = Self::of(fresh_outbox().await);
        service.client.batch_execute(BOOKS).await.unwrap();
        service.client.batch_execute(WATCH).await.unwrap();
        service
    }

    fn of((client, url): (Client, String)) -> Self {
        Self { url, client, index: MemorySink::new(), writing: Script::default() }
    }

    /// As each of its processes makes one.
    fn pipeline(&self, process: &str) -> Arc<Pipeline> {
        self.pipeline_into(process, Faulty::new(self.index.clone(), self.writing.clone()))
    }

    fn pipeline_into(&self, process: &str, sink: impl Inventory) -> Arc<Pipeline> {
        let sql = "select isbn as key, to_jsonb(books) as document from public.books";
        let database = database(&self.url);
        let rows = PostgresProjection::new(database.clone(), ProjectionConfig::new("books", "books", sql));
        let retries = RetryPolicy::new(3, Duration::from_millis(200), 2);
        let pipeline = Pipeline::builder(&database)
            .compared_index_of("books", "books", Arc::new(rows), Arc::new(sink))
            .source(SourceConfig::default().holder(process).lease(Duration::from_secs(2)))
            .indexer(IndexerConfig::default().retries(retries));
        Arc::new(pipeline.build().unwrap())
    }

    async fn write(&self, isbns: std::ops::RangeInclusive<u32>) {
        let (first, last) = (isbns.start(), isbns.end());
        let sql =
            format!("insert into public.books select n::text, 'book ' || n from generate_series({first}, {last}) n");
        self.client.batch_execute(&sql).await.unwrap();
    }

    async fn until_indexed(&self, documents: u64) {
        let counted = async {
            while self.index.count().await.unwrap() != documents {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(BOUND, counted).await.expect("the documents come into the index");
    }

    async fn parked(&self) -> u64 {
        PostgresDeadLetters::new(database(&self.url)).count(&LetterSelection::default()).await.unwrap().letters
    }
}

fn run(pipeline: &Arc<Pipeline>) -> (CancellationToken, JoinHandle<Result<(), Error>>) {
    let (shutdown, pipeline) = (CancellationToken::new(), Arc::clone(pipeline));
    (shutdown.clone(), tokio::spawn(async move { pipeline.run(shutdown).await }))
}

async fn end((shutdown, running): (CancellationToken, JoinHandle<Result<(), Error>>)) {
    shutdown.cancel();
    timeout(BOUND, running).await.expect("it ends in order").unwrap().unwrap();
}

#[tokio::test]
async fn of_two_processes_one_is_at_work_and_the_other_takes_over_when_it_dies() {
    let service = Service::new().await;
    let [first, second] = ["first", "second"].map(|process| service.pipeline(process));
    let at_work = run(&first);
    service.write(1..=20).await;
    service.until_indexed(20).await;
    let standing_by = run(&second);
    service.write(21..=40).await;
    service.until_indexed(40).await;
    assert_eq!(second.relay().counts().published, 0, "it stands by");

    at_work.1.abort();
    service.write(41..=60).await;
    service.until_indexed(60).await;
    let counted = async {
        while second.relay().counts().published < 20 {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(BOUND, counted).await.expect("it was the other one");
    end(standing_by).await;
}

#[tokio::test]
async fn a_process_that_is_told_to_stop_gives_back_what_it_holds_and_the_next_one_goes_on() {
    let service = Service::new().await;
    for (process, documents) in [("first", 10), ("second", 20), ("third", 30)] {
        let running = run(&service.pipeline(process));
        service.write(documents - 9..=documents).await;
        service.until_indexed(u64::from(documents)).await;
        end(running).await;
        let sql = "select lease_holder is null from outbox.subscriptions where name = 'search'";
        assert!(service.client.query_one(sql, &[]).await.unwrap().get::<_, bool>(0), "{process} keeps its lease");
    }
}

#[tokio::test]
async fn what_fails_for_an_unknown_reason_is_tried_again_without_a_broker_and_what_is_refused_is_parked() {
    let service = Service::new().await;
    let pipeline = service.pipeline("first");
    let running = run(&pipeline);
    service.write(1..=1).await;
    service.until_indexed(1).await;

    service.writing.then([Fault::Fail(ErrorKind::Unexplained), Fault::Fail(ErrorKind::Unexplained)]);
    service.write(2..=2).await;
    service.until_indexed(2).await;
    assert!(service.writing.is_used_up());
    let retried: u64 = pipeline.indexers("books").map(|indexer| indexer.counts().retried).sum();
    assert_eq!((retried, service.parked().await), (2, 0));

    service.writing.then([Fault::Fail(ErrorKind::Refused)]);
    service.write(3..=3).await;
    let parked = async {
        while service.parked().await == 0 {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(BOUND, parked).await.expect("what is refused is parked");
    service.write(4..=4).await;
    service.until_indexed(3).await;
    assert_eq!(pipeline.lag().await.unwrap().events, 0, "a dead letter holds up nobody");
    end(running).await;
}

#[tokio::test]
async fn rows_of_before_are_filled_in_and_what_differs_is_mended_by_the_pipeline_itself() {
    let service = Service::new().await;
    service.client.batch_execute("select outbox.unwatch('public.books')").await.unwrap();
    service.write(1..=30).await;
    service.client.batch_execute(WATCH).await.unwrap();
    let pipeline = service.pipeline("first");
    let (running, never) = (run(&pipeline), CancellationToken::new());

    let backfill = pipeline.backfill("books", BackfillConfig::default()).unwrap();
    assert_eq!(backfill.run(never.clone()).await.unwrap(), BackfillEnd::Finished);
    assert_eq!(service.index.count().await.unwrap(), 30);

    service.index.forget("7");
    let config = ReconcileConfig::default().grace(Duration::ZERO);
    let reconcile = pipeline.reconcile("books", config).unwrap();
    let scope = ReconcileScope::default().deep(true);
    assert_eq!(reconcile.run(&scope, never).await.unwrap(), ReconcileEnd::Finished);
    assert_eq!(reconcile.progress().counts().fixed, 1);
    service.until_indexed(30).await;

    let error = pipeline.backfill("films", BackfillConfig::default()).unwrap_err();
    assert!(error.to_string().contains("no index \"films\", but books"), "{error}");
    end(running).await;
}

#[tokio::test]
async fn of_two_backfills_of_one_index_in_a_process_the_second_leaves_the_first_alone() {
    let service = Service::new().await;
    service.write(1..=30).await;
    let (pipeline, never, held) = (service.pipeline("first"), CancellationToken::new(), Hold::default());
    service.writing.then([Fault::Hold(held.clone())]);
    let backfill = || pipeline.backfill("books", BackfillConfig::default()).unwrap();
    let first = backfill();
    let (first, ()) = tokio::join!(first.run(never.clone()), async {
        held.reached().await;
        let second = timeout(Duration::from_secs(1), backfill().run(never.clone())).await;
        assert!(second.is_err(), "it waits as long as the first one is at work");
        held.release();
    });
    assert_eq!(first.unwrap(), BackfillEnd::Finished);
    assert_eq!(service.index.count().await.unwrap(), 30);
}

#[tokio::test]
async fn a_migration_that_was_given_up_keeps_nobody_from_migrating() {
    let (other, url) = fresh_database().await;
    // As the outbox's migrations have it.
    let lock = "1869968482, -1";
    other.batch_execute(&format!("select pg_advisory_lock({lock})")).await.unwrap();
    let given_up = database(&url);
    assert!(timeout(Duration::from_millis(500), given_up.migrate()).await.is_err(), "it waits for the other one");
    other.batch_execute(&format!("select pg_advisory_unlock({lock})")).await.unwrap();
    let applied = timeout(BOUND, database(&url).migrate()).await.expect("nobody keeps the lock").unwrap();
    assert!(!applied.is_empty());
    assert_eq!(given_up.migrate().await.unwrap(), [""; 0]);
}

#[tokio::test]
async fn a_pipeline_whose_schema_is_missing_says_so_and_runs_once_it_is_there() {
    let mut service = Service::of(fresh_database().await);
    let pipeline = service.pipeline("first");
    let error = timeout(BOUND, run(&pipeline).1).await.expect("it does not wait for a person").unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");

    migrate(&mut service.client).await.unwrap();
    service.client.batch_execute(BOOKS).await.unwrap();
    service.client.batch_execute(WATCH).await.unwrap();
    let running = run(&pipeline);
    service.write(1..=5).await;
    service.until_indexed(5).await;
    end(running).await;
}

/// Deletes the index of a pipeline at work, and wants the changes of then in the new one at once, and all of it after a backfill.
async fn deleted_at_work(index: impl Inventory, seen: &dyn Sink, delete: impl Fn()) {
    let service = Service::new().await;
    let pipeline = service.pipeline_into("first", index);
    let running = run(&pipeline);
    let until = async |documents: u64| {
        let counted = async {
            while seen.count().await.ok() != Some(documents) {
                sleep(Duration::from_millis(50)).await;
            }
        };
        if timeout(BOUND, counted).await.is_err() {
            panic!("{documents} documents do not come into the index, but {:?}", seen.count().await);
        }
    };
    service.write(1..=20).await;
    until(20).await;
    delete();
    service.write(21..=30).await;
    until(10).await;
    // For as long as nobody looks at the history.
    sleep(Duration::from_secs(6)).await;
    service.write(31..=40).await;
    until(20).await;
    let backfill = pipeline.backfill("books", BackfillConfig::default()).unwrap();
    assert_eq!(backfill.run(CancellationToken::new()).await.unwrap(), BackfillEnd::Finished);
    until(40).await;
    assert_eq!(service.parked().await, 0);
    end(running).await;
}

const MAPPING: &str = r#"{"mappings":{"properties":{"isbn":{"type":"keyword"},"title":{"type":"text"}}}}"#;

#[tokio::test]
async fn a_directory_that_is_deleted_at_work_is_made_again_and_filled_by_a_backfill() {
    let files = tempfile::TempDir::new().unwrap();
    let path = files.path().join("indexes");
    let sink = LocalSink::new(&LocalDirectory::new(&path), LocalIndexConfig::new("books", MAPPING)).unwrap();
    // It is written to meanwhile.
    let delete = || while std::fs::remove_dir_all(&path).is_err_and(|error| error.kind() != NotFound) {};
    deleted_at_work(sink.clone(), &sink, delete).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_of_elasticsearch_that_is_deleted_at_work_is_made_again_and_filled_by_a_backfill() {
    let scratch = ElasticsearchScratch::new();
    let alias = scratch.name("books");
    let sink = || {
        let config = IndexConfig::new("books", MAPPING).alias(&alias);
        ElasticsearchSink::new(&ElasticsearchConfig::new([scratch.url()]), config).unwrap()
    };
    deleted_at_work(sink(), &sink(), || {
        assert_eq!(scratch.request("DELETE", &format!("/{alias}-000001"), "").0, 200);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_and_its_repairs_end_soon_when_they_are_told_to_while_the_database_says_nothing() {
    let mut service = Service::new().await;
    service.write(1..=2_000).await;
    let proxy = Proxy::to_database(&service.url).await;
    service.url = proxy.url(&service.url);
    let pipeline = service.pipeline("first");
    let (shutdown, running) = run(&pipeline);
    service.until_indexed(2_000).await;
    let slowly = NonZeroU32::new(50);
    let backfill = pipeline.backfill("books", BackfillConfig::default().per_second(slowly)).unwrap();
    let reconcile = pipeline.reconcile("books", ReconcileConfig::default().per_second(slowly)).unwrap();
    let scope = ReconcileScope::default();
    let told = async {
        while backfill.progress().counts().rows == 0 || reconcile.progress().counts().compared == 0 {
            sleep(Duration::from_millis(20)).await;
        }
        proxy.set(Link::Silent);
        // So that what is recorded once a second is under way.
        sleep(Duration::from_secs(2)).await;
        shutdown.cancel();
    };
    let repairs = async { tokio::join!(backfill.run(shutdown.clone()), reconcile.run(&scope, shutdown.clone()), told) };
    let (filled, compared, ()) = timeout(BOUND, repairs).await.expect("the repairs end");
    assert_eq!((filled.unwrap(), compared.unwrap()), (BackfillEnd::Stopped, ReconcileEnd::Stopped));
    timeout(BOUND, running).await.expect("the pipeline ends").unwrap().unwrap();
}
