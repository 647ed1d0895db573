//! A relay that publishes exactly once beside a broker that freezes, dies and refuses.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use rdkafka::ClientConfig;
use rdkafka::producer::{FutureProducer, FutureRecord};
use sync_core::adapter::SystemClock;
use sync_core::adapter::kafka::{KafkaTransactor, TransactorConfig, check_transactions};
use sync_core::adapter::postgres::{PostgresDeadLetters, PostgresSource, SourceConfig};
use sync_core::port::{DeadLetters, LetterSelection, Mark, Source, Transactions, Transactor};
use sync_core::relay::Relay;
use sync_core::{Error, ErrorKind};
use tokio::time::sleep;
use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;

use super::broker::Broker;
use super::{at, config, message, read, soon};
use crate::support::postgres::{connect, database, fresh_outbox};
use crate::support::servers;

/// What transactions need of a cluster of one.
const SETTINGS: &[&str] = &["transaction.state.log.replication.factor=1", "transaction.state.log.min.isr=1"];

/// Longer than a transaction may take here.
const TRANSACTION: Duration = Duration::from_millis(2_500);

fn names(topic: &str) -> TransactorConfig {
    TransactorConfig::default().positions(format!("{topic}-positions"))
}

fn mark(window: i64) -> Mark {
    Mark { window, token: "t".to_owned(), last: None, term: 1, epoch: 0, history: "h".to_owned() }
}

