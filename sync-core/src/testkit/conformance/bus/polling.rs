//! Polls that are dropped, and partitions that are paused.

use std::time::Duration;

use super::member::{Member, soon};
use super::{Harness, message, numbered};

pub(super) async fn a_paused_partition_gives_nothing_and_resuming_loses_nothing(harness: Harness) {
    let mut member = Member::with_all(&*harness.subscriber, harness.partitions).await;
    let keys: Vec<_> = (0..64).map(|key| format!("job-{key}")).collect();
    let batch = keys.iter().map(|key| message(&harness, key, 0)).collect();
    drop(harness.publisher.publish(batch).await.unwrap());
    member.see(keys.len()).await;
    let held = &keys[0];
    let paused = member.partition_of(held);
    let free = keys.iter().find(|key| member.partition_of(key) != paused).unwrap();

    // Messages that are on their way to the consumer when it pauses are held back as well.
    drop(harness.publisher.publish(numbered(&harness, held, 1..50)).await.unwrap());
    member.consumer.pause(&paused).unwrap();
    member.consumer.pause(&paused).unwrap();
    let mut seen = keys.len();
    for number in 1..6 {
        drop(harness.publisher.publish(numbered(&harness, held, [49 + number])).await.unwrap());
        drop(harness.publisher.publish(numbered(&harness, free, [number])).await.unwrap());
        seen += 1;
        member.see(seen).await;
        assert_eq!(member.numbers_of(held), [0], "a paused partition gave a message");
    }

    member.consumer.resume(&paused).unwrap();
    member.consumer.resume(&paused).unwrap();
    member.see(seen + 54).await;
    assert_eq!(member.numbers_of(held), (0..55).collect::<Vec<_>>());
    member.close().await;
}

pub(super) async fn a_dropped_poll_loses_nothing(harness: Harness) {
    let mut member = Member::new(&*harness.subscriber).await;
    let mut sent = 0;
    soon("all messages in spite of dropped polls", async {
        while sent < 500 || member.seen.len() < 500 {
            if sent < 500 && !member.owned.is_empty() {
                let batch = (sent..sent + 5).map(|number| message(&harness, &format!("job-{}", number % 7), number));
                drop(harness.publisher.publish(batch.collect()).await.unwrap());
                sent += 5;
            }
            // Short enough that many polls are dropped at many places.
            let patience = Duration::from_micros((sent as u64 * 37) % 900);
            if let Ok(polled) = tokio::time::timeout(patience, member.consumer.poll()).await {
                member.take_note(polled.unwrap());
            }
        }
    })
    .await;
    let mut numbers: Vec<usize> = member.values().iter().map(|value| value.parse().unwrap()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..500).collect::<Vec<_>>());
    member.close().await;
}
