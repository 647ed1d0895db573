//! Sagas in memory, and everything that can go wrong with one.

mod stage;

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use self::stage::{ALLOWED, KIND, LEASE, Place, STEPS, Stage, Trouble};
use super::{SagaConfig, SagaDefinition, SagaWorker};
use crate::error::ErrorKind;
use crate::policy::Backoff;
use crate::port::{SagaEvent, SagaLog as _, SagaOrder, SagaOutcome, Sagas as _};

#[tokio::test(start_paused = true)]
async fn steps_are_done_in_order_and_told_what_those_before_them_gave() {
    let stage = Stage::new().await;
    let past = stage.until_over().await;
    assert_eq!(stage.calls(), "+flight +hotel +car");
    assert_eq!(stage.world.booked(), ["car", "flight", "hotel"]);
    assert_eq!(stage.ending(), (SagaOutcome::Done, String::new()));
    let SagaEvent::Done { output, .. } = past.saga.log.last().unwrap() else { panic!("{past:?}") };
    assert_eq!(*output, json!(["anna", "rome", 2]));
}

#[tokio::test(start_paused = true)]
async fn what_the_log_could_not_tell_apart_is_refused() {
    let stage = Stage::new().await;
    let twice = || stage.steps().into_iter().chain(stage.steps()).collect();
    let refused = |definitions| {
        let made = SagaWorker::new(Arc::new(stage.sagas.another()), definitions, stage.config);
        let error = made.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        error.to_string()
    };
    let told = refused(vec![SagaDefinition::new("trip", twice())]);
    assert!(told.contains(&format!("two steps of the saga \"trip\" are called {:?}", STEPS[0])), "{told}");
    let told =
        refused(vec![SagaDefinition::new("trip", stage.steps()), SagaDefinition::undoing("trip", stage.steps())]);
    assert!(told.contains("two sagas are of the kind \"trip\""), "{told}");
}

