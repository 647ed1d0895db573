//! Retry topics on both buses, between a database and an index in memory.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use futures::future::try_join_all;
use sync_core::adapter::SystemClock;
use sync_core::adapter::direct::DirectBus;
use sync_core::adapter::kafka::{KafkaConfig, KafkaPublisher, KafkaSubscriber, TopicConfig};
use sync_core::adapter::memory::{MemoryDatabase, MemoryDeadLetters, MemorySink};
use sync_core::indexer::{Indexer, IndexerConfig, Parking};
use sync_core::policy::{RetryPolicy, dead_letter_topic, retry_topic};
use sync_core::port::{
    Acknowledgement, DeadLetters, History, KeptLetter, LetterSelection, Outcome, Polled, Publisher, Sink, Stored,
    Subscriber, Write,
};
use sync_core::testkit::faults::{Fault, Faulty, Script};
use sync_core::{Action, Encoding, Error, ErrorKind, Event, Outgoing};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::support::pipeline::Way;
use crate::support::runner::Deployment;
use crate::support::servers;

/// Soon enough to wait for.
const SOON: RetryPolicy = RetryPolicy::new(3, Duration::from_millis(300), 2);

/// Late enough that much can be done before, on a slow machine too.
const LATE: RetryPolicy = RetryPolicy::new(2, Duration::from_secs(8), 2);

const BOUND: Duration = Duration::from_secs(120);

struct Bench {
    way: Way,
    retries: RetryPolicy,
    topic: String,
    database: MemoryDatabase,
    index: MemorySink,
    writing: Script,
    letters: MemoryDeadLetters,
    publisher: Arc<dyn Publisher>,
    /// Makes more of them: each wants one caller at a time.
    publishers: Box<dyn Fn() -> Arc<dyn Publisher>>,
    subscribers: Vec<Arc<dyn Subscriber>>,
}

fn kafka() -> KafkaConfig {
    let topics = TopicConfig::default().partitions(1);
    KafkaConfig::new(servers::kafka()).topics(topics)
}

/// An index that never takes some keys and never says why.
#[derive(Debug)]
struct Moody(MemorySink);

#[async_trait]
impl Sink for Moody {
    async fn prepare(&self) -> Result<(), Error> {
        self.0.prepare().await
    }

    async fn history(&self) -> Result<Option<History>, Error> {
        self.0.history().await
    }

    async fn record(&self, history: &History) -> Result<(), Error> {
        self.0.record(history).await
    }

    async fn apply(&self, writes: &[Write]) -> Result<Vec<Outcome>, Error> {
        let hopeless = |write: &Write| write.key.starts_with("hopeless");
        let hopes: Vec<_> = writes.iter().filter(|write| !hopeless(write)).cloned().collect();
        let mut applied = self.0.apply(&hopes).await?.into_iter();
        let mut outcome = |write: &Write| match hopeless(write) {
            true => Outcome::Failed(Error::new(ErrorKind::Unexplained, "it does not like it")),
            false => applied.next().unwrap(),
        };
        Ok(writes.iter().map(&mut outcome).collect())
    }

    async fn fetch(&self, keys: &[String]) -> Result<Vec<Option<Stored>>, Error> {
        self.0.fetch(keys).await
    }

    async fn count(&self) -> Result<u64, Error> {
        self.0.count().await
    }
}

impl Bench {
    fn new(way: Way, retries: RetryPolicy) -> Self {
        let topic = servers::unique("retries");
        let waiting = retries.delays().into_iter().map(|delay| retry_topic(&topic, delay));
        let topics: Vec<_> = std::iter::once(topic.clone()).chain(waiting).collect();
        let (publishers, subscribers): (Box<dyn Fn() -> _>, Vec<_>) = match way {
            Way::Kafka => {
                let config = kafka();
                let subscriber = |topic: &String| -> Arc<dyn Subscriber> {
                    Arc::new(KafkaSubscriber::new(&config, topic, topic, None).unwrap())
                };
                let subscribers = topics.iter().map(subscriber).collect();
                (
                    Box::new(move || -> Arc<dyn Publisher> { Arc::new(KafkaPublisher::new(&config).unwrap()) }),
                    subscribers,
                )
            }
            Way::Direct => {
                let bus = DirectBus::new(topics.iter().map(String::as_str), 1_000, 1);
                let subscriber = |topic: &String| -> Arc<dyn Subscriber> { Arc::new(bus.subscriber(topic).unwrap()) };
                let subscribers = topics.iter().map(subscriber).collect();
                (Box::new(move || -> Arc<dyn Publisher> { Arc::new(bus.clone()) }), subscribers)
            }
        };
        Self {
            way,
            retries,
            topic,
            database: MemoryDatabase::default(),
            index: MemorySink::new(),
            writing: Script::default(),
            letters: MemoryDeadLetters::new(),
            publisher: publishers(),
            publishers,
            subscribers,
        }
    }

