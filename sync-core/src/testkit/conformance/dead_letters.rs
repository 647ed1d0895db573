//! What every store of dead letters promises.
#![allow(clippy::unwrap_used, reason = "a suite fails by panicking")]

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::error::ErrorKind;
use crate::port::{DeadLetter, DeadLetters, KeptLetter, LetterCount, LetterSelection, Origin, Unannounced};

/// Checks every promise of [`DeadLetters`]. Each call of `make` gives an empty store.
///
/// # Panics
/// When a promise is broken.
pub async fn dead_letters(make: impl AsyncFn() -> Arc<dyn DeadLetters>) {
    a_letter_comes_back_as_it_was_parked(&*make().await).await;
    a_later_letter_about_the_same_replaces_the_earlier_one(&*make().await).await;
    events_that_were_never_published_stand_for_themselves(&*make().await).await;
    letters_are_listed_in_the_order_they_were_parked_and_page_by_page(&*make().await).await;
    letters_are_selected_by_everything_that_is_said(&*make().await).await;
    removed_letters_are_gone_and_the_others_stay(&*make().await).await;
    a_letter_that_was_parked_anew_is_not_removed_by_its_old_id(&*make().await).await;
    a_letter_may_lack_key_and_value(&*make().await).await;
    any_text_can_be_parked(&*make().await).await;
    two_may_park_the_same_at_once(&*make().await).await;
}

/// Checks every promise of [`Unannounced`]. Each call of `make` gives an empty store.
///
/// # Panics
/// When a promise is broken.
pub async fn unannounced<L: DeadLetters + Unannounced>(make: impl AsyncFn() -> Arc<L>) {
    a_letter_is_claimed_once_and_again_when_the_lease_is_over(&*make().await).await;
    a_letter_that_was_announced_is_claimed_no_more_unless_it_is_parked_anew(&*make().await).await;
    two_who_claim_at_once_share_the_letters(&*make().await).await;
}

const LONG: Duration = Duration::from_secs(3_600);

async fn claimed(letters: &dyn Unannounced, limit: usize, lease: Duration) -> Vec<i64> {
    letters.claim(limit, lease).await.unwrap().into_iter().map(|kept| kept.letter.origin.offset).collect()
}

async fn a_letter_is_claimed_once_and_again_when_the_lease_is_over(letters: &(impl DeadLetters + Unannounced)) {
    assert_eq!(claimed(letters, 10, LONG).await, [0; 0]);
    for offset in [3, 1, 2] {
        letters.park(&DeadLetter { value: Some("{}".into()), ..letter(offset) }).await.unwrap();
    }
    let first = letters.claim(2, Duration::ZERO).await.unwrap();
    assert_eq!(first.iter().map(|kept| &kept.letter).collect::<Vec<_>>(), [&letter(3), &letter(1)], "without a value");
    assert_eq!(first.iter().map(|kept| kept.id).collect::<Vec<_>>(), ids(letters).await[..2]);
    assert_eq!(claimed(letters, 10, LONG).await, [3, 1, 2]);
    assert_eq!(claimed(letters, 10, LONG).await, [0; 0]);
}

async fn a_letter_that_was_announced_is_claimed_no_more_unless_it_is_parked_anew(
    letters: &(impl DeadLetters + Unannounced),
) {
    for offset in [1, 2] {
        letters.park(&letter(offset)).await.unwrap();
    }
    let first = letters.claim(1, Duration::ZERO).await.unwrap();
    for _ in 0..2 {
        letters.announced(&[first[0].id, i64::MAX]).await.unwrap();
    }
    assert_eq!(claimed(letters, 10, LONG).await, [2]);
    letters.park(&letter(2)).await.unwrap();
    letters.park(&letter(1)).await.unwrap();
    assert_eq!(claimed(letters, 10, LONG).await, [2, 1]);
}

async fn two_who_claim_at_once_share_the_letters(letters: &(impl DeadLetters + Unannounced)) {
    for offset in 1..=20 {
        letters.park(&letter(offset)).await.unwrap();
    }
    let (one, other) = futures::future::join(claimed(letters, 10, LONG), claimed(letters, 10, LONG)).await;
    let mut all = [one, other, claimed(letters, 20, LONG).await].concat();
    all.sort_unstable();
    assert_eq!(all, (1..=20).collect::<Vec<_>>());
}

