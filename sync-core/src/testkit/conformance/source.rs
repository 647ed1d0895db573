//! What every [`Source`] promises.
#![allow(clippy::expect_used, reason = "a suite fails by panicking")]

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::timeout;

use crate::error::ErrorKind;
use crate::event::{Action, Event};
use crate::port::{Feed, LedgerSource, Reader, Source};

/// A fresh, empty outbox to check a source on.
#[async_trait]
pub trait Outbox: Debug + Send + Sync {
    /// A source on one and the same subscription, which takes its lease as `holder` for `lease` and reads at most
    /// `batch_events` at once.
    fn source(&self, holder: &str, lease: Duration, batch_events: usize) -> Box<dyn Source>;

    /// The same subscription, read with a ledger.
    fn ledger_source(&self, holder: &str, lease: Duration, batch_events: usize) -> Box<dyn LedgerSource>;

    /// Begins a transaction.
    async fn begin(&self) -> Box<dyn Transaction>;
}

/// A transaction that writes to the outbox.
#[async_trait]
pub trait Transaction: Send {
    /// Writes an event for `key`.
    async fn emit(&mut self, key: &str, action: Action);

    /// Makes its events visible.
    async fn commit(self: Box<Self>);

    /// Takes its events back.
    async fn rollback(self: Box<Self>);
}

pub(super) const LEASE: Duration = Duration::from_secs(60);
const BOUND: Duration = Duration::from_secs(20);

/// Checks everything a source promises; `fresh` makes an empty outbox for each check.
///
/// # Panics
/// When a promise is broken, saying which.
pub async fn source(fresh: impl AsyncFn() -> Box<dyn Outbox>) {
    committed_events_come_in_order_and_rolled_back_ones_never(&*fresh().await).await;
    a_transaction_that_commits_late_comes_after_its_commit_and_delays_nobody(&*fresh().await).await;
    what_was_not_recorded_comes_again_and_what_was_recorded_does_not(&*fresh().await).await;
    a_window_is_resumed_inside_at_every_event(&*fresh().await).await;
    a_window_from_an_open_transaction_is_resumed_inside(&*fresh().await).await;
    one_holder_at_a_time_has_the_lease(&*fresh().await).await;
    a_cursor_whose_lease_was_taken_changes_nothing(&*fresh().await).await;
    a_lease_that_is_not_renewed_runs_out(&*fresh().await).await;
    a_sleeping_reader_wakes_when_something_is_committed(&*fresh().await).await;
    lag_counts_what_the_position_has_not_passed(&*fresh().await).await;
}

pub(super) async fn emit(outbox: &dyn Outbox, keys: &[&str]) {
    let mut transaction = outbox.begin().await;
    for key in keys {
        transaction.emit(key, Action::Index).await;
    }
    transaction.commit().await;
}

async fn open(outbox: &dyn Outbox, batch_events: usize) -> Feed {
    outbox.source("one", LEASE, batch_events).open().await.expect("the lease is free")
}

/// Everything there is to read now.
pub(super) async fn drain(reader: &mut dyn Reader) -> Vec<Event> {
    let mut events = Vec::new();
    while let Some(batch) = reader.next().await.expect("the source is up") {
        events.extend(batch.events);
    }
    events
}

pub(super) fn keys(events: &[Event]) -> Vec<&str> {
    events.iter().map(|event| event.key.as_str()).collect()
}

async fn committed_events_come_in_order_and_rolled_back_ones_never(outbox: &dyn Outbox) {
    let mut feed = open(outbox, 100).await;
    assert!(drain(&mut *feed.reader).await.is_empty(), "a fresh outbox holds nothing");
    emit(outbox, &["a", "b", "a"]).await;
    let mut lost = outbox.begin().await;
    lost.emit("a", Action::Index).await;
    lost.rollback().await;
    let mut transaction = outbox.begin().await;
    transaction.emit("a", Action::Delete).await;
    transaction.commit().await;
    let events = drain(&mut *feed.reader).await;
    assert_eq!(keys(&events), ["a", "b", "a", "a"], "exactly the committed events, in order");
    assert!(events.is_sorted_by_key(|event| event.id), "in order of id");
    let of_a: Vec<_> = events.iter().filter(|event| event.key == "a").map(|event| event.version).collect();
    assert!(of_a.is_sorted_by(|earlier, later| earlier < later), "versions of one key grow: {of_a:?}");
    assert_eq!(events.last().map(|event| event.action), Some(Action::Delete));
    assert!(drain(&mut *feed.reader).await.is_empty(), "nothing comes twice from one reader");
}

async fn a_transaction_that_commits_late_comes_after_its_commit_and_delays_nobody(outbox: &dyn Outbox) {
    let mut feed = open(outbox, 100).await;
    let mut late = outbox.begin().await;
    late.emit("late", Action::Index).await;
    for round in 0..50 {
        let key = format!("k{round}");
        emit(outbox, &[&key]).await;
        assert_eq!(keys(&drain(&mut *feed.reader).await), [key.as_str()], "others are not delayed");
    }
    late.commit().await;
    emit(outbox, &["after"]).await;
    let mut events = drain(&mut *feed.reader).await;
    events.sort_by(|a, b| a.key.cmp(&b.key));
    assert_eq!(keys(&events), ["after", "late"], "a late commit is delivered");
}

