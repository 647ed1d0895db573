//! People are told, by all ways there are.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use crate::error::{Error, ErrorKind};
use crate::port::{Alert, AlertHandler};

/// For so long the handlers may take, all together: half of what a claimed letter is held.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// Tells one after the other. When one fails, those behind it wait with it, and those before it are told again.
pub(super) async fn tell(handlers: &[Arc<dyn AlertHandler>], alert: &Alert) -> Result<(), Error> {
    let all = async {
        for handler in handlers {
            handler.alert(alert).await?;
        }
        Ok(())
    };
    timeout(PATIENCE, all).await.unwrap_or_else(|_| {
        let what = format!("the alert handlers took longer than {PATIENCE:?} together");
        Err(Error::new(ErrorKind::Unavailable, what))
    })
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use async_trait::async_trait;

    use super::*;
    use crate::port::LetterAlert;

    #[derive(Debug)]
    struct Deaf;

    #[async_trait]
    impl AlertHandler for Deaf {
        async fn alert(&self, _alert: &Alert) -> Result<(), Error> {
            pending().await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_handler_that_never_ends_is_given_up() {
        let alert = Alert::Letters(LetterAlert { letters: Vec::new() });
        let told = timeout(2 * PATIENCE, async { tell(&[Arc::new(Deaf)], &alert).await });
        assert_eq!(told.await.expect("it ends").unwrap_err().kind(), ErrorKind::Unavailable);
    }
}
