//! What all concrete indexes behind a name promise.
#![allow(clippy::unwrap_used, reason = "a suite fails by panicking")]

use std::sync::Arc;

use crate::error::ErrorKind;
use crate::port::{ConcreteIndexes, History, Outcome, Sink, Write};
use crate::version::Version;

/// The indexes behind one name, and how they are written to.
pub struct Behind {
    /// The indexes.
    pub indexes: Arc<dyn ConcreteIndexes>,
    /// Writes to the one that is searched.
    pub searched: Arc<dyn Sink>,
}

/// Checks every promise of [`ConcreteIndexes`]. `make` gives those behind a name of its own; `of` writes to one of them.
///
/// # Panics
/// When a promise is broken.
pub async fn concrete_indexes(make: impl AsyncFn() -> Behind, of: impl Fn(&str) -> Arc<dyn Sink>) {
    let Behind { indexes, searched } = make().await;
    assert_eq!(indexes.searched().await.unwrap(), None);
    searched.prepare().await.unwrap();
    let history = History { epoch: 3, token: "token".to_owned() };
    searched.record(&history).await.unwrap();
    let old = indexes.searched().await.unwrap().unwrap();
    assert_eq!(write(&*searched, "a", 1).await, "applied");

    let passed_over = indexes.next_name(&old, &[]).await.unwrap();
    let new = indexes.next_name(&old, std::slice::from_ref(&passed_over)).await.unwrap();
    assert!(new != old && new != passed_over, "{old}, {passed_over}, {new}");
    for _ in 0..2 {
        indexes.make(&new, 7, &old).await.unwrap();
    }
    assert_eq!(indexes.make(&new, 8, &old).await.unwrap_err().kind(), ErrorKind::Configuration, "of another re-index");
    assert_eq!(indexes.make(&old, 7, &old).await.unwrap_err().kind(), ErrorKind::Configuration);
    assert_eq!(indexes.searched().await.unwrap().as_ref(), Some(&old));
    let beside = of(&new);
    beside.prepare().await.unwrap();
    assert_eq!(beside.history().await.unwrap(), Some(history), "that of the one that is searched");
    assert_eq!((write(&*beside, "b", 1).await, beside.count().await.unwrap()), ("applied", 1));
    assert_eq!(searched.count().await.unwrap(), 1);
    assert_eq!(indexes.next_name(&old, &[passed_over]).await.unwrap().cmp(&new), std::cmp::Ordering::Greater);

    for refused in [indexes.seal(&old).await, indexes.delete(&old).await] {
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Configuration, "it is searched");
    }
    indexes.refresh(&new).await.unwrap();
    for _ in 0..2 {
        indexes.switch(&old, &new).await.unwrap();
    }
    assert_eq!(indexes.searched().await.unwrap().as_ref(), Some(&new));
    assert_eq!(indexes.switch(&old, "neither").await.unwrap_err().kind(), ErrorKind::Configuration);
    for _ in 0..2 {
        indexes.seal(&old).await.unwrap();
    }
    assert_eq!(write(&*of(&old), "c", 1).await, "blocked");
    // Whoever wrote to the old one is told once, and writes to the new one then.
    assert_eq!(write(&*searched, "c", 1).await, "blocked");
    assert_eq!((write(&*searched, "c", 1).await, beside.count().await.unwrap()), ("applied", 2));

    for _ in 0..2 {
        indexes.unseal(&old).await.unwrap();
    }
    assert_eq!(write(&*of(&old), "c", 1).await, "applied");
    indexes.switch(&new, &old).await.unwrap();
    for _ in 0..2 {
        indexes.delete(&new).await.unwrap();
    }
    indexes.seal(&new).await.unwrap();
    for gone in [indexes.refresh(&new).await, indexes.unseal(&new).await] {
        assert_eq!(gone.unwrap_err().kind(), ErrorKind::Configuration);
    }
    assert_eq!(write(&*searched, "d", 1).await, "blocked");
    assert_eq!((write(&*searched, "d", 1).await, searched.count().await.unwrap()), ("applied", 3));
}

/// What became of one write.
async fn write(sink: &dyn Sink, key: &str, version: i64) -> &'static str {
    let version = Version::new(0, version).unwrap();
    let write = Write { key: key.to_owned(), version, document: Some("{}".to_owned()) };
    match sink.apply(&[write]).await {
        Ok(outcomes) => match &outcomes[..] {
            [Outcome::Applied] => "applied",
            [Outcome::Stale] => "stale",
            [Outcome::Failed(error)] => error.kind().name(),
            _ => "garbled",
        },
        Err(error) => error.kind().name(),
    }
}
