//! Several members of one group.

use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};

use super::member::{Member, both_until, soon};
use super::{Harness, message};
use crate::error::ErrorKind;
use crate::port::{Incoming, OffsetCommit, PartitionLag};

const KEYS: usize = 64;

async fn publish_round(harness: &Harness, round: usize) {
    let batch = (0..KEYS).map(|key| message(harness, &format!("job-{key}"), round)).collect();
    harness.publisher.publish(batch).await.unwrap().await.unwrap();
}

fn of_round(member: &Member, round: usize) -> impl Iterator<Item = &Incoming> {
    let round = round.to_string();
    member.seen.iter().filter(move |message| message.value.as_deref() == Some(round.as_bytes()))
}

pub(super) async fn a_revoked_partition_goes_on_elsewhere_from_its_committed_offset(harness: Harness) {
    if !harness.traits.shares {
        return;
    }
    let mut one = Member::with_all(&*harness.subscriber, harness.partitions).await;
    for round in 0..2 {
        publish_round(&harness, round).await;
    }
    one.see(2 * KEYS).await;
    // Everything of the first round is done in every partition; of the second round nothing.
    let done: Vec<_> = one
        .owned
        .iter()
        .filter_map(|partition| of_round(&one, 0).filter(|message| message.partition == *partition).last())
        .map(|last| OffsetCommit { partition: last.partition.clone(), next: last.offset + 1 })
        .collect();
    one.consumer.commit(&done).unwrap();

    let mut other = Member::new(&*harness.subscriber).await;
    let all = usize::try_from(harness.partitions).unwrap();
    both_until(&mut one, &mut other, |one, other| {
        let again =
            other.owned.iter().map(|partition| of_round(one, 1).filter(|seen| seen.partition == *partition).count());
        !other.owned.is_empty() && one.owned.len() + other.owned.len() == all && other.seen.len() >= again.sum()
    })
    .await;
    assert!(one.owned.is_disjoint(&other.owned));
    assert!(!one.owned.is_empty(), "one member has to keep some");
    assert_eq!(of_round(&other, 0).count(), 0, "what was committed came again");

    for moved in &other.owned {
        let late = OffsetCommit { partition: moved.clone(), next: i64::MAX };
        assert_eq!(one.consumer.commit(&[late]).unwrap_err().kind(), ErrorKind::Fenced);
    }
    publish_round(&harness, 2).await;
    both_until(&mut one, &mut other, |one, other| of_round(one, 2).count() + of_round(other, 2).count() >= KEYS).await;
    assert_eq!(of_round(&one, 2).count() + of_round(&other, 2).count(), KEYS);
    assert!(of_round(&one, 2).all(|message| one.owned.contains(&message.partition)));
    one.close().await;
    other.close().await;
}

pub(super) async fn a_member_that_closes_leaves_its_partitions_to_the_others(harness: Harness) {
    if !harness.traits.shares {
        return;
    }
    let mut one = Member::with_all(&*harness.subscriber, harness.partitions).await;
    let mut other = Member::new(&*harness.subscriber).await;
    both_until(&mut one, &mut other, |_, other| !other.owned.is_empty()).await;
    one.close().await;
    let all = usize::try_from(harness.partitions).unwrap();
    soon("all partitions", other.step_until(|other| other.owned.len() == all)).await;
    publish_round(&harness, 0).await;
    other.see(KEYS).await;
    other.close().await;
}

pub(super) async fn a_partition_that_was_paused_gives_messages_when_it_comes_back(harness: Harness) {
    if !harness.traits.shares {
        return;
    }
    let mut one = Member::with_all(&*harness.subscriber, harness.partitions).await;
    let all = one.owned.clone();
    for partition in &all {
        one.consumer.pause(partition).unwrap();
    }
    let mut other = Member::new(&*harness.subscriber).await;
    both_until(&mut one, &mut other, |_, other| !other.owned.is_empty()).await;
    let kept = one.owned.clone();
    other.close().await;
    soon("all partitions", one.step_until(|one| one.owned == all)).await;
    publish_round(&harness, 0).await;
    for partition in &kept {
        one.consumer.resume(partition).unwrap();
    }
    one.see(KEYS).await;
    one.close().await;
}

/// Many, because only some of them meet a moment at which the bus refuses a commit.
const COMMITS: usize = 12;

pub(super) async fn a_commit_made_while_members_come_and_go_is_not_lost(harness: Harness) {
    if !harness.traits.shares {
        return;
    }
    let mut one = Member::with_all(&*harness.subscriber, harness.partitions).await;
    let all = one.owned.clone();
    for round in 0..COMMITS {
        publish_round(&harness, round).await;
        soon("the round", one.step_until(|one| of_round(one, round).count() >= KEYS)).await;
        let mut other = Member::new(&*harness.subscriber).await;
        let moment = Instant::now() + Duration::from_millis(round as u64 * 75);
        while let Ok(polled) = timeout_at(moment, one.consumer.poll()).await {
            one.take_note(polled.unwrap());
        }
        // Nothing comes after it that would say the same again.
        one.commit_all();
        both_until(&mut one, &mut other, |one, other| one.owned.len() + other.owned.len() == all.len()).await;
        soon("the commit", async {
            let is_behind = |lag: &PartitionLag, one: &Member| one.owned.contains(&lag.partition) && lag.behind > 0;
            while harness.subscriber.lag().await.unwrap().iter().any(|lag| is_behind(lag, &one)) {
                // Both, because the group goes on only when every member is polled.
                drop(timeout(Duration::from_millis(50), both_until(&mut one, &mut other, |_, _| false)).await);
            }
        })
        .await;
        other.close().await;
        soon("all partitions", one.step_until(|one| one.owned == all)).await;
    }
    one.close().await;
}
