//! Alerts in the log.

use async_trait::async_trait;

use crate::error::Error;
use crate::port::{Alert, AlertHandler};

/// Tells whoever reads the log, as errors.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogAlerts;

#[async_trait]
impl AlertHandler for LogAlerts {
    async fn alert(&self, alert: &Alert) -> Result<(), Error> {
        tracing::error!(letters = alert.letters.len(), "{alert}");
        Ok(())
    }
}