    /// Changes a row and publishes its event, alone.
    async fn put(&self, key: &str) -> Acknowledgement {
        self.put_all([key]).await
    }

    /// Changes rows and publishes their events together.
    async fn put_all<K: AsRef<str>>(&self, keys: impl IntoIterator<Item = K>) -> Acknowledgement {
        let mut transaction = self.database.begin(&self.topic);
        let change = |key: K| {
            transaction.put(key.as_ref(), "{}");
            let event = Event {
                id: 42,
                topic: self.topic.clone(),
                key: key.as_ref().to_owned(),
                version: 1,
                action: Action::Index,
                payload: None,
                headers: Vec::new(),
                created_at: jiff::Timestamp::UNIX_EPOCH,
            };
            event.into_message(0, &Encoding::Standard)
        };
        let messages = keys.into_iter().map(change).collect();
        transaction.commit();
        self.publisher.publish(messages).await.unwrap()
    }

    async fn until_indexed(&self, key: &str) {
        while self.index.fetch(&[key.to_owned()]).await.unwrap()[0].is_none() {
            sleep(Duration::from_millis(5)).await;
        }
    }

    async fn letters(&self) -> Vec<KeptLetter> {
        self.letters.list(&LetterSelection::default(), 0, 100).await.unwrap()
    }

    async fn behind(&self, place: usize) -> u64 {
        self.subscribers[place].lag().await.unwrap().iter().map(|lag| lag.behind).sum()
    }

    async fn beside(&self, work: impl Future<Output = ()>) {
        let config = IndexerConfig::default().retries(self.retries);
        let indexer = |subscriber: &Arc<dyn Subscriber>| {
            let sink = Arc::new(Faulty::new(Moody(self.index.clone()), self.writing.clone()));
            let database = Arc::new(self.database.clone());
            let parking = Parking::new("jobs", &self.topic, Arc::new(self.letters.clone()), Arc::new(SystemClock));
            let parking = parking.with_bus((self.publishers)(), matches!(self.way, Way::Kafka));
            Indexer::builder(Arc::clone(subscriber), database, sink, parking).config(config).build()
        };
        let indexers: Vec<_> = self.subscribers.iter().map(indexer).collect();
        let shutdown = CancellationToken::new();
        let work = async {
            work.await;
            shutdown.cancel();
        };
        let running = try_join_all(indexers.iter().map(|indexer| indexer.run(shutdown.clone())));
        let (outcome, ()) =
            timeout(BOUND, futures::future::join(running, work)).await.expect("what the test waits for comes");
        outcome.unwrap();
    }
}

/// More batches of which a part waits than may be on their way to the index at a time.
const ODD: [&str; 3] = ["odd", "odder", "oddest"];