fn origin(offset: i64) -> Origin {
    Origin { topic: "job-es-sync".into(), partition: 3, offset }
}

fn letter(offset: i64) -> DeadLetter {
    let first: Timestamp = "2026-01-02T03:04:05.678901Z".parse().unwrap();
    DeadLetter {
        reader: "jobs".into(),
        origin: origin(offset),
        event: Some(offset + 1_000),
        key: Some(format!("job-{offset}")),
        value: None,
        error_kind: ErrorKind::Refused.name().to_owned(),
        error: "field [salary] cannot hold \"much\"".into(),
        attempts: 1,
        parked_at: first + SignedDuration::from_secs(offset),
    }
}

async fn all(letters: &dyn DeadLetters) -> Vec<DeadLetter> {
    let mut all = Vec::new();
    for listed in letters.list(&LetterSelection::default(), 0, 100).await.unwrap() {
        let kept = letters.get(listed.id).await.unwrap().unwrap();
        assert_eq!(listed, KeptLetter { id: kept.id, letter: DeadLetter { value: None, ..kept.letter.clone() } });
        all.push(kept.letter);
    }
    assert_eq!(letters.get(i64::MAX).await.unwrap(), None);
    all
}

async fn ids(letters: &dyn DeadLetters) -> Vec<i64> {
    letters.list(&LetterSelection::default(), 0, 100).await.unwrap().iter().map(|kept| kept.id).collect()
}

async fn a_letter_comes_back_as_it_was_parked(letters: &dyn DeadLetters) {
    assert_eq!(all(letters).await, []);
    let unpublished = DeadLetter {
        origin: Origin::unpublished("job-es-sync".into(), i64::MAX),
        value: Some("{}".into()),
        ..letter(1)
    };
    letters.park(&unpublished).await.unwrap();
    assert_eq!(all(letters).await, [unpublished]);
}

async fn a_later_letter_about_the_same_replaces_the_earlier_one(letters: &dyn DeadLetters) {
    let again = DeadLetter { origin: origin(99), attempts: 3, error: "still".into(), ..letter(1) };
    for letter in [&letter(1), &letter(1), &again] {
        letters.park(letter).await.unwrap();
    }
    assert_eq!(all(letters).await, std::slice::from_ref(&again));

    // One differing part makes another subject.
    let others = [
        DeadLetter { reader: "people".into(), ..again.clone() },
        DeadLetter { origin: Origin { topic: "other".into(), ..origin(99) }, ..again.clone() },
        DeadLetter { key: Some("job-2".into()), ..again.clone() },
        DeadLetter { key: None, ..again.clone() },
        DeadLetter { key: None, origin: Origin { partition: 4, ..origin(99) }, ..again.clone() },
        DeadLetter { key: None, origin: origin(100), ..again },
    ];
    for other in &others {
        letters.park(other).await.unwrap();
    }
    assert_eq!(all(letters).await.len(), 1 + others.len());
}

async fn events_that_were_never_published_stand_for_themselves(letters: &dyn DeadLetters) {
    for event in [1, 2, 2] {
        let origin = Origin::unpublished("job-es-sync".into(), event);
        letters.park(&DeadLetter { origin, ..letter(7) }).await.unwrap();
    }
    assert_eq!(all(letters).await.len(), 2, "both events of one key are kept, each once");
}

async fn letters_are_listed_in_the_order_they_were_parked_and_page_by_page(letters: &dyn DeadLetters) {
    for offset in [4, 1, 3, 2] {
        letters.park(&letter(offset)).await.unwrap();
    }
    let everything = LetterSelection::default();
    let offsets = |list: &[KeptLetter]| list.iter().map(|kept| kept.letter.origin.offset).collect::<Vec<_>>();
    let first = letters.list(&everything, 0, 3).await.unwrap();
    assert_eq!(offsets(&first), [4, 1, 3]);
    assert!(first.is_sorted_by_key(|kept| kept.id));
    let rest = letters.list(&everything, first[2].id, 3).await.unwrap();
    assert_eq!(offsets(&rest), [2]);
    assert_eq!(letters.list(&everything, rest[0].id, 3).await.unwrap(), []);
    assert_eq!(letters.list(&everything, 0, 0).await.unwrap(), []);
}

