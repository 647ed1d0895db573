//! The index as a whole: counted, and prepared by anybody at any time.

use super::{Applied, Stale, delete, expect, held, put};
use crate::port::{History, Sink};

pub(super) async fn every_applied_write_is_counted(sink: &dyn Sink) {
    assert_eq!(sink.count().await.unwrap(), 0);
    let writes: Vec<_> = (0..100).map(|n| put(&format!("job-{n}"), 1, &format!(r#"{{"n":{n}}}"#))).collect();
    expect(sink, "100 documents", &writes, &[Applied; 100]).await;
    assert_eq!(sink.count().await.unwrap(), 100);
    expect(sink, "a newer one is the same one", &[put("job-1", 2, r#"{"n":1}"#)], &[Applied]).await;
    expect(sink, "one less", &[delete("job-0", 2)], &[Applied]).await;
    expect(sink, "a tombstone is no document", &[delete("nothing", 2)], &[Stale]).await;
    assert_eq!(sink.count().await.unwrap(), 99);
}

pub(super) async fn two_may_prepare_at_once_and_again(one: &dyn Sink, other: &dyn Sink) {
    let (first, second, third) = futures::future::join3(one.prepare(), other.prepare(), one.prepare()).await;
    first.unwrap();
    second.unwrap();
    third.unwrap();
    expect(one, "through the one", &[put("job", 1, r#"{"n":1}"#)], &[Applied]).await;
    expect(other, "through the other", &[put("job", 1, r#"{"n":1}"#)], &[Stale]).await;
    other.prepare().await.unwrap();
    assert_eq!(held(other, "job").await, Some((1, r#"{"n":1}"#.into())), "preparing again keeps the documents");
    assert_eq!(one.count().await.unwrap(), 1);
}

pub(super) async fn a_history_that_was_recorded_stays_until_the_next(one: &dyn Sink, other: &dyn Sink) {
    one.prepare().await.unwrap();
    assert_eq!(other.history().await.unwrap(), None);
    expect(one, "a document", &[put("job", 1, r#"{"n":1}"#)], &[Applied]).await;
    for (epoch, token) in [(0, "a"), (3, "b"), (3, "b"), (2, "c")] {
        let history = History { epoch, token: token.to_owned() };
        one.record(&history).await.unwrap();
        assert_eq!(other.history().await.unwrap().as_ref(), Some(&history));
        other.prepare().await.unwrap();
        assert_eq!(one.history().await.unwrap(), Some(history), "preparing again keeps it");
    }
    assert_eq!(held(other, "job").await, Some((1, r#"{"n":1}"#.into())), "documents are not touched");
}
