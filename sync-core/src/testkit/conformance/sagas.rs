//! What every store of sagas promises.
#![allow(clippy::unwrap_used, reason = "a suite fails by panicking")]

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::join_all;
use serde_json::json;

use crate::error::{Error, ErrorKind};
use crate::port::{HeldSaga, SagaEnding, SagaEvent, SagaFailure, SagaLog, SagaOrder, SagaOutcome, Sagas};

/// A store of sagas, and what it does when one ends: it notes "subject outcome error", `none` for no error.
#[async_trait]
pub trait SagaHarness: Debug + Send + Sync {
    /// The way in for people.
    fn people(&self) -> Arc<dyn Sagas>;

    /// Two holders.
    fn workers(&self) -> [Arc<dyn SagaLog>; 2];

    /// Whether what is done at an end is refused from now on, with `Contract`.
    async fn refuse_endings(&self, refuse: bool);

    /// What was noted.
    async fn endings(&self) -> Vec<String>;
}

/// Checks every promise of [`Sagas`] and [`SagaLog`]. Each call of `make` gives an empty store, whose leases last as long as
/// it is told.
///
/// # Panics
/// When a promise is broken.
pub async fn sagas<H: SagaHarness>(make: impl AsyncFn(Duration) -> H) {
    let long = Duration::from_secs(3_600);
    a_saga_is_begun_once_for_a_subject(&make(long).await).await;
    what_cannot_be_begun_is_refused(&make(long).await).await;
    a_saga_is_one_holders_until_it_lets_go(&make(long).await).await;
    a_saga_nobody_renews_is_taken_up_with_all_it_did(&make(Duration::ZERO).await).await;
    every_kind_of_event_comes_back_as_it_was(&make(long).await).await;
    of_several_about_one_subject_the_earlier_ends_first(&make(long).await).await;
    a_saga_is_given_only_to_those_who_know_its_kind_and_ask_for_its_subject(&make(long).await).await;
    of_many_who_claim_at_once_each_gets_another(&make(long).await).await;
    what_is_done_at_the_end_is_done_with_it_or_not_at_all(&make(long).await).await;
    a_saga_whose_end_is_refused_can_be_ended_untold_and_no_other(&make(long).await).await;
    a_cancelled_saga_says_so_to_whoever_holds_it(&make(long).await).await;
    a_saga_says_how_much_time_it_has(&make(long).await).await;
    what_ended_long_ago_is_forgotten_and_may_be_begun_anew(&make(long).await).await;
    one_that_is_let_go_with_a_pause_is_left_alone_for_it(&make(Duration::from_secs(1)).await).await;
}

const KIND: &str = "trip";

fn order(kind: &str, subject: &str) -> SagaOrder {
    let params = json!({ "to": "größe \" 7", "n": [1, null] });
    SagaOrder { kind: kind.to_owned(), subject: subject.to_owned(), params, time_allowed: Duration::from_secs(600) }
}

async fn claimed(worker: &dyn SagaLog) -> HeldSaga {
    worker.claim(&[KIND], None).await.unwrap().unwrap()
}

fn acting(step: &str) -> SagaEvent {
    SagaEvent::Acting { step: step.to_owned(), attempt: 1 }
}

fn done() -> SagaEnding {
    let outputs = [("flight".to_owned(), json!({ "seat": "7a" }))].into();
    SagaEnding { outcome: SagaOutcome::Done, error: None, outputs, left: Default::default() }
}

fn is_fenced<T: Debug>(refused: Result<T, Error>) -> bool {
    refused.unwrap_err().kind() == ErrorKind::Fenced
}

async fn a_saga_is_begun_once_for_a_subject(store: &impl SagaHarness) {
    let people = store.people();
    let id = people.begin(&order(KIND, "anna")).await.unwrap();
    assert_eq!(people.begin(&order(KIND, "anna")).await.unwrap(), id, "where its answer was lost");
    let other = SagaOrder { params: json!({ "to": "elsewhere" }), ..order(KIND, "anna") };
    assert_eq!(people.begin(&other).await.unwrap_err().kind(), ErrorKind::Contract);
    assert_ne!(people.begin(&order(KIND, "bert")).await.unwrap(), id);
    let listed = people.list(Some("anna"), 9).await.unwrap();
    assert_eq!((listed.len(), &listed[0].saga.params), (1, &order(KIND, "anna").params));
    let [worker, _] = store.workers();
    worker.end(claimed(&*worker).await.claim(), &done()).await.unwrap();
    assert_eq!(people.begin(&order(KIND, "anna")).await.unwrap(), id, "it was run");
    assert_eq!(people.list(None, 1).await.unwrap()[0].saga.subject, "bert", "the newest first");
}

