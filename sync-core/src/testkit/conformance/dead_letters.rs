//! What every store of dead letters promises.
#![allow(clippy::unwrap_used, reason = "a suite fails by panicking")]

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::error::ErrorKind;
use crate::port::{DeadLetter, DeadLetters, Origin};

/// Checks every promise of [`DeadLetters`]. Each call of `make` gives an empty store.
///
/// # Panics
/// When a promise is broken.
pub async fn dead_letters(make: impl AsyncFn() -> Arc<dyn DeadLetters>) {
    a_letter_comes_back_as_it_was_parked(&*make().await).await;
    a_second_letter_of_one_origin_replaces_the_first(&*make().await).await;
    letters_are_listed_oldest_first_up_to_the_limit(&*make().await).await;
    a_removed_letter_is_gone_and_the_others_stay(&*make().await).await;
    a_letter_may_lack_key_and_value(&*make().await).await;
    any_text_can_be_parked(&*make().await).await;
    two_may_park_the_same_origin_at_once(&*make().await).await;
}

fn origin(offset: i64) -> Origin {
    Origin { topic: "job-es-sync".into(), partition: 3, offset }
}

fn letter(offset: i64) -> DeadLetter {
    let first: Timestamp = "2026-01-02T03:04:05.678901Z".parse().unwrap();
    DeadLetter {
        origin: origin(offset),
        key: Some(format!("job-{offset}")),
        value: Some(format!(r#"{{"key":"job-{offset}"}}"#)),
        error_kind: ErrorKind::Refused.name().to_owned(),
        error: "field [salary] cannot hold \"much\"".into(),
        attempts: 1,
        parked_at: first + SignedDuration::from_secs(offset),
    }
}

async fn a_letter_comes_back_as_it_was_parked(letters: &dyn DeadLetters) {
    assert_eq!(letters.list(10).await.unwrap(), []);
    let unpublished = DeadLetter { origin: Origin { partition: -1, ..origin(i64::MAX) }, ..letter(1) };
    letters.park(&unpublished).await.unwrap();
    assert_eq!(letters.list(10).await.unwrap(), [unpublished]);
}

async fn a_second_letter_of_one_origin_replaces_the_first(letters: &dyn DeadLetters) {
    let again = DeadLetter { attempts: 3, error: "still".into(), ..letter(1) };
    letters.park(&letter(1)).await.unwrap();
    letters.park(&letter(1)).await.unwrap();
    letters.park(&again).await.unwrap();
    assert_eq!(letters.list(10).await.unwrap(), [again]);

    // One differing part makes another origin.
    let elsewhere = [
        Origin { topic: "other".into(), ..origin(1) },
        Origin { partition: 4, ..origin(1) },
        Origin { offset: 2, ..origin(1) },
    ];
    for origin in elsewhere {
        letters.park(&DeadLetter { origin, ..letter(2) }).await.unwrap();
    }
    assert_eq!(letters.list(10).await.unwrap().len(), 4);
}

async fn letters_are_listed_oldest_first_up_to_the_limit(letters: &dyn DeadLetters) {
    for offset in [1, 2, 3, 4] {
        letters.park(&letter(offset)).await.unwrap();
    }
    let offsets = |list: Vec<DeadLetter>| list.iter().map(|letter| letter.origin.offset).collect::<Vec<_>>();
    assert_eq!(offsets(letters.list(10).await.unwrap()), [1, 2, 3, 4]);
    assert_eq!(offsets(letters.list(3).await.unwrap()), [1, 2, 3]);
    assert_eq!(offsets(letters.list(0).await.unwrap()), [0_i64; 0]);
}

async fn a_removed_letter_is_gone_and_the_others_stay(letters: &dyn DeadLetters) {
    letters.park(&letter(1)).await.unwrap();
    letters.park(&letter(2)).await.unwrap();
    assert!(letters.remove(&origin(1)).await.unwrap());
    assert!(!letters.remove(&origin(1)).await.unwrap(), "it was gone already");
    assert!(!letters.remove(&origin(99)).await.unwrap(), "there never was one");
    assert_eq!(letters.list(10).await.unwrap(), [letter(2)]);
}

async fn a_letter_may_lack_key_and_value(letters: &dyn DeadLetters) {
    let bare = DeadLetter { key: None, value: None, ..letter(1) };
    letters.park(&bare).await.unwrap();
    let empty = DeadLetter { key: Some(String::new()), value: Some(String::new()), ..letter(2) };
    letters.park(&empty).await.unwrap();
    assert_eq!(letters.list(10).await.unwrap(), [bare, empty]);
}

/// What is parked is what nobody foresaw: a letter that could not be stored would stop everything behind it.
async fn any_text_can_be_parked(letters: &dyn DeadLetters) {
    let huge = DeadLetter {
        key: Some("k".repeat(100_000)),
        value: Some("größer als gedacht \u{1F980} ".repeat(200_000)),
        error: "'; drop table jobs; --\n\t\\ %s {} \u{202E}".into(),
        ..letter(1)
    };
    letters.park(&huge).await.unwrap();
    assert!(letters.list(1).await.unwrap() == [huge], "a letter of 5 MB came back changed");

    // Not every store can hold the character NUL; it may stand for itself or be replaced.
    let nul =
        DeadLetter { key: Some("a\0b".into()), value: Some("{\"a\0".into()), error: "bad \0".into(), ..letter(2) };
    letters.park(&nul).await.unwrap();
    let listed = letters.list(2).await.unwrap();
    assert_eq!(listed[1].origin, nul.origin);
    assert!(listed[1].value.as_deref().is_some_and(|value| value.starts_with("{\"a")));
    assert!(letters.remove(&nul.origin).await.unwrap());
}

async fn two_may_park_the_same_origin_at_once(letters: &dyn DeadLetters) {
    let same = letter(1);
    let both = futures::future::join(letters.park(&same), letters.park(&same)).await;
    both.0.unwrap();
    both.1.unwrap();
    assert_eq!(letters.list(10).await.unwrap(), [same]);
}
