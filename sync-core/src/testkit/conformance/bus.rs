//! What every bus promises.
#![allow(clippy::unwrap_used, reason = "a suite fails by panicking")]

mod commits;
mod content;
mod member;
mod members;
mod order;
mod polling;

use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;

use crate::event::Outgoing;
use crate::port::{Publisher, Subscriber};

/// A bus with one topic nobody has used yet, and one group that reads it.
#[derive(Debug)]
pub struct Harness {
    /// The topic.
    pub topic: String,
    /// Its partitions, at least two.
    pub partitions: i32,
    /// Writes to the topic.
    pub publisher: Arc<dyn Publisher>,
    /// Every consumer it gives out is a member of the one group.
    pub subscriber: Arc<dyn Subscriber>,
    /// What this kind of bus can do.
    pub traits: Traits,
    /// Writes what a [`Publisher`] would not, where the bus lets others write.
    pub stranger: Option<Arc<dyn Stranger>>,
}

/// In what buses differ.
#[derive(Clone, Copy, Debug)]
pub struct Traits {
    /// Keeps messages while nobody reads, and acknowledges them once it has them. A bus that does not acknowledges
    /// what the consumer has committed, and drops the rest when the consumer goes away.
    pub stores: bool,
    /// Shares the partitions among several consumers.
    pub shares: bool,
}

/// Somebody else who writes to the topic.
pub trait Stranger: std::fmt::Debug + Send + Sync {
    /// Writes one message without a key. Resolves when it is stored.
    fn write(&self, value: Option<Bytes>, headers: Vec<(String, Bytes)>) -> BoxFuture<'_, ()>;
}

/// Checks every promise of [`Publisher`], [`Subscriber`] and [`Consumer`](crate::port::Consumer). Each call of `make`
/// gives a fresh topic and group.
///
/// # Panics
/// When a promise is broken, or when something that is waited for has not come after 30 seconds.
pub async fn bus(make: impl AsyncFn() -> Harness) {
    order::messages_of_one_key_stay_in_order_across_batches(make().await).await;
    order::all_messages_of_one_key_are_in_one_partition(make().await).await;
    order::an_empty_batch_is_acknowledged(make().await).await;

    content::key_value_and_headers_arrive_as_they_were_sent(make().await).await;
    content::a_message_may_lack_key_and_value(make().await).await;

    commits::an_acknowledged_batch_is_safe(make().await).await;
    commits::uncommitted_messages_come_again_and_committed_ones_do_not(make().await).await;
    commits::a_consumer_that_dies_gives_back_what_it_had_not_committed(make().await).await;
    commits::a_commit_never_goes_back(make().await).await;
    commits::a_foreign_partition_can_be_neither_committed_nor_paused(make().await).await;
    commits::lag_counts_what_is_not_committed(make().await).await;

    polling::a_paused_partition_gives_nothing_and_resuming_loses_nothing(make().await).await;
    polling::a_dropped_poll_loses_nothing(make().await).await;

    members::a_revoked_partition_goes_on_elsewhere_from_its_committed_offset(make().await).await;
    members::a_member_that_closes_leaves_its_partitions_to_the_others(make().await).await;
    members::a_partition_that_was_paused_gives_messages_when_it_comes_back(make().await).await;
    members::a_commit_made_while_members_come_and_go_is_not_lost(make().await).await;
}

/// A message to the harness's topic.
fn message(harness: &Harness, key: &str, value: impl ToString) -> Outgoing {
    let headers = vec![("id".into(), "1".into())];
    Outgoing { topic: harness.topic.clone(), key: key.to_owned(), value: Some(value.to_string()), headers }
}

/// Messages of one key with the values `numbers`.
fn numbered(harness: &Harness, key: &str, numbers: impl IntoIterator<Item = usize>) -> Vec<Outgoing> {
    numbers.into_iter().map(|number| message(harness, key, number)).collect()
}
