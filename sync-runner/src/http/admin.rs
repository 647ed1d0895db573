//! What operators want of a process: health, metrics, the status page, and dead letters to decide about.

mod health;
mod letters;
mod status;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State as Shared};
use axum::http::header::{CONTENT_TYPE, HOST};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use sync_core::{Error, ErrorKind};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use super::metrics::Metrics;
use super::{answer, server};
use crate::config::{Admin, Secret};
use crate::letters::LetterDesk;
use crate::monitor::Seen;

/// Where a process listens that is not told where.
const DEFAULT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8081);

/// Changes under way at the same time, at most.
const CHANGES: usize = 4;

/// Looks at dead letters under way at the same time, at most: each has a connection to PostgreSQL.
const READS: usize = 2;

/// Pages that are kept up to date, at most.
const STREAMS: usize = 64;

/// What is behind the addresses.
#[derive(Debug)]
struct State {
    seen: watch::Receiver<Seen>,
    metrics: Metrics,
    desk: LetterDesk,
    token: Option<Secret>,
    changes: Semaphore,
    reads: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    shutdown: CancellationToken,
}

/// The server of one process.
#[derive(Debug)]
pub(crate) struct AdminServer {
    settings: Admin,
    seen: watch::Receiver<Seen>,
    metrics: Metrics,
    desk: LetterDesk,
}

impl AdminServer {
    /// Serves what is seen.
    pub(crate) fn new(settings: Admin, seen: watch::Receiver<Seen>, metrics: Metrics, desk: LetterDesk) -> Self {
        Self { settings, seen, metrics, desk }
    }

    /// Serves until `shutdown`. Where nobody said where to listen and somebody else listens at the usual place, the process
    /// goes on without.
    ///
    /// # Errors
    /// `Configuration` when the address that was said cannot be listened on.
    pub(crate) async fn run(self, shutdown: CancellationToken) -> Result<(), Error> {
        let address = self.settings.listen.unwrap_or(DEFAULT);
        let listener = match (TcpListener::bind(address).await, self.settings.listen) {
            (Ok(listener), _) => listener,
            (Err(error), None) => {
                tracing::warn!(%error, "{address} is not free: no status page, metrics or health of this process; set admin.listen");
                shutdown.cancelled().await;
                return Ok(());
            }
            (Err(error), Some(_)) => {
                let what = format!("admin.listen: cannot listen on {address}; give each process an address of its own");
                return Err(Error::new(ErrorKind::Configuration, what).with_source(error));
            }
        };
        tracing::info!(%address, "the status page is at http://{address}/");
        let state = Arc::new(State {
            seen: self.seen,
            metrics: self.metrics,
            desk: self.desk,
            token: self.settings.token,
            changes: Semaphore::new(CHANGES),
            reads: Arc::new(Semaphore::new(READS)),
            streams: Arc::new(Semaphore::new(STREAMS)),
            shutdown: shutdown.clone(),
        });
        let router = Router::new()
            .route("/", get(status::page))
            .route("/api/status", get(status::now))
            .route("/api/events", get(status::events))
            .route("/api/dead-letters", get(letters::list))
            .route("/api/dead-letters/{id}", get(letters::one))
            .route("/api/dead-letters/{id}/replay", post(letters::replay))
            .route("/api/dead-letters/{id}/discard", post(letters::discard))
            .fallback(nothing_there)
            .method_not_allowed_fallback(not_so)
            .layer(from_fn_with_state(address.ip().is_loopback(), only_our_name))
            .route("/livez", get(health::live))
            .route("/readyz", get(health::ready))
            .route("/metrics", get(metrics))
            .with_state(state);
        server::serve(listener, router, shutdown).await;
        Ok(())
    }
}

async fn metrics(Shared(state): Shared<Arc<State>>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], state.metrics.render())
}

async fn nothing_there() -> Response {
    let what = "there is nothing at this address; docs/operations.md lists what there is";
    refuse(StatusCode::NOT_FOUND, &Error::new(ErrorKind::Refused, what))
}

async fn not_so() -> Response {
    let what = "this address is asked with another method; docs/operations.md says with which";
    refuse(StatusCode::METHOD_NOT_ALLOWED, &Error::new(ErrorKind::Refused, what))
}

/// A page of somebody else may have its own name point to this machine, to read what only this machine may: who listens here
/// only is asked for by this machine's names.
async fn only_our_name(Shared(is_local): Shared<bool>, request: Request, next: Next) -> Response {
    if is_local && !is_ours(request.headers()) {
        let what = "asked for under a name that is not this machine's; ask for localhost, or set admin.listen to the address others use";
        return refuse(StatusCode::FORBIDDEN, &Error::new(ErrorKind::Denied, what));
    }
    next.run(request).await
}

fn is_ours(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(HOST).and_then(|host| host.to_str().ok()) else { return false };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        Some(_) | None => host,
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || name.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
}

fn refuse(status: StatusCode, error: &Error) -> Response {
    answer::refusal(status, error.kind(), &error.to_string())
}

fn failed(error: &Error) -> Response {
    refuse(status_of(error), error)
}

fn status_of(error: &Error) -> StatusCode {
    match error.kind() {
        ErrorKind::Refused | ErrorKind::TooLarge => StatusCode::BAD_REQUEST,
        ErrorKind::Contract | ErrorKind::Fenced => StatusCode::CONFLICT,
        ErrorKind::Unavailable | ErrorKind::Blocked | ErrorKind::Unexplained => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::Denied | ErrorKind::Configuration | ErrorKind::History | ErrorKind::Internal | _ => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_machine_are_ours() {
        let of = |host: &str| is_ours(&HeaderMap::from_iter([(HOST, host.parse().unwrap())]));
        for ours in ["localhost", "LOCALHOST:8081", "127.0.0.1:8081", "[::1]:8081", "127.3.2.1"] {
            assert!(of(ours), "{ours}");
        }
        for others in ["example.org", "localhost.example.org:8081", "10.0.0.1:8081", "", "127.0.0.1.example.org"] {
            assert!(!of(others), "{others}");
        }
        assert!(!is_ours(&HeaderMap::new()));
    }
}
