//! `GET /livez` and `GET /readyz`.

use std::sync::Arc;

use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;
use tokio::time::Instant;

use super::State;
use crate::http::answer;

/// The process runs. What it needs is not asked: to be started again would mend none of that.
pub(super) async fn live() -> Response {
    answer::json(StatusCode::OK, &json!({ "status": "ok" }))
}

/// Whether it can do its work, and if not, what is in the way.
pub(super) async fn ready(Shared(state): Shared<Arc<State>>) -> Response {
    let (is_ready, problems) = state.seen.borrow().readiness.at(Instant::now());
    if is_ready {
        return answer::json(StatusCode::OK, &json!({ "status": "ok", "problems": problems }));
    }
    answer::json(StatusCode::SERVICE_UNAVAILABLE, &json!({ "status": "not ready", "problems": problems }))
}
