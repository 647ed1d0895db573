//! Never an older state over a newer, deletes included.

use futures::future::join_all;

use super::{Applied, Refused, Stale, delete, expect, held, put, version};
use crate::error::ErrorKind;
use crate::port::{Sink, Write};
use crate::version::Version;

pub(super) async fn check(sink: &dyn Sink) {
    newer_replaces_older_and_late_never_overwrites(sink).await;
    a_deleted_document_never_comes_back_by_an_older_write(sink).await;
    the_delete_of_a_missing_key_counts_from_now_on(sink).await;
    a_repeated_batch_is_stale_all_through(sink).await;
    a_later_epoch_beats_every_version_of_an_earlier_one(sink).await;
    the_order_of_arrival_does_not_matter(sink).await;
    of_many_writers_at_once_the_newest_wins(sink).await;
    one_failing_write_does_not_touch_the_others(sink).await;
    a_key_twice_in_one_call_is_refused_whole(sink).await;
}

async fn newer_replaces_older_and_late_never_overwrites(sink: &dyn Sink) {
    expect(sink, "first", &[put("job-1", 5, r#"{"n":5}"#)], &[Applied]).await;
    expect(sink, "newer", &[put("job-1", 7, r#"{"n":7}"#)], &[Applied]).await;
    expect(sink, "late and older", &[put("job-1", 6, r#"{"n":6}"#)], &[Stale]).await;
    expect(sink, "equal", &[put("job-1", 7, r#"{"n":"other"}"#)], &[Stale]).await;
    expect(sink, "equal delete", &[delete("job-1", 7)], &[Stale]).await;
    expect(sink, "older delete", &[delete("job-1", 6)], &[Stale]).await;
    assert_eq!(held(sink, "job-1").await, Some((7, r#"{"n":7}"#.into())));
    expect(sink, "version 0", &[put("job-0", 0, r#"{"n":0}"#)], &[Applied]).await;
    assert_eq!(held(sink, "job-0").await, Some((0, r#"{"n":0}"#.into())));
}

async fn a_deleted_document_never_comes_back_by_an_older_write(sink: &dyn Sink) {
    expect(sink, "first", &[put("job-2", 5, r#"{"n":5}"#)], &[Applied]).await;
    expect(sink, "delete", &[delete("job-2", 8)], &[Applied]).await;
    assert_eq!(held(sink, "job-2").await, None);
    expect(sink, "older index after the delete", &[put("job-2", 7, r#"{"n":7}"#)], &[Stale]).await;
    expect(sink, "equal index after the delete", &[put("job-2", 8, r#"{"n":8}"#)], &[Stale]).await;
    assert_eq!(held(sink, "job-2").await, None);
    expect(sink, "newer index after the delete", &[put("job-2", 9, r#"{"n":9}"#)], &[Applied]).await;
    assert_eq!(held(sink, "job-2").await, Some((9, r#"{"n":9}"#.into())));
}

async fn the_delete_of_a_missing_key_counts_from_now_on(sink: &dyn Sink) {
    expect(sink, "delete of nothing", &[delete("job-3", 5)], &[Stale]).await;
    expect(sink, "older index", &[put("job-3", 4, r#"{"n":4}"#)], &[Stale]).await;
    assert_eq!(held(sink, "job-3").await, None);
    expect(sink, "newer delete", &[delete("job-3", 7)], &[Stale]).await;
    expect(sink, "index between the deletes", &[put("job-3", 6, r#"{"n":6}"#)], &[Stale]).await;
    expect(sink, "newer index", &[put("job-3", 8, r#"{"n":8}"#)], &[Applied]).await;
    assert_eq!(held(sink, "job-3").await, Some((8, r#"{"n":8}"#.into())));
}

async fn a_repeated_batch_is_stale_all_through(sink: &dyn Sink) {
    expect(sink, "what is deleted later", &[put("job-6", 1, r#"{"n":1}"#)], &[Applied]).await;
    let batch = [put("job-4", 1, r#"{"n":1}"#), put("job-5", 2, r#"{"n":2}"#), delete("job-6", 3)];
    expect(sink, "the batch", &batch, &[Applied, Applied, Applied]).await;
    expect(sink, "its repeat", &batch, &[Stale, Stale, Stale]).await;
    assert_eq!(held(sink, "job-5").await, Some((2, r#"{"n":2}"#.into())));
    assert_eq!(held(sink, "job-6").await, None);
}

async fn a_later_epoch_beats_every_version_of_an_earlier_one(sink: &dyn Sink) {
    let write = |epoch, local, document: Option<&str>| Write {
        key: "job-7".into(),
        version: version(epoch, local),
        document: document.map(str::to_owned),
    };
    expect(sink, "the last of epoch 0", &[write(0, Version::MAX_LOCAL, Some(r#"{"e":0}"#))], &[Applied]).await;
    expect(sink, "the first of epoch 1", &[write(1, 0, Some(r#"{"e":1}"#))], &[Applied]).await;
    expect(sink, "epoch 0 again", &[write(0, Version::MAX_LOCAL, Some(r#"{"e":0}"#))], &[Stale]).await;
    expect(sink, "a delete of epoch 0", &[write(0, Version::MAX_LOCAL, None)], &[Stale]).await;
    assert_eq!(held(sink, "job-7").await, Some((version(1, 0).external(), r#"{"e":1}"#.into())));
    let largest = (Version::MAX_EPOCH, Version::MAX_LOCAL);
    expect(sink, "the largest version", &[write(largest.0, largest.1, Some(r#"{"e":2}"#))], &[Applied]).await;
    assert_eq!(held(sink, "job-7").await, Some((version(largest.0, largest.1).external(), r#"{"e":2}"#.into())));
}

async fn the_order_of_arrival_does_not_matter(sink: &dyn Sink) {
    let orders = [[1, 2, 3], [1, 3, 2], [2, 1, 3], [2, 3, 1], [3, 1, 2], [3, 2, 1]];
    for (number, order) in orders.into_iter().enumerate() {
        let (kept, gone) = (format!("kept-{number}"), format!("gone-{number}"));
        for local in order {
            // Version 2 of the one is a delete, and of the other the last version is.
            let first = if local == 2 { delete(&kept, 2) } else { put(&kept, local, &format!(r#"{{"n":{local}}}"#)) };
            let second = if local == 3 { delete(&gone, 3) } else { put(&gone, local, &format!(r#"{{"n":{local}}}"#)) };
            sink.apply(&[first, second]).await.unwrap();
        }
        assert_eq!(held(sink, &kept).await, Some((3, r#"{"n":3}"#.into())), "after {order:?}");
        assert_eq!(held(sink, &gone).await, None, "after {order:?}");
    }
}

async fn of_many_writers_at_once_the_newest_wins(sink: &dyn Sink) {
    for round in 0..20 {
        let key = format!("contended-{round}");
        // The newest is begun first, so that whoever compares and writes in two steps is overtaken in between.
        let batches = (1..=8).rev().map(|local| [put(&key, local, &format!(r#"{{"n":{local}}}"#))]);
        let batches: Vec<_> = batches.collect();
        for outcomes in join_all(batches.iter().map(|batch| sink.apply(batch))).await {
            outcomes.unwrap();
        }
        assert_eq!(held(sink, &key).await, Some((8, r#"{"n":8}"#.into())), "written by many at once");
    }
}

async fn one_failing_write_does_not_touch_the_others(sink: &dyn Sink) {
    expect(sink, "first", &[put("stale", 9, r#"{"n":9}"#)], &[Applied]).await;
    let too_long = "x".repeat(513);
    let batch = [
        put("before", 1, r#"{"n":1}"#),
        put(&too_long, 1, r#"{"n":1}"#),
        put("cut-off", 1, r#"{"n":"#),
        put("stale", 8, r#"{"n":8}"#),
        put("", 1, r#"{"n":1}"#),
        put("not-an-object", 1, "[1,2]"),
        put("empty", 1, ""),
        put("blank", 1, "  "),
        put("two-values", 1, "{\"n\":1}\n{\"delete\":{\"_id\":\"before\"}}"),
        put("after", 1, r#"{"n":2}"#),
        delete("gone", 1),
    ];
    let expected = [Applied, Refused, Refused, Stale, Refused, Refused, Refused, Refused, Refused, Applied, Stale];
    expect(sink, "a batch of good and bad", &batch, &expected).await;
    assert_eq!(held(sink, "before").await, Some((1, r#"{"n":1}"#.into())));
    assert_eq!(held(sink, "after").await, Some((1, r#"{"n":2}"#.into())));
    assert_eq!(held(sink, "stale").await, Some((9, r#"{"n":9}"#.into())));
    assert_eq!(held(sink, "two-values").await, None);
    let bad = [put(&too_long, 1, "{}"), delete("", 1)];
    expect(sink, "a batch of nothing but bad", &bad, &[Refused, Refused]).await;
    expect(sink, "what was refused may be mended", &[put("cut-off", 1, r#"{"n":1}"#)], &[Applied]).await;
}

async fn a_key_twice_in_one_call_is_refused_whole(sink: &dyn Sink) {
    let twice = [put("once", 1, r#"{"n":1}"#), put("twice", 1, r#"{"n":1}"#), delete("twice", 2)];
    assert_eq!(sink.apply(&twice).await.unwrap_err().kind(), ErrorKind::Internal);
    assert_eq!(held(sink, "once").await, None);
}
