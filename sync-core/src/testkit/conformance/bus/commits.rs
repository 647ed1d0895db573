//! What is done stays done, what is not done comes again.

use futures::FutureExt;

use super::member::{Member, soon};
use super::{Harness, message, numbered};
use crate::error::ErrorKind;
use crate::port::{Acknowledgement, OffsetCommit, Partition};

pub(super) async fn an_acknowledged_batch_is_safe(harness: Harness) {
    let batch = numbered(&harness, "job", 0..10);
    if harness.traits.stores {
        let acknowledgement = harness.publisher.publish(batch).await.unwrap();
        soon("the acknowledgement", acknowledgement).await.unwrap();
        let lag = harness.subscriber.lag().await.unwrap();
        assert_eq!(lag.iter().map(|lag| lag.behind).sum::<u64>(), 10, "acknowledged before it was stored");
        return;
    }
    let mut member = Member::with_all(&*harness.subscriber, harness.partitions).await;
    let mut acknowledgement = harness.publisher.publish(batch).await.unwrap();
    let mut second = harness.publisher.publish(numbered(&harness, "job", 10..15)).await.unwrap();
    assert!((&mut acknowledgement).now_or_never().is_none(), "acknowledged before it was read");
    member.see(15).await;
    commit(&mut member, 9);
    assert!((&mut acknowledgement).now_or_never().is_none(), "acknowledged before all of it was committed");
    commit(&mut member, 10);
    soon("the acknowledgement", acknowledgement).await.unwrap();
    assert!((&mut second).now_or_never().is_none(), "acknowledged with the batch before it");
    commit(&mut member, 15);
    soon("the second acknowledgement", second).await.unwrap();
    member.close().await;
}

/// Commits the one partition in use up to the message before number `done`.
fn commit(member: &mut Member, done: usize) {
    let last = &member.seen[done - 1];
    let done = OffsetCommit { partition: last.partition.clone(), next: last.offset + 1 };
    member.consumer.commit(&[done]).unwrap();
}

pub(super) async fn uncommitted_messages_come_again_and_committed_ones_do_not(harness: Harness) {
    let (mut member, acknowledgement) = ten_read_four_committed(&harness).await;
    member.see(10).await;
    member.close().await;
    the_other_six_come(&harness, acknowledgement).await;
}

pub(super) async fn a_consumer_that_dies_gives_back_what_it_had_not_committed(harness: Harness) {
    let (mut member, acknowledgement) = ten_read_four_committed(&harness).await;
    // Dying may lose a commit that was not durable yet; this is the first moment at which it is known to be.
    soon("the commit", async {
        while harness.subscriber.lag().await.unwrap().iter().map(|lag| lag.behind).sum::<u64>() != 6 {
            drop(tokio::time::timeout(std::time::Duration::from_millis(10), member.step()).await);
        }
    })
    .await;
    drop(member);
    the_other_six_come(&harness, acknowledgement).await;
}

async fn ten_read_four_committed(harness: &Harness) -> (Member, Acknowledgement) {
    let mut member = Member::with_all(&*harness.subscriber, harness.partitions).await;
    let acknowledgement = harness.publisher.publish(numbered(harness, "job", 0..10)).await.unwrap();
    member.see(10).await;
    commit(&mut member, 4);
    (member, acknowledgement)
}

async fn the_other_six_come(harness: &Harness, acknowledgement: Acknowledgement) {
    let acknowledged = soon("the acknowledgement", acknowledgement).await;
    if harness.traits.stores {
        acknowledged.unwrap();
    } else {
        assert_eq!(acknowledged.unwrap_err().kind(), ErrorKind::Unavailable);
        drop(harness.publisher.publish(numbered(harness, "job", 4..10)).await.unwrap());
    }
    let mut next = Member::with_all(&*harness.subscriber, harness.partitions).await;
    next.see(6).await;
    assert_eq!(next.numbers_of("job"), (4..10).collect::<Vec<_>>());
    // Whatever comes after that is new.
    drop(harness.publisher.publish(numbered(harness, "job", 10..11)).await.unwrap());
    next.see(7).await;
    assert_eq!(next.numbers_of("job"), (4..11).collect::<Vec<_>>());
    next.close().await;
}

pub(super) async fn a_commit_never_goes_back(harness: Harness) {
    let mut member = Member::with_all(&*harness.subscriber, harness.partitions).await;
    drop(harness.publisher.publish(numbered(&harness, "job", 0..10)).await.unwrap());
    member.see(10).await;
    commit(&mut member, 8);
    commit(&mut member, 8);
    commit(&mut member, 3);
    let (partition, eighth) = (member.seen[7].partition.clone(), member.seen[7].offset);
    member.close().await;
    let lag = harness.subscriber.lag().await.unwrap();
    let lag = lag.iter().find(|lag| lag.partition == partition).unwrap();
    assert_eq!(lag.committed, Some(eighth + 1));
    if harness.traits.stores {
        let mut next = Member::with_all(&*harness.subscriber, harness.partitions).await;
        next.see(2).await;
        assert_eq!(next.numbers_of("job"), [8, 9]);
        next.close().await;
    }
}

pub(super) async fn a_foreign_partition_can_be_neither_committed_nor_paused(harness: Harness) {
    let mut member = Member::with_all(&*harness.subscriber, harness.partitions).await;
    let unknown = [(harness.topic.as_str(), harness.partitions), (harness.topic.as_str(), -1), ("another", 0)];
    for (topic, number) in unknown {
        let partition = Partition { topic: topic.into(), number };
        let committed = member.consumer.commit(&[OffsetCommit { partition: partition.clone(), next: 1 }]);
        assert_eq!(committed.unwrap_err().kind(), ErrorKind::Fenced, "{partition}");
        assert_eq!(member.consumer.pause(&partition).unwrap_err().kind(), ErrorKind::Internal, "{partition}");
        assert_eq!(member.consumer.resume(&partition).unwrap_err().kind(), ErrorKind::Internal, "{partition}");
    }
    member.close().await;
}

pub(super) async fn lag_counts_what_is_not_committed(harness: Harness) {
    let mut member = Member::with_all(&*harness.subscriber, harness.partitions).await;
    let before = harness.subscriber.lag().await.unwrap();
    let numbers: Vec<_> = before.iter().map(|lag| lag.partition.number).collect();
    assert_eq!(numbers, (0..harness.partitions).collect::<Vec<_>>());
    assert!(before.iter().all(|lag| lag.committed.is_none() && lag.behind == 0), "{before:?}");

    let batch = (0..30).map(|number| message(&harness, &format!("job-{number}"), number)).collect();
    let acknowledgement = harness.publisher.publish(batch).await.unwrap();
    member.see(30).await;
    let behind = harness.subscriber.lag().await.unwrap();
    assert!(behind.iter().all(|lag| lag.committed.is_none()), "{behind:?}");
    assert_eq!(behind.iter().map(|lag| lag.behind).sum::<u64>(), 30);
    for lag in &behind {
        let here = member.seen.iter().filter(|message| message.partition == lag.partition).count();
        assert_eq!(lag.behind, here as u64, "{}", lag.partition);
    }

    member.commit_all();
    soon("the acknowledgement", acknowledgement).await.unwrap();
    member.close().await;
    let after = harness.subscriber.lag().await.unwrap();
    assert!(after.iter().all(|lag| lag.behind == 0), "{after:?}");
    assert!(after.iter().any(|lag| lag.committed.is_some()), "{after:?}");
}
