//! Alerts in the log.

use async_trait::async_trait;

use crate::error::Error;
use crate::port::{Alert, AlertHandler, ConditionAlert, ConditionState, Severity};

/// Tells whoever reads the log: dead letters as errors, conditions as grave as they are.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogAlerts;

#[async_trait]
impl AlertHandler for LogAlerts {
    async fn alert(&self, alert: &Alert) -> Result<(), Error> {
        match alert {
            Alert::Letters(letters) => tracing::error!(letters = letters.letters.len(), "{alert}"),
            Alert::Condition(ConditionAlert { state: ConditionState::Resolved, .. }) => tracing::info!("{alert}"),
            Alert::Condition(condition) => match condition.severity {
                Severity::Critical => tracing::error!(runbook = condition.runbook(), "{alert}"),
                Severity::Warning => tracing::warn!(runbook = condition.runbook(), "{alert}"),
                Severity::Info => tracing::info!(runbook = condition.runbook(), "{alert}"),
            },
        }
        Ok(())
    }
}
