//! What every [`LedgerSource`] promises beside what every source does.
#![allow(clippy::expect_used, reason = "a suite fails by panicking")]

use super::source::{LEASE, Outbox, drain, emit, keys};
use crate::error::ErrorKind;
use crate::event::Event;
use crate::port::{Batch, Claim, Mark, Resumed};

/// Checks everything a source with a ledger promises; `fresh` makes an empty outbox for each check.
///
/// # Panics
/// When a promise is broken, saying which.
pub async fn ledger_source(fresh: impl AsyncFn() -> Box<dyn Outbox>) {
    any_mark_is_a_place_to_go_on_from_whatever_is_mirrored(&*fresh().await).await;
    without_a_mark_it_goes_on_from_the_mirrored_position(&*fresh().await).await;
    a_mark_of_another_history_means_the_mirrored_position_and_a_new_epoch(&*fresh().await).await;
    a_mark_of_a_later_term_or_history_stops(&*fresh().await).await;
    a_mark_of_another_copy_of_the_source_begins_a_new_epoch_whatever_its_term(&*fresh().await).await;
    a_mark_from_before_it_was_read_without_a_ledger_does_not_count(&*fresh().await).await;
    a_window_is_entered_only_under_the_lease(&*fresh().await).await;
    one_holder_at_a_time_claims_it_and_all_by_one_name(&*fresh().await).await;
    marks_stay_known_while_hundreds_of_windows_pass(&*fresh().await).await;
}

async fn claim(outbox: &dyn Outbox, batch_events: usize) -> Claim {
    outbox.ledger_source("one", LEASE, batch_events).claim().await.expect("the lease is free")
}

async fn resume(outbox: &dyn Outbox, batch_events: usize, mark: Option<&Mark>) -> (Claimed, Resumed) {
    let Claim { cursor, unresumed, .. } = claim(outbox, batch_events).await;
    (Claimed(cursor), unresumed.resume(mark.cloned()).await.expect("the lease is ours"))
}

/// Keeps the lease's cursor at hand.
struct Claimed(Box<dyn crate::port::Cursor>);

async fn batch(resumed: &mut Resumed) -> Batch {
    resumed.reader.next().await.expect("up").expect("there is more")
}

fn mark_of(batch: &Batch) -> Mark {
    batch.mark.clone().expect("a batch with events has a mark")
}

async fn rest(resumed: &mut Resumed) -> Vec<Event> {
    drain(&mut *resumed.reader).await
}

async fn any_mark_is_a_place_to_go_on_from_whatever_is_mirrored(outbox: &dyn Outbox) {
    emit(outbox, &["a", "b", "c", "d", "e"]).await;
    let mut late = outbox.begin().await;
    late.emit("late", crate::event::Action::Index).await;
    let mut marks: Vec<Mark> = Vec::new();
    for expected in ["a", "b", "c", "d", "e"] {
        let (claimed, mut resumed) = resume(outbox, 1, marks.last()).await;
        let batch = batch(&mut resumed).await;
        assert_eq!(keys(&batch.events), [expected]);
        marks.push(mark_of(&batch));
        if expected == "b" {
            claimed.0.advance(&batch.position).await.expect("the lease is ours");
        }
        // Committed meanwhile: it must not slip in before the rest of the window, nor get lost.
        emit(outbox, &[&format!("after {expected}")]).await;
    }
    late.commit().await;
    let (claimed, mut resumed) = resume(outbox, 100, marks.last()).await;
    claimed.0.advance(&resumed.position).await.expect("the lease is ours");
    let lag = outbox.source("one", LEASE, 1).lag().await.expect("up").events;
    assert_eq!(lag, 6, "the source knows now what is published");
    let mut events = rest(&mut resumed).await;
    events.sort_by(|one, other| one.key.cmp(&other.key));
    assert_eq!(keys(&events), ["after a", "after b", "after c", "after d", "after e", "late"]);
    // An earlier one repeats, in the same order.
    let (_, mut resumed) = resume(outbox, 100, marks.get(1)).await;
    assert_eq!(keys(&rest(&mut resumed).await)[..3], ["c", "d", "e"]);
}

async fn without_a_mark_it_goes_on_from_the_mirrored_position(outbox: &dyn Outbox) {
    emit(outbox, &["a", "b", "c"]).await;
    let (claimed, mut resumed) = resume(outbox, 1, None).await;
    let first = batch(&mut resumed).await;
    assert_eq!(keys(&first.events), ["a"]);
    claimed.0.advance(&first.position).await.expect("the lease is ours");
    let (_, mut resumed) = resume(outbox, 1, None).await;
    let second = batch(&mut resumed).await;
    assert_eq!(keys(&second.events), ["b"]);
    // What the source's own position says holds for whoever reads without a ledger too.
    let mut feed = outbox.source("one", LEASE, 1).open().await.expect("ours");
    assert_eq!(keys(&drain(&mut *feed.reader).await), ["b", "c"]);
}

async fn a_mark_of_another_history_means_the_mirrored_position_and_a_new_epoch(outbox: &dyn Outbox) {
    emit(outbox, &["a", "b", "c"]).await;
    let (claimed, mut resumed) = resume(outbox, 1, None).await;
    let before = resumed.epoch;
    let first = batch(&mut resumed).await;
    claimed.0.advance(&first.position).await.expect("the lease is ours");
    let second = mark_of(&batch(&mut resumed).await);
    let lost = [
        Mark { token: "0fb1a4a8-6a3b-4a6e-8f6c-0a6c7a1d2e3f".to_owned(), ..second.clone() },
        Mark { window: second.window + 1_000, ..second.clone() },
    ];
    let mut epoch = before;
    for mark in lost {
        for _ in 0..2 {
            let mark = Mark { epoch, ..mark.clone() };
            let (_, mut resumed) = resume(outbox, 1, Some(&mark)).await;
            assert_eq!(resumed.epoch, epoch + 1, "a new epoch, and only one for one mark");
            let next = batch(&mut resumed).await;
            assert_eq!(keys(&next.events), ["b"], "after what is known to be published");
            assert_eq!(mark_of(&next).epoch, epoch + 1);
        }
        epoch += 1;
    }
    // The one this history gave is still known.
    let (_, mut resumed) = resume(outbox, 1, Some(&second)).await;
    assert_eq!((resumed.epoch, keys(&rest(&mut resumed).await)), (epoch, vec!["c"]));
}