async fn what_cannot_be_begun_is_refused(store: &impl SagaHarness) {
    for wrong in [
        order("", "anna"),
        order(&"k".repeat(250), "anna"),
        order(KIND, ""),
        order(KIND, &"s".repeat(513)),
        SagaOrder { time_allowed: Duration::ZERO, ..order(KIND, "anna") },
    ] {
        assert_eq!(store.people().begin(&wrong).await.unwrap_err().kind(), ErrorKind::Contract, "{wrong:?}");
    }
    assert!(store.people().list(None, 9).await.unwrap().is_empty());
}

async fn a_saga_is_one_holders_until_it_lets_go(store: &impl SagaHarness) {
    let [one, other] = store.workers();
    assert_eq!(one.claim(&[KIND], None).await.unwrap(), None);
    store.people().begin(&order(KIND, "anna")).await.unwrap();
    let held = claimed(&*one).await;
    assert_eq!((held.saga.subject.as_str(), &held.saga.params), ("anna", &order(KIND, "").params));
    assert_eq!(other.claim(&[KIND], None).await.unwrap(), None);
    assert_eq!(one.claim(&[KIND], None).await.unwrap(), None, "not even to itself");
    one.record(held.claim(), &[acting("flight")]).await.unwrap();
    assert_eq!(one.renew(held.claim()).await.unwrap(), None);
    assert!(is_fenced(other.renew(held.claim()).await), "knowing the claim makes nobody its holder");
    assert!(is_fenced(other.record(held.claim(), &[acting("hotel")]).await));
    assert!(is_fenced(other.end(held.claim(), &done()).await));
    assert!(is_fenced(other.release(held.claim(), Duration::ZERO).await));
    one.release(held.claim(), Duration::ZERO).await.unwrap();
    let again = claimed(&*other).await;
    assert!(again.term > held.term, "{again:?}");
    assert_eq!(again.saga.log, [acting("flight")]);
    assert!(is_fenced(one.renew(held.claim()).await));
    assert!(is_fenced(one.record(held.claim(), &[acting("hotel")]).await));
    assert!(is_fenced(one.end(held.claim(), &done()).await));
    assert!(is_fenced(one.release(held.claim(), Duration::ZERO).await));
    other.end(again.claim(), &done()).await.unwrap();
    assert!(is_fenced(other.record(again.claim(), &[acting("hotel")]).await), "it is over");
    assert_eq!(one.claim(&[KIND], None).await.unwrap(), None, "it is over");
}

async fn a_saga_nobody_renews_is_taken_up_with_all_it_did(store: &impl SagaHarness) {
    let [one, other] = store.workers();
    store.people().begin(&order(KIND, "anna")).await.unwrap();
    let held = claimed(&*one).await;
    one.record(held.claim(), &[acting("flight")]).await.unwrap();
    let again = claimed(&*other).await;
    assert_eq!(again.saga.log, [acting("flight")]);
    assert!(is_fenced(one.record(held.claim(), &[acting("hotel")]).await));
    let log = store.people().list(None, 1).await.unwrap().remove(0).saga.log;
    assert_eq!(log, [acting("flight")], "nothing of who was replaced");
}

async fn every_kind_of_event_comes_back_as_it_was(store: &impl SagaHarness) {
    store.people().begin(&order(KIND, "anna")).await.unwrap();
    let [worker, _] = store.workers();
    let (step, why) = (|| "größe \" 7".to_owned(), || "no room,\nnone at all".to_owned());
    let failure = || SagaFailure { error: why(), counts: true };
    let first = [
        SagaEvent::Acting { step: step(), attempt: 1 },
        SagaEvent::Failed { step: step(), attempt: 1, failure: failure() },
        SagaEvent::Acting { step: step(), attempt: 2 },
        SagaEvent::Done { step: step(), output: json!(null) },
        SagaEvent::Done { step: step(), output: json!({ "event": "x", "a": [null, { "b": null }] }) },
    ];
    let then = [
        SagaEvent::Compensating { why: why() },
        SagaEvent::Undoing { step: step(), attempt: 3 },
        SagaEvent::UndoFailed { step: step(), attempt: 3, failure: SagaFailure { counts: false, ..failure() } },
        SagaEvent::Undone { step: step() },
        SagaEvent::Left { step: step(), why: why() },
        SagaEvent::EndFailed { why: why() },
    ];
    let held = claimed(&*worker).await;
    worker.record(held.claim(), &first).await.unwrap();
    worker.record(held.claim(), &[]).await.unwrap();
    worker.record(held.claim(), &then).await.unwrap();
    worker.release(held.claim(), Duration::ZERO).await.unwrap();
    let all = [&first[..], &then[..]].concat();
    let nul = "what\0ever".to_owned();
    store.people().begin(&order(KIND, "bert")).await.unwrap();
    let other = worker.claim(&[KIND], Some("bert")).await.unwrap().unwrap();
    let of_the_world = [
        SagaEvent::Done { step: step(), output: json!({ "told": nul }) },
        SagaEvent::Compensating { why: nul.clone() },
    ];
    worker.record(other.claim(), &of_the_world).await.unwrap();
    let ending = SagaEnding { outcome: SagaOutcome::Compensated, error: Some(nul), ..done() };
    worker.end(other.claim(), &ending).await.unwrap();
    assert_eq!(claimed(&*worker).await.saga.log, all);
    assert_eq!(store.people().list(Some("anna"), 1).await.unwrap()[0].saga.log, all);
}