async fn what_was_not_recorded_comes_again_and_what_was_recorded_does_not(outbox: &dyn Outbox) {
    emit(outbox, &["a", "b"]).await;
    let mut feed = open(outbox, 100).await;
    assert_eq!(drain(&mut *feed.reader).await.len(), 2);
    drop(feed);
    let mut feed = open(outbox, 100).await;
    let batch = feed.reader.next().await.expect("up").expect("they come again");
    assert_eq!(keys(&batch.events), ["a", "b"]);
    feed.cursor.advance(&batch.position).await.expect("the lease is ours");
    feed.cursor.advance(&batch.position).await.expect("recording may be repeated");
    drop(feed);
    emit(outbox, &["c"]).await;
    let mut feed = open(outbox, 100).await;
    assert_eq!(keys(&drain(&mut *feed.reader).await), ["c"]);
}

async fn a_window_is_resumed_inside_at_every_event(outbox: &dyn Outbox) {
    emit(outbox, &["a", "b", "c", "d", "e"]).await;
    for expected in ["a", "b", "c", "d", "e"] {
        let mut feed = open(outbox, 1).await;
        let batch = feed.reader.next().await.expect("up").expect("there is more");
        assert_eq!(keys(&batch.events), [expected]);
        feed.cursor.advance(&batch.position).await.expect("the lease is ours");
        // Committed meanwhile: it must not slip in before the rest of the window, nor get lost.
        emit(outbox, &[&format!("after {expected}")]).await;
    }
    let mut feed = open(outbox, 100).await;
    let rest = drain(&mut *feed.reader).await;
    assert_eq!(keys(&rest), ["after a", "after b", "after c", "after d", "after e"]);
}

async fn a_window_from_an_open_transaction_is_resumed_inside(outbox: &dyn Outbox) {
    let mut late = outbox.begin().await;
    for key in ["l1", "l2", "l3"] {
        late.emit(key, Action::Index).await;
    }
    emit(outbox, &["first"]).await;
    let mut feed = open(outbox, 2).await;
    let batch = feed.reader.next().await.expect("up").expect("one event");
    assert_eq!(keys(&batch.events), ["first"]);
    feed.cursor.advance(&batch.position).await.expect("the lease is ours");
    late.commit().await;
    while feed.reader.next().await.expect("up").is_none() {}
    drop(feed);
    let mut feed = open(outbox, 2).await;
    let batch = feed.reader.next().await.expect("up").expect("the late ones");
    assert_eq!(keys(&batch.events), ["l1", "l2"]);
    feed.cursor.advance(&batch.position).await.expect("the lease is ours");
    let mut feed = open(outbox, 2).await;
    assert_eq!(keys(&drain(&mut *feed.reader).await), ["l3"]);
}

async fn one_holder_at_a_time_has_the_lease(outbox: &dyn Outbox) {
    let feed = open(outbox, 1).await;
    let other = outbox.source("two", LEASE, 1);
    assert_eq!(other.open().await.expect_err("the lease is taken").kind(), ErrorKind::Fenced);
    feed.cursor.renew().await.expect("the lease is ours");
    feed.cursor.release().await.expect("the lease is ours");
    other.open().await.expect("the lease was given back");
}

async fn a_cursor_whose_lease_was_taken_changes_nothing(outbox: &dyn Outbox) {
    emit(outbox, &["a"]).await;
    let mut old = open(outbox, 1).await;
    let batch = old.reader.next().await.expect("up").expect("one event");
    let mut new = open(outbox, 1).await;
    assert_eq!(old.cursor.advance(&batch.position).await.expect_err("fenced").kind(), ErrorKind::Fenced);
    assert_eq!(old.cursor.renew().await.expect_err("fenced").kind(), ErrorKind::Fenced);
    assert_eq!(keys(&drain(&mut *new.reader).await), ["a"]);
    drop(new);
    let mut next = open(outbox, 1).await;
    assert_eq!(keys(&drain(&mut *next.reader).await), ["a"], "the old cursor did not move the position");
}

async fn a_lease_that_is_not_renewed_runs_out(outbox: &dyn Outbox) {
    let short = outbox.source("one", Duration::from_millis(50), 1);
    let old = short.open().await.expect("the lease is free");
    let other = outbox.source("two", LEASE, 1);
    let taken = timeout(BOUND, async {
        while other.open().await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    taken.await.expect("the lease runs out by itself");
    assert_eq!(old.cursor.renew().await.expect_err("fenced").kind(), ErrorKind::Fenced);
}

async fn a_sleeping_reader_wakes_when_something_is_committed(outbox: &dyn Outbox) {
    let mut feed = open(outbox, 100).await;
    for round in 0..20 {
        let key = format!("k{round}");
        let reader = &mut feed.reader;
        let awaited = async {
            loop {
                if let Some(batch) = reader.next().await.expect("up") {
                    return batch.events;
                }
                reader.wait().await.expect("up");
            }
        };
        let written = [key.as_str()];
        let both = async { tokio::join!(awaited, emit(outbox, &written)) };
        let (events, ()) = timeout(BOUND, both).await.expect("it wakes");
        assert_eq!(keys(&events), written);
    }
}

async fn lag_counts_what_the_position_has_not_passed(outbox: &dyn Outbox) {
    let source = outbox.source("one", LEASE, 2);
    let mut feed = source.open().await.expect("the lease is free");
    emit(outbox, &["a", "b", "c"]).await;
    assert_eq!(source.lag().await.expect("up").events, 3);
    let batch = feed.reader.next().await.expect("up").expect("two events");
    feed.cursor.advance(&batch.position).await.expect("ours");
    assert_eq!(source.lag().await.expect("up").events, 1);
    let batch = feed.reader.next().await.expect("up").expect("one event");
    feed.cursor.advance(&batch.position).await.expect("ours");
    // A window may end only when it is found to be empty.
    drain(&mut *feed.reader).await;
    assert_eq!(source.lag().await.expect("up").events, 0);
}