async fn emit(client: &Client, rounds: std::ops::Range<i32>) {
    for round in rounds {
        let keys = "array(select 'k' || n from generate_series(1, 50) n)";
        let sql = format!("select outbox.emit_many('outage', {keys}) /* {round} */");
        client.batch_execute(&sql).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_freezes_and_dies_aborts_transactions_and_every_event_still_comes_once() {
    let mut broker = tokio::task::spawn_blocking(|| Broker::start(&[], SETTINGS, &[], |_| {})).await.unwrap();
    let mut config = at(&broker.address(0));
    for (name, value) in [("transaction.timeout.ms", "2000"), ("socket.timeout.ms", "1000")] {
        config.properties.insert(name.to_owned(), value.to_owned());
    }
    let (client, url) = fresh_outbox().await;
    let source = Arc::new(PostgresSource::new(database(&url), SourceConfig::default().batch_events(20)));
    let transactor = Arc::new(KafkaTransactor::new(&config, names("outage")).unwrap());
    let relay = Relay::exactly_once("search", Arc::<PostgresSource>::clone(&source), transactor).build();
    let shutdown = CancellationToken::new();
    let writing = async {
        for round in 0..6 {
            let writer = connect(&url).await;
            let writing = tokio::spawn(async move { emit(&writer, 0..30).await });
            sleep(Duration::from_millis(150 * (round % 3))).await;
            if round % 2 == 0 {
                let frozen = broker.freeze();
                sleep(TRANSACTION).await;
                drop(frozen);
            } else {
                tokio::task::block_in_place(|| {
                    broker.kill();
                    broker.run();
                });
            }
            writing.await.unwrap();
        }
        while source.lag().await.unwrap().events > 0 {
            sleep(Duration::from_millis(50)).await;
        }
        shutdown.cancel();
    };
    let (outcome, ()) = soon(async { tokio::join!(relay.run(shutdown.clone()), writing) }).await;
    outcome.unwrap();

    let rows = client.query("select key, id from outbox.events order by id", &[]).await.unwrap();
    let mut committed: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in &rows {
        committed.entry(row.get(0)).or_default().push(row.get::<_, i64>(1).to_string());
    }
    assert_eq!(rows.len(), 6 * 30 * 50);
    // One more behind them all, so that a repeat would be seen.
    let mut behind = KafkaTransactor::new(&config, names("outage")).unwrap().begin("behind").await.unwrap();
    let last: Vec<_> = committed.keys().map(|key| message("outage", key, "last")).collect();
    soon(behind.publish(last, &mark(1))).await.unwrap();
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for message in read(&config, "outage", rows.len() + committed.len()).await {
        if message.value.as_deref() != Some(b"last") {
            let key = String::from_utf8(message.key.unwrap().to_vec()).unwrap();
            let (_, id) = message.headers.iter().find(|(name, _)| name == "id").unwrap();
            found.entry(key).or_default().push(String::from_utf8(id.to_vec()).unwrap());
        }
    }
    assert!(found == committed, "not each event once and in order");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_stored_is_refused_by_name_and_nothing_beside_it_is_stored() {
    let topic = servers::unique("refused");
    let transactor = KafkaTransactor::new(&config(), names(&topic)).unwrap();
    let name = format!("{topic}/search");
    let mut transactions = soon(transactor.begin(&name)).await.unwrap();
    soon(transactions.publish(vec![message(&topic, "job", 1)], &mark(1))).await.unwrap();

    let large = message(&topic, "large", "x".repeat(2 << 20));
    let error = soon(transactions.publish(vec![message(&topic, "job", 2), large], &mark(2))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
    assert!(error.to_string().contains("large"), "{error}");
    let mut transactions = soon(transactor.begin(&name)).await.unwrap();
    assert_eq!(transactions.mark().await.unwrap(), Some(mark(1)));

    let fixed = config().topics(config().topics.create(false));
    let careful = KafkaTransactor::new(&fixed, names(&topic)).unwrap();
    let mut transactions = soon(careful.begin(&name)).await.unwrap();
    let absent = vec![message(&topic, "job", 2), message(&servers::unique("absent"), "job", 2)];
    let error = soon(transactions.publish(absent, &mark(2))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");

    let mut transactions = soon(transactor.begin(&name)).await.unwrap();
    soon(transactions.publish(vec![message(&topic, "job", 3)], &mark(3))).await.unwrap();
    let values: Vec<_> = read(&config(), &topic, 2).await.into_iter().map(|message| message.value.unwrap()).collect();
    assert_eq!(values, ["1", "3"]);
}

/// Counts how often somebody began.
#[derive(Debug)]
struct Counting {
    inner: KafkaTransactor,
    begun: AtomicUsize,
}

#[async_trait]
impl Transactor for Counting {
    async fn begin(&self, name: &str) -> Result<Box<dyn Transactions>, Error> {
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.inner.begin(name).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_with_events_too_large_for_their_topic_is_published_in_one_session() {
    let topic = servers::unique("oversized");
    let (client, url) = fresh_outbox().await;
    // Of 400, every twentieth is larger than its topic takes.
    let sql = "select outbox.emit($1, 'k' || n % 30, 'INDEX', \
                    to_jsonb(n || case when n % 20 = 7 then repeat('x', 1200000) else '' end)) \
                 from generate_series(1, 400) n";
    client.execute(sql, &[&topic]).await.unwrap();
    let config_of_source = SourceConfig::default().batch_events(50);
    let source = Arc::new(PostgresSource::new(database(&url), config_of_source));
    let inner = KafkaTransactor::new(&config(), names(&topic)).unwrap();
    let transactor = Arc::new(Counting { inner, begun: AtomicUsize::new(0) });
    let letters = Arc::new(PostgresDeadLetters::new(database(&url)));
    let relay =
        Relay::exactly_once("search", Arc::<PostgresSource>::clone(&source), Arc::<Counting>::clone(&transactor));
    let parking: Arc<PostgresDeadLetters> = Arc::clone(&letters);
    let relay = relay.dead_letters(parking, Arc::new(SystemClock)).build();
    let shutdown = CancellationToken::new();
    let until = async {
        while relay.progress().counts().published < 380 || source.lag().await.unwrap().events > 0 {
            sleep(Duration::from_millis(50)).await;
        }
        shutdown.cancel();
    };
    let (outcome, ()) = soon(async { tokio::join!(relay.run(shutdown.clone()), until) }).await;
    outcome.unwrap();
    assert_eq!(transactor.begun.load(Ordering::Relaxed), 1);
    let wanted = async |condition: &str| -> Vec<i64> {
        let sql = format!("select id from outbox.events where {condition} order by id");
        client.query(&sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
    };
    let kept = letters.list(&LetterSelection::default(), 0, 1_000).await.unwrap();
    let parked: Vec<_> = kept.iter().map(|kept| kept.letter.event.unwrap()).collect();
    assert_eq!((parked.len(), &parked), (20, &wanted("length(payload::text) > 1000000").await));
    let counts = relay.progress().counts();
    assert_eq!((counts.published, counts.parked), (380, 20));
    let mut seen: Vec<i64> = Vec::new();
    for message in read(&config(), &topic, 380).await {
        let (_, id) = message.headers.iter().find(|(name, _)| name == "id").unwrap();
        seen.push(std::str::from_utf8(id).unwrap().parse().unwrap());
    }
    seen.sort_unstable();
    assert_eq!(seen, wanted("length(payload::text) < 1000").await, "each once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_would_forget_positions_and_a_record_that_is_none_are_refused_with_the_mend() {
    let topic = servers::unique("positions");
    let names = TransactorConfig::default().positions(&topic);
    let report = soon(check_transactions(&config(), &names)).await.unwrap();
    assert_eq!((report.has_positions, report.id.as_str()), (false, "sync/check"));
    let transactor = KafkaTransactor::new(&config(), names.clone()).unwrap();
    let mut transactions = soon(transactor.begin("search")).await.unwrap();
    soon(transactions.publish(Vec::new(), &mark(1))).await.unwrap();
    assert!(soon(check_transactions(&config(), &names)).await.unwrap().has_positions);

    let producer: FutureProducer = ClientConfig::new().set("bootstrap.servers", servers::kafka()).create().unwrap();
    let record = FutureRecord::to(&topic).key("sync/search").payload("nonsense");
    producer.send(record, Duration::from_secs(30)).await.unwrap();
    let error = soon(transactions.mark()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
    assert!(error.to_string().contains("tombstone"), "{error}");
    let tombstone: FutureRecord<'_, str, str> = FutureRecord::to(&topic).key("sync/search");
    producer.send(tombstone, Duration::from_secs(30)).await.unwrap();
    assert_eq!(soon(transactions.mark()).await.unwrap(), None);

    let forgetful = servers::unique("forgetful");
    super::publish(
        &sync_core::adapter::kafka::KafkaPublisher::new(&config()).unwrap(),
        vec![message(&forgetful, "a", 1)],
    )
    .await;
    let names = TransactorConfig::default().positions(forgetful);
    let error = soon(check_transactions(&config(), &names)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
    assert!(error.to_string().contains("compact"), "{error}");
    let error = soon(KafkaTransactor::new(&config(), names).unwrap().begin("search")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_position_is_found_behind_thousands_of_others_and_behind_an_open_transaction() {
    let topic = servers::unique("many");
    let names = TransactorConfig::default().positions(&topic);
    let transactor = KafkaTransactor::new(&config(), names).unwrap();
    let mut ours = soon(transactor.begin("ours")).await.unwrap();
    soon(ours.publish(Vec::new(), &mark(7))).await.unwrap();
    let producer: FutureProducer = ClientConfig::new().set("bootstrap.servers", servers::kafka()).create().unwrap();
    let others = (0..3_000).map(|number| {
        let record = (format!("other {number}"), number.to_string());
        let producer = &producer;
        let topic = &topic;
        async move {
            let record = FutureRecord::to(topic).key(&record.0).payload(&record.1);
            producer.send(record, Duration::from_secs(30)).await.unwrap();
        }
    });
    soon(futures::future::join_all(others)).await;
    assert_eq!(soon(ours.mark()).await.unwrap(), Some(mark(7)));

    // Another's transaction, left open by a process that died; what is behind it must not be missed.
    use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
    let open: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", servers::kafka())
        .set("transactional.id", servers::unique("open"))
        .set("transaction.timeout.ms", "4000")
        .create()
        .unwrap();
    let hold = topic.clone();
    let open = tokio::task::spawn_blocking(move || {
        open.init_transactions(Duration::from_secs(30)).unwrap();
        open.begin_transaction().unwrap();
        open.send(BaseRecord::to(&hold).partition(0).key("another").payload("{}")).unwrap();
        open.flush(Duration::from_secs(30)).unwrap();
        open
    });
    let open = open.await.unwrap();
    soon(ours.publish(Vec::new(), &mark(8))).await.unwrap();
    let mut next = soon(transactor.begin("ours")).await.unwrap();
    assert_eq!(soon(next.mark()).await.unwrap(), Some(mark(8)));
    drop(open);
}