#[tokio::test(start_paused = true)]
async fn when_a_step_is_refused_it_and_all_before_it_are_undone_in_reverse() {
    let stage = Stage::new().await;
    stage.world.trouble("car", Place::AfterAct, Trouble::Fails(ErrorKind::Refused), 1);
    stage.until_over().await;
    assert_eq!(stage.calls(), "+flight +hotel +car -car -hotel -flight");
    assert!(stage.world.booked().is_empty());
    assert_eq!(stage.ending(), (SagaOutcome::Compensated, "car: car is full".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn what_fails_for_an_unknown_reason_is_tried_a_few_times() {
    let stage = Stage::new().await;
    stage.world.trouble("hotel", Place::BeforeAct, Trouble::Fails(ErrorKind::Unexplained), 2);
    stage.until_over().await;
    assert_eq!(stage.calls(), "+flight +hotel +hotel +hotel +car");
    let stage = Stage::new().await;
    stage.world.trouble("hotel", Place::BeforeAct, Trouble::Fails(ErrorKind::Unexplained), 99);
    stage.until_over().await;
    assert_eq!(stage.calls(), "+flight +hotel +hotel +hotel -hotel -flight");
    assert_eq!(stage.ending().1, "hotel: hotel is full");
}

#[tokio::test(start_paused = true)]
async fn what_is_away_is_tried_until_the_time_allowed_is_over_and_the_error_says_what_was_away() {
    let stage = Stage::new().await;
    stage.world.trouble("hotel", Place::BeforeAct, Trouble::Fails(ErrorKind::Unavailable), 30);
    stage.until_over().await;
    assert_eq!(stage.ending().0, SagaOutcome::Done, "away for some minutes");
    let stage = Stage::new().await;
    stage.world.trouble("hotel", Place::BeforeAct, Trouble::Fails(ErrorKind::Unavailable), usize::MAX);
    stage.until_over().await;
    let (outcome, error) = stage.ending();
    assert_eq!(outcome, SagaOutcome::Compensated);
    assert!(error.starts_with("hotel: hotel is full; it was tried until the time"), "{error}");
    assert!(stage.world.booked().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_last_try_that_is_cut_short_does_not_hide_what_was_wrong_before_it() {
    let config = SagaConfig { step_timeout: ALLOWED, ..SagaConfig::default() };
    let stage = Stage { config, ..Stage::new().await };
    stage.world.trouble("hotel", Place::BeforeAct, Trouble::Fails(ErrorKind::Unavailable), 1);
    stage.world.trouble("hotel", Place::AfterAct, Trouble::Hangs, usize::MAX);
    stage.until_over().await;
    let error = stage.ending().1;
    assert!(error.contains("no end within") && error.ends_with("and before that: hotel is full"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_step_that_says_nothing_is_given_up_after_its_time_and_the_saga_after_its_own() {
    let stage = Stage::new().await;
    stage.world.trouble("hotel", Place::AfterAct, Trouble::Hangs, 1);
    stage.until_over().await;
    assert_eq!(stage.calls(), "+flight +hotel +hotel +car");
    let stage = Stage::new().await;
    stage.world.trouble("hotel", Place::AfterAct, Trouble::Hangs, usize::MAX);
    stage.until_over().await;
    let (outcome, error) = stage.ending();
    assert!(outcome == SagaOutcome::Compensated && error.contains("no end within"), "{error}");
    assert!(stage.world.booked().is_empty());
}

#[tokio::test(start_paused = true)]
async fn whatever_goes_wrong_twice_at_any_two_places_all_is_done_or_nothing_is_left() {
    let kinds = [ErrorKind::Unavailable, ErrorKind::Unexplained, ErrorKind::Refused, ErrorKind::Configuration];
    let troubles: Vec<_> = kinds.map(Trouble::Fails).into_iter().chain([Trouble::Hangs]).collect();
    let places = [Place::BeforeAct, Place::AfterAct, Place::BeforeUndo, Place::AfterUndo];
    let all: Vec<_> = STEPS.iter().flat_map(|step| places.map(|place| (*step, place))).collect();
    for (first, then) in all.iter().flat_map(|first| all.iter().map(move |then| (first, then))) {
        for (one, other) in troubles.iter().flat_map(|one| troubles.iter().map(move |other| (one, other))) {
            let stage = Stage::new().await;
            stage.world.trouble(first.0, first.1, *one, 1);
            stage.world.trouble(then.0, then.1, *other, 1);
            // So that there is a way back, on which the second may happen.
            stage.world.trouble("car", Place::AfterAct, Trouble::Fails(ErrorKind::Refused), 1);
            stage.until_over().await;
            let told = format!("{first:?} {one:?}, {then:?} {other:?}: {}", stage.calls());
            // What undoes a step may be refused for good: then it is left, and said so.
            let left = stage.left().await;
            if left.is_empty() {
                assert!(stage.is_whole(), "{told}");
            } else {
                assert_eq!(stage.ending().0, SagaOutcome::Compensated, "{told}");
                assert!(stage.world.booked().iter().all(|step| left.contains(*step)), "{told}, left {left:?}");
                let is_undo = |place| matches!(place, Place::BeforeUndo | Place::AfterUndo);
                assert!(is_undo(first.1) || is_undo(then.1), "{told}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_saga_whose_process_dies_anywhere_is_ended_by_another() {
    let places = [Place::BeforeAct, Place::AfterAct, Place::BeforeUndo, Place::AfterUndo];
    for (step, place) in STEPS.iter().flat_map(|step| places.map(|place| (*step, place))) {
        for goes_back in [false, true] {
            let stage = Stage::new().await;
            stage.world.trouble(step, place, Trouble::Hangs, 1);
            if goes_back {
                stage.world.trouble("car", Place::AfterAct, Trouble::Fails(ErrorKind::Refused), 1);
            }
            if goes_back || matches!(place, Place::BeforeAct | Place::AfterAct) {
                stage.until_dead().await;
            }
            stage.until_over().await;
            assert!(stage.is_whole(), "{step} {place:?} {goes_back}: {}", stage.calls());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_step_that_kills_its_process_each_time_is_given_up() {
    let stage = Stage::new().await;
    stage.world.trouble("hotel", Place::AfterAct, Trouble::Hangs, usize::MAX);
    for _ in 0..10 {
        stage.until_dead().await;
    }
    stage.until_over().await;
    assert_eq!(stage.ending(), (SagaOutcome::Compensated, "hotel: tried 10 times in vain".to_owned()));
    assert!(stage.world.booked().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_step_that_may_not_be_repeated_is_taken_back_when_it_is_not_known_whether_it_was_done() {
    for trouble in [Trouble::Hangs, Trouble::Fails(ErrorKind::Unavailable)] {
        let stage = Stage { may_be_repeated: false, ..Stage::new().await };
        stage.world.trouble("hotel", Place::AfterAct, trouble, 1);
        if trouble == Trouble::Hangs {
            stage.until_dead().await;
        }
        stage.until_over().await;
        assert_eq!(stage.calls(), "+flight +hotel -hotel -flight");
        assert_eq!(stage.ending().0, SagaOutcome::Compensated);
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_undone_is_noted_and_the_others_are_undone_all_the_same() {
    for kind in [ErrorKind::Unavailable, ErrorKind::Unexplained, ErrorKind::Denied] {
        let stage = Stage::new().await;
        stage.world.trouble("car", Place::BeforeAct, Trouble::Fails(ErrorKind::Refused), 1);
        stage.world.trouble("hotel", Place::BeforeUndo, Trouble::Fails(kind), usize::MAX);
        let past = stage.until_over().await;
        assert_eq!(stage.world.booked(), ["hotel"], "{kind:?}");
        assert_eq!(stage.ending().0, SagaOutcome::Compensated);
        let left = SagaEvent::Left { step: "hotel".to_owned(), why: "hotel is full".to_owned() };
        assert!(past.saga.log.contains(&left), "{past:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_saga_that_is_cancelled_leaves_the_step_it_is_in_and_is_taken_back() {
    let stage = Stage::new().await;
    stage.world.trouble("hotel", Place::AfterAct, Trouble::Hangs, 1);
    let cancelling = async {
        stage.world.until_hanging().await;
        stage.sagas.cancel(KIND, "anna", "rain").await.unwrap();
    };
    futures::future::join(stage.until_over(), cancelling).await;
    assert_eq!(stage.calls(), "+flight +hotel -hotel -flight");
    assert_eq!(stage.ending(), (SagaOutcome::Compensated, "rain".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_saga_that_was_cancelled_before_anybody_began_it_does_nothing() {
    let stage = Stage::new().await;
    stage.sagas.cancel(KIND, "anna", "rain").await.unwrap();
    stage.until_over().await;
    assert_eq!((stage.calls().as_str(), stage.ending().1.as_str()), ("", "rain"));
}

#[tokio::test(start_paused = true)]
async fn a_saga_whose_end_is_refused_is_taken_back_and_then_ended_however_long_that_takes() {
    let stage = Stage::new().await;
    stage.refusals.lock().unwrap().push((SagaOutcome::Done, ErrorKind::Contract));
    stage.refusals.lock().unwrap().extend([(SagaOutcome::Compensated, ErrorKind::Contract); 4]);
    let past = stage.until_over().await;
    assert!(stage.world.booked().is_empty());
    assert_eq!(stage.ending(), (SagaOutcome::Compensated, "the traveller is unknown".to_owned()));
    let refused = |event: &&SagaEvent| matches!(event, SagaEvent::EndFailed { why } if why.contains("traveller"));
    assert_eq!(past.saga.log.iter().filter(refused).count(), 1, "said once, however often it was tried");
}

#[tokio::test(start_paused = true)]
async fn an_end_that_is_not_answered_is_tried_again_until_it_is() {
    let stage = Stage::new().await;
    stage.refusals.lock().unwrap().extend([(SagaOutcome::Done, ErrorKind::Unavailable); 9]);
    let began = Instant::now();
    let past = stage.until_over().await;
    assert!(began.elapsed() > Duration::from_secs(10), "with pauses: {:?}", began.elapsed());
    assert!(matches!(past.saga.log.last(), Some(SagaEvent::EndFailed { .. })), "people saw what it waited for");
    assert_eq!((stage.calls().as_str(), stage.ending()), ("+flight +hotel +car", (SagaOutcome::Done, String::new())));
}

#[tokio::test(start_paused = true)]
async fn an_end_that_is_never_answered_is_given_up_when_the_time_allowed_is_over() {
    let stage = Stage::new().await;
    stage.refusals.lock().unwrap().extend([(SagaOutcome::Done, ErrorKind::Unavailable); 10_000]);
    stage.refusals.lock().unwrap().extend([(SagaOutcome::Compensated, ErrorKind::Unavailable); 3]);
    let began = Instant::now();
    stage.until_over().await;
    assert!(began.elapsed() < ALLOWED + Duration::from_secs(60), "{:?}", began.elapsed());
    let (outcome, error) = stage.ending();
    assert!(outcome == SagaOutcome::Compensated && error.contains("in the time allowed: the traveller"), "{error}");
    assert!(stage.world.booked().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_saga_that_is_cancelled_while_its_end_is_not_answered_is_taken_back() {
    let stage = Stage::new().await;
    stage.refusals.lock().unwrap().extend([(SagaOutcome::Done, ErrorKind::Unavailable); 10_000]);
    let cancelling = async {
        sleep(Duration::from_secs(30)).await;
        stage.sagas.cancel(KIND, "anna", "rain").await.unwrap();
    };
    let began = Instant::now();
    futures::future::join(stage.until_over(), cancelling).await;
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    assert_eq!(stage.ending(), (SagaOutcome::Compensated, "rain".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_saga_of_which_all_is_done_but_nobody_ended_it_in_time_is_taken_back() {
    for is_cancelled in [false, true] {
        let stage = Stage::new().await;
        stage.refusals.lock().unwrap().push((SagaOutcome::Done, ErrorKind::Unavailable));
        let (worker, dying) = (stage.worker(), CancellationToken::new());
        // It dies where all is done, in the pause before its end is tried again.
        let dead = async {
            while !stage.refusals.lock().unwrap().is_empty() {
                sleep(Duration::from_millis(1)).await;
            }
            dying.cancel();
        };
        tokio::select! {
            () = worker.run(CancellationToken::new()) => {}
            () = async { tokio::join!(dead, dying.cancelled()); } => {}
        }
        drop(worker);
        if is_cancelled {
            stage.sagas.cancel(KIND, "anna", "rain").await.unwrap();
        } else {
            sleep(ALLOWED).await;
        }
        stage.until_over().await;
        assert_eq!(stage.calls(), "+flight +hotel +car -car -hotel -flight");
        assert_eq!(stage.ending().0, SagaOutcome::Compensated);
    }
}

#[tokio::test(start_paused = true)]
async fn a_saga_that_undoes_undoes_all_steps_whoever_did_them() {
    let stage = Stage::new().await;
    let order = SagaOrder {
        kind: "return".to_owned(),
        subject: "anna".to_owned(),
        params: Value::Null,
        time_allowed: Duration::from_nanos(1_000),
    };
    stage.sagas.begin(&order).await.unwrap();
    stage.world.trouble("hotel", Place::BeforeUndo, Trouble::Hangs, 1);
    stage.until_dead().await;
    stage.until_over().await;
    assert_eq!(stage.calls(), "+flight +hotel +car -car -hotel -hotel -flight");
    let outcomes: Vec<_> = stage.endings.lock().unwrap().iter().map(|(outcome, _)| *outcome).collect();
    assert_eq!(outcomes, [SagaOutcome::Done, SagaOutcome::Done]);
}

#[tokio::test(start_paused = true)]
async fn told_to_shut_down_a_worker_ends_its_step_and_another_goes_on_at_once() {
    let stage = Stage::new().await;
    let (worker, shutdown) = (stage.worker(), CancellationToken::new());
    stage.world.trouble("hotel", Place::BeforeAct, Trouble::Fails(ErrorKind::Unavailable), 1);
    let stopping = async {
        while !stage.calls().contains("+hotel") {
            sleep(Duration::from_millis(1)).await;
        }
        shutdown.cancel();
    };
    futures::future::join(worker.run(shutdown.clone()), stopping).await;
    assert_eq!(stage.calls(), "+flight +hotel");
    let held = stage.sagas.another().claim(&[KIND], None).await.unwrap();
    assert!(held.is_some(), "no lease is waited for");
}

#[tokio::test(start_paused = true)]
async fn told_to_shut_down_a_worker_does_not_wait_for_ever_for_its_step() {
    let stage = Stage::new().await;
    let (worker, shutdown) = (stage.worker(), CancellationToken::new());
    stage.world.trouble("hotel", Place::AfterAct, Trouble::Hangs, 1);
    let stopping = async {
        stage.world.until_hanging().await;
        shutdown.cancel();
    };
    let stopped = futures::future::join(worker.run(shutdown.clone()), stopping);
    timeout(stage.config.drain + Duration::from_secs(1), stopped).await.unwrap();
    stage.until_over().await;
    assert!(stage.is_whole());
}

#[tokio::test(start_paused = true)]
async fn no_more_sagas_are_worked_on_at_a_time_than_there_may_be() {
    let stage = Stage { config: SagaConfig { concurrency: 1, ..SagaConfig::default() }, ..Stage::new().await };
    let order =
        SagaOrder { kind: KIND.to_owned(), subject: "bert".to_owned(), params: Value::Null, time_allowed: ALLOWED };
    stage.sagas.begin(&order).await.unwrap();
    stage.world.trouble("flight", Place::BeforeAct, Trouble::Hangs, 1);
    let worker = stage.worker();
    tokio::select! {
        () = worker.run(CancellationToken::new()) => {}
        () = sleep(Duration::from_secs(60)) => {}
    }
    assert_eq!(stage.calls(), "+flight", "the other waits");
}

#[test]
fn delays_between_tries_stay_below_the_lease() {
    let SagaConfig { backoff: Backoff { ceiling, .. }, .. } = SagaConfig::default();
    assert!(ceiling < LEASE);
}