async fn a_mark_of_a_later_term_or_history_stops(outbox: &dyn Outbox) {
    emit(outbox, &["a", "b"]).await;
    let (_, mut resumed) = resume(outbox, 1, None).await;
    let mark = mark_of(&batch(&mut resumed).await);
    let refusal = async |mark: Mark| {
        let refused = claim(outbox, 1).await.unresumed.resume(Some(mark)).await;
        refused.map(|_| ()).expect_err("it must not go on").kind()
    };
    let later = Mark { term: mark.term + 10, ..mark.clone() };
    assert_eq!(refusal(later).await, ErrorKind::Fenced, "a later term has published");
    let later = Mark { epoch: mark.epoch + 1, ..mark.clone() };
    assert_eq!(refusal(later).await, ErrorKind::History, "a later history has published");
    let (_, mut resumed) = resume(outbox, 1, Some(&mark)).await;
    assert_eq!(keys(&rest(&mut resumed).await), ["b"]);
}

async fn a_mark_of_another_copy_of_the_source_begins_a_new_epoch_whatever_its_term(outbox: &dyn Outbox) {
    emit(outbox, &["a", "b", "c"]).await;
    let (_, mut resumed) = resume(outbox, 1, None).await;
    let mark = mark_of(&batch(&mut resumed).await);
    // The window is from before the two came apart, so both know it.
    let history = "5d0c8f0e-7f0b-4f5e-9a58-0f4c5b1e2d3c".to_owned();
    let elsewhere = Mark { term: mark.term + 1_000, history, ..mark.clone() };
    for _ in 0..2 {
        let (_, mut resumed) = resume(outbox, 1, Some(&elsewhere)).await;
        assert_eq!(resumed.epoch, mark.epoch + 1, "a new epoch, and only one for one mark");
        let next = batch(&mut resumed).await;
        assert_eq!(keys(&next.events), ["b"], "behind what is published");
        assert_ne!(mark_of(&next).history, mark.history);
    }
}

async fn a_mark_from_before_it_was_read_without_a_ledger_does_not_count(outbox: &dyn Outbox) {
    emit(outbox, &["a", "b", "c", "d"]).await;
    let (_, mut resumed) = resume(outbox, 1, None).await;
    let old = mark_of(&batch(&mut resumed).await);
    let mut feed = outbox.source("one", LEASE, 3).open().await.expect("ours");
    let passed = feed.reader.next().await.expect("up").expect("three events");
    feed.cursor.advance(&passed.position).await.expect("ours");
    let (_, mut resumed) = resume(outbox, 1, Some(&old)).await;
    assert_eq!(resumed.epoch, old.epoch, "nothing was lost");
    let next = batch(&mut resumed).await;
    assert_eq!(keys(&next.events), ["d"], "where it came without a ledger");
    let (_, mut resumed) = resume(outbox, 1, Some(&mark_of(&next))).await;
    assert_eq!(rest(&mut resumed).await, [], "from now on the mark counts");
}

async fn a_window_is_entered_only_under_the_lease(outbox: &dyn Outbox) {
    emit(outbox, &["a"]).await;
    let (old, mut fenced) = resume(outbox, 1, None).await;
    let (_, mut new) = resume(outbox, 1, None).await;
    assert_eq!(fenced.reader.next().await.expect_err("fenced").kind(), ErrorKind::Fenced);
    assert_eq!(old.0.renew().await.expect_err("fenced").kind(), ErrorKind::Fenced);
    assert_eq!(keys(&rest(&mut new).await), ["a"]);
    let Claim { unresumed, .. } = claim(outbox, 1).await;
    let newest = claim(outbox, 1).await;
    assert_eq!(unresumed.resume(None).await.expect_err("fenced").kind(), ErrorKind::Fenced);
    newest.unresumed.resume(None).await.expect("the lease is ours");
}

async fn one_holder_at_a_time_claims_it_and_all_by_one_name(outbox: &dyn Outbox) {
    let first = claim(outbox, 1).await;
    let other = outbox.ledger_source("two", LEASE, 1);
    assert_eq!(other.claim().await.expect_err("the lease is taken").kind(), ErrorKind::Fenced);
    first.cursor.release().await.expect("ours");
    assert_eq!(other.claim().await.expect("the lease was given back").name, first.name);
}

async fn marks_stay_known_while_hundreds_of_windows_pass(outbox: &dyn Outbox) {
    let (mut claimed, mut resumed) = resume(outbox, 100, None).await;
    let epoch = resumed.epoch;
    for round in 0..300 {
        let key = format!("k{round}");
        emit(outbox, &[&key]).await;
        let batch = batch(&mut resumed).await;
        assert_eq!(keys(&batch.events), [key.as_str()]);
        // The mirrored position may be behind the mark, but is never ahead of it.
        if round % 3 == 0 {
            claimed.0.advance(&batch.position).await.expect("ours");
        }
        if round % 10 == 9 {
            (claimed, resumed) = resume(outbox, 100, Some(&mark_of(&batch))).await;
            assert_eq!(resumed.epoch, epoch, "the mark is known");
        }
    }
}
