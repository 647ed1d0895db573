//! Connections: so many at a time, none that takes long to say what it wants or to hear it, and all ended in order.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1::Builder;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;

/// Connections at a time, at most. More wait until they are accepted.
const CONNECTIONS: usize = 1_024;

/// How long a request may take to be said, and how long a connection may be idle.
const HEADERS: Duration = Duration::from_secs(15);

/// How long an answer may wait for its reader without getting any further.
const STALLED: Duration = Duration::from_secs(15);

/// Bytes of the head of a request, at most.
const HEAD_BYTES: usize = 16 * 1_024;

/// How long what is under way at the end may take.
const LAST: Duration = Duration::from_secs(5);

/// Serves until `shutdown`.
pub(super) async fn serve(listener: TcpListener, router: Router, shutdown: CancellationToken) {
    let mut builder = Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEADERS).max_buf_size(HEAD_BYTES);
    let permits = Arc::new(Semaphore::new(CONNECTIONS));
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = async {
            let place = Arc::clone(&permits).acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = accepted => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Of one connection, or there are no more file descriptors: those that end give some back.
                tracing::debug!(%error, "a connection was not accepted");
                sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let service = TowerToHyperService::new(router.clone());
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(STALLED));
        let watched = graceful.watch(builder.serve_connection(TokioIo::new(Box::pin(stream)), service));
        tokio::spawn(async move {
            if let Err(error) = watched.await {
                tracing::debug!(%error, "a connection ended");
            }
            drop(place);
        });
    }
    drop(listener);
    if timeout(LAST, graceful.shutdown()).await.is_err() {
        tracing::warn!("some requests were not answered before the end");
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_reader_who_does_not_read_is_left_and_the_answer_with_it() {
        const LENGTH: usize = 64 << 20;
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let router = Router::new().route("/", get(|| async { vec![0; LENGTH] }));
        let served = tokio::spawn(serve(listener, router, shutdown.clone()));
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
        sleep(4 * STALLED).await;
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.ok();
        assert!((1..LENGTH).contains(&rest.len()), "{} bytes came", rest.len());
        shutdown.cancel();
        served.await.unwrap();
    }
}