async fn of_several_about_one_subject_the_earlier_ends_first(store: &impl SagaHarness) {
    let [worker, _] = store.workers();
    store.people().begin(&order(KIND, "anna")).await.unwrap();
    store.people().begin(&order("return", "anna")).await.unwrap();
    assert_eq!(worker.claim(&["return"], None).await.unwrap(), None);
    let held = worker.claim(&["return", KIND], None).await.unwrap().unwrap();
    assert_eq!(held.saga.kind, KIND);
    assert_eq!(worker.claim(&["return", KIND], None).await.unwrap(), None, "it is not over");
    worker.end(held.claim(), &done()).await.unwrap();
    assert_eq!(worker.claim(&["return"], None).await.unwrap().unwrap().saga.kind, "return");
}

async fn a_saga_is_given_only_to_those_who_know_its_kind_and_ask_for_its_subject(store: &impl SagaHarness) {
    let [worker, _] = store.workers();
    for subject in ["anna", "bert"] {
        store.people().begin(&order(KIND, subject)).await.unwrap();
    }
    assert_eq!(worker.claim(&["other"], None).await.unwrap(), None);
    assert_eq!(worker.claim(&[], None).await.unwrap(), None);
    assert_eq!(worker.claim(&[KIND], Some("nobody")).await.unwrap(), None);
    assert_eq!(worker.claim(&[KIND], Some("bert")).await.unwrap().unwrap().saga.subject, "bert");
    assert_eq!(claimed(&*worker).await.saga.subject, "anna");
}

async fn of_many_who_claim_at_once_each_gets_another(store: &impl SagaHarness) {
    for number in 0..6 {
        store.people().begin(&order(KIND, &number.to_string())).await.unwrap();
    }
    let [one, other] = store.workers();
    let claims = join_all((0..8).map(|turn| if turn % 2 == 0 { &one } else { &other }.claim(&[KIND], None))).await;
    let mut subjects: Vec<_> = claims.into_iter().filter_map(|held| Some(held.unwrap()?.saga.subject)).collect();
    // Who asked while another had it in hand may have come away with nothing.
    while let Some(held) = one.claim(&[KIND], None).await.unwrap() {
        subjects.push(held.saga.subject);
    }
    subjects.sort();
    assert_eq!(subjects, ["0", "1", "2", "3", "4", "5"]);
}

async fn what_is_done_at_the_end_is_done_with_it_or_not_at_all(store: &impl SagaHarness) {
    let [worker, _] = store.workers();
    store.people().begin(&order(KIND, "anna")).await.unwrap();
    let held = claimed(&*worker).await;
    store.refuse_endings(true).await;
    let refused = worker.end(held.claim(), &done()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Contract, "{refused}");
    assert_eq!(store.people().list(None, 1).await.unwrap()[0].outcome, None, "it did not end");
    assert_eq!(store.endings().await, [""; 0]);
    store.refuse_endings(false).await;
    let why = "the hotel is full".to_owned();
    let compensated = SagaEnding { outcome: SagaOutcome::Compensated, error: Some(why), ..done() };
    worker.end(held.claim(), &compensated).await.unwrap();
    assert!(is_fenced(worker.end(held.claim(), &done()).await), "once");
    assert_eq!(store.endings().await, ["anna compensated the hotel is full"]);
    let past = store.people().list(None, 1).await.unwrap().remove(0);
    assert_eq!((past.outcome, past.ended_at.is_some()), (Some(SagaOutcome::Compensated), true));
}

