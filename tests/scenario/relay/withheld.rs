//! Events whose payload is larger than a relay reads, on a real PostgreSQL.

use std::sync::Arc;
use std::time::Duration;

use sync_core::ErrorKind;
use sync_core::adapter::SystemClock;
use sync_core::adapter::memory::{MemoryBus, MemoryTransactor};
use sync_core::adapter::postgres::{LargePayload, PostgresDeadLetters, PostgresSource, SourceConfig};
use sync_core::port::{DeadLetter, DeadLetters, LetterSelection, Source};
use sync_core::relay::{Relay, RelayBuilder};
use sync_core::testkit::faults::{Fault, Faulty, Script};
use tokio::time::{sleep, timeout};
use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;

use super::{BOUND, TOPIC};
use crate::support::postgres::{database, fresh_outbox};

/// Bytes of the largest payload that is read here.
const MOST: usize = 1_000;

struct Bench {
    client: Client,
    source: Arc<PostgresSource>,
    letters: Arc<PostgresDeadLetters>,
    bus: MemoryBus,
    script: Script,
}

impl Bench {
    async fn new(large_payload: LargePayload) -> Self {
        let (client, url) = fresh_outbox().await;
        let config = SourceConfig::default().batch_events(3).max_payload(MOST).large_payload(large_payload);
        Self {
            client,
            source: Arc::new(PostgresSource::new(database(&url), config)),
            letters: Arc::new(PostgresDeadLetters::new(database(&url))),
            bus: MemoryBus::new(1),
            script: Script::default(),
        }
    }

    /// Commits an event of a key for each, with a payload of as many bytes.
    async fn commit(&self, sizes: &[(&str, usize)]) {
        for (key, size) in sizes {
            let sql = "select outbox.emit($1, $2, 'INDEX', to_jsonb(repeat('x', $3 - 2)))";
            self.client.execute(sql, &[&TOPIC, key, &i32::try_from(*size).unwrap()]).await.unwrap();
        }
    }

    fn at_least_once(&self) -> RelayBuilder {
        let publisher = Faulty::new(self.bus.clone(), self.script.clone());
        Relay::builder("search", Arc::<PostgresSource>::clone(&self.source), Arc::new(publisher))
    }

    fn exactly_once(&self) -> RelayBuilder {
        let transactor = Faulty::new(MemoryTransactor::new(self.bus.clone()), self.script.clone());
        Relay::exactly_once("search", Arc::<PostgresSource>::clone(&self.source), Arc::new(transactor))
    }

    /// Runs it until nothing is left to be passed; the relay as it ended.
    async fn run(&self, relay: RelayBuilder) -> Relay {
        let parking: Arc<PostgresDeadLetters> = Arc::clone(&self.letters);
        let relay = relay.dead_letters(parking, Arc::new(SystemClock)).build();
        let shutdown = CancellationToken::new();
        let until = async {
            while !self.source.lag().await.is_ok_and(|lag| lag.events == 0) {
                sleep(Duration::from_millis(10)).await;
            }
            shutdown.cancel();
        };
        let (outcome, ()) = timeout(BOUND, async { tokio::join!(relay.run(shutdown.clone()), until) }).await.unwrap();
        outcome.unwrap();
        relay
    }

    /// Key and value of each message on the bus.
    fn published(&self) -> Vec<(String, String)> {
        let text = |bytes: Option<bytes::Bytes>| String::from_utf8(bytes.unwrap_or_default().to_vec()).unwrap();
        self.bus.messages(TOPIC).into_iter().map(|message| (text(message.key), text(message.value))).collect()
    }

    /// All letters, with their values.
    async fn parked(&self) -> Vec<DeadLetter> {
        let mut letters = Vec::new();
        for kept in self.letters.list(&LetterSelection::default(), 0, 100).await.unwrap() {
            letters.push(self.letters.get(kept.id).await.unwrap().unwrap().letter);
        }
        letters
    }
}

