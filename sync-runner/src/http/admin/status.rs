//! The status page, and what it shows.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::response::{IntoResponse, Response};
use futures::stream;
use sync_core::{Error, ErrorKind};
use tokio::time::{sleep, timeout};

use super::{State, refuse};
use crate::http::answer;

/// The page.
const PAGE: &str = include_str!("status.html");

/// What the page may do: be its own script and style, and ask its own server.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; \
                           img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// How long the first look may take.
const FIRST: Duration = Duration::from_secs(20);

/// A look that takes longer is told again as it was, so that the connection is known to be there.
const ALIVE: Duration = Duration::from_secs(5);

/// Looks follow each other no faster on one connection.
const PACE: Duration = Duration::from_millis(500);

/// `GET /`.
pub(super) async fn page() -> Response {
    answer::page(PAGE, PAGE_POLICY)
}

/// `GET /api/status`: what was seen last.
pub(super) async fn now(Shared(state): Shared<Arc<State>>) -> Response {
    let mut seen = state.seen.clone();
    let first = timeout(FIRST, seen.wait_for(|seen| !seen.snapshot.is_empty())).await;
    match first {
        Ok(Ok(seen)) => answer::written_json(StatusCode::OK, seen.snapshot.to_string()),
        Ok(Err(_)) | Err(_) => {
            let error = Error::new(ErrorKind::Unavailable, "nothing was looked at yet");
            refuse(StatusCode::SERVICE_UNAVAILABLE, &error)
        }
    }
}

/// `GET /api/events`: what is seen, again and again, until the process ends.
pub(super) async fn events(Shared(state): Shared<Arc<State>>) -> Response {
    let Ok(place) = Arc::clone(&state.streams).try_acquire_owned() else {
        let error = Error::new(ErrorKind::Unavailable, "too many pages are open; close one, or ask for api/status");
        return refuse(StatusCode::SERVICE_UNAVAILABLE, &error);
    };
    let mut seen = state.seen.clone();
    seen.mark_changed();
    let events = stream::unfold((state, seen, place), |(state, mut seen, place)| async move {
        loop {
            let changed = tokio::select! {
                () = state.shutdown.cancelled() => return None,
                changed = timeout(ALIVE, seen.changed()) => changed,
            };
            if matches!(changed, Ok(Err(_))) {
                return None;
            }
            let snapshot = Arc::clone(&seen.borrow_and_update().snapshot);
            if snapshot.is_empty() {
                continue;
            }
            sleep(PACE).await;
            let event = format!("event: status\ndata: {snapshot}\n\n");
            return Some((Ok::<_, Infallible>(event), (state, seen, place)));
        }
    });
    let headers =
        [(CONTENT_TYPE, "text/event-stream"), (CACHE_CONTROL, "no-store"), (X_CONTENT_TYPE_OPTIONS, "nosniff")];
    (headers, Body::from_stream(events)).into_response()
}
