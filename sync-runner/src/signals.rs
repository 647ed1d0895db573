//! SIGTERM and SIGINT: the first asks for an orderly end, the second ends the process.

use sync_core::{Error, ErrorKind};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Cancels `shutdown` at the first signal and ends the process at the second, with 128 and the signal's number.
///
/// # Errors
/// `Internal` when the system refuses to tell about signals.
pub(crate) fn listen(shutdown: CancellationToken) -> Result<(), Error> {
    let wrong = |error| Error::new(ErrorKind::Internal, "listening for signals").with_source(error);
    let mut terminate = signal(SignalKind::terminate()).map_err(wrong)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(wrong)?;
    tokio::spawn(async move {
        let (name, _) = next(&mut terminate, &mut interrupt).await;
        tracing::info!(signal = name, "stopping; a second signal ends the process at once");
        shutdown.cancel();
        let (name, number) = next(&mut terminate, &mut interrupt).await;
        tracing::warn!(signal = name, "ending at once; what is in flight will be repeated");
        std::process::exit(128 + number);
    });
    Ok(())
}

async fn next(terminate: &mut Signal, interrupt: &mut Signal) -> (&'static str, i32) {
    tokio::select! {
        _ = terminate.recv() => ("SIGTERM", SignalKind::terminate().as_raw_value()),
        _ = interrupt.recv() => ("SIGINT", SignalKind::interrupt().as_raw_value()),
    }
}
