//! Answers: pages for people, JSON for programs, and why there is no other. No cache shows one that is old.

use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;
use sync_core::ErrorKind;

/// A page, and what a browser lets it do.
pub(super) fn page(html: &'static str, policy: &'static str) -> Response {
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, policy),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // It is asked for each time: a page of an older program would not know what this one says.
        (CACHE_CONTROL, "no-cache"),
    ];
    (headers, html).into_response()
}

/// What can be written as JSON.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_string(value) {
        Ok(body) => written_json(status, body),
        Err(error) => {
            tracing::error!(%error, "an answer cannot be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// JSON that is written already.
pub(super) fn written_json(status: StatusCode, body: String) -> Response {
    let headers =
        [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store"), (X_CONTENT_TYPE_OPTIONS, "nosniff")];
    (status, headers, body).into_response()
}

/// Why there is no other answer.
pub(super) fn refusal(status: StatusCode, kind: ErrorKind, message: &str) -> Response {
    json(status, &json!({ "error": { "kind": kind.name(), "message": message } }))
}
