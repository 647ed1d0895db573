//! Starts logging to standard error.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

use crate::config::{Format, Log};

/// Below this, the client logs the parameters of statements. Whoever wants them has to name it.
const NO_PAYLOADS: &str = "tokio_postgres=info";

/// Starts it for the whole process, for a command that goes on. A second call changes nothing.
pub(crate) fn start(log: &Log) {
    // Of two directives for the same target the later counts.
    let filter = EnvFilter::new(format!("{NO_PAYLOADS},{}", log.filter));
    let lines = fmt().with_env_filter(filter).with_writer(io::stderr).with_target(false);
    // Only a subscriber that is there already can refuse, and then there is one.
    let started = match log.format {
        Format::Text => lines.with_ansi(io::stderr().is_terminal()).try_init(),
        Format::Json => lines.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init(),
    };
    if let Err(error) = started {
        tracing::debug!(error, "logging was started before");
    }
}

/// Starts it for a command that tells everything itself: only what was asked for goes to the log as well.
pub(crate) fn start_if_asked(log: &Log) {
    if *log.filter != Log::default().filter {
        start(log);
    }
}
