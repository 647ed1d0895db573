//! Runs roles side by side: starts one again that ended by an outage, stops all when one cannot go on.

use std::fmt;
use std::time::Duration;

use futures::future::BoxFuture;
use sync_core::policy::backoff::Backoff;
use sync_core::{Error, ErrorKind, Remedy};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

/// How long roles have to finish what is in flight once they are told to stop.
pub(crate) const GRACE: Duration = Duration::from_secs(10);

const RESTART: Backoff = Backoff { first: Duration::from_millis(500), ceiling: Duration::from_secs(30) };

/// A role that ran this long before it failed starts again as if it had never failed.
const STEADY: Duration = Duration::from_secs(60);

/// A part of the work, which runs until the token is cancelled.
pub(crate) struct Role {
    name: String,
    start: Box<dyn Fn(CancellationToken) -> BoxFuture<'static, Result<(), Error>> + Send + Sync>,
}

impl Role {
    /// A role with its name in the log. `start` is called again when it ended by an outage.
    pub(crate) fn new<F>(name: String, start: impl Fn(CancellationToken) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<(), Error>> + Send + 'static,
    {
        Self { name, start: Box::new(move |shutdown| Box::pin(start(shutdown))) }
    }
}

impl fmt::Debug for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Role").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Runs all roles until `shutdown`, or until one of them ends with an error that no waiting mends; then stops the
/// others. Every failure is logged here. Dropping it drops the roles.
///
/// # Errors
/// The first error that ended a role; `Unavailable` when roles were not done [`GRACE`] after they were told to stop.
pub(crate) async fn run_all(roles: Vec<Role>, shutdown: &CancellationToken) -> Result<(), Error> {
    let mut running = JoinSet::new();
    for role in roles {
        running.spawn(keep_running(role, shutdown.clone()));
    }
    let mut outcome = Ok(());
    let all_ended = async {
        while let Some(ended) = running.join_next().await {
            let ended = ended.unwrap_or_else(|error| {
                tracing::error!(%error, "a role ended by a bug");
                Err(Error::new(ErrorKind::Internal, "a role ended by a bug").with_source(error))
            });
            shutdown.cancel();
            if outcome.is_ok() {
                outcome = ended;
            }
        }
    };
    let overtime = async {
        shutdown.cancelled().await;
        sleep(GRACE).await;
    };
    tokio::select! {
        () = all_ended => outcome,
        () = overtime => {
            tracing::error!("not done {GRACE:?} after the shutdown began; what is in flight will be repeated");
            Err(Error::new(ErrorKind::Unavailable, "the shutdown took too long"))
        }
    }
}

async fn keep_running(role: Role, shutdown: CancellationToken) -> Result<(), Error> {
    let name = role.name.as_str();
    let mut failures = 0;
    loop {
        tracing::info!(role = name, "role started");
        let began = Instant::now();
        let error = match (role.start)(shutdown.clone()).await {
            Ok(()) => {
                tracing::info!(role = name, "role stopped");
                return Ok(());
            }
            Err(error) => error,
        };
        match error.remedy() {
            Remedy::Halt | Remedy::Park => {
                tracing::error!(role = name, kind = error.kind().name(), %error, "role halted");
                return Err(error);
            }
            Remedy::Retry => {}
        }
        failures = if began.elapsed() >= STEADY { 1 } else { failures + 1 };
        let delay = RESTART.delay(failures, rand::random());
        tracing::warn!(role = name, kind = error.kind().name(), %error, "role ended; it starts again in {delay:?}");
        if timeout(delay, shutdown.cancelled()).await.is_ok() {
            tracing::info!(role = name, "role stopped");
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// A role that plays `turns` one after the other and then waits for the end.
    fn role(turns: Vec<Option<ErrorKind>>) -> (Role, Arc<AtomicUsize>) {
        let starts = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&starts);
        let role = Role::new("test".to_owned(), move |shutdown| {
            let turn = turns.get(count.fetch_add(1, Ordering::SeqCst)).copied().flatten();
            async move {
                match turn {
                    Some(kind) => Err(Error::new(kind, "as told")),
                    None => {
                        shutdown.cancelled().await;
                        Ok(())
                    }
                }
            }
        });
        (role, starts)
    }

    #[tokio::test(start_paused = true)]
    async fn a_role_that_ended_by_an_outage_is_started_again() {
        let (role, starts) = role(vec![Some(ErrorKind::Unavailable), Some(ErrorKind::Blocked)]);
        let shutdown = CancellationToken::new();
        let stop = shutdown.clone();
        tokio::spawn(async move {
            sleep(Duration::from_secs(30)).await;
            stop.cancel();
        });
        run_all(vec![role], &shutdown).await.unwrap();
        assert_eq!(starts.load(Ordering::SeqCst), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn one_role_that_cannot_go_on_stops_the_others() {
        let (halting, halted) = role(vec![Some(ErrorKind::Configuration)]);
        let (waiting, _) = role(vec![]);
        let error = run_all(vec![halting, waiting], &CancellationToken::new()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert_eq!(halted.load(Ordering::SeqCst), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_shutdown_interrupts_the_wait_before_a_restart() {
        let (failing, starts) = role(vec![Some(ErrorKind::Unavailable); 100]);
        let shutdown = CancellationToken::new();
        shutdown.cancel();
        run_all(vec![failing], &shutdown).await.unwrap();
        assert_eq!(starts.load(Ordering::SeqCst), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_role_that_does_not_stop_is_left_behind_after_the_grace() {
        let stuck = Role::new("stuck".to_owned(), |_| futures::future::pending());
        let shutdown = CancellationToken::new();
        shutdown.cancel();
        let began = Instant::now();
        let error = run_all(vec![stuck], &shutdown).await.unwrap_err();
        assert_eq!((error.kind(), began.elapsed()), (ErrorKind::Unavailable, GRACE));
    }

    #[tokio::test(start_paused = true)]
    async fn a_role_that_panics_ends_the_others() {
        let broken = Role::new("broken".to_owned(), |_| async { panic!("as told") });
        let (waiting, _) = role(vec![]);
        let error = run_all(vec![broken, waiting], &CancellationToken::new()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Internal);
    }
}
