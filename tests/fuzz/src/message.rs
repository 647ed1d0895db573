//! Messages: anybody may write to a topic.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::{FuzzTarget, wait};
use sync_core::adapter::memory::{ManualClock, MemoryBus, MemoryDatabase, MemoryDeadLetters, MemorySink};
use sync_core::indexer::{Indexer, Parking};
use sync_core::port::{DeadLetters, LetterSelection, Sink, Subscriber};

/// Key, value, and names and values of headers, in this order.
const SEPARATOR: u8 = 0x1f;

/// What a key or value is that is not there.
const ABSENT: &[u8] = b"-";

const TOPIC: &str = "jobs";
const RETRY_TOPIC: &str = "jobs-retry-1000";

/// Longer than any message may wait.
const BOUND: Duration = Duration::from_secs(7 * 24 * 3_600);

pub(super) const TARGET: FuzzTarget = FuzzTarget {
    name: "message",
    examples: &[
        "job-1\x1f{\"key\":\"job-1\",\"action\":\"INDEX\",\"version\":7,\"timestamp\":\"2026-01-02T03:04:05Z\"}\x1fid\x1f42\x1f\
         action\x1fINDEX\x1fversion\x1f7\x1fepoch\x1f0\x1ftraceparent\x1f00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "job-2\x1f{}\x1fid\x1f42\x1fretry-reader\x1fjobs\x1fretry-attempts\x1f2\x1fretry-due\x1f1001500\x1forigin-topic\x1fjobs\
         \x1forigin-partition\x1f3\x1forigin-offset\x1f99\x1ferror-kind\x1frefused\x1ferror\x1fwhy",
        "job-3\x1f-\x1fretry-reader\x1fpeople",
        "-\x1fno key",
    ],
    refused: &[],
    run,
};

/// Whatever a message holds, in the topic or in one of its retry topics: it is settled, and the message behind it is applied.
fn run(bytes: &[u8]) -> bool {
    let mut parts = bytes.split(|byte| *byte == SEPARATOR).map(<[u8]>::to_vec);
    let mut optional = || parts.next().filter(|part| part != ABSENT).map(Bytes::from);
    let (key, value) = (optional(), optional());
    let mut headers = Vec::new();
    while let (Some(name), Some(value)) = (parts.next(), parts.next()) {
        headers.push((String::from_utf8_lossy(&name).into_owned(), Bytes::from(value)));
    }
    wait(async {
        for topic in [TOPIC, RETRY_TOPIC] {
            settles(topic, key.clone(), value.clone(), headers.clone()).await;
        }
    });
    true
}

async fn settles(topic: &str, key: Option<Bytes>, value: Option<Bytes>, headers: Vec<(String, Bytes)>) {
    let (database, bus, sink) = (MemoryDatabase::default(), MemoryBus::new(1), MemorySink::new());
    let letters = MemoryDeadLetters::new();
    let mut transaction = database.begin(TOPIC);
    transaction.put("behind it", "{}");
    transaction.commit();
    bus.write(topic, 0, key, value, headers);
    bus.write(topic, 0, Some("behind it".into()), None, Vec::new());

    let clock = Arc::new(ManualClock::new(jiff::Timestamp::UNIX_EPOCH));
    let parking = Parking::new(TOPIC, TOPIC, Arc::new(letters.clone()), clock).with_bus(Arc::new(bus.clone()), true);
    let subscriber = Arc::new(bus.subscriber("search", topic));
    let indexer =
        Indexer::builder(Arc::<_>::clone(&subscriber) as _, Arc::new(database), Arc::new(sink.clone()), parking)
            .build();
    let shutdown = CancellationToken::new();
    let settled = async {
        while subscriber.lag().await.is_ok_and(|lag| lag.iter().any(|partition| partition.behind > 0)) {
            sleep(Duration::from_millis(10)).await;
        }
        shutdown.cancel();
    };
    let ended = timeout(BOUND, async { tokio::join!(indexer.run(shutdown.clone()), settled) }).await;
    assert!(matches!(ended, Ok((Ok(()), ()))), "it stopped what is behind it: {ended:?}");
    assert_eq!(sink.count().await.ok(), Some(1), "the one behind it is not applied");
    for kept in letters.list(&LetterSelection::default(), 0, 10).await.unwrap_or_default() {
        let letter = kept.letter;
        let texts = [Some(&letter.origin.topic), letter.key.as_ref(), letter.value.as_ref(), Some(&letter.error)];
        for text in texts.into_iter().flatten() {
            assert!(text.len() <= 16 << 10, "a letter holds {} bytes of a stranger's", text.len());
        }
    }
}