async fn a_saga_whose_end_is_refused_can_be_ended_untold_and_no_other(store: &impl SagaHarness) {
    let ([worker, _], people) = (store.workers(), store.people());
    assert!(!people.end_untold(KIND, "anna").await.unwrap(), "there is none");
    people.begin(&order(KIND, "anna")).await.unwrap();
    store.refuse_endings(true).await;
    let held = claimed(&*worker).await;
    worker.record(held.claim(), &[acting("flight")]).await.unwrap();
    assert!(!people.end_untold(KIND, "anna").await.unwrap(), "it has more to do");
    let refused = || SagaEvent::EndFailed { why: "refused".to_owned() };
    worker.record(held.claim(), &[refused()]).await.unwrap();
    assert!(!people.end_untold(KIND, "anna").await.unwrap(), "it can still be taken back");
    let back = [SagaEvent::Compensating { why: "late".to_owned() }, SagaEvent::Undone { step: "flight".to_owned() }];
    worker.record(held.claim(), &back).await.unwrap();
    assert!(!people.end_untold(KIND, "anna").await.unwrap(), "its end is not refused yet");
    let compensated = SagaEnding { outcome: SagaOutcome::Compensated, error: Some("late".to_owned()), ..done() };
    worker.end(held.claim(), &compensated).await.unwrap_err();
    worker.record(held.claim(), &[refused()]).await.unwrap();
    worker.release(held.claim(), Duration::from_secs(600)).await.unwrap();
    assert!(people.end_untold(KIND, "anna").await.unwrap());
    let held = claimed(&*worker).await;
    worker.end(held.claim(), &compensated).await.unwrap();
    assert_eq!(store.endings().await, [""; 0], "nobody was told");
    assert_eq!(people.list(None, 1).await.unwrap()[0].outcome, Some(SagaOutcome::Compensated));
    assert!(!people.end_untold(KIND, "anna").await.unwrap(), "it is over");
}

async fn a_cancelled_saga_says_so_to_whoever_holds_it(store: &impl SagaHarness) {
    let ([worker, _], people) = (store.workers(), store.people());
    assert!(!people.cancel(KIND, "anna", "no need").await.unwrap());
    people.begin(&order(KIND, "anna")).await.unwrap();
    let held = claimed(&*worker).await;
    assert!(people.cancel(KIND, "anna", "no need").await.unwrap());
    assert!(people.cancel(KIND, "anna", "said again").await.unwrap());
    assert_eq!(worker.renew(held.claim()).await.unwrap().as_deref(), Some("no need"));
    worker.release(held.claim(), Duration::ZERO).await.unwrap();
    let held = claimed(&*worker).await;
    assert_eq!(held.saga.cancelled.as_deref(), Some("no need"));
    worker.end(held.claim(), &done()).await.unwrap();
    assert!(!people.cancel(KIND, "anna", "too late").await.unwrap());
}

async fn a_saga_says_how_much_time_it_has(store: &impl SagaHarness) {
    let [worker, _] = store.workers();
    store.people().begin(&order(KIND, "anna")).await.unwrap();
    let short = SagaOrder { time_allowed: Duration::from_nanos(1_000), ..order(KIND, "bert") };
    store.people().begin(&short).await.unwrap();
    let left = claimed(&*worker).await.left;
    assert!(left > Duration::from_secs(500) && left <= Duration::from_secs(600), "{left:?}");
    assert_eq!(claimed(&*worker).await.left, Duration::ZERO);
}

async fn what_ended_long_ago_is_forgotten_and_may_be_begun_anew(store: &impl SagaHarness) {
    let ([worker, _], people) = (store.workers(), store.people());
    let first = people.begin(&order(KIND, "anna")).await.unwrap();
    let held = claimed(&*worker).await;
    worker.record(held.claim(), &[acting("flight")]).await.unwrap();
    assert_eq!(people.purge(&[KIND], Duration::ZERO).await.unwrap(), 0, "it is not over");
    worker.end(held.claim(), &done()).await.unwrap();
    assert_eq!(people.purge(&[KIND], Duration::from_secs(3_600)).await.unwrap(), 0, "it ended a moment ago");
    assert_eq!(people.purge(&["other"], Duration::ZERO).await.unwrap(), 0, "of another kind");
    assert_eq!(people.purge(&[KIND], Duration::ZERO).await.unwrap(), 1);
    assert!(people.list(None, 9).await.unwrap().is_empty());
    let other = SagaOrder { params: json!({}), ..order(KIND, "anna") };
    assert!(people.begin(&other).await.unwrap() > first);
}

async fn one_that_is_let_go_with_a_pause_is_left_alone_for_it(store: &impl SagaHarness) {
    let [one, other] = store.workers();
    store.people().begin(&order(KIND, "anna")).await.unwrap();
    let held = claimed(&*one).await;
    one.release(held.claim(), Duration::from_secs(1)).await.unwrap();
    assert_eq!(other.claim(&[KIND], None).await.unwrap(), None);
    while other.claim(&[KIND], None).await.unwrap().is_none() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
