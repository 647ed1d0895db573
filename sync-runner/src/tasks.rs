//! Runs roles side by side, and stops all when one cannot go on. Outages are the roles' own business.

use std::fmt;
use std::time::Duration;

use futures::future::BoxFuture;
use sync_core::{Error, ErrorKind};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// How long roles have to finish what is in flight once they are told to stop.
pub(crate) const GRACE: Duration = Duration::from_secs(10);

/// A part of the work, which runs until the token is cancelled.
pub(crate) struct Role {
    name: String,
    start: Box<dyn FnOnce(CancellationToken) -> BoxFuture<'static, Result<(), Error>> + Send>,
}

impl Role {
    /// A role with its name in the log.
    pub(crate) fn new<F>(name: String, start: impl FnOnce(CancellationToken) -> F + Send + 'static) -> Self
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
        running.spawn(run_one(role, shutdown.clone()));
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

async fn run_one(role: Role, shutdown: CancellationToken) -> Result<(), Error> {
    let name = role.name.as_str();
    tracing::info!(role = name, "role started");
    let outcome = (role.start)(shutdown).await;
    match &outcome {
        Ok(()) => tracing::info!(role = name, "role stopped"),
        Err(error) => tracing::error!(role = name, kind = error.kind().name(), %error, "role halted"),
    }
    outcome
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    /// A role that fails with `kind`, or waits for the end.
    fn role(kind: Option<ErrorKind>) -> Role {
        Role::new("test".to_owned(), move |shutdown| async move {
            match kind {
                Some(kind) => Err(Error::new(kind, "as told")),
                None => {
                    shutdown.cancelled().await;
                    Ok(())
                }
            }
        })
    }

    #[tokio::test(start_paused = true)]
    async fn one_role_that_cannot_go_on_stops_the_others() {
        let roles = vec![role(Some(ErrorKind::Configuration)), role(None)];
        let error = run_all(roles, &CancellationToken::new()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
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
        let error = run_all(vec![broken, role(None)], &CancellationToken::new()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Internal);
    }
}
