//! `GET /livez` and `GET /readyz`.

use std::sync::Arc;

use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;
use tokio::time::Instant;

use super::{State, json_of};

/// The process runs. What it needs is not asked: to be started again would mend none of that.
pub(super) async fn live() -> Response {
    json_of(StatusCode::OK, &json!({ "status": "ok" }))
}

/// Whether it can do its work, and if not, what is in the way.
pub(super) async fn ready(Shared(state): Shared<Arc<State>>) -> Response {
    let (is_ready, problems) = state.seen.borrow().readiness.at(Instant::now());
    if is_ready {
        return json_of(StatusCode::OK, &json!({ "status": "ok", "problems": problems }));
    }
    json_of(StatusCode::SERVICE_UNAVAILABLE, &json!({ "status": "not ready", "problems": problems }))
}
