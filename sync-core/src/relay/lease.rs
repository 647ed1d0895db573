//! What goes on beside the work: the lease is kept, the source makes room, and in the end the lease is given back.

use std::convert::Infallible;
use std::pin::pin;
use std::time::Duration;

use tokio::time::{interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::Relay;
use crate::error::{Error, ErrorKind, Remedy};
use crate::port::{Cursor, Source};

/// Sources make room for days, so an hour is often enough.
const UPKEEP: Duration = Duration::from_secs(3600);

/// After it failed: somebody may have mended it.
const UPKEEP_AGAIN: Duration = Duration::from_secs(300);

/// How long giving the lease back may take.
const RELEASE: Duration = Duration::from_secs(2);

/// Does `work` while the lease is kept; gives it back when this relay will not go on.
pub(super) async fn under_lease(
    relay: &Relay,
    source: &dyn Source,
    cursor: &dyn Cursor,
    shutdown: &CancellationToken,
    work: impl Future<Output = Result<(), Error>>,
) -> Result<(), Error> {
    let outcome = tokio::select! {
        outcome = work => outcome,
        error = keep_lease(cursor) => Err(error),
        never = upkeep(source) => match never {},
        () = overtime(shutdown, relay.config.drain) => {
            tracing::warn!("shutting down with events in flight; the next relay goes on from the position");
            Ok(())
        }
    };
    if shutdown.is_cancelled() || outcome.as_ref().is_err_and(|error| error.remedy() != Remedy::Retry) {
        give_back(cursor).await;
    }
    outcome
}

/// What takes the lease, or nothing when it was told to stop meanwhile: then a lease that was just taken is given back.
pub(super) async fn opened_or_given_back<T>(
    opening: impl Future<Output = Result<T, Error>>,
    cursor: impl FnOnce(T) -> Box<dyn Cursor>,
    shutdown: &CancellationToken,
) -> Result<Option<T>, Error> {
    let mut opening = pin!(opening);
    tokio::select! {
        () = shutdown.cancelled() => {}
        opened = &mut opening => return opened.map(Some),
    }
    if let Ok(Ok(opened)) = timeout(RELEASE, opening).await {
        give_back(&*cursor(opened)).await;
    }
    Ok(None)
}

/// Renews the lease three times in its life; ends only with an error.
async fn keep_lease(cursor: &dyn Cursor) -> Error {
    let mut beat = interval((cursor.lease() / 3).max(Duration::from_millis(1)));
    loop {
        beat.tick().await;
        // Unanswered for that long it is lost, and what does not answer may have been replaced by another server.
        let silence = |_| Err(Error::new(ErrorKind::Unavailable, "the lease ran out before its renewal was answered"));
        if let Err(error) = timeout(cursor.lease(), cursor.renew()).await.unwrap_or_else(silence) {
            return error;
        }
    }
}

/// Has the source make room for what is to come; a failure is told and tried again.
async fn upkeep(source: &dyn Source) -> Infallible {
    loop {
        let pause = match source.maintain().await {
            Ok(()) => UPKEEP,
            Err(error) => {
                tracing::warn!(%error, "the upkeep of the source failed; tried again in {UPKEEP_AGAIN:?}");
                UPKEEP_AGAIN
            }
        };
        sleep(pause).await;
    }
}

/// Lets the next one go on at once. A source that says nothing must not hold up the end.
async fn give_back(cursor: &dyn Cursor) {
    let silence = |_| Err(Error::new(ErrorKind::Unavailable, format!("no answer within {RELEASE:?}")));
    if let Err(error) = timeout(RELEASE, cursor.release()).await.unwrap_or_else(silence) {
        tracing::warn!(%error, "the lease was not given back; it runs out by itself");
    }
}

async fn overtime(shutdown: &CancellationToken, drain: Duration) {
    shutdown.cancelled().await;
    sleep(drain).await;
}
