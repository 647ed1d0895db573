//! Order per key.

use std::collections::BTreeMap;

use super::member::{Member, soon};
use super::{Harness, message, numbered};

pub(super) async fn messages_of_one_key_stay_in_order_across_batches(harness: Harness) {
    let keys: Vec<_> = (0..16).map(|key| format!("job-{key}")).collect();
    let mut member = Member::with_all(&*harness.subscriber, harness.partitions).await;
    let mut acknowledgements = Vec::new();
    for batch in 0..20 {
        let messages = (batch * 5..batch * 5 + 5).flat_map(|number| {
            let harness = &harness;
            keys.iter().map(move |key| message(harness, key, number))
        });
        acknowledgements.push(harness.publisher.publish(messages.collect()).await.unwrap());
    }
    member.see(16 * 100).await;
    for key in &keys {
        assert_eq!(member.numbers_of(key), (0..100).collect::<Vec<_>>(), "{key}");
    }
    member.commit_all();
    soon("the acknowledgements", futures::future::try_join_all(acknowledgements)).await.unwrap();
    member.close().await;
}

pub(super) async fn all_messages_of_one_key_are_in_one_partition(harness: Harness) {
    let mut member = Member::with_all(&*harness.subscriber, harness.partitions).await;
    let keys: Vec<_> = (0..64).map(|key| format!("job-{key}")).chain(["größe".to_owned(), String::new()]).collect();
    for number in 0..2 {
        let batch = keys.iter().map(|key| message(&harness, key, number)).collect();
        drop(harness.publisher.publish(batch).await.unwrap());
    }
    member.see(keys.len() * 2).await;
    let mut partitions = BTreeMap::new();
    for message in &member.seen {
        let key = message.key.clone().unwrap();
        let partition = partitions.entry(key).or_insert(message.partition.number);
        assert_eq!(*partition, message.partition.number, "{:?} is in two partitions", message.key);
    }
    assert_eq!(partitions.len(), keys.len());
    let mut used: Vec<_> = partitions.into_values().collect();
    used.sort_unstable();
    used.dedup();
    assert_eq!(used, (0..harness.partitions).collect::<Vec<_>>(), "64 keys leave a partition empty");
    member.close().await;
}

pub(super) async fn an_empty_batch_is_acknowledged(harness: Harness) {
    let acknowledgement = harness.publisher.publish(numbered(&harness, "job", [])).await.unwrap();
    soon("the acknowledgement", acknowledgement).await.unwrap();
}
