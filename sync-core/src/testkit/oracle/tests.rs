//! Each violation, from the smallest story that has it.

use std::collections::BTreeSet;

use super::*;
use crate::port::Partition;

fn version(local: i64) -> Version {
    Version::new(0, local).unwrap()
}

fn message(partition: i32, offset: i64, key: Option<&'static str>, id: &'static str) -> Incoming {
    Incoming {
        partition: Partition { topic: "jobs".into(), number: partition },
        offset,
        key: key.map(|key| key.as_bytes().into()),
        value: None,
        headers: vec![("id".to_owned(), id.as_bytes().into())],
    }
}

fn row(local: i64, document: Option<&str>) -> Current {
    Current { key: "a".to_owned(), version: version(local), document: document.map(str::to_owned) }
}

fn stored(local: i64, document: &str) -> Stored {
    Stored { version: version(local), document: document.to_owned() }
}

fn origin(partition: i32, offset: i64) -> Origin {
    Origin { topic: "jobs".to_owned(), partition, offset }
}

/// Events 7 and 3 of one key, committed in this order, and the messages of these ids in partition 0.
fn bus(delivery: Delivery, ids: &[&'static str]) -> Oracle {
    let mut oracle = Oracle::new(delivery);
    oracle.committed("jobs", "a", 7);
    oracle.committed("jobs", "a", 3);
    for (offset, id) in ids.iter().enumerate() {
        oracle.seen(&message(0, offset as i64, Some("a"), id));
    }
    oracle
}

fn index(row: Option<Current>, stored: Option<Stored>) -> Oracle {
    let mut oracle = Oracle::default();
    if let Some(row) = row {
        oracle.row("jobs", &row);
    }
    oracle.counted("jobs", stored.iter().count() as u64);
    if let Some(stored) = stored {
        oracle.document("jobs", "a", &stored);
    }
    oracle
}

#[track_caller]
fn assert_only(oracle: &Oracle, expected: Violation, words: &str) {
    assert_eq!(expected.to_string(), words);
    assert_eq!(oracle.violations(), [expected]);
}

fn a() -> Entity {
    Entity::new("jobs", "a")
}

#[test]
fn a_run_that_kept_every_promise_has_no_violation() {
    let mut oracle = bus(Delivery::AtLeastOnce, &["7", "7", "3", "7", "3"]);
    for local in [1, 1, 2] {
        oracle.indexed("jobs", "a", version(local));
    }
    oracle.row("jobs", &row(2, Some("{\"v\": 1, \"w\": 2}")));
    oracle.document("jobs", "a", &stored(2, "{\"w\":2,\"v\":1}"));
    oracle.counted("jobs", 1);
    oracle.recorded("search", (0, 7));
    oracle.recorded("search", (2, 0));
    assert_eq!(oracle.violations(), []);
    assert_eq!(bus(Delivery::ExactlyOnce, &["7", "3"]).violations(), []);
    assert_eq!(index(Some(row(2, None)), None).violations(), []);
}

#[test]
fn a_committed_event_that_is_not_on_the_bus_is_lost() {
    let lost = Violation::Lost { entity: a(), id: 3 };
    assert_only(&bus(Delivery::AtLeastOnce, &["7"]), lost, "jobs:a: event 3 was committed and is not on the bus");
}

#[test]
fn a_bus_nobody_looks_at_loses_nothing() {
    assert_eq!(bus(Delivery::Unseen, &[]).violations(), []);
}

#[test]
fn a_message_of_no_committed_event_is_invented() {
    let invented = Violation::Invented { origin: origin(0, 2), key: Some("a".into()), id: Some(9) };
    let words = "jobs/0 offset 2: a message with key Some(\"a\") and id Some(9), which nobody committed";
    assert_only(&bus(Delivery::AtLeastOnce, &["7", "3", "9"]), invented, words);
}

#[test]
fn an_event_of_another_key_is_invented() {
    let mut oracle = bus(Delivery::AtLeastOnce, &["7", "3"]);
    oracle.seen(&message(0, 5, Some("b"), "3"));
    let invented = Violation::Invented { origin: origin(0, 5), key: Some("b".into()), id: Some(3) };
    assert_eq!(oracle.violations(), [invented]);
}

#[test]
fn a_message_without_an_id_is_invented_unless_it_is_known_as_poison() {
    let mut oracle = Oracle::default();
    oracle.seen(&message(1, 4, None, "7"));
    let invented = Violation::Invented { origin: origin(1, 4), key: None, id: None };
    let words = "jobs/1 offset 4: a message with key None and id None, which nobody committed";
    assert_only(&oracle, invented, words);
    oracle.poison(origin(1, 4));
    oracle.letter(origin(1, 4), None);
    assert_eq!(oracle.violations(), []);
}

#[test]
fn first_occurrences_in_another_order_than_the_commits_are_found() {
    let overtaken = Violation::OutOfOrder { entity: a(), id: 7, after: 3 };
    let words = "jobs:a: event 7 comes first after event 3, which was committed later";
    assert_only(&bus(Delivery::AtLeastOnce, &["3", "7", "3"]), overtaken, words);
}

#[test]
fn a_repeat_is_a_violation_only_where_once_was_promised() {
    assert_eq!(bus(Delivery::AtLeastOnce, &["7", "3", "7"]).violations(), []);
    let repeated = Violation::Repeated { entity: a(), id: 7, times: 2 };
    let words = "jobs:a: event 7 is on the bus 2 times";
    assert_only(&bus(Delivery::ExactlyOnce, &["7", "3", "7"]), repeated, words);
}

#[test]
fn after_a_lost_history_an_event_may_come_once_more_but_not_twice() {
    let mut oracle = bus(Delivery::ExactlyOnce, &["7", "3"]);
    let again = |offset, id| {
        let mut message = message(0, offset, Some("a"), id);
        message.headers.push(("epoch".to_owned(), "1".into()));
        message
    };
    oracle.seen(&again(2, "3"));
    assert_eq!(oracle.violations(), []);
    oracle.seen(&again(3, "3"));
    let repeated = Violation::Repeated { entity: a(), id: 3, times: 2 };
    assert_only(&oracle, repeated, "jobs:a: event 3 is on the bus 2 times");
}

#[test]
fn a_key_in_two_partitions_is_found() {
    let mut oracle = bus(Delivery::AtLeastOnce, &["7"]);
    oracle.seen(&message(2, 0, Some("a"), "3"));
    let split = Violation::TwoPartitions { entity: a(), partitions: BTreeSet::from([0, 2]) };
    assert_only(&oracle, split, "jobs:a: its messages lie in partitions {0, 2}");
}

#[test]
fn an_index_without_a_row_s_document_misses_it() {
    let missing = Violation::Missing { entity: a(), version: version(2) };
    let words = "jobs:a: the index has no document, the database has version 0.2";
    assert_only(&index(Some(row(2, Some("{}"))), None), missing, words);
}

#[test]
fn an_index_with_an_older_version_is_stale_and_with_a_newer_one_ahead() {
    let behind = index(Some(row(2, Some("{}"))), Some(stored(1, "{}")));
    let stale = Violation::Stale { entity: a(), indexed: version(1), row: version(2) };
    assert_only(&behind, stale, "jobs:a: the index has version 0.1, the database 0.2");
    let before = index(Some(row(2, Some("{}"))), Some(stored(3, "{}")));
    let ahead = Violation::Ahead { entity: a(), indexed: version(3), row: version(2) };
    assert_only(&before, ahead, "jobs:a: the index has version 0.3, the database only 0.2");
}

#[test]
fn the_last_change_of_an_earlier_epoch_is_stale_only_in_other_words() {
    let raised = Version::new(1, 2).unwrap();
    let current = |document: &str| Current { version: raised, ..row(2, Some(document)) };
    assert_eq!(index(Some(current("{}")), Some(stored(2, "{}"))).violations(), []);
    for (document, local) in [("{}", 1), ("{}", 3), ("[]", 2)] {
        let stale = Violation::Stale { entity: a(), indexed: version(local), row: raised };
        assert_eq!(index(Some(current(document)), Some(stored(local, "{}"))).violations(), [stale]);
    }
}

#[test]
fn the_document_of_a_deleted_or_unknown_key_is_an_orphan() {
    let orphan = Violation::Orphan { entity: a(), version: version(1) };
    let words = "jobs:a: the index has version 0.1 of what is not in the database";
    assert_only(&index(Some(row(2, None)), Some(stored(1, "{}"))), orphan.clone(), words);
    assert_only(&index(None, Some(stored(1, "{}"))), orphan, words);
}

#[test]
fn another_content_at_the_same_version_is_found() {
    let differs = Violation::Content {
        entity: a(),
        version: version(1),
        indexed: "{\"v\":2}".to_owned(),
        row: "{\"v\":1}".to_owned(),
    };
    let words = "jobs:a: version 0.1 is {\"v\":2} in the index and {\"v\":1} in the database";
    assert_only(&index(Some(row(1, Some("{\"v\":1}"))), Some(stored(1, "{\"v\":2}"))), differs, words);
}

#[test]
fn documents_of_keys_nobody_told_are_counted() {
    let mut oracle = index(Some(row(1, Some("{}"))), Some(stored(1, "{}")));
    oracle.counted("jobs", 2);
    let more = Violation::Uncounted { topic: "jobs".to_owned(), counted: 2, told: 1 };
    assert_only(&oracle, more, "jobs: the index counts 2 documents, 1 were found by key");
}

#[test]
fn a_version_that_goes_back_is_found_even_if_it_comes_forward_again() {
    let mut oracle = Oracle::default();
    for local in [2, 1, 3] {
        oracle.indexed("jobs", "a", version(local));
    }
    let back = Violation::VersionWentBack { entity: a(), from: version(2), to: version(1) };
    assert_only(&oracle, back, "jobs:a: the index went back from version 0.2 to 0.1");
}

#[test]
fn a_position_that_goes_back_is_found() {
    let mut oracle = Oracle::default();
    for position in [(1, 0), (2, 5), (2, 3), (3, 0)] {
        oracle.recorded("search", position);
    }
    let back = Violation::PositionWentBack { subscription: "search".to_owned(), from: (2, 5), to: (2, 3) };
    assert_only(&oracle, back, "the position of \"search\" went back from (2, 5) to (2, 3)");
}

#[test]
fn a_letter_about_what_was_never_refused_should_not_be_there() {
    let mut oracle = index(Some(row(1, Some("{}"))), Some(stored(1, "{}")));
    oracle.letter(origin(0, 4), Some("a"));
    let letter = Violation::UnexpectedLetter { origin: origin(0, 4), key: Some("a".to_owned()) };
    assert_only(&oracle, letter, "jobs/0 offset 4: a letter about key Some(\"a\"), which was never refused");
    oracle.may_be_parked("jobs", "a");
    assert_eq!(oracle.violations(), []);
}

#[test]
fn poison_without_a_letter_is_found() {
    let mut oracle = Oracle::default();
    oracle.poison(origin(0, 4));
    let missing = Violation::MissingLetter { origin: origin(0, 4) };
    assert_only(&oracle, missing, "jobs/0 offset 4: poison without a letter");
}

#[test]
fn what_was_refused_and_parked_may_be_behind_in_the_index_but_not_wrong() {
    for (row, stored) in
        [(row(2, Some("{}")), None), (row(2, Some("{}")), Some(stored(1, "{}"))), (row(2, None), Some(stored(1, "{}")))]
    {
        let mut oracle = index(Some(row), stored);
        oracle.may_be_parked("jobs", "a");
        assert_eq!(oracle.violations().len(), 1, "refused, and not parked");
        oracle.letter(origin(0, 4), Some("a"));
        assert_eq!(oracle.violations(), [], "refused and parked");
    }
    let mut oracle = index(Some(row(1, Some("{}"))), Some(stored(1, "{\"v\":1}")));
    oracle.may_be_parked("jobs", "a");
    oracle.letter(origin(0, 4), Some("a"));
    assert_eq!(oracle.violations().len(), 1, "parking does not change a document");
}

#[test]
fn an_event_parked_before_the_bus_is_not_lost() {
    let mut oracle = bus(Delivery::AtLeastOnce, &["7"]);
    oracle.may_be_parked("jobs", "a");
    oracle.letter(origin(-1, 3), Some("a"));
    assert_eq!(oracle.violations(), []);
}