async fn letters_are_selected_by_everything_that_is_said(letters: &dyn DeadLetters) {
    assert_eq!(letters.count(&LetterSelection::default()).await.unwrap(), LetterCount::default());
    let people = DeadLetter { reader: "people".into(), error_kind: "contract".into(), ..letter(3) };
    let keyless = DeadLetter { key: None, ..letter(4) };
    for letter in [&letter(1), &letter(2), &people, &keyless] {
        letters.park(letter).await.unwrap();
    }
    let ids = ids(letters).await;
    let text = |text: &str| Some(text.to_owned());
    let everything = LetterSelection::default;
    let selections = [
        (everything(), vec![1, 2, 3, 4]),
        (LetterSelection { ids: Some(vec![ids[1], ids[3], i64::MAX]), ..everything() }, vec![2, 4]),
        (LetterSelection { ids: Some(vec![]), ..everything() }, vec![]),
        (LetterSelection { keys: Some(vec!["job-1".into(), "job-3".into()]), ..everything() }, vec![1, 3]),
        (LetterSelection { reader: text("people"), ..everything() }, vec![3]),
        (LetterSelection { error_kind: text("refused"), ..everything() }, vec![1, 2, 4]),
        (LetterSelection { before: Some(letter(3).parked_at), ..everything() }, vec![1, 2]),
        (LetterSelection { reader: text("jobs"), before: Some(letter(3).parked_at), ..everything() }, vec![1, 2]),
        (LetterSelection { reader: text("people"), error_kind: text("refused"), ..everything() }, vec![]),
    ];
    for (selection, expected) in selections {
        let listed = letters.list(&selection, 0, 10).await.unwrap();
        let offsets: Vec<_> = listed.iter().map(|kept| kept.letter.origin.offset).collect();
        assert_eq!(offsets, expected, "{selection:?}");
        let oldest = listed.iter().map(|kept| kept.letter.parked_at).min();
        let count = LetterCount { letters: expected.len() as u64, oldest };
        assert_eq!(letters.count(&selection).await.unwrap(), count, "{selection:?}");
    }
}

async fn removed_letters_are_gone_and_the_others_stay(letters: &dyn DeadLetters) {
    for offset in [1, 2, 3] {
        letters.park(&letter(offset)).await.unwrap();
    }
    let ids = ids(letters).await;
    assert_eq!(letters.remove(&[ids[0], ids[2], i64::MAX]).await.unwrap(), 2);
    assert_eq!(letters.remove(&[ids[0]]).await.unwrap(), 0, "it was gone already");
    assert_eq!(letters.remove(&[]).await.unwrap(), 0);
    assert_eq!(all(letters).await, [letter(2)]);
}

async fn a_letter_that_was_parked_anew_is_not_removed_by_its_old_id(letters: &dyn DeadLetters) {
    letters.park(&letter(1)).await.unwrap();
    let before = ids(letters).await;
    letters.park(&letter(1)).await.unwrap();
    assert_eq!(letters.remove(&before).await.unwrap(), 0);
    assert_eq!(all(letters).await, [letter(1)]);
    assert!(ids(letters).await > before);
}

async fn a_letter_may_lack_key_and_value(letters: &dyn DeadLetters) {
    let bare = DeadLetter { key: None, value: None, event: None, ..letter(1) };
    letters.park(&bare).await.unwrap();
    let empty = DeadLetter { key: Some(String::new()), value: Some(String::new()), ..letter(2) };
    letters.park(&empty).await.unwrap();
    assert_eq!(all(letters).await, [bare, empty]);
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
    assert!(all(letters).await == [huge], "a letter of 5 MB came back changed");

    // Not every store can hold the character NUL; it may stand for itself or be replaced.
    let nul =
        DeadLetter { key: Some("a\0b".into()), value: Some("{\"a\0".into()), error: "bad \0".into(), ..letter(2) };
    letters.park(&nul).await.unwrap();
    letters.park(&nul).await.unwrap();
    let listed = all(letters).await;
    assert_eq!((listed.len(), &listed[1].origin), (2, &nul.origin));
    assert!(listed[1].value.as_deref().is_some_and(|value| value.starts_with("{\"a")));
}

async fn two_may_park_the_same_at_once(letters: &dyn DeadLetters) {
    let same = letter(1);
    let both = futures::future::join(letters.park(&same), letters.park(&same)).await;
    both.0.unwrap();
    both.1.unwrap();
    assert_eq!(all(letters).await, [same]);
}