fn value(size: usize) -> String {
    format!("\"{}\"", "x".repeat(size - 2))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_too_large_to_be_read_is_parked_with_all_of_it_and_the_others_go_on_whatever_the_delivery() {
    for delivery in [Bench::at_least_once, Bench::exactly_once] {
        let bench = Bench::new(LargePayload::Withhold).await;
        let large = 5_000_000;
        // Among others, a batch of nothing else, and as the last of all.
        bench.commit(&[("a", MOST), ("b", MOST + 1), ("c", 10), ("d", large), ("e", large), ("f", large)]).await;
        bench.commit(&[("a", 11), ("g", large)]).await;
        let relay = bench.run(delivery(&bench)).await;

        let expected = [("a", MOST), ("c", 10), ("a", 11)].map(|(key, size)| (key.to_owned(), value(size)));
        assert_eq!(bench.published(), expected);
        let parked = bench.parked().await;
        let told: Vec<_> =
            parked.iter().map(|letter| (letter.key.as_deref().unwrap(), letter.event.unwrap())).collect();
        assert_eq!(told, [("b", 2), ("d", 4), ("e", 5), ("f", 6), ("g", 8)]);
        for (letter, size) in parked.iter().zip([MOST + 1, large, large, large, large]) {
            assert!(letter.value == Some(value(size)), "the letter of {size} bytes has another value");
            assert_eq!((letter.error_kind.as_str(), letter.origin.is_unpublished()), ("refused", true));
            let error = &letter.error;
            assert!(
                error.contains(&format!("has {size} bytes")) && error.contains("1000 (relay.max_payload"),
                "{error}"
            );
        }
        let counts = relay.progress().counts();
        assert_eq!((counts.published, counts.parked), (3, 5));
        // Nothing of it is read again.
        bench.commit(&[("h", 12)]).await;
        let relay = bench.run(delivery(&bench)).await;
        assert_eq!((relay.progress().counts().parked, bench.published().len()), (0, 4));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_withheld_is_parked_once_however_often_the_bus_fails_behind_it() {
    for delivery in [Bench::at_least_once, Bench::exactly_once] {
        let bench = Bench::new(LargePayload::Withhold).await;
        bench.commit(&[("a", 2_000), ("b", 10)]).await;
        bench.script.then([Fault::Refuse(ErrorKind::Unavailable), Fault::Refuse(ErrorKind::Unavailable)]);
        let relay = bench.run(delivery(&bench)).await;
        assert!(bench.script.is_used_up());
        assert_eq!((relay.progress().counts().parked, bench.parked().await.len()), (1, 1));
        assert_eq!(bench.published(), [("b".to_owned(), value(10))]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn for_readers_that_look_at_no_payload_a_large_one_is_left_out_and_its_event_comes_in_its_place() {
    let bench = Bench::new(LargePayload::Omit).await;
    bench.commit(&[("a", 10), ("b", 2_000), ("c", 11)]).await;
    bench.run(bench.at_least_once()).await;
    let published = bench.published();
    let keys: Vec<_> = published.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(keys, ["a", "b", "c"]);
    assert!(published[1].1.contains("\"key\":\"b\""), "the standard value: {}", published[1].1);
    assert_eq!(bench.parked().await, []);
}

#[tokio::test]
async fn what_is_withheld_counts_among_the_events_of_a_batch() {
    let bench = Bench::new(LargePayload::Withhold).await;
    bench.commit(&[("a", 10), ("b", 2_000), ("c", 2_000), ("d", 2_000), ("e", 11)]).await;
    let mut reader = bench.source.open().await.unwrap().reader;
    for counts in [(1, 2), (1, 1)] {
        let batch = reader.next().await.unwrap().unwrap();
        assert_eq!((batch.events.len(), batch.withheld.len()), counts);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_dead_letters_a_relay_ends_at_a_payload_too_large_to_be_read_and_passes_nothing_over() {
    let bench = Bench::new(LargePayload::Withhold).await;
    bench.commit(&[("a", 2_000), ("b", 10)]).await;
    let relay = bench.at_least_once().build();
    let error = timeout(BOUND, relay.run(CancellationToken::new())).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.to_string().contains("relay.max_payload"), "{error}");
    assert_eq!(bench.source.lag().await.unwrap().events, 2);
}
