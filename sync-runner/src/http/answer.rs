//! Answers: pages for people, JSON for programs, and why there is no other. No cache shows one that is old.

use std::convert::Infallible;

use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS,
};
use axum::response::{IntoResponse, Response};
use futures::stream;
use serde::Serialize;
use serde_json::json;
use sync_core::ErrorKind;
use tokio::sync::OwnedSemaphorePermit;

/// Bytes of something large that are given away at a time.
const PIECE: usize = 64 << 10;

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

/// The same of something large: it is given away as fast as its reader takes it, and whoever waits for its place does so until
/// then.
pub(super) fn json_bit_by_bit(value: &impl Serialize, place: OwnedSemaphorePermit) -> Response {
    let Ok(body) = serde_json::to_vec(value) else { return StatusCode::INTERNAL_SERVER_ERROR.into_response() };
    let length = body.len().to_string();
    let pieces = stream::unfold((Bytes::from(body), place), async |(mut rest, place)| {
        let piece = rest.split_to(rest.len().min(PIECE));
        (!piece.is_empty()).then_some((Ok::<_, Infallible>(piece), (rest, place)))
    });
    let headers = [
        (CONTENT_TYPE, "application/json"),
        (CONTENT_LENGTH, &length),
        (CACHE_CONTROL, "no-store"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, Body::from_stream(pieces)).into_response()
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
