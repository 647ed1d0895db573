//! What every sink promises.
#![allow(clippy::unwrap_used, reason = "a suite fails by panicking")]

mod documents;
mod guard;
mod index;

use std::sync::Arc;

use crate::port::{Outcome, Sink, Write};
use crate::version::Version;

/// Checks every promise of [`Sink`].
///
/// `make` gives a sink on the index of that name (lower-case letters and hyphens): the same index for the same name,
/// and one that does not exist yet when the suite names it first. The suite prepares it; whoever calls the suite
/// removes the indexes afterwards. Their mapping has to take any field.
///
/// # Panics
/// When a promise is broken.
pub async fn sink(make: impl AsyncFn(&str) -> Arc<dyn Sink>) {
    let sink = make("guard").await;
    sink.prepare().await.unwrap();
    guard::check(&*sink).await;

    let sink = make("documents").await;
    sink.prepare().await.unwrap();
    documents::check(&*sink).await;

    let sink = make("counted").await;
    sink.prepare().await.unwrap();
    index::every_applied_write_is_counted(&*sink).await;

    let (one, other) = (make("prepared").await, make("prepared").await);
    index::two_may_prepare_at_once_and_again(&*one, &*other).await;

    let (one, other) = (make("recorded").await, make("recorded").await);
    index::a_history_that_was_recorded_stays_until_the_next(&*one, &*other).await;
}

fn version(epoch: i32, local: i64) -> Version {
    Version::new(epoch, local).unwrap()
}

fn put(key: &str, local: i64, document: &str) -> Write {
    Write { key: key.into(), version: version(0, local), document: Some(document.into()) }
}

fn delete(key: &str, local: i64) -> Write {
    Write { key: key.into(), version: version(0, local), document: None }
}

/// What a sink is expected to say of one write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Applied,
    Stale,
    Refused,
}
use Said::{Applied, Refused, Stale};

async fn expect(sink: &dyn Sink, what: &str, writes: &[Write], expected: &[Said]) {
    let outcomes = sink.apply(writes).await.unwrap();
    let said: Vec<_> = outcomes
        .iter()
        .map(|outcome| match outcome {
            Outcome::Applied => Applied,
            Outcome::Stale => Stale,
            Outcome::Failed(error) if error.kind() == crate::ErrorKind::Refused => Refused,
            Outcome::Failed(error) => panic!("{what}: {error} ({:?})", error.kind()),
        })
        .collect();
    assert_eq!(said, expected, "{what}");
}

/// The document and version of one key.
async fn held(sink: &dyn Sink, key: &str) -> Option<(u64, String)> {
    let mut found = sink.fetch(&[key.to_owned()]).await.unwrap();
    assert_eq!(found.len(), 1);
    let stored = found.remove(0)?;
    Some((stored.version.external(), without_spaces(&stored.document)))
}

/// JSON text without the white space that means nothing, so that texts of one meaning are equal digit by digit.
fn without_spaces(json: &str) -> String {
    let (mut quoted, mut escaped) = (false, false);
    json.chars()
        .filter(|&c| {
            let keep = quoted || !c.is_ascii_whitespace();
            if c == '"' && !escaped {
                quoted = !quoted;
            }
            escaped = quoted && c == '\\' && !escaped;
            keep
        })
        .collect()
}