async fn what_fails_waits_aside(way: Way) {
    let bench = Bench::new(way, LATE);
    let began = Instant::now();
    let work = async {
        let (mut waiting, mut failed) = (Vec::new(), None);
        for key in ODD {
            bench.writing.then([Fault::Fail(ErrorKind::Unexplained)]);
            waiting.push(bench.put(key).await);
            while !bench.writing.is_used_up() {
                sleep(Duration::from_millis(5)).await;
            }
            failed.get_or_insert_with(Instant::now);
        }
        for number in 0..20 {
            drop(bench.put(&format!("k{number}")).await);
            bench.until_indexed(&format!("k{number}")).await;
        }
        assert!(failed.is_some_and(|failed| failed.elapsed() < LATE.first), "the others waited");
        if matches!(way, Way::Direct) {
            let acknowledged = waiting.iter_mut().find_map(|acknowledgement| acknowledgement.now_or_never());
            assert!(acknowledged.is_none(), "the outbox would pass what only memory holds");
        }
        for (key, acknowledgement) in ODD.into_iter().zip(waiting) {
            bench.until_indexed(key).await;
            assert!(began.elapsed() > LATE.first, "it was tried again too soon");
            acknowledgement.await.unwrap();
        }
    };
    bench.beside(work).await;
    assert_eq!(bench.letters().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_can_explain_waits_in_a_retry_topic_while_others_go_on() {
    what_fails_waits_aside(Way::Kafka).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_can_explain_waits_aside_without_a_broker_too() {
    what_fails_waits_aside(Way::Direct).await;
}

async fn what_fails_three_times_is_parked(way: Way) -> (Bench, KeptLetter) {
    let bench = Bench::new(way, SOON);
    bench.writing.then([ErrorKind::Unexplained; 3].map(Fault::Fail));
    let odd = bench.put("odd").await;
    bench
        .beside(async {
            odd.await.unwrap();
            while bench.letters().await.is_empty() || bench.behind(2).await > 0 {
                sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    let kept = bench.letters().await.remove(0);
    let letter = &kept.letter;
    assert_eq!((letter.key.as_deref(), letter.event, letter.attempts), (Some("odd"), Some(42), 3));
    assert_eq!((letter.error_kind.as_str(), &letter.origin.topic), ("unexplained", &bench.topic));
    (bench, kept)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_in_both_retry_topics_is_parked_and_copied_to_the_dead_letter_topic() {
    let (bench, kept) = what_fails_three_times_is_parked(Way::Kafka).await;
    let topic = dead_letter_topic(&bench.topic);
    let mut consumer = KafkaSubscriber::new(&kafka(), &topic, &topic, None).unwrap().subscribe().await.unwrap();
    let copy = loop {
        if let Polled::Messages(messages) = consumer.poll().await.unwrap() {
            break messages.into_iter().next().unwrap();
        }
    };
    assert_eq!(copy.key.as_deref(), Some(b"odd".as_slice()));
    let header = |name: &str| {
        let value = &copy.headers.iter().find(|(header, _)| header == name).unwrap().1;
        String::from_utf8(value.to_vec()).unwrap()
    };
    let origin = &kept.letter.origin;
    assert_eq!(header("origin-topic"), origin.topic);
    assert_eq!(header("origin-partition"), origin.partition.to_string());
    assert_eq!(header("origin-offset"), origin.offset.to_string());
    assert_eq!(
        (header("id"), header("retry-attempts"), header("retry-reader")),
        ("42".into(), "3".into(), "jobs".into())
    );
    assert_eq!((header("error-kind"), header("error")), ("unexplained".into(), kept.letter.error));
    consumer.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_three_times_is_parked_without_a_broker_too() {
    what_fails_three_times_is_parked(Way::Direct).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_waits_in_kafka_outlives_the_process() {
    let bench = Bench::new(Way::Kafka, LATE);
    bench.writing.then([Fault::Fail(ErrorKind::Unexplained)]);
    bench.put("odd").await.await.unwrap();
    bench
        .beside(async {
            while bench.behind(1).await == 0 || bench.behind(0).await > 0 {
                sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    assert!(bench.index.fetch(&["odd".to_owned()]).await.unwrap()[0].is_none());
    bench.beside(bench.until_indexed("odd")).await;
}

/// In a retry topic are only those that failed before, so a batch of which nothing is taken is nothing special there.
async fn many_that_fail_together_are_parked(way: Way) {
    let bench = Bench::new(way, SOON);
    let work = async {
        let hopeless = (0..40).map(|number| format!("hopeless-{number}"));
        let good = (0..40).map(|number| format!("good-{number}"));
        let stored = bench.put_all(hopeless.chain(good)).await;
        while bench.letters().await.len() < 40 {
            sleep(Duration::from_millis(20)).await;
        }
        stored.await.unwrap();
        for place in 0..bench.subscribers.len() {
            while bench.behind(place).await > 0 {
                sleep(Duration::from_millis(20)).await;
            }
        }
    };
    timeout(BOUND, bench.beside(work)).await.expect("nothing stops");
    assert_eq!(bench.index.count().await.unwrap(), 40);
    let letters = bench.letters().await;
    assert_eq!(letters.len(), 40);
    assert!(letters.iter().all(|kept| kept.letter.attempts == 3 && kept.letter.error_kind == "unexplained"));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_that_fail_together_are_parked_one_by_one_and_stop_no_retry_topic() {
    many_that_fail_together_are_parked(Way::Kafka).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_that_fail_together_are_parked_one_by_one_without_a_broker_too() {
    many_that_fail_together_are_parked(Way::Direct).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_in_a_retry_topic_of_earlier_settings_is_worked_off() {
    let deployment = Deployment::new(Way::Kafka).await;
    let domain = &deployment.domain;
    domain.execute("begin; insert into jobs (title) values ('waiting'); delete from outbox.events; commit").await;
    let key: String = domain.client.query_one("select id::text from jobs", &[]).await.unwrap().get(0);
    let headers = [("retry-reader", "jobs"), ("retry-attempts", "1"), ("retry-due", "0")];
    let waiting = Outgoing {
        topic: retry_topic(&domain.topic, Duration::from_millis(300)),
        key,
        value: Some("{}".to_owned()),
        headers: headers.map(|(name, value)| (name.into(), value.into())).into(),
    };
    KafkaPublisher::new(&kafka()).unwrap().publish(vec![waiting]).await.unwrap().await.unwrap();
    let mut runner = deployment.runner("runner", "relay,indexer");
    runner.start();
    assert_eq!(domain.until_equal().await.documents, 1);
    deployment.until_nothing_is_behind().await;
    assert_eq!(runner.stop().await.code, Some(0));
}
