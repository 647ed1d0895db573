//! What every store of re-indexes promises.
#![allow(clippy::unwrap_used, reason = "a suite fails by panicking")]

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::error::ErrorKind;
use crate::port::{ReindexOf, ReindexPhase, Reindexes, Reindexing};

/// Two holders of one empty store, and the outbox beside it.
#[async_trait]
pub trait Followed: Send + Sync {
    /// The holders, whose leases last as long as they were told.
    fn holders(&self) -> [Arc<dyn Reindexes>; 2];

    /// Commits an event of this topic.
    async fn commit(&self, topic: &str);

    /// Lets the subscription of this name pass all that is committed; false when there is none.
    async fn pass(&self, subscription: &str) -> bool;
}

/// Checks every promise of [`Reindexes`]. Each call of `make` gives an empty store.
///
/// # Panics
/// When a promise is broken.
pub async fn reindexes<F: Followed>(make: impl AsyncFn(Duration) -> F) {
    let long = Duration::from_secs(3_600);
    a_reindex_is_one_holders_until_it_lets_go(&make(long).await).await;
    one_nobody_holds_is_taken_up_where_it_was(&make(Duration::ZERO).await).await;
    of_an_index_one_at_a_time_is_unfinished(&make(long).await).await;
    live_changes_are_followed_from_its_beginning_and_no_longer_than_to_its_end(&make(long).await).await;
}

fn jobs(new: &str) -> ReindexOf {
    let [index, topic, old, new, mapping] = ["jobs", "topic", "jobs-000001", new, "{}"].map(str::to_owned);
    ReindexOf { index, topic, old, new, mapping }
}

fn kind<T: std::fmt::Debug>(refused: Result<T, crate::error::Error>) -> ErrorKind {
    refused.unwrap_err().kind()
}

fn then(of: &Reindexing, phase: ReindexPhase) -> Reindexing {
    Reindexing { phase, ..of.clone() }
}

async fn a_reindex_is_one_holders_until_it_lets_go(store: &impl Followed) {
    let [one, other] = store.holders();
    assert_eq!(one.unfinished("jobs").await.unwrap(), None);
    let of = one.begin(&jobs("jobs-000002")).await.unwrap();
    assert_eq!((of.phase, &of.about), (ReindexPhase::Filling, &jobs("jobs-000002")));
    assert_eq!(other.unfinished("jobs").await.unwrap().as_ref(), Some(&of));
    assert_eq!(one.begin(&jobs("jobs-000002")).await.unwrap(), of, "where its answer was lost");
    assert_eq!(one.hold(&of).await.unwrap(), of);
    assert_eq!(kind(other.hold(&of).await), ErrorKind::Fenced);
    assert_eq!(kind(other.reach(&of, ReindexPhase::Comparing).await), ErrorKind::Fenced);
    other.release(&of, Some("not its own")).await.unwrap();
    assert_eq!(kind(other.hold(&of).await), ErrorKind::Fenced);

    one.reach(&of, ReindexPhase::Comparing).await.unwrap();
    one.release(&of, Some("why")).await.unwrap();
    let taken = other.hold(&of).await.unwrap();
    assert_eq!((taken.phase, taken.problem.as_deref()), (ReindexPhase::Comparing, Some("why")));
    assert_eq!(kind(one.hold(&of).await), ErrorKind::Fenced);
    other.reach(&taken, ReindexPhase::Switching).await.unwrap();
    assert_eq!(other.hold(&of).await.unwrap(), Reindexing { problem: None, ..then(&of, ReindexPhase::Switching) });
}

async fn one_nobody_holds_is_taken_up_where_it_was(store: &impl Followed) {
    let [one, other] = store.holders();
    let of = one.begin(&jobs("jobs-000002")).await.unwrap();
    assert_eq!(other.hold(&of).await.unwrap(), of);
    assert_eq!(kind(one.reach(&of, ReindexPhase::Comparing).await), ErrorKind::Fenced);
}

async fn of_an_index_one_at_a_time_is_unfinished(store: &impl Followed) {
    let [one, other] = store.holders();
    let of = one.begin(&jobs("jobs-000002")).await.unwrap();
    assert_eq!(kind(other.begin(&jobs("jobs-000003")).await), ErrorKind::Fenced);
    let people = other.begin(&ReindexOf { index: "people".to_owned(), ..jobs("people-000002") }).await.unwrap();
    assert_ne!(people.id, of.id);
    for _ in 0..2 {
        one.reach(&of, ReindexPhase::Aborted).await.unwrap();
    }
    assert_eq!(one.unfinished("jobs").await.unwrap(), None);
    assert_eq!(kind(one.hold(&of).await), ErrorKind::Configuration, "it is over");
    assert_eq!(kind(one.reach(&of, ReindexPhase::Comparing).await), ErrorKind::Configuration);
    let next = other.begin(&jobs("jobs-000003")).await.unwrap();
    assert!(next.id > of.id);
    let mut names = one.names("jobs").await.unwrap();
    names.sort();
    assert_eq!(names, ["jobs-000002", "jobs-000003"]);
}

async fn live_changes_are_followed_from_its_beginning_and_no_longer_than_to_its_end(store: &impl Followed) {
    let [one, _] = store.holders();
    store.commit("topic").await;
    let of = one.begin(&jobs("jobs-000002")).await.unwrap();
    let passed = async |of: &Reindexing| one.has_passed(of, &one.committed().await.unwrap()).await;
    assert!(passed(&of).await.unwrap(), "what was committed before is for the backfill");
    let before = one.committed().await.unwrap();
    store.commit("topic").await;
    assert!(!passed(&of).await.unwrap());
    assert!(one.has_passed(&of, &before).await.unwrap(), "of then");
    assert!(store.pass(&of.subscription()).await);
    assert!(passed(&of).await.unwrap());
    store.commit("another-topic").await;
    assert!(passed(&of).await.unwrap());

    for phase in [ReindexPhase::Comparing, ReindexPhase::Switching] {
        one.reach(&of, phase).await.unwrap();
        store.commit("topic").await;
        assert!(!passed(&then(&of, phase)).await.unwrap());
        assert!(store.pass(&of.subscription()).await);
    }
    one.reach(&then(&of, ReindexPhase::Switching), ReindexPhase::Switched).await.unwrap();
    assert!(!store.pass(&of.subscription()).await, "nobody follows any more");
    assert_eq!(kind(passed(&of).await), ErrorKind::Configuration);

    let back = then(&of, ReindexPhase::Returning);
    assert_ne!(back.subscription(), of.subscription());
    store.commit("topic").await;
    for _ in 0..2 {
        one.reach(&then(&of, ReindexPhase::Switched), ReindexPhase::Returning).await.unwrap();
    }
    assert!(passed(&back).await.unwrap());
    store.commit("topic").await;
    one.reach(&back, ReindexPhase::SwitchingBack).await.unwrap();
    assert!(!passed(&back).await.unwrap());
    one.reach(&then(&of, ReindexPhase::SwitchingBack), ReindexPhase::RolledBack).await.unwrap();
    assert!(!store.pass(&back.subscription()).await);
}
