//! What every store of runs promises.
#![allow(clippy::unwrap_used, reason = "a suite fails by panicking")]

use std::sync::Arc;
use std::time::Duration;

use crate::error::ErrorKind;
use crate::port::{Run, RunKind, RunState, Runs};

/// Checks every promise of [`Runs`]. Each call of `make` gives two holders of one empty store, whose leases last as long
/// as it is told.
///
/// # Panics
/// When a promise is broken.
pub async fn runs(make: impl AsyncFn(Duration) -> [Arc<dyn Runs>; 2]) {
    let long = Duration::from_secs(3_600);
    let both = |[one, other]: &[Arc<dyn Runs>; 2]| (Arc::clone(one), Arc::clone(other));
    let (one, other) = both(&make(long).await);
    a_run_is_one_holders_until_it_lets_go(&*one, &*other).await;
    let (one, other) = both(&make(Duration::ZERO).await);
    a_run_that_nobody_records_is_taken_up_where_it_was(&*one, &*other).await;
    let (one, other) = both(&make(long).await);
    a_run_that_is_done_or_given_up_is_followed_by_another(&*one, &*other).await;
    let (one, other) = both(&make(long).await);
    runs_of_several_indexes_are_apart_and_listed_the_newest_first(&*one, &*other).await;
    let (one, other) = both(&make(long).await);
    of_two_that_begin_at_once_one_does(&*one, &*other).await;
}

const KIND: RunKind = RunKind::Backfill;

fn further(run: &Run, after: &str, documents: u64) -> Run {
    let counts = [("documents".to_owned(), documents)].into();
    Run { after: Some(after.to_owned()), counts, ..run.clone() }
}

async fn is_refused(runs: &dyn Runs, index: &str) -> bool {
    runs.begin(KIND, index).await.is_err_and(|error| error.kind() == ErrorKind::Fenced)
}

async fn a_run_is_one_holders_until_it_lets_go(one: &dyn Runs, other: &dyn Runs) {
    let begun = one.begin(KIND, "jobs").await.unwrap();
    assert_eq!((&begun.after, begun.counts.len()), (&None, 0));
    assert!(is_refused(other, "jobs").await);
    let run = further(&begun, "größe \" 7", 70);
    one.record(&run).await.unwrap();
    assert!(is_refused(other, "jobs").await);
    assert_eq!(one.begin(KIND, "jobs").await.unwrap(), run, "its own again");
    for refused in [other.record(&begun).await, other.release(&begun).await, other.finish(&begun).await] {
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Fenced);
    }
    let state = async || other.list(None, 9).await.unwrap()[0].state;
    assert_eq!(state().await, RunState::Running);
    let run = further(&run, "größe \" 9", 90);
    one.release(&run).await.unwrap();
    assert_eq!(state().await, RunState::Interrupted);
    assert_eq!(other.begin(KIND, "jobs").await.unwrap(), run);
    assert!(is_refused(one, "jobs").await);
}

async fn a_run_that_nobody_records_is_taken_up_where_it_was(one: &dyn Runs, other: &dyn Runs) {
    let run = further(&one.begin(KIND, "jobs").await.unwrap(), "5", 50);
    one.record(&run).await.unwrap();
    assert_eq!(other.begin(KIND, "jobs").await.unwrap(), run);
    assert_eq!(one.record(&further(&run, "6", 60)).await.unwrap_err().kind(), ErrorKind::Fenced);
    let [past] = &other.list(None, 9).await.unwrap()[..] else { panic!("one run") };
    assert_eq!((&past.run, past.state), (&run, RunState::Interrupted), "nobody's lease lasts");
}

async fn a_run_that_is_done_or_given_up_is_followed_by_another(one: &dyn Runs, other: &dyn Runs) {
    let first = further(&one.begin(KIND, "jobs").await.unwrap(), "9", 90);
    one.finish(&first).await.unwrap();
    assert_eq!(one.record(&first).await.unwrap_err().kind(), ErrorKind::Fenced, "it is over");
    let second = other.begin(KIND, "jobs").await.unwrap();
    assert!(second.id > first.id && second.after.is_none(), "{second:?}");
    assert!(one.abandon(KIND, "jobs").await.unwrap(), "whoever holds it");
    assert!(!one.abandon(KIND, "jobs").await.unwrap(), "once");
    assert_eq!(other.record(&second).await.unwrap_err().kind(), ErrorKind::Fenced);
    let third = one.begin(KIND, "jobs").await.unwrap();
    assert!(third.id > second.id);
    let ends: Vec<_> = one.list(Some("jobs"), 9).await.unwrap();
    let ends: Vec<_> = ends.iter().map(|past| (past.run.id, past.ended_at.is_some(), past.state)).collect();
    let expected = [
        (third.id, false, RunState::Running),
        (second.id, true, RunState::GivenUp),
        (first.id, true, RunState::Finished),
    ];
    assert_eq!(ends, expected);
}

async fn runs_of_several_indexes_are_apart_and_listed_the_newest_first(one: &dyn Runs, other: &dyn Runs) {
    let jobs = one.begin(KIND, "jobs").await.unwrap();
    let people = other.begin(KIND, "people").await.unwrap();
    let listed = async |index, limit| {
        let runs = one.list(index, limit).await.unwrap().into_iter();
        runs.map(|past| (past.kind, past.index, past.run.id)).collect::<Vec<_>>()
    };
    let told = |index: &str, run: &Run| ("backfill".to_owned(), index.to_owned(), run.id);
    assert_eq!(listed(None, 9).await, [told("people", &people), told("jobs", &jobs)]);
    assert_eq!(listed(None, 1).await, [told("people", &people)]);
    assert_eq!(listed(Some("jobs"), 9).await, [told("jobs", &jobs)]);
}

async fn of_two_that_begin_at_once_one_does(one: &dyn Runs, other: &dyn Runs) {
    let (first, second) = futures::future::join(one.begin(KIND, "jobs"), other.begin(KIND, "jobs")).await;
    assert_eq!(u8::from(first.is_ok()) + u8::from(second.is_ok()), 1, "{first:?} {second:?}");
    assert_eq!(one.list(None, 9).await.unwrap().len(), 1);
}
